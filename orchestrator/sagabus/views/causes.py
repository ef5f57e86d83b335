"""Causes why an instance stands where it stands, and what has to be known to find them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from sagabus.ports import Hold

CauseName = Literal[
    "ended",
    "store_away",
    "bus_away",
    "intent_unknown",
    "compensation_failed",
    "after_final",
    "engine_failed",
    "paused",
    "on_hold",
    "approval",
    "question",
    "no_agent",
    "agents_busy",
    "queued",
    "running",
    "retry",
    "sleeping",
    "sub_workflow",
    "task_limit",
    "join",
    "moving",
]
_OF_OPERATORS: Final = frozenset(
    {"intent_unknown", "compensation_failed", "after_final", "engine_failed"}
)
_WORKED_ON: Final = frozenset({"queued", "running", "sub_workflow", "moving"})
#: These hold nothing up by themselves: there is always another cause beside them.
_CONSEQUENCES: Final = frozenset({"task_limit", "join", "ended"})


@dataclass(frozen=True, slots=True)
class RoleState:
    """The agents of a role, and its queue."""

    alive: int = 0
    free: int = 0
    #: Instances whose tasks its agents run now.
    working_for: Sequence[str] = ()
    #: When the last agent was heard; None: since nobody knows when.
    last_heard_at: datetime | None = None
    #: Tasks that no agent has taken; None: the bus does not say.
    queued: int | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the instance itself."""

    roles: Mapping[str, RoleState] = field(default_factory=dict)
    holds: Sequence[Hold] = ()
    #: Parts of the orchestrator that are not well.
    troubles: Sequence["Cause"] = ()
    #: Agents alive: their names.
    agents: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason; ``title`` is the same for all instances that it holds up, ``detail`` is not."""

    cause: CauseName
    title: str
    detail: str = ""
    #: What gets it going again: each by itself.
    ways: Sequence[str] = ()
    stage: str | None = None
    task: str | None = None
    role: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: Instances that it waits for.
    others: Sequence[str] = ()

    @property
    def is_standing(self) -> bool:
        """True where nothing happens before somebody does something, or a time has come."""
        return self.cause not in _WORKED_ON | _CONSEQUENCES

    @property
    def needs_operator(self) -> bool:
        """True where nothing but an operator's word lets the instance go on."""
        return self.cause in _OF_OPERATORS

    @property
    def message(self) -> str:
        """One sentence."""
        return f"{self.title}{self.detail}"

    @property
    def remedy(self) -> str:
        """What to do; ``ID`` stands for the instance."""
        return ", or ".join(self.ways)

    def ways_for(self, instance: str) -> list[str]:
        """What to do, each by itself, with the instance's id where it belongs."""
        return [re.sub(r"(sagabus [a-z-]+) ID\b", rf"\1 {instance}", way) for way in self.ways]

    def remedy_for(self, instance: str) -> str:
        """The same in one line."""
        return ", or ".join(self.ways_for(instance))


def is_standing(causes: Sequence[Cause]) -> bool:
    """Whether an instance with these causes stands still: nothing of it is being worked on."""
    return not is_worked_on(causes) and any(each.is_standing for each in causes)


def is_worked_on(causes: Sequence[Cause]) -> bool:
    """Whether one of these causes is that something is being done."""
    return any(each.cause in _WORKED_ON for each in causes)
