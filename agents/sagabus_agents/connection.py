"""The connection to the bus: dialled again for ever, every time with a new client.

The client library can reconnect by itself. It is not used: a new client per connection leaves one
path for the first dial, a lost server, a refused login and a protocol error (for which the library
closes for good), and nothing of an old connection, like a pull request, survives into the next.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from structlog.typing import FilteringBoundLogger

from sagabus_agents.frames import FrameClient, frame, payload_size
from sagabus_agents.objects import Objects

MessageCallback = Callable[[Msg], Awaitable[None]]

#: A server that does not answer two pings in a row is left.
PING_INTERVAL_S = 5
RETRY_S = 0.25
MAX_RETRY_S = 2.0
#: How often an unreachable server is mentioned in the log.
COMPLAIN_EVERY_S = 30.0
CLOSE_WITHIN_S = 2.0
FLUSH_WITHIN_S = 2.0
OBJECTS_WITHIN_S = 5.0
LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class _Subscription:
    subject: Callable[[], str]
    callback: MessageCallback
    #: Of the subscribers of one group only one gets a message.
    group: str
    #: On the present connection.
    active: Subscription | None = None


class Connection:
    """One connection after the other to the same servers.

    ``url`` may name several servers, separated by commas. ``options`` go to ``nats.connect``
    (credentials, ``tls``, ``inbox_prefix``).
    """

    def __init__(self, url: str, *, name: str, options: Mapping[str, Any] | None = None) -> None:
        self._servers = [part.strip() for part in url.split(",") if part.strip()]
        self._options = {
            "name": name,
            "ping_interval": PING_INTERVAL_S,
            "reconnect_time_wait": RETRY_S,
            "max_reconnect_attempts": -1,
            # Without it, who publishes into a full buffer of a dying connection waits for ever.
            "flush_timeout": FLUSH_WITHIN_S,
            **(options or {}),
        }
        prefix = self._options.get("inbox_prefix", "_INBOX")
        self._prefix = prefix.decode() if isinstance(prefix, bytes) else str(prefix)
        self._token = secrets.token_hex(8)
        self._client: FrameClient | None = None
        self._lost = asyncio.Event()
        self._subscriptions: list[_Subscription] = []
        self._on_up: list[Callable[[], None]] = []
        self._complained_at = float("-inf")
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents").bind(
            # Without the credentials that a URL may hold.
            url=",".join(server.rpartition("@")[2] for server in self._servers)
        )
        #: Number of the present connection, from 1; what was sent under another may be lost.
        self.generation = 0

    @property
    def is_up(self) -> bool:
        """Whether messages can be sent now."""
        return self._client is not None and self._client.is_connected

    @property
    def inbox(self) -> str:
        """Prefix of this connection's own reply subjects; new with every connection."""
        return f"{self._prefix}.{self._token}.{self.generation}"

    @property
    def max_payload(self) -> int:
        """The server's limit for one message, headers included."""
        return self._client.max_payload if self._client is not None else 1024 * 1024

    @property
    def objects(self) -> Objects | None:
        """The bucket of large payloads, on the present connection; None without one."""
        return Objects(self._client, OBJECTS_WITHIN_S) if self._client and self.is_up else None

    def subscribe(
        self, subject: Callable[[], str], callback: MessageCallback, *, group: str = ""
    ) -> None:
        """Subscribe on every connection from the next on; ``subject`` is asked each time.

        Of the subscribers with the same ``group`` one gets each message, whichever.
        """
        self._subscriptions.append(_Subscription(subject, callback, group))

    async def unsubscribe(self, callback: MessageCallback) -> None:
        """End the subscriptions of ``callback``, after what has already arrived was handled."""
        ended = [item for item in self._subscriptions if item.callback == callback]
        self._subscriptions = [item for item in self._subscriptions if item not in ended]
        for item in ended:
            if item.active is not None:
                with suppress(nats.errors.Error, TimeoutError):
                    await asyncio.wait_for(item.active.drain(), CLOSE_WITHIN_S)  # type: ignore[no-untyped-call]

    def on_up(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever a connection is ready."""
        self._on_up.append(callback)

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", msg_id: str = ""
    ) -> bool:
        """Hand a message to the client; False when it cannot be sent, now or by its size."""
        client = self._client
        if client is None or not client.is_connected:
            return False
        if payload_size(data, msg_id) > client.max_payload:
            return False
        try:
            await client.publish_frames(frame(subject, data, msg_id=msg_id, reply=reply))
        except nats.errors.Error:
            return False
        return True

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes | None:
        """One request; None when nobody answered in time."""
        client = self._client
        if client is None or not client.is_connected:
            return None
        try:
            return (await client.request(subject, data, timeout=timeout_s)).data
        except nats.errors.Error:
            return None

    async def keep(self) -> None:
        """Dial, wait until the connection is lost, dial again; ends only by cancellation."""
        wait_s = RETRY_S
        while True:
            try:
                await self._dial()
            except (OSError, TimeoutError, nats.errors.Error) as error:
                self._complain(error)
                await self.close()
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, MAX_RETRY_S)
                continue
            wait_s = RETRY_S
            await self._until_lost()
            self._log.warning("bus_disconnected")
            await self.close()

    async def _until_lost(self) -> None:
        # A client that gives up a server which has stopped reading is closed at once, but says so
        # only when its last bytes are written: maybe never.
        while self._client is not None and not self._client.is_closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._lost.wait()

    async def flush(self, timeout_s: float) -> None:
        """Wait until the server has everything that was published, or ``timeout_s``."""
        if self._client is not None and self._client.is_connected:
            with suppress(nats.errors.Error, TimeoutError):
                await asyncio.wait_for(self._client.flush(), timeout_s)

    async def close(self) -> None:
        """Close the present client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(nats.errors.Error, OSError, RuntimeError, TimeoutError):
                await asyncio.wait_for(client.close(), CLOSE_WITHIN_S)

    async def _dial(self) -> None:
        client = FrameClient()
        lost = self._lost = asyncio.Event()

        async def closed() -> None:
            lost.set()

        self._client = client
        await client.connect(
            self._servers,
            allow_reconnect=False,
            closed_cb=closed,
            error_cb=self._report,
            **self._options,
        )
        self.generation += 1
        for subscription in self._subscriptions:
            subscription.active = await client.subscribe(
                subscription.subject(),
                queue=subscription.group,
                cb=subscription.callback,
                pending_bytes_limit=0,
            )
        self._log.info("bus_connected", generation=self.generation)
        self._complained_at = float("-inf")
        for callback in self._on_up:
            callback()

    async def _report(self, error: Exception) -> None:
        self._complain(error)

    def _complain(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        is_refusal = "permissions violation" in str(error).lower()
        if is_refusal or now - self._complained_at > COMPLAIN_EVERY_S:
            self._complained_at = now
            self._log.warning("bus_error", error=str(error) or type(error).__name__)
