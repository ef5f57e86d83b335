"""Connecting: the database and the bus, waited for a bounded time."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeVar

import structlog

from sagabus.adapters.nats_bus import NatsBus
from sagabus.adapters.nats_child import NatsChild
from sagabus.adapters.nats_leases import NatsLeases
from sagabus.adapters.package_data import data_path
from sagabus.adapters.secret_box import SecretBox, own_key, parse_key, read_key
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.errors import BusUnavailableError, SettingsError, StoreUnavailableError
from sagabus.ports import Leases
from sagabus.settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: One try to reach the bus takes no longer, and no longer than a person said to wait.
_TRY_S: Final = 5.0


async def open_store(settings: Settings, stack: AsyncExitStack) -> SurrealStore:
    """The database, closed with ``stack``; its tables are up to date."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    password = settings.surreal_password

    async def connect() -> SurrealStore:
        return await SurrealStore.open(
            settings.store_url,
            user=settings.surreal_user,
            password=password.get_secret_value() if password else None,
            namespace=settings.surreal_namespace,
            database=settings.surreal_database,
            migrations=data_path("migrations"),
        )

    store = await _within(settings.connect_timeout_s, connect, StoreUnavailableError)
    stack.push_async_callback(store.close)
    return store


def open_secret_box(settings: Settings) -> SecretBox:
    """What encrypts secrets; its key is made where the database is our own.

    Raises:
        SettingsError: the key cannot be used, or two are given.
    """
    given, file = settings.secret_key, settings.secret_key_file
    if given is not None and file is not None:
        raise SettingsError("give SAGABUS_SECRET_KEY or SAGABUS_SECRET_KEY_FILE, not both")
    if given is not None:
        return SecretBox(parse_key(given.get_secret_value(), "SAGABUS_SECRET_KEY"))
    if file is not None:
        return SecretBox(read_key(file, "SAGABUS_SECRET_KEY_FILE"))
    # Behind a server there may be others, who need the same key.
    is_shared = settings.store_url.startswith(("ws://", "wss://"))
    return SecretBox(None if is_shared else own_key(settings.data_dir))


@dataclass(frozen=True, slots=True)
class OpenBus:
    """The bus, and what belongs to it."""

    bus: NatsBus
    #: Where orchestrators may share it.
    leases: Leases | None
    #: Where agents connect.
    url: str
    #: The server, where it is ours.
    child: NatsChild | None


async def open_bus(settings: Settings, stack: AsyncExitStack) -> OpenBus:
    """The bus, left with ``stack``."""
    child = None
    if settings.nats_url is None:
        child = await stack.enter_async_context(NatsChild(settings.data_dir / "nats"))
        url = child.url
    else:
        url = settings.nats_url

    try_s = min(_TRY_S, max(1.0, settings.connect_timeout_s))

    async def connect() -> NatsBus:
        return await NatsBus.connect(url, partitions=settings.partitions, timeout_s=try_s)

    bus = await _within(settings.connect_timeout_s, connect, BusUnavailableError)
    stack.push_async_callback(bus.close)
    leases = None if settings.nats_url is None else NatsLeases(bus, f"sagabus-{uuid.uuid4().hex}")
    return OpenBus(bus, leases, url, child)


async def _within(
    timeout_s: float, connect: Callable[[], Awaitable[T]], retried: type[Exception]
) -> T:
    """Try to connect until it works or the time is over; then the last error says why."""
    deadline = monotonic() + timeout_s
    while True:
        try:
            return await connect()
        except retried as error:
            if monotonic() >= deadline:
                raise
            log.warning("waiting_for_connection", error=str(error))
            await asyncio.sleep(0.5)
