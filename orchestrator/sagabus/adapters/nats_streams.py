"""The streams and the consumer of each role: made where missing, otherwise taken as found."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import replace

import orjson
import structlog
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StreamConfig,
    SubjectTransform,
)
from nats.js.errors import BadRequestError, NotFoundError

from sagabus.adapters.nats_connection import NatsConnection, translated
from sagabus.adapters.nats_marks import MARK_SUBJECT, STREAM_MARKS
from sagabus.errors import BusError, BusUnavailableError
from sagabus_agents import wire

log = structlog.get_logger(__name__)

_MINUTE = 60.0
_DAY = 24 * 60 * _MINUTE
#: The oldest dead letters make room beyond this.
_DEAD_BYTES = 256 * 1024 * 1024
#: The server allows no shorter one.
_SHORT_WINDOW_S = 0.1
#: By then it has looked for ids that are older, also on a machine that is busy.
_FORGOTTEN_S = 1.0
#: JetStream: "stream name already in use with a different configuration".
_NAME_IN_USE = 10058


def stream_configs(partitions: int, replicas: int) -> list[StreamConfig]:
    """The streams as they are created."""
    return [
        # One subject per attempt: a second copy is refused while the first is queued or worked on.
        StreamConfig(
            name=wire.STREAM_TASKS,
            subjects=["sagabus.task.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            max_msgs_per_subject=1,
            duplicate_window=_MINUTE,
            num_replicas=replicas,
        ),
        # Stored subjects have one token more than published ones, so that neither matches the
        # other's pattern. The server computes the partition: publishers need not know the count.
        StreamConfig(
            name=wire.STREAM_INBOX,
            subjects=["sagabus.inbox.*.*"],
            retention=RetentionPolicy.WORK_QUEUE,
            subject_transform=SubjectTransform(
                src="sagabus.inbox.*.*",
                dest=f"sagabus.inbox.{{{{partition({partitions},1)}}}}"
                ".{{wildcard(1)}}.{{wildcard(2)}}",
            ),
            duplicate_window=2 * _MINUTE,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=wire.STREAM_EVENTS,
            subjects=["sagabus.event.>"],
            retention=RetentionPolicy.LIMITS,
            max_age=_DAY,
            duplicate_window=2 * _MINUTE,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=wire.STREAM_DEAD,
            subjects=["sagabus.dead.>"],
            retention=RetentionPolicy.LIMITS,
            max_age=30 * _DAY,
            max_msgs=100_000,
            max_bytes=_DEAD_BYTES,
            num_replicas=replicas,
        ),
        # The bucket of large payloads, as clients of the Object Store make and find it (ADR-20).
        # Objects are deleted when they have served. The age is for what a crash leaves behind, and
        # must outlast the longest outage of the orchestrator: a task's object is stored again when
        # it is gone, a result's cannot be, and the result waits in the inbox however long it takes.
        StreamConfig(
            name=wire.STREAM_PAYLOADS,
            subjects=[f"$O.{wire.PAYLOAD_BUCKET}.C.>", f"$O.{wire.PAYLOAD_BUCKET}.M.>"],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            max_age=30 * _DAY,
            allow_rollup_hdrs=True,
            allow_direct=True,
            num_replicas=replicas,
        ),
        # One message per partition: the newest is all that counts.
        StreamConfig(
            name=STREAM_MARKS,
            subjects=[f"{MARK_SUBJECT}>"],
            retention=RetentionPolicy.LIMITS,
            max_msgs_per_subject=1,
            num_replicas=replicas,
        ),
    ]


def inbox_filter(partition: int) -> str:
    """What a partition's consumer reads."""
    return f"sagabus.inbox.{partition}.*.*"


async def consumer_names(connection: NatsConnection, stream: str) -> list[str]:
    """Names of all consumers of ``stream``.

    Raises:
        NotFoundError: there is no such stream.
    """
    names: list[str] = []
    while True:
        connection.require()
        reply = await connection.client.request(
            f"$JS.API.CONSUMER.NAMES.{stream}", orjson.dumps({"offset": len(names)}), timeout=3.0
        )
        page = orjson.loads(reply.data)
        if error := page.get("error"):
            if error.get("code") == 404:
                raise NotFoundError(**error)
            raise BusUnavailableError(f"cannot list consumers: {error.get('description')}")
        names += page["consumers"] or ()
        if len(names) >= page["total"]:
            return names


