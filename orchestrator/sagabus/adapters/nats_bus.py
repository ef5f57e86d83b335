"""The bus on NATS JetStream: see ``sagabus.ports.Bus``."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

import structlog
from nats import errors as nats_errors
from nats.aio.msg import Msg
from nats.js.api import ConsumerInfo
from nats.js.errors import NoStreamResponseError, NotFoundError

from sagabus.adapters.nats_connection import NatsConnection, translated
from sagabus.adapters.nats_dead import NatsDeadLetters
from sagabus.adapters.nats_inbox import NatsInbox
from sagabus.adapters.nats_marks import NatsMarks
from sagabus.adapters.nats_publisher import NatsPublisher, check_size
from sagabus.adapters.nats_streams import NatsStreams
from sagabus.adapters.partitioning import partition_of
from sagabus.errors import BusUnavailableError
from sagabus.ports import Inbox, Mark, OutgoingEvent, OutgoingTask, RoleQueue, StoredLetter
from sagabus_agents import wire
from sagabus_agents.frames import MSG_ID
from sagabus_agents.objects import Objects

log = structlog.get_logger(__name__)

_RETRY_S = 0.1
_STORE_S = 3.0

T = TypeVar("T")


class NatsBus:
    """See ``sagabus.ports.Bus``; made by ``connect``."""

    def __init__(self, connection: NatsConnection, streams: NatsStreams) -> None:
        self._connection = connection
        self._streams = streams
        self._publisher = NatsPublisher(connection, streams, self._restore)
        self._marks = NatsMarks(connection)
        self._dead = NatsDeadLetters(connection)
        self._generation = 0
        self._is_ready = True
        connection.on_reconnect(self._on_reconnect)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        partitions: int = 8,
        replicas: int = 1,
        name: str = "sagabus",
        timeout_s: float = 5.0,
    ) -> Self:
        """Connect and make the streams that are missing.

        Args:
            url: one address, or several of one cluster with commas between.
            partitions: for the streams if they are made now; existing ones keep their count.
            replicas: likewise.
            name: shown by the server's monitoring.
            timeout_s: how long to wait for an answer, here and not later: a connection once made
                is kept up for ever.

        Raises:
            BusUnavailableError: nobody answers, or not with JetStream.
        """
        connection = await NatsConnection.open(url, name=name, timeout_s=timeout_s)
        try:
            streams = NatsStreams(connection, partitions=partitions, replicas=replicas)
            await streams.ensure()
            self = cls(connection, streams)
            await self._publisher.start()
        except BaseException:
            await connection.close()
            raise
        return self

    @property
    def partitions(self) -> int:
        """How many partitions there are; fixed when the streams were created."""
        return self._streams.partitions

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up now and the streams are known to be there."""
        return self._is_ready and self._connection.is_connected

    @property
    def generation(self) -> int:
        """Raised when the connection came back or streams had to be made again."""
        return self._generation

    @property
    def replicas(self) -> int:
        """Copies of each stream in a cluster."""
        return self._streams.replicas

    @property
    def connection(self) -> NatsConnection:
        """What leases on the same bus share."""
        return self._connection

    def partition_of(self, instance_id: str) -> int:
        """The partition that the server's subject transform gives to ``instance_id``."""
        return partition_of(instance_id, self._streams.partitions)

    async def ensure(self, roles: Sequence[str]) -> None:
        """Create streams and one durable consumer per role where they are missing."""
        if await self._streams.ensure(roles):
            log.warning("streams_made_again")
            self._generation += 1

    async def open_inbox(self, partition: int, epoch: int) -> Inbox:
        """Delete every older consumer of the partition and create ``p<k>-e<epoch>``.

        Raises:
            PartitionLostError: a newer owner reads it.
        """
        await self._restore()
        return await NatsInbox.open(self._connection, partition, epoch)

    async def publish(self, events: Sequence[OutgoingEvent], tasks: Sequence[OutgoingTask]) -> None:
        """Store all, tasks first; returns when the server has stored them."""
        await self._publisher.publish(events, tasks)

    async def purge_task(self, subject: str) -> None:
        """Remove a queued task; one that is being worked on loses its message too."""
        with translated(f"purge {subject}"):
            await self._connection.jetstream.purge_stream(wire.STREAM_TASKS, subject=subject)

    async def purge_role(self, role: str) -> None:
        """Remove every task of a role, or of all."""
        with translated(f"purge the tasks of {role}"):
            subject = wire.task_filter(role)
            await self._connection.jetstream.purge_stream(wire.STREAM_TASKS, subject=subject)

    async def send_command(self, instance_id: str, data: bytes, msg_id: str) -> None:
        """Store a command in the inbox of the instance's partition."""
        subject = wire.inbox_subject(instance_id, wire.COMMAND_SOURCE)
        await self._store(subject, data, {MSG_ID: msg_id})

    async def send_result(self, instance_id: str, data: bytes, msg_id: str) -> None:
        """Store a result that another instance gives, likewise."""
        subject = wire.inbox_subject(instance_id, wire.WORKFLOW_SOURCE)
        await self._store(subject, data, {MSG_ID: msg_id})

    async def read_mark(self, partition: int) -> Mark | None:
        """How far the database was when the bus was told last; None: never, or it was lost."""
        with translated(f"read the mark of partition {partition}"):
            return await self._marks.read(partition)

    async def write_mark(self, partition: int, mark: Mark) -> None:
        """Tell how far the database is; what a newer epoch has told stands."""
        with translated(f"write the mark of partition {partition}"):
            await self._in_streams(lambda: self._marks.write(partition, mark))

    async def forget_sent(self) -> None:
        """Drop every task and every event that the bus holds, and what it knows of their ids."""
        for stream in (wire.STREAM_TASKS, wire.STREAM_EVENTS):
            with translated(f"empty {stream}"):
                await self._streams.empty(stream)

    async def put_payload(self, name: str, data: bytes) -> wire.PayloadRef:
        """Have ``data`` stand in the object store under ``name``, where it does not already."""
        with translated(f"store the payload {name}"):
            return await self._in_streams(lambda: self._objects.put(name, data))

    async def get_payload(self, ref: wire.PayloadRef) -> bytes | None:
        """What ``ref`` refers to; None when no object, or another one, has its name."""
        with translated(f"read the payload {ref.name}"):
            return await self._objects.get(ref)

    async def delete_payloads(self, names: Sequence[str]) -> None:
        """Delete objects; those that do not exist are none."""
        with translated("delete payloads"):
            await self._objects.delete(names)

    async def dead_letter(self, subject: str, data: bytes) -> None:
        """Keep a dead letter."""
        await self._store(subject, data, None)

    async def dead_letters(
        self,
        *,
        instance: str | None = None,
        role: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[StoredLetter]:
        """Dead letters, newest first."""
        with translated("read the dead letters"):
            return await self._dead.newest(instance, role, before, limit)

    async def dead_letter_at(self, seq: int) -> StoredLetter | None:
        """The dead letter of a number; None where it is gone."""
        with translated(f"read dead letter {seq}"):
            return await self._dead.at(seq)

    async def drop_dead_letter(self, seq: int) -> None:
        """Delete a dead letter; no error when there is none."""
        with translated(f"drop dead letter {seq}"):
            await self._dead.drop(seq)

    async def count_dead_letters(self) -> int:
        """How many there are."""
        with translated("count the dead letters"):
            return await self._dead.count()

    async def put_back(self, instance_id: str, source: str, data: bytes, msg_id: str) -> None:
        """Store a message in the inbox as ``source`` sent it once."""
        await self._store(wire.inbox_subject(instance_id, source), data, {MSG_ID: msg_id})

    async def notify(self, subject: str, data: bytes) -> None:
        """Core publish, best effort: nothing is raised while the bus is away."""
        check_size(subject, data)
        with suppress(nats_errors.Error, BusUnavailableError):
            await self._connection.client.publish(subject, data)

    async def subscribe(
        self, subject: str, handler: Callable[[str, bytes], None]
    ) -> AbstractAsyncContextManager[None]:
        """Core subscription from now until the end of the context."""

        async def deliver(message: Msg) -> None:
            try:
                handler(message.subject, message.data)
            except Exception:
                log.exception("bus_handler_failed", subject=message.subject)

        key = await self._connection.subscribe(subject, deliver)
        with translated(f"subscribe to {subject}"):
            await self._connection.flush(_STORE_S)
        return _Subscription(self._connection, key)

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes | None:
        """Core request; None when nobody listens.

        Raises:
            TimeoutError: somebody does, and gave no answer in time.
        """
        check_size(subject, data)
        self._connection.require()
        with translated(f"get an answer on {subject}"):
            try:
                reply = await self._connection.client.request(subject, data, timeout=timeout_s)
            except nats_errors.NoRespondersError:
                return None
            except nats_errors.TimeoutError:
                reply = None
        if reply is None:  # raised out here: the bus is there, somebody else is late
            raise TimeoutError(f"no answer on {subject} within {timeout_s:g} s")
        return bytes(reply.data)

    async def role_queues(self) -> list[RoleQueue]:
        """Every role's queue."""
        with translated("read the role queues"):
            found: list[ConsumerInfo] = []
            while page := await self._connection.jetstream.consumers_info(
                wire.STREAM_TASKS, offset=len(found)
            ):
                found += page
            return list(await asyncio.gather(*(self._role_queue(info) for info in found)))

    async def close(self) -> None:
        """Flush and disconnect."""
        await self._connection.close()

    async def _role_queue(self, info: ConsumerInfo) -> RoleQueue:
        role = info.name
        queued = info.num_pending or 0
        age_s = 0.0
        if queued:
            delivered = info.delivered.stream_seq if info.delivered else 0
            with suppress(NotFoundError):  # taken in the meantime
                oldest = await self._connection.jetstream.get_msg(
                    wire.STREAM_TASKS,
                    seq=delivered + 1,
                    subject=wire.task_filter(role),
                    next=True,
                )
                if oldest.time is not None:
                    age_s = max(0.0, (datetime.now(UTC) - oldest.time).total_seconds())
        return RoleQueue(role, queued, info.num_ack_pending or 0, age_s)

    async def _store(self, subject: str, data: bytes, headers: dict[str, str] | None) -> None:
        check_size(subject, data)
        with translated(f"store a message on {subject}"):
            await self._in_streams(
                lambda: self._connection.jetstream.publish(
                    subject, data, timeout=_STORE_S, headers=headers
                )
            )

    @property
    def _objects(self) -> Objects:
        self._connection.require()
        return Objects(self._connection.client, _STORE_S)

    async def _in_streams(self, store: Callable[[], Awaitable[T]]) -> T:
        """Store something, after making its stream again where that is missing."""
        try:
            return await store()
        except (NoStreamResponseError, NotFoundError):
            await self._restore()
            return await store()

    async def _restore(self) -> None:
        """Make what is missing again, for the roles known so far."""
        await self.ensure(())

    def _on_reconnect(self) -> None:
        self._is_ready = False
        self._connection.spawn(self._come_back(), "nats-bus-back")

    async def _come_back(self) -> None:
        """The connection is back; the bus is when the streams are."""
        while self._connection.is_connected:
            try:
                if await self._streams.ensure():
                    log.warning("streams_made_again")
            except BusUnavailableError as error:
                log.debug("bus_not_yet_back", error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            self._generation += 1
            self._is_ready = True
            return


class _Subscription(AbstractAsyncContextManager[None]):
    """Ends a subscription."""

    def __init__(self, connection: NatsConnection, key: int) -> None:
        self._connection = connection
        self._key = key

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(BusUnavailableError):
            await self._connection.unsubscribe(self._key)
