"""The bus in one process: streams as dictionaries, with the refusals and doubts of the real one.

Everything happens at once and in the order of the calls. Faults happen when they are asked for:
``go_away``, ``come_back``, ``wipe``, ``lose``, ``redeliver``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from sagabus.adapters.batch_weight import referred_bytes
from sagabus.adapters.partitioning import partition_of
from sagabus.errors import PartitionLostError
from sagabus.ports import Mark
from sagabus_agents import wire

Handler = Callable[[str, bytes], None]
#: None: it listens, and never answers.
Responder = Callable[[bytes], bytes | None]


@dataclass(slots=True, eq=False)
class MemoryMessage:
    """One stored message."""

    subject: str
    data: bytes
    seq: int
    stored_at: datetime
    #: Deliveries so far; for a task also whether an agent has it now.
    delivery: int = 0
    is_taken: bool = False


@dataclass(slots=True)
class InboxConsumer:
    """The one consumer that a partition may have."""

    epoch: int
    #: Sequences given out and not acknowledged.
    pending: set[int] = field(default_factory=set)
    notify: Callable[[], None] = lambda: None


class MemoryBroker:
    """What several ``MemoryBus`` share: the server, and the agents' side of it."""

    def __init__(
        self, *, partitions: int = 8, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.partitions = partitions
        self.is_up = True
        #: Raised by ``come_back`` and when lost streams were made again.
        self.generation = 0
        self.events: list[MemoryMessage] = []
        self.dead: list[MemoryMessage] = []
        #: The object store, by name.
        self.payloads: dict[str, bytes] = {}
        self.roles: set[str] = set()
        #: How far the database was when the bus was told last, by partition.
        self.marks: dict[int, Mark] = {}
        self._clock = clock
        self._seqs = count(1)
        self._has_streams = False
        self._was_wiped = False
        self._seen: set[tuple[str, str]] = set()
        self._tasks: dict[str, MemoryMessage] = {}
        self._inbox: dict[int, dict[int, MemoryMessage]] = {}
        self._consumers: dict[int, InboxConsumer] = {}
        self._subscriptions: list[tuple[list[str], Handler]] = []
        self._responders: dict[str, Responder] = {}

    # The side of agents and tests.

    def queued_tasks(self, role: str) -> list[MemoryMessage]:
        """Tasks of ``role`` that no agent has taken, oldest first."""
        return [task for task in self._of_role(role) if not task.is_taken]

    def taken_tasks(self, role: str) -> list[MemoryMessage]:
        """Tasks of ``role`` that an agent is working on."""
        return [task for task in self._of_role(role) if task.is_taken]

    def take(self, role: str) -> MemoryMessage | None:
        """Deliver the oldest queued task."""
        for task in self.queued_tasks(role):
            task.is_taken = True
            task.delivery += 1
            return task
        return None

    def ack(self, task: MemoryMessage) -> None:
        """Acknowledge a task: its message is deleted, its subject free again."""
        if self._tasks.get(task.subject) is task:
            del self._tasks[task.subject]

    def redeliver(self, subject: str) -> None:
        """Queue a taken task again, as when its agent was not heard of for too long."""
        self._tasks[subject].is_taken = False

    def put_payload(self, name: str, data: bytes) -> wire.PayloadRef:
        """Store an object."""
        self.payloads[name] = data
        return wire.PayloadRef(name=name, size=len(data), digest=wire.payload_digest(data))

    def get_payload(self, ref: wire.PayloadRef) -> bytes | None:
        """The object, if it is the one that ``ref`` means."""
        data = self.payloads.get(ref.name)
        if data is None or (len(data), wire.payload_digest(data)) != (ref.size, ref.digest):
            return None
        return data

    def lose(self, subject: str) -> None:
        """Lose a task, queued or taken, as a server does whose disk had not synced."""
        self._tasks.pop(subject, None)

    def respond(self, subject: str, responder: Responder) -> None:
        """Answer core requests on ``subject``."""
        self._responders[subject] = responder

    def go_away(self) -> None:
        """The server cannot be reached; what it stores stays."""
        self.is_up = False
        self._notify_all()

    def come_back(self) -> None:
        """The server can be reached again; what was wiped is made again first."""
        self.is_up = True
        self.make_streams()
        self.generation += 1
        self._notify_all()

    def wipe(self) -> None:
        """Lose every stream, with all messages, consumers and message ids."""
        self._seen.clear()
        self._tasks.clear()
        self._inbox.clear()
        self.payloads.clear()
        self.marks.clear()
        self.events.clear()
        self.dead.clear()
        self._has_streams = False
        self._was_wiped = True
        orphans, self._consumers = self._consumers, {}
        for consumer in orphans.values():
            consumer.notify()

    # The side of the buses.

    def make_streams(self) -> None:
        """Make what is missing; streams that had been there before raise the generation."""
        if not self._has_streams:
            self._has_streams = True
            if self._was_wiped and self.is_up:
                self.generation += 1

    def store_event(self, subject: str, data: bytes, msg_id: str) -> None:
        """Append an event, once per message id."""
        if self._is_new(wire.STREAM_EVENTS, msg_id):
            self.events.append(self._message(subject, data))
            self.deliver(subject, data)

    def store_task(self, subject: str, data: bytes, msg_id: str) -> None:
        """Queue a task, unless its id was seen or its subject is taken."""
        if (wire.STREAM_TASKS, msg_id) in self._seen or subject in self._tasks:
            return
        self._seen.add((wire.STREAM_TASKS, msg_id))
        self._tasks[subject] = self._message(subject, data)

    def store_inbox(self, subject: str, data: bytes, msg_id: str | None = None) -> None:
        """Store what was published on an ``inbox_subject``, in its instance's partition."""
        if msg_id is not None and not self._is_new(wire.STREAM_INBOX, msg_id):
            return
        prefix, name, instance, source = subject.split(".")
        partition = partition_of(instance, self.partitions)
        message = self._message(f"{prefix}.{name}.{partition}.{instance}.{source}", data)
        self._inbox.setdefault(partition, {})[message.seq] = message
        if consumer := self._consumers.get(partition):
            consumer.notify()

    def store_dead(self, subject: str, data: bytes) -> None:
        """Append a dead letter."""
        self.dead.append(self._message(subject, data))

    def purge_task(self, subject: str) -> None:
        """Remove a task, taken or not."""
        self._tasks.pop(subject, None)

    def purge_role(self, role: str) -> None:
        """Remove the tasks of a role, or of all, taken or not."""
        for task in list(self._tasks.values()) if role == "*" else self._of_role(role):
            self._tasks.pop(task.subject)

    def forget_sent(self) -> None:
        """Drop every task and every event, and their ids."""
        self._tasks.clear()
        self.events.clear()
        self._seen = {seen for seen in self._seen if seen[0] == wire.STREAM_INBOX}

    def write_mark(self, partition: int, mark: Mark) -> None:
        """Keep a mark, unless a newer epoch's is there."""
        known = self.marks.get(partition)
        if known is None or known.epoch <= mark.epoch:
            self.marks[partition] = mark._replace(at=self._clock())

    def open_consumer(self, partition: int, epoch: int) -> InboxConsumer:
        """Replace the partition's consumer: everything un-acknowledged is delivered again."""
        old = self._consumers.get(partition)
        if old is not None and old.epoch > epoch:
            raise PartitionLostError(
                f"partition {partition} is read under epoch {old.epoch}, newer than {epoch}",
                partition=partition,
            )
        consumer = self._consumers[partition] = InboxConsumer(epoch)
        if old is not None:
            old.notify()
        return consumer

    def is_current(self, partition: int, consumer: InboxConsumer) -> bool:
        """Whether ``consumer`` is still the partition's."""
        return self._consumers.get(partition) is consumer

    def pull(self, partition: int, consumer: InboxConsumer, limit: int) -> list[MemoryMessage]:
        """Give out messages that ``consumer`` has not given out, in stream order."""
        given: list[MemoryMessage] = []
        weight = 0
        for message in self.undelivered(partition, consumer)[:limit]:
            weight += referred_bytes(message.data)
            if given and weight > wire.MAX_PAYLOAD_BYTES:
                break
            message.delivery += 1
            consumer.pending.add(message.seq)
            given.append(message)
        return given

    def undelivered(self, partition: int, consumer: InboxConsumer) -> list[MemoryMessage]:
        """Messages that ``consumer`` has not given out."""
        stored = self._inbox.get(partition, {})
        return [message for seq, message in stored.items() if seq not in consumer.pending]

    def ack_inbox(self, partition: int, consumer: InboxConsumer, seq: int) -> None:
        """Delete a message that ``consumer`` has given out; void for a replaced consumer."""
        if self.is_current(partition, consumer):
            consumer.pending.discard(seq)
            self._inbox.get(partition, {}).pop(seq, None)

    def subscribe(self, subject: str, handler: Handler) -> Callable[[], None]:
        """Call ``handler`` for core messages; the result ends it."""
        entry = (subject.split("."), handler)
        self._subscriptions.append(entry)
        return lambda: self._subscriptions.remove(entry)

    def deliver(self, subject: str, data: bytes) -> None:
        """A core message; handlers run after the caller."""
        tokens = subject.split(".")
        loop = asyncio.get_running_loop()
        for pattern, handler in self._subscriptions:
            if _matches(pattern, tokens):
                loop.call_soon(handler, subject, data)

    def request(self, subject: str, data: bytes) -> bytes | None:
        """Ask the responder of ``subject``; None without one.

        Raises:
            TimeoutError: it gives no answer.
        """
        responder = self._responders.get(subject)
        if responder is None:
            return None
        answer = responder(data)
        if answer is None:
            raise TimeoutError(f"no answer on {subject}")
        return answer

    def now(self) -> datetime:
        """The broker's time."""
        return self._clock()

    def _of_role(self, role: str) -> list[MemoryMessage]:
        prefix = wire.task_filter(role).removesuffix(">")
        return [task for subject, task in self._tasks.items() if subject.startswith(prefix)]

    def _message(self, subject: str, data: bytes) -> MemoryMessage:
        return MemoryMessage(subject, data, next(self._seqs), self._clock())

    def _is_new(self, stream: str, msg_id: str) -> bool:
        if (stream, msg_id) in self._seen:
            return False
        self._seen.add((stream, msg_id))
        return True

    def _notify_all(self) -> None:
        for consumer in self._consumers.values():
            consumer.notify()


def _matches(pattern: list[str], tokens: list[str]) -> bool:
    for index, wanted in enumerate(pattern):
        if wanted == ">":
            return len(tokens) > index
        if index >= len(tokens) or wanted not in {"*", tokens[index]}:
            return False
    return len(tokens) == len(pattern)
