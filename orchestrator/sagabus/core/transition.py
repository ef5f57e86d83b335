"""The working context of one decision: the state being changed and what comes out of it."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sagabus.core.commands import AnswerCommand, Command, attempt_timer
from sagabus.core.definition import Definition, Stage
from sagabus.core.instance import (
    Answer,
    Attempt,
    Failure,
    Firing,
    Instance,
    InstanceState,
    StageRun,
)
from sagabus.errors import InvariantError

#: Tasks that need no agent and end in one event; the others are left to timers, due at once.
MAX_LOCAL = 100

#: Stages that one event begins: some need no task, and a loop of them goes round at once.
MAX_BEGUN = 100

#: Tasks and compensations sent by one event: a long list must not hold up other instances.
MAX_SENT = 256


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that changes nothing, with the reason: normal where messages come twice or late.

    ``is_dead``: nobody can make sense of the message; it is kept as a dead letter. ``commands``
    are answers only (the same as before).
    """

    reason: str
    is_dead: bool = False
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What one attempt means for one resource: a declaration, or the end of it by an undo."""

    kind: str
    id: str
    #: None: it exists no more.
    spec: dict[str, Any] | None
    instance: str
    workflow: str
    stage: str
    task: str
    attempt: int
    role: str
    at: datetime
    #: What its task made is undone: void where another instance has declared the resource since.
    is_undo: bool = False


@dataclass(slots=True)
class Decision:
    """What an event changed: to be stored, then carried out."""

    #: History entries: ``{"seq", "type", "at", "data"}``.
    events: list[dict[str, Any]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    #: Changed or new attempt rows, by (task, attempt).
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    #: New lists that runs have one task per element of, by run key.
    items: dict[str, list[Any]] = field(default_factory=dict)
    #: In order: of several of one resource the last counts.
    resources: list[ResourceChange] = field(default_factory=list)


class Transition:
    """One event being applied. The state is changed in place; ``decision`` collects the rest."""

    __slots__ = (
        "asked",
        "at",
        "begun_left",
        "decision",
        "definition",
        "firings",
        "kv",
        "local",
        "local_left",
        "row",
        "sends_left",
        "state",
    )

    def __init__(
        self,
        definition: Definition,
        state: InstanceState,
        at: datetime,
        kv: Mapping[str, Any] | None = None,
    ) -> None:
        self.definition = definition
        self.state = state
        self.row: Instance = state.row
        self.at = at
        #: By a person: ``OperatorRequest.asked``.
        self.asked = ""
        self.decision = Decision()
        #: What is known of the key-value store.
        self.kv: Mapping[str, Any] = {} if kv is None else kv
        self.firings: deque[Firing] = deque(state.row.pending)
        #: How many more stages may begin in this event.
        self.begun_left = MAX_BEGUN
        #: Attempts that need no agent, with what is wrong with them.
        self.local: deque[tuple[Attempt, Failure | None]] = deque()
        #: How many more of them may end in this event: a long list or loop of them must not hold up
        #: other instances.
        self.local_left = MAX_LOCAL
        #: How many more may be sent by this event.
        self.sends_left = MAX_SENT

    def record(self, type_: str, data: Mapping[str, Any]) -> None:
        """Add an entry to the history."""
        self.row.seq += 1
        self.decision.events.append(
            {"seq": self.row.seq, "type": type_, "at": self.at, "data": data}
        )

    def do(self, command: Command) -> None:
        """Ask the shell for something."""
        self.decision.commands.append(command)

    def change(self, attempt: Attempt) -> None:
        """Mark an attempt as changed, and wake up when it is due."""
        self._note(attempt)
        if attempt.due_at is not None:
            self.do(attempt_timer(attempt, attempt.due_at))

    def add(self, attempt: Attempt) -> None:
        """Add a new attempt, the newest of its task."""
        tries = self.state.attempts.setdefault(attempt.task, [])
        if attempt.attempt != len(tries) + 1:
            raise InvariantError(
                f"attempt {attempt.attempt} of {attempt.task} follows {len(tries)}",
                instance_id=self.row.id,
            )
        tries.append(attempt)
        self.row.open_attempts += 1
        self._note(attempt)

    def _note(self, attempt: Attempt) -> None:
        self.decision.attempts[(attempt.task, attempt.attempt)] = attempt
        self.state.results.pop(f"{attempt.stage}-{attempt.pass_}", None)
        if attempt.has_row:
            self.row.open.pop(f"{attempt.task}/{attempt.attempt}", None)
        else:
            self.row.open[f"{attempt.task}/{attempt.attempt}"] = attempt

    def answer(self, command: str, answer: Answer) -> None:
        """Answer a command; kept, so that a repeat gets the same."""
        answer.asked = self.asked
        self.row.answers[command] = answer
        self.do(AnswerCommand(command, answer))

    def refuse(self, command: str, message: str, code: str = "conflict") -> None:
        """Refuse a command: what it asks for makes no sense now.

        Remembered after the end, too: what has ended may be retried, and a repeat come after that.
        """
        self.answer(command, Answer(ok=False, code=code, message=message))

    def stage(self, name: str) -> Stage:
        """The definition of a stage."""
        return self.definition.stages[name]

    def run_of(self, attempt: Attempt) -> StageRun:
        """The stage run that an attempt belongs to."""
        return self.row.runs[f"{attempt.stage}-{attempt.pass_}"]

    def active_runs(self) -> list[tuple[str, StageRun]]:
        """Runs that have not ended, oldest first."""
        return [(key, run) for key, run in self.row.runs.items() if run.ended_at is None]
