"""What people have put on hold beyond single instances: a workflow, a role, everything.

A workflow's hold pauses its instances, new ones as they start. The tasks of a role that is on hold
are kept back: they stand in the database as any other, and leave when the hold ends.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sagabus.core.commands import AnswerClaim
from sagabus.core.events import PauseRequested, ResumeRequested
from sagabus.core.instance import Attempt, Instance, child_id
from sagabus.ports import Hold
from sagabus_agents.wire import ClaimMessage

#: The name of what holds everything.
EVERYTHING = "all"


class Holds:
    """What is on hold now, as every partition asks it on its way."""

    def __init__(self) -> None:
        self._words: Mapping[tuple[str, str], Hold] = {}
        self._roles: frozenset[str] = frozenset()
        #: Raised with every change.
        self.version = 0
        #: Everything is on hold.
        self.is_all_held = False
        #: No task may leave unseen.
        self.keeps_back = False

    def know(self, words: Iterable[Hold]) -> bool:
        """Take the newest word about everything that ever was on hold; True: there was news."""
        known: dict[tuple[str, str], Hold] = {(word.kind, word.name): word for word in words}
        if known == self._words:
            return False
        self._words = known
        held = [key for key, word in known.items() if word.is_held]
        self._roles = frozenset(name for kind, name in held if kind == "role")
        self.is_all_held = ("all", EVERYTHING) in held
        self.keeps_back = self.is_all_held or bool(self._roles)
        self.version += 1
        return True

    @property
    def current(self) -> list[Hold]:
        """What is on hold, oldest first."""
        return sorted(
            (word for word in self._words.values() if word.is_held), key=lambda word: word.at
        )

    @property
    def has_workflows(self) -> bool:
        """Whether a workflow is, or ever was, on hold."""
        return any(kind == "workflow" for kind, _ in self._words)

    def covers(self, role: str) -> bool:
        """Whether tasks of ``role`` are kept back."""
        return self.is_all_held or role in self._roles

    def was_kept_back(self, attempt: Attempt) -> bool:
        """Whether a hold has ended since the attempt was made, for all that is known."""
        words = (self._words.get(("role", attempt.role)), self._words.get(("all", EVERYTHING)))
        return any(
            word is not None and not word.is_held and attempt.created_at < word.at for word in words
        )

    def find(self, kind: str, name: str) -> Hold | None:
        """The hold of ``name``, where it is on hold."""
        word = self._words.get((kind, name))
        return word if word is not None and word.is_held else None

    @property
    def queues(self) -> frozenset[str]:
        """Roles whose queues are to be emptied; ``*`` for all."""
        return frozenset("*") if self.is_all_held else self._roles

    def pause_at_start(self, row: Instance, at: datetime) -> PauseRequested | None:
        """How an instance begins, be it anew after its end, where its workflow is on hold."""
        hold = self.find("workflow", row.workflow)
        return None if hold is None else _pause(hold, row, at)

    def meaning_for(self, row: Instance, at: datetime) -> PauseRequested | ResumeRequested | None:
        """What the newest word about its workflow asks of an unfinished instance.

        Asked of it once, however often this is called: the command's id is that of the word.
        """
        word = self._words.get(("workflow", row.workflow))
        if word is None or row.status.is_terminal:
            return None
        command = _command(word, row)
        if command in row.answers:
            return None
        if word.is_held:
            return _pause(word, row, at)
        if row.paused is not None and row.paused.is_of_workflow:
            return ResumeRequested(at, command, word.by, word.reason)
        return None


def _command(word: Hold, row: Instance) -> str:
    return child_id(row.id, f"hold-{word.at.isoformat()}", int(word.is_held))


def _pause(word: Hold, row: Instance, at: datetime) -> PauseRequested:
    return PauseRequested(at, _command(word, row), word.by, word.reason, is_of_workflow=True)


def wait(claim: ClaimMessage) -> AnswerClaim:
    """The answer to a claim for a task of a role that is on hold: not now."""
    return AnswerClaim(claim.reply, claim.claim, "later")
