"""The timers of one partition, a heap. What is out of date is ignored when it comes up."""

import heapq
from collections.abc import Container
from datetime import datetime

from sagabus.core.commands import SetTimer
from sagabus.core.events import (
    AttemptTimerFired,
    Event,
    GateTimerFired,
    MoreToSend,
    WorkflowTimerFired,
)
from sagabus.runtime.engine import Engine


class TimerQueue:
    """Timers by due time."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, str, SetTimer]] = []
        self._count = 0

    def add(self, instance: str, timer: SetTimer) -> None:
        """Remember a timer."""
        self._count += 1
        heapq.heappush(self._heap, (timer.at, self._count, instance, timer))

    def __len__(self) -> int:
        return len(self._heap)

    def keep(self, instances: Container[str]) -> None:
        """Drop the timers of all others."""
        self._heap = [entry for entry in self._heap if entry[2] in instances]
        heapq.heapify(self._heap)

    @property
    def next_at(self) -> datetime | None:
        """When the earliest timer is due."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: datetime, limit: int) -> list[tuple[str, SetTimer]]:
        """Up to ``limit`` timers that are due, earliest first."""
        due: list[tuple[str, SetTimer]] = []
        while self._heap and self._heap[0][0] <= now and len(due) < limit:
            _, _, instance, timer = heapq.heappop(self._heap)
            due.append((instance, timer))
        return due


def timer_event(engine: Engine, instance: str, timer: SetTimer, now: datetime) -> Event:
    """What a due timer means to the core."""
    match timer.kind:
        case "workflow":
            return WorkflowTimerFired(now)
        case "gate":
            return GateTimerFired(now, timer.key)
        case "more":
            return MoreToSend(now)
        case "due":
            return AttemptTimerFired(now, timer.key, timer.attempt)
        case "attempt":
            since = engine.presence.running_since((instance, timer.key, timer.attempt))
            return AttemptTimerFired(
                now, timer.key, timer.attempt, since, is_presence_known=engine.knows_presence()
            )
