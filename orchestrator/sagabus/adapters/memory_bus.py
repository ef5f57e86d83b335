"""The bus on a ``MemoryBroker``: for tests and rehearsals, held to the same contract suite."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from fnmatch import fnmatchcase
from types import TracebackType

from sagabus.adapters.memory_broker import MemoryBroker
from sagabus.adapters.partitioning import partition_of
from sagabus.errors import BadMessageError, BusUnavailableError
from sagabus.ports import (
    Delivery,
    Inbox,
    Mark,
    OutgoingEvent,
    OutgoingTask,
    RoleQueue,
    StoredLetter,
)
from sagabus_agents import wire


class MemoryBus:
    """See ``sagabus.ports.Bus``; one orchestrator's connection to a broker."""

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.broker = broker or MemoryBroker()
        self.broker.make_streams()
        self._is_closed = False

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return self.broker.partitions

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be reached now."""
        return self.broker.is_up and not self._is_closed

    @property
    def generation(self) -> int:
        """Raised when the broker came back or its streams had to be made again."""
        return self.broker.generation

    def partition_of(self, instance_id: str) -> int:
        """The partition of an instance."""
        return partition_of(instance_id, self.broker.partitions)

    async def ensure(self, roles: Sequence[str]) -> None:
        """Make the streams and roles that are missing."""
        self._require()
        self.broker.make_streams()
        self.broker.roles.update(roles)

    async def open_inbox(self, partition: int, epoch: int) -> Inbox:
        """Replace every older consumer of the partition.

        Raises:
            PartitionLostError: a newer owner reads it.
        """
        self._require()
        self.broker.make_streams()
        return MemoryInbox(self, partition, epoch)

    async def publish(self, events: Sequence[OutgoingEvent], tasks: Sequence[OutgoingTask]) -> None:
        """Store all, tasks first."""
        for event in events:
            _check_size(event.data)
        for task in tasks:
            _check_size(task.data)
        self._require()
        self.broker.make_streams()
        for task in tasks:
            self.broker.store_task(task.subject, task.data, task.msg_id)
        for event in events:
            self.broker.store_event(event.subject, event.data, event.msg_id)

    async def purge_task(self, subject: str) -> None:
        """Remove a task."""
        self._require()
        self.broker.purge_task(subject)

    async def purge_role(self, role: str) -> None:
        """Remove every task of a role, or of all."""
        self._require()
        self.broker.purge_role(role)

    async def send_command(self, instance_id: str, data: bytes, msg_id: str) -> None:
        """Store a command in the inbox of the instance's partition."""
        _check_size(data)
        self._require()
        self.broker.make_streams()
        subject = wire.inbox_subject(instance_id, wire.COMMAND_SOURCE)
        self.broker.store_inbox(subject, data, msg_id)

    async def send_result(self, instance_id: str, data: bytes, msg_id: str) -> None:
        """Store a result that another instance gives, likewise."""
        _check_size(data)
        self._require()
        self.broker.make_streams()
        subject = wire.inbox_subject(instance_id, wire.WORKFLOW_SOURCE)
        self.broker.store_inbox(subject, data, msg_id)

    async def read_mark(self, partition: int) -> Mark | None:
        """How far the database was when the bus was told last."""
        self._require()
        return self.broker.marks.get(partition)

    async def write_mark(self, partition: int, mark: Mark) -> None:
        """Tell how far the database is."""
        self._require()
        self.broker.write_mark(partition, mark)

    async def forget_sent(self) -> None:
        """Drop every task and every event."""
        self._require()
        self.broker.forget_sent()

    async def put_payload(self, name: str, data: bytes) -> wire.PayloadRef:
        """Have ``data`` stand under ``name``."""
        self._require()
        self.broker.make_streams()
        return self.broker.put_payload(name, data)

    async def get_payload(self, ref: wire.PayloadRef) -> bytes | None:
        """What ``ref`` refers to; None when no object, or another one, has its name."""
        self._require()
        return self.broker.get_payload(ref)

    async def delete_payloads(self, names: Sequence[str]) -> None:
        """Delete objects."""
        self._require()
        for name in names:
            self.broker.payloads.pop(name, None)

    async def notify(self, subject: str, data: bytes) -> None:
        """Core publish, best effort."""
        _check_size(data)
        if self.is_connected:
            self.broker.deliver(subject, data)

    async def dead_letter(self, subject: str, data: bytes) -> None:
        """Keep a dead letter."""
        _check_size(data)
        self._require()
        self.broker.store_dead(subject, data)

    async def dead_letters(
        self,
        *,
        instance: str | None = None,
        role: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[StoredLetter]:
        """Dead letters, newest first."""
        self._require()
        wanted = wire.dead_subject(role or "*", instance or "*")
        found = [
            StoredLetter(each.seq, each.subject, each.data, each.stored_at)
            for each in reversed(self.broker.dead)
            if (before is None or each.seq < before) and fnmatchcase(each.subject, wanted)
        ]
        return found[:limit]

    async def dead_letter_at(self, seq: int) -> StoredLetter | None:
        """The dead letter of a number."""
        found = await self.dead_letters(before=seq + 1, limit=1)
        return found[0] if found and found[0].seq == seq else None

    async def drop_dead_letter(self, seq: int) -> None:
        """Delete a dead letter."""
        self._require()
        self.broker.dead = [each for each in self.broker.dead if each.seq != seq]

    async def count_dead_letters(self) -> int:
        """How many there are."""
        self._require()
        return len(self.broker.dead)

    async def put_back(self, instance_id: str, source: str, data: bytes, msg_id: str) -> None:
        """Store a message in the inbox as ``source`` sent it once."""
        self._require()
        self.broker.make_streams()
        self.broker.store_inbox(wire.inbox_subject(instance_id, source), data, msg_id)

    async def subscribe(
        self, subject: str, handler: Callable[[str, bytes], None]
    ) -> AbstractAsyncContextManager[None]:
        """Core subscription from now until the end of the context."""
        self._require()
        return _Subscription(self.broker.subscribe(subject, handler))

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes | None:
        """Core request; a responder answers at once or never, so ``timeout_s`` never passes."""
        _check_size(data)
        self._require()
        return self.broker.request(subject, data)

    async def role_queues(self) -> list[RoleQueue]:
        """Every role's queue."""
        self._require()
        return [self._role_queue(role) for role in sorted(self.broker.roles)]

    async def close(self) -> None:
        """Disconnect."""
        self._is_closed = True

    def _role_queue(self, role: str) -> RoleQueue:
        queued = self.broker.queued_tasks(role)
        # Like the server, which counts a task that comes again as one that is being worked on.
        fresh = [task for task in queued if not task.delivery]
        running = len(queued) - len(fresh) + len(self.broker.taken_tasks(role))
        age = self.broker.now() - fresh[0].stored_at if fresh else None
        return RoleQueue(role, len(fresh), running, age.total_seconds() if age else 0.0)

    def _require(self) -> None:
        if not self.is_connected:
            raise BusUnavailableError("no connection to the memory broker")


class MemoryInbox:
    """See ``sagabus.ports.Inbox``."""

    def __init__(self, bus: MemoryBus, partition: int, epoch: int) -> None:
        self._bus = bus
        self._broker = bus.broker
        self._partition = partition
        self._name = f"p{partition}-e{epoch}"
        self._consumer = self._broker.open_consumer(partition, epoch)
        self._consumer.notify = self._notify
        self._waiter: asyncio.Future[None] | None = None
        self._is_woken = False
        self._is_closed = False

    async def next(self, limit: int, wait_s: float) -> list[Delivery]:
        """Up to ``limit`` messages: what is here now, else the first to come within ``wait_s``."""
        self._require()
        found = self._take(limit)
        if not found and wait_s > 0 and not self._is_woken:
            await self._wait(wait_s)
            self._require()
            found = self._take(limit)
        self._is_woken = False
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; void when another owner has replaced the consumer."""
        for delivery in deliveries:
            self._broker.ack_inbox(self._partition, self._consumer, delivery.seq)

    async def is_drained(self) -> bool:
        """True when everything stored was given out by ``next``."""
        return await self.lag() == 0

    def wake(self) -> None:
        """Make ``next`` return at once: the one that waits, else the next one to be called."""
        self._is_woken = True
        self._notify()

    async def lag(self) -> int:
        """Messages stored and not yet given out."""
        self._require()
        if not self._bus.is_connected:
            raise BusUnavailableError("no connection to the memory broker")
        return len(self._broker.undelivered(self._partition, self._consumer))

    async def close(self) -> None:
        """Stop reading; the consumer stays for the next owner to replace."""
        self._is_closed = True
        self._notify()

    def _take(self, limit: int) -> list[Delivery]:
        if not self._bus.is_connected:
            return []
        return [
            Delivery(
                message.subject, message.data, message.seq, message.delivery, message.stored_at
            )
            for message in self._broker.pull(self._partition, self._consumer, limit)
        ]

    async def _wait(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(wait_s, self._notify)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _require(self) -> None:
        if self._is_closed:
            raise BusUnavailableError("the inbox is closed")
        if not self._broker.is_current(self._partition, self._consumer):
            raise BusUnavailableError(f"the inbox consumer {self._name} is gone")


class _Subscription(AbstractAsyncContextManager[None]):
    """Ends a subscription."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()


def _check_size(data: bytes) -> None:
    if len(data) > wire.MAX_MESSAGE_BYTES:
        raise BadMessageError(f"a message of {len(data):,} bytes may not be sent")
