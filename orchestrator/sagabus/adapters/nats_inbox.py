"""The inbox of one partition: a standing pull on the consumer ``p<partition>-e<epoch>``.

One request asks for many messages and is topped up while they arrive, which costs less than a
request per batch. Whenever the connection came back the consumer is made anew under its name:
what the server had sent into the cut is then delivered at once, in order, and not only after the
consumer's ``ack_wait``.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

import orjson
import structlog
from nats import errors as nats_errors
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, ConsumerInfo
from nats.js.errors import BadRequestError, NotFoundError

from sagabus.adapters.batch_weight import referred_bytes
from sagabus.adapters.nats_connection import NatsConnection, translated
from sagabus.adapters.nats_consumer import take_consumer
from sagabus.errors import BusUnavailableError
from sagabus.ports import Delivery
from sagabus_agents.frames import frame
from sagabus_agents.wire import MAX_PAYLOAD_BYTES, STREAM_INBOX

log = structlog.get_logger(__name__)

#: Messages asked for in advance, and their size: what a partition may hold in memory.
_AHEAD = 1024
_AHEAD_BYTES = 16 * 1024 * 1024
#: A pull ends after this long and is renewed; one that ended unnoticed is renewed a little later.
_EXPIRES_S = 5.0
_OVERDUE_S = 7.0
_RETRY_S = 0.1


class NatsInbox:
    """See ``sagabus.ports.Inbox``."""

    def __init__(self, connection: NatsConnection, config: ConsumerConfig) -> None:
        self._connection = connection
        self._config = config
        self._name = str(config.durable_name)
        self._log = log.bind(consumer=self._name)
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM_INBOX}.{self._name}"
        self._pull_inbox = ""
        self._subscription = 0
        self._arrived: deque[Msg] = deque()
        #: Messages asked for and neither arrived nor refused.
        self._requested = 0
        #: Given out and not acknowledged: by sequence, the newest delivery's token.
        self._held: dict[int, str] = {}
        #: Highest sequence given out. Delivery is in order, so what comes again at or below it is
        #: either held or was acknowledged in vain.
        self._highest = 0
        #: Tokens of what came again although it was acknowledged.
        self._again: list[str] = []
        self._waiter: asyncio.Future[None] | None = None
        self._is_woken = False
        self._gone: str | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._reviver: asyncio.Task[None] | None = None
        self._is_stale = False
        self._forget = connection.on_reconnect(self._revive_soon)

    @classmethod
    async def open(cls, connection: NatsConnection, partition: int, epoch: int) -> Self:
        """Take the partition's place on the bus and begin to pull.

        Raises:
            PartitionLostError: there is a newer owner.
            BusUnavailableError: the bus is away, or the stream is missing.
        """
        self = cls(connection, await take_consumer(connection, partition, epoch))
        with translated(f"open the inbox of partition {partition}"):
            await self._pull_anew()
        return self

    async def next(self, limit: int, wait_s: float) -> list[Delivery]:
        """Up to ``limit`` messages: what is here now, else the first to come within ``wait_s``."""
        self._require()
        found = self._take(limit)
        if not found and wait_s > 0 and not self._is_woken:
            await self._wait(wait_s)
            self._require()
            found = self._take(limit)
        self._is_woken = False
        if self._again:
            again, self._again = self._again, []
            await self._send_acks(again)
        if self._requested + len(self._arrived) <= _AHEAD // 2:
            await self._top_up()
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; what gets lost on its way is acknowledged again when it comes again."""
        tokens = [self._held.pop(delivery.seq, None) for delivery in deliveries]
        await self._send_acks([token for token in tokens if token is not None])

    async def is_drained(self) -> bool:
        """True when everything stored before this call was given out by ``next``."""
        # The answer may overtake messages on their way; those count as delivered and not held.
        return await self.lag() == 0 and not self._arrived

    def wake(self) -> None:
        """Make ``next`` return at once: the one that waits, else the next one to be called."""
        self._is_woken = True
        self._notify()

    async def lag(self) -> int:
        """Messages stored and not yet given out; those just acknowledged may still count."""
        self._require()
        info = await self._info()
        return (info.num_pending or 0) + max(0, (info.num_ack_pending or 0) - len(self._held))

    async def close(self) -> None:
        """Stop pulling; the consumer stays for the next owner to delete."""
        if self._gone is None:
            self._end("the inbox is closed")
        if self._reviver is not None:
            self._reviver.cancel()
        with suppress(BusUnavailableError):  # then there is nothing to end
            await self._connection.unsubscribe(self._subscription)

    def _require(self) -> None:
        if self._gone is not None:
            raise BusUnavailableError(self._gone)

    def _end(self, reason: str) -> None:
        """From now on ``next`` raises."""
        self._gone = reason
        self._arrived.clear()
        self._forget()
        if self._overdue is not None:
            self._overdue.cancel()
        self._notify()

    def _vanished(self) -> None:
        if self._gone is None:
            self._log.warning("inbox_consumer_gone")
            self._end(f"the inbox consumer {self._name} is gone")

    async def _info(self) -> ConsumerInfo:
        with translated(f"read the state of {self._name}"):
            try:
                info: ConsumerInfo = await self._connection.jetstream.consumer_info(
                    STREAM_INBOX, self._name
                )
            except NotFoundError:
                self._vanished()
                raise
        return info

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

    def _take(self, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        arrived, held = self._arrived, self._held
        weight = 0
        while arrived and len(found) < limit:
            weight += referred_bytes(arrived[0].data)
            if found and weight > MAX_PAYLOAD_BYTES:
                break
            message = arrived.popleft()
            token = message.reply
            # $JS.ACK.<stream>.<consumer>.<delivery>.<seq>.<consumer seq>.<time>.<pending>; newer
            # servers may put domain and account before the stream, and a token at the end.
            fields = token.split(".")
            first = 4 if len(fields) == 9 else 6
            seq = int(fields[first + 1])
            if seq <= self._highest:
                if seq in held:
                    held[seq] = token
                else:
                    self._again.append(token)
                continue
            self._highest = seq
            held[seq] = token
            stored_at = datetime.fromtimestamp(int(fields[first + 3]) / 1e9, UTC)
            found.append(
                Delivery(message.subject, message.data, seq, int(fields[first]), stored_at, token)
            )
        return found

    async def _send_acks(self, tokens: Sequence[str]) -> None:
        if not tokens:
            return
        try:
            await self._connection.client.publish_frames(b"".join(map(frame, tokens)))
        except (nats_errors.Error, BusUnavailableError):
            self._log.debug("inbox_acks_lost")

    async def _on_message(self, message: Msg) -> None:
        if message.subject == self._pull_inbox:
            await self._on_status(message)
            return
        self._requested -= 1
        self._arrived.append(message)
        self._notify()

    async def _on_status(self, message: Msg) -> None:
        """A pull ended: expired, refused, or its consumer is no more."""
        headers = message.headers or {}
        self._requested = max(0, self._requested - int(headers.get("Nats-Pending-Messages", 0)))
        status, reason = headers.get("Status"), headers.get("Description", "")
        if status == "409" and "Consumer Deleted" in reason:
            self._vanished()
        elif status == "503":
            # Nobody serves the consumer: gone, or its server is still starting.
            self._revive_soon()
        elif status in {"404", "408"} or "MaxBytes" in reason or "Batch Completed" in reason:
            await self._top_up()
        else:
            self._log.info("inbox_pull_refused", status=status, reason=reason)
            self._requested = 0
            asyncio.get_running_loop().call_later(_RETRY_S, self._renew)

    async def _top_up(self) -> None:
        """Ask for as many messages as there is room for."""
        room = _AHEAD - self._requested - len(self._arrived)
        if self._gone is not None or room <= 0 or not self._connection.is_connected:
            return
        self._requested += room
        ask = {"batch": room, "expires": int(_EXPIRES_S * 1e9), "max_bytes": _AHEAD_BYTES}
        await self._connection.client.publish(
            self._pull_subject, orjson.dumps(ask), reply=self._pull_inbox
        )
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = asyncio.get_running_loop().call_later(_OVERDUE_S, self._renew)

    def _renew(self) -> None:
        """Pull again where the end of the last pull went by unnoticed."""
        if self._gone is None and self._connection.is_connected:
            self._requested = 0
            self._connection.spawn(self._top_up(), "inbox-pull")

    def _revive_soon(self) -> None:
        self._is_stale = True
        if self._reviver is None or self._reviver.done():
            self._reviver = self._connection.spawn(self._revive(), f"inbox-revive-{self._name}")

    async def _revive(self) -> None:
        """Make the consumer anew and pull through a new subject, until it works or it is gone."""
        while self._is_stale and self._gone is None and self._connection.is_connected:
            self._is_stale = False
            try:
                await self._make_anew()
            except (NotFoundError, BadRequestError):
                # Deleted or replaced by a newer owner, or lost with the server's store.
                self._vanished()
            except (nats_errors.Error, BusUnavailableError, OSError, TimeoutError) as error:
                self._log.debug("inbox_not_yet_back", error=str(error))
                self._is_stale = True
                await asyncio.sleep(_RETRY_S)

    async def _pull_anew(self) -> None:
        self._pull_inbox = self._connection.client.new_inbox()
        self._subscription = await self._connection.subscribe(self._pull_inbox, self._on_message)
        self._requested = 0
        await self._top_up()

    async def _make_anew(self) -> None:
        jetstream = self._connection.jetstream
        # First of all: the deletion is told to a pull that survived the cut.
        await self._connection.unsubscribe(self._subscription)
        self._arrived.clear()
        await jetstream.delete_consumer(STREAM_INBOX, self._name)
        await jetstream.add_consumer(STREAM_INBOX, self._config)
        await self._pull_anew()
        self._log.info("inbox_pull_renewed")
