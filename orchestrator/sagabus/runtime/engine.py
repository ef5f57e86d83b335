"""What all partition loops of one orchestrator share."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sagabus.core.instance import Answer, InstanceState
from sagabus.observe.event_log import EventLog
from sagabus.observe.metrics import Metrics
from sagabus.ports import Bus, HistoryEntry, KeyValues, Policies, Store
from sagabus.runtime.holds import Holds
from sagabus.runtime.pace import Pace
from sagabus.runtime.presence import Presence
from sagabus.runtime.snapshots import Snapshots
from sagabus_agents.wire import CommandMessage


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """Figures of the engine."""

    #: Messages of one batch.
    batch: int = 256
    #: A delivery count beyond this fails an attempt.
    max_deliver: int = 10
    #: A task without news for this long is sent again (and refused while it is queued).
    resend_after_s: float = 30.0
    #: Tasks sent again by one batch.
    resend_slice: int = 256
    #: Longest wait for a message; timers and the reconciler run at least this often.
    idle_s: float = 1.0
    #: Wait before a partition is taken again after the bus or the database failed.
    retry_s: float = 0.5


#: Called after each commit with the states that changed and what was added to their history.
Listener = Callable[[Sequence[InstanceState], Sequence[HistoryEntry]], None]


@dataclass(slots=True)
class Engine:
    """The parts that every partition uses."""

    store: Store
    kv: KeyValues
    bus: Bus
    snapshots: Snapshots
    policies: Callable[[], Policies | None]
    presence: Presence
    metrics: Metrics
    event_log: EventLog
    limits: Limits = Limits()
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], datetime] = utc_now
    holds: Holds = field(default_factory=Holds)
    listeners: list[Listener] = field(default_factory=list)
    #: Partitions of a restored database that were not begun again yet.
    restoring: set[int] = field(default_factory=set)

    def knows_presence(self) -> bool:
        """Whether an agent that was not heard of on the present connection is gone."""
        self.presence.listen_on(self.bus.generation)
        return self.bus.is_connected and self.presence.is_known


@dataclass(slots=True)
class LocalCommand:
    """A command of this process, for a partition that this process owns."""

    instance: str
    message: CommandMessage
    answer: asyncio.Future[Answer]
    #: The id was made for this start: there can be no such instance yet.
    is_fresh_id: bool = False