class NatsStreams:
    """Knows what has to exist, and makes it."""

    def __init__(self, connection: NatsConnection, *, partitions: int, replicas: int) -> None:
        self._connection = connection
        self._roles: set[str] = set()
        self._lock = asyncio.Lock()
        #: As asked for, until the inbox stream was found with another count.
        self.partitions = partitions
        self.replicas = replicas

    @property
    def roles(self) -> list[str]:
        """Every role that was asked for."""
        return sorted(self._roles)

    async def ensure(self, roles: Iterable[str] = ()) -> bool:
        """Make what is missing of the streams and of the roles' consumers, old and new.

        Returns:
            True when a stream was missing.
        """
        async with self._lock:
            self._roles.update(roles)
            with translated("make the streams"):
                configs = stream_configs(self.partitions, self.replicas)
                made = await asyncio.gather(*(self._ensure_stream(config) for config in configs))
                await self._ensure_roles()
            return any(made)

    async def empty(self, stream: str) -> None:
        """Drop all that ``stream`` holds, and the ids seen; its consumers stay.

        A purge keeps the ids. They go when they are older than the window for duplicates, which
        is made short for a moment.
        """
        jetstream = self._connection.jetstream
        await jetstream.purge_stream(stream)
        found = (await jetstream.stream_info(stream)).config
        # Not as found: whoever did this before may have died in the middle of it.
        configs = stream_configs(self.partitions, self.replicas)
        usual_s = next(each.duplicate_window for each in configs if each.name == stream)
        await jetstream.update_stream(replace(found, duplicate_window=_SHORT_WINDOW_S))
        await asyncio.sleep(_FORGOTTEN_S)
        await jetstream.update_stream(replace(found, duplicate_window=usual_s))

    async def _ensure_stream(self, config: StreamConfig) -> bool:
        jetstream = self._connection.jetstream
        name = str(config.name)
        try:
            found = (await jetstream.stream_info(name)).config
        except NotFoundError:
            try:
                await jetstream.add_stream(config)
            except BadRequestError as error:
                # Another orchestrator made it in the meantime, from another configuration.
                if error.err_code != _NAME_IN_USE:
                    raise
                found = (await jetstream.stream_info(name)).config
            else:
                log.info("stream_created", stream=name)
                return True
        if name == wire.STREAM_INBOX:
            self._adopt(found)
        return False

    def _adopt(self, found: StreamConfig) -> None:
        """Take the partition count of a stream that exists: it cannot be changed any more."""
        transform = found.subject_transform
        match = re.search(r"partition\((\d+),", transform.dest) if transform else None
        if match is None:
            raise BusError(f"the stream {found.name} exists and is not one that sagabus made")
        kept = int(match[1])
        if kept != self.partitions:
            log.warning("partition_count_kept", asked=self.partitions, kept=kept)
            self.partitions = kept
        self.replicas = found.num_replicas or 1

    async def _ensure_roles(self) -> None:
        if not self._roles:
            return
        there = await consumer_names(self._connection, wire.STREAM_TASKS)
        missing = self._roles.difference(there)
        await asyncio.gather(*(self._add_role(role) for role in sorted(missing)))

    async def _add_role(self, role: str) -> None:
        await self._connection.jetstream.add_consumer(
            wire.STREAM_TASKS,
            ConsumerConfig(
                durable_name=role,
                filter_subject=wire.task_filter(role),
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=wire.TASK_ACK_WAIT_S,
                # The limit is the orchestrator's: here an exhausted message would just lie there.
                max_deliver=-1,
                # By default the server stops handing out at 1,000 tasks in work.
                max_ack_pending=-1,
            ),
        )
        log.info("role_consumer_created", role=role)
