"""Sending the messages of a batch: one round trip, whatever the number of messages.

A stream takes in what one connection sends in the order in which it was sent, so the
acknowledgement of the last message says that those before it were processed. Where a stream is
replicated its leader may change in between: there every message asks for its acknowledgement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import orjson
import structlog
from nats import errors as nats_errors
from nats.aio.msg import Msg

from sagabus.adapters.nats_connection import NatsConnection
from sagabus.adapters.nats_streams import NatsStreams
from sagabus.errors import BadMessageError, BusUnavailableError
from sagabus.ports import OutgoingEvent, OutgoingTask
from sagabus_agents import wire
from sagabus_agents.frames import frame

log = structlog.get_logger(__name__)

Outgoing = OutgoingEvent | OutgoingTask

#: How long one call goes on trying, and how long it waits for the server each time.
_PATIENCE_S = 8.0
_ACK_S = 3.0
_RETRY_S = 0.05
# A stream drops what exceeds 10,000 messages or 128 MiB not yet stored: stay far below.
_CHUNK_MESSAGES = 2_000
_CHUNK_BYTES = 8 * 1024 * 1024
_CHUNKS = 4
#: Version line, `Nats-Msg-Id: ` and line ends.
_HEADER_BYTES = 32


def check_size(subject: str, data: bytes, msg_id: str = "") -> int:
    """Bytes of a message on the wire.

    Raises:
        BadMessageError: too many; the server would close the connection for good.
    """
    size = len(data) + len(subject) + len(msg_id) + _HEADER_BYTES
    if size > wire.MAX_MESSAGE_BYTES:
        raise BadMessageError(
            f"a message of {size:,} bytes on {subject} is larger than the "
            f"{wire.MAX_MESSAGE_BYTES:,} that may be sent"
        )
    return size


@dataclass(slots=True)
class _Try:
    """Acknowledgements awaited by one try to send a chunk."""

    left: int
    done: asyncio.Future[None]
    problems: list[str] = field(default_factory=list)


class NatsPublisher:
    """Stores messages in streams, again and again with the same ids until it is done."""

    def __init__(
        self,
        connection: NatsConnection,
        streams: NatsStreams,
        restore: Callable[[], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._restore = restore
        self._inbox = ""
        self._tries: dict[str, _Try] = {}
        self._numbers = count(1)
        self._slots = asyncio.Semaphore(_CHUNKS)

    async def start(self) -> None:
        """Listen for acknowledgements."""
        self._inbox = self._connection.client.new_inbox()
        await self._connection.subscribe(f"{self._inbox}.*", self._on_ack)
        self._connection.on_reconnect(self._on_reconnect)

    async def publish(self, events: Sequence[OutgoingEvent], tasks: Sequence[OutgoingTask]) -> None:
        """Store all, tasks first: somebody waits for them.

        Raises:
            BadMessageError: one is too large; nothing was sent.
            BusUnavailableError: not stored within a few seconds, or only in part.
        """
        messages: list[Outgoing] = [*tasks, *events]
        for start, end in _chunks(messages):
            async with self._slots:
                await self._store(messages[start:end], max(0, len(tasks) - start))

    async def _store(self, messages: Sequence[Outgoing], tasks: int) -> None:
        """Store one chunk, whose first ``tasks`` messages are tasks."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_S
        problem = "not connected"
        while loop.time() < deadline:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._connection.wait_connected()
                reconnects = self._connection.reconnects
                problem = await self._try(messages, tasks)
                # What was sent before a cut may be gone although what came after it is stored.
                if not problem and reconnects == self._connection.reconnects:
                    return
                problem = problem or "the connection was cut"
                await self._restore()
            except TimeoutError:
                continue
            except (BusUnavailableError, nats_errors.Error) as error:
                problem = str(error)
            await asyncio.sleep(_RETRY_S)
        raise BusUnavailableError(f"{len(messages)} messages could not be published: {problem}")

    async def _try(self, messages: Sequence[Outgoing], tasks: int) -> str:
        """Send a chunk and await its acknowledgements; what went wrong, or nothing."""
        asks_all = self._streams.replicas > 1
        # The last of each stream.
        ends = (min(tasks, len(messages)) - 1, len(messages) - 1)
        asking = {index for index in ends if index >= 0}
        number = str(next(self._numbers))
        reply = f"{self._inbox}.{number}"
        awaited = len(messages) if asks_all else len(asking)
        attempt = _Try(awaited, asyncio.get_running_loop().create_future())
        self._tries[number] = attempt
        try:
            frames: list[bytes] = []
            for index, each in enumerate(messages):
                answer_to = reply if asks_all or index in asking else ""
                frames.append(frame(each.subject, each.data, msg_id=each.msg_id, reply=answer_to))
            await self._connection.client.publish_frames(b"".join(frames))
            async with asyncio.timeout(_ACK_S):
                await attempt.done
        except TimeoutError:
            return "no acknowledgement from JetStream"
        finally:
            del self._tries[number]
        return attempt.problems[0] if attempt.problems else ""

    async def _on_ack(self, message: Msg) -> None:
        attempt = self._tries.get(message.subject.rpartition(".")[2])
        if attempt is None or attempt.done.done():
            return
        if problem := _problem(message):
            attempt.problems.append(problem)
        attempt.left -= 1
        if attempt.left == 0:
            attempt.done.set_result(None)

    def _on_reconnect(self) -> None:
        """Acknowledgements that are still missing will not come."""
        for attempt in self._tries.values():
            if not attempt.done.done():
                attempt.problems.append("the connection was cut")
                attempt.done.set_result(None)


def _chunks(messages: Sequence[Outgoing]) -> list[tuple[int, int]]:
    """Ranges of messages that may be on their way together."""
    ranges = []
    start = size = 0
    for index, message in enumerate(messages):
        more = check_size(message.subject, message.data, message.msg_id)
        if index - start == _CHUNK_MESSAGES or size + more > _CHUNK_BYTES:
            ranges.append((start, index))
            start, size = index, 0
        size += more
    if start < len(messages):
        ranges.append((start, len(messages)))
    return ranges


def _problem(message: Msg) -> str:
    """What an acknowledgement complains about; nothing for stored, duplicate and taken."""
    if not message.data:
        return "its stream is missing"  # a bare 503: nobody listens on the subject
    error = orjson.loads(message.data).get("error")
    if error is None or "maximum messages per subject" in error.get("description", ""):
        return ""
    return str(error.get("description"))
