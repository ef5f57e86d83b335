"""One batch of a schedule: events decided with everything that must be answered within it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sagabus.core.commands import AuthorizeTask, Command, DispatchTask
from sagabus.core.definition import Definition
from sagabus.core.events import Event, PolicyDecided, TaskRefused
from sagabus.core.instance import Attempt, InstanceState
from sagabus.core.machine import decide, park
from sagabus.core.transition import Decision, Ignored


@dataclass(frozen=True, slots=True)
class Parked:
    """The shell found a bug and stops the instance: not an event, but it happens like one."""

    at: datetime


#: Says of a task and attempt whether the policies deny it, or the bus refuses it.
Luck = Callable[[str, int], bool]


@dataclass(slots=True)
class Turn:
    """What a batch changes and asks for."""

    decisions: list[Decision] = field(default_factory=list)
    events: list[Event | Parked] = field(default_factory=list)
    #: Answers that repeat what was said before.
    repeats: list[Command] = field(default_factory=list)

    @property
    def commands(self) -> list[Command]:
        made = [command for decision in self.decisions for command in decision.commands]
        return self.repeats + made

    @property
    def attempts(self) -> list[Attempt]:
        changed: dict[tuple[str, int], Attempt] = {}
        for decision in self.decisions:
            changed |= decision.attempts
        return list(changed.values())

    def records(self) -> Iterator[dict[str, Any]]:
        for decision in self.decisions:
            yield from decision.events


def decide_fully(
    definition: Definition,
    state: InstanceState,
    event: Event | Parked,
    *,
    is_denied: Luck,
    is_refused: Luck,
) -> Sequence[Decision] | Ignored:
    """Decide an event, then what the policies and the bus say to it."""
    if isinstance(event, Parked):
        is_over = state.row.status.is_terminal
        return Ignored("ended") if is_over else [park(definition, state, event.at, "a bug")]
    outcome = decide(definition, state, event)
    if isinstance(outcome, Ignored):
        return outcome
    decisions = [outcome]
    for decision in decisions:
        for command in decision.commands:
            answer = _answer(command, event, is_denied, is_refused)
            if answer is not None:
                more = decide(definition, state, answer)
                if isinstance(more, Decision):
                    decisions.append(more)
    return decisions


def _answer(command: Command, cause: Event, is_denied: Luck, is_refused: Luck) -> Event | None:
    if isinstance(command, AuthorizeTask):
        is_allowed = not is_denied(command.task, command.attempt)
        return PolicyDecided(cause.at, command.task, command.attempt, is_allowed, ["p1"], "no")
    if isinstance(command, DispatchTask):
        task, attempt = command.attempt.task, command.attempt.attempt
        if is_refused(task, attempt):
            return TaskRefused(cause.at, task, attempt, "too large")
    return None
