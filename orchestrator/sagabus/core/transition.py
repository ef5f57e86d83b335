"""The working context of one decision: the state being changed and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sagabus.core.commands import AnswerCommand, Command, SetTimer
from sagabus.core.definition import Definition, Stage
from sagabus.core.instance import Answer, Attempt, Instance, InstanceState, StageRun
from sagabus.errors import InvariantError


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that changes nothing, with the reason: normal where messages come twice or late.

    ``is_dead``: nobody can make sense of the message; it is kept as a dead letter. ``commands``
    are answers only (the same as before).
    """

    reason: str
    is_dead: bool = False
    commands: tuple[Command, ...] = ()


@dataclass(slots=True)
class Decision:
    """What an event changed: to be stored, then carried out."""

    #: History entries: ``{"seq", "type", "at", "data"}``.
    events: list[dict[str, Any]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    #: Changed or new attempt rows, by (task, attempt).
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)


class Transition:
    """One event being applied. The state is changed in place; ``decision`` collects the rest."""

    __slots__ = ("at", "decision", "definition", "row", "state")

    def __init__(self, definition: Definition, state: InstanceState, at: datetime) -> None:
        self.definition = definition
        self.state = state
        self.row: Instance = state.row
        self.at = at
        self.decision = Decision()

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
            self.do(SetTimer(attempt.due_at, "attempt", attempt.task, attempt.attempt))

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
        if attempt.has_row:
            self.row.open.pop(f"{attempt.task}/{attempt.attempt}", None)
        else:
            self.row.open[f"{attempt.task}/{attempt.attempt}"] = attempt

    def answer(self, command: str, answer: Answer) -> None:
        """Answer a command; kept, so that a repeat gets the same."""
        self.row.answers[command] = answer
        self.do(AnswerCommand(command, answer))

    def stage(self, name: str) -> Stage:
        """The definition of a stage."""
        return self.definition.stages[name]

    def run_of(self, attempt: Attempt) -> StageRun:
        """The stage run that an attempt belongs to."""
        return self.row.runs[f"{attempt.stage}-{attempt.pass_}"]

    def active_runs(self) -> list[tuple[str, StageRun]]:
        """Runs that have not ended, oldest first."""
        return [(key, run) for key, run in self.row.runs.items() if run.ended_at is None]
