"""One connection to NATS that is never given up, and what it tells the rest of the adapter."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Self

import structlog
from nats import errors as nats_errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.errors import ServiceUnavailableError

from sagabus.errors import BusUnavailableError
from sagabus_agents.frames import FrameClient

log = structlog.get_logger(__name__)

MessageHandler = Callable[[Msg], Awaitable[None]]

_RECONNECT_S = 0.1
_PING_S = 5
#: How long one call of the JetStream API may take.
_API_S = 3.0
_FLUSH_S = 2.0


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ``BusUnavailableError``: "cannot <doing>: why"."""
    try:
        yield
    except ServiceUnavailableError as error:
        why = error.description or "JetStream does not answer; is it enabled (nats-server -js)?"
        raise BusUnavailableError(f"cannot {doing}: {why}") from error
    except (nats_errors.Error, OSError, TimeoutError) as error:
        why = getattr(error, "description", None) or str(error) or type(error).__name__
        raise BusUnavailableError(f"cannot {doing}: {why}") from error


def public_address(url: str) -> str:
    """``url`` without user and password, for logs and messages."""
    return ",".join(part.rsplit("@", 1)[-1].removeprefix("nats://") for part in url.split(","))


class NatsConnection:
    """Keeps a client connected for ever, and its subscriptions with it."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._client: FrameClient | None = None
        self._subscriptions: dict[int, tuple[str, MessageHandler]] = {}
        self._live: dict[int, Subscription] = {}
        self._ids = count(1)
        self._listeners: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._is_up = asyncio.Event()
        #: How often the connection came back.
        self.reconnects = 0

    @classmethod
    async def open(cls, url: str, *, name: str, timeout_s: float) -> Self:
        """Connect.

        Raises:
            BusUnavailableError: nobody answers at ``url`` within ``timeout_s``.
        """
        self = cls(url, name)
        await self._connect(timeout_s)
        return self

    @property
    def client(self) -> FrameClient:
        """The driver's client; another one after the server closed the first for good."""
        if self._client is None:
            raise BusUnavailableError(f"no connection to NATS at {public_address(self._url)}")
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """The JetStream API.

        Raises:
            BusUnavailableError: not connected; a call would only wait for its timeout.
        """
        self.require()
        return self.client.jetstream(timeout=_API_S)

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up now."""
        return self._client is not None and self._client.is_connected

    def require(self) -> None:
        """Fail at once when the connection is down."""
        if not self.is_connected:
            raise BusUnavailableError(f"no connection to NATS at {public_address(self._url)}")

    async def wait_connected(self) -> None:
        """Wait until the connection is up."""
        await self._is_up.wait()

    def on_reconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` whenever the connection came back; the result removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` for at most as long as the connection is open."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def subscribe(self, subject: str, handler: MessageHandler) -> int:
        """Subscribe until ``unsubscribe(result)``, across reconnects."""
        key = next(self._ids)
        with translated(f"subscribe to {subject}"):
            # No limits: what may be on its way is bounded by whoever asks for it.
            self._live[key] = await self.client.subscribe(
                subject, cb=handler, pending_msgs_limit=0, pending_bytes_limit=0
            )
        self._subscriptions[key] = (subject, handler)
        return key

    async def unsubscribe(self, key: int) -> None:
        """End a subscription; what was received and not handled is dropped."""
        self._subscriptions.pop(key, None)
        live = self._live.pop(key, None)
        if live is not None and self.is_connected:
            with translated("unsubscribe"):
                await live.unsubscribe()

    async def flush(self, timeout_s: float) -> None:
        """Wait until the server has processed everything sent so far.

        The driver's own ``flush`` sends its ping ahead of what is still in its buffer. A request
        to nobody queues up behind that, and the server answers it in order.
        """
        with suppress(nats_errors.NoRespondersError):
            await self.client.request(self.client.new_inbox(), timeout=timeout_s)

    async def close(self) -> None:
        """Flush and disconnect."""
        self._is_closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if self._client is not None:
            if self._client.is_connected:
                with suppress(nats_errors.Error, OSError):
                    await self.flush(_FLUSH_S)
            # What is still to be sent cannot be, when the server is away.
            with suppress(OSError, RuntimeError):
                await self._client.close()
        if tasks:
            await asyncio.wait(tasks)

    async def _connect(self, timeout_s: float) -> None:
        address = public_address(self._url)
        client = FrameClient()
        try:
            # The driver itself tries for ever.
            async with asyncio.timeout(timeout_s):
                await client.connect(
                    servers=self._url.split(","),
                    name=self._name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_S,  # type: ignore[arg-type]
                    ping_interval=_PING_S,
                    max_outstanding_pings=2,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                )
        except (nats_errors.Error, OSError, TimeoutError) as error:
            cause = client.last_error or error
            await client.close()
            why = str(cause) or "no answer"
            raise BusUnavailableError(f"no NATS server answers at {address}: {why}") from error
        self._client = client
        self._is_up.set()
        log.info("nats_connected", address=address)

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, nats_errors.SlowConsumerError):
            log.warning("nats_messages_dropped", subject=error.subject)
        elif isinstance(error, OSError | TimeoutError | nats_errors.StaleConnectionError):
            log.debug("nats_connection_error", error=str(error) or type(error).__name__)
        else:
            log.warning("nats_error", error=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        self._is_up.clear()
        if not self._is_closing and self._client is not None:
            log.warning("nats_disconnected", address=public_address(self._url))

    async def _on_reconnected(self) -> None:
        self.reconnects += 1
        self._is_up.set()
        log.info("nats_reconnected", address=public_address(self._url))
        for listener in list(self._listeners):
            listener()

    async def _on_closed(self) -> None:
        """The server refused the client for good, which the driver takes for an answer."""
        if self._is_closing or self._client is None:
            return
        log.error("nats_connection_closed", error=str(self._client.last_error))
        self._client = None
        self._is_up.clear()
        self._live.clear()
        self.spawn(self._reopen(), "nats-reopen")

    async def _reopen(self) -> None:
        while not self._is_closing:
            await asyncio.sleep(_RECONNECT_S)
            try:
                await self._connect(_API_S)
            except BusUnavailableError:
                continue
            for key, (subject, handler) in list(self._subscriptions.items()):
                self._live[key] = await self.client.subscribe(subject, cb=handler)
            await self._on_reconnected()
            return
