"""One signed-in connection to SurrealDB, embedded or remote, that comes back by itself.

The driver redials a lost websocket without signing in. Here a lost connection is replaced before
the next call. A call that was under way when it broke is never repeated: its outcome is unknown.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from surrealdb import AsyncWsSurrealConnection, SurrealError
from surrealdb.errors import ServerError, TransportError

from sagabus.adapters.surreal_embedded import EmbeddedConnection
from sagabus.adapters.surreal_response import StatementError, read_results
from sagabus.errors import SettingsError, StoreError, StoreUnavailableError

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE_SCHEME: Final = "surrealkv://"
#: A websocket whose peer answers no ping for this long is given up, also while idle.
_PING_S: Final = 10.0
#: The engine never retries a transaction that met another one.
_CONFLICT_ATTEMPTS: Final = 8
_CONFLICT_DELAY_S: Final = 0.002
#: The embedded engine's threads need a moment after ``close``, or the process may abort at exit.
_EMBEDDED_CLOSE_S: Final = 0.2


class _OnceConnectedSocket(AsyncWsSurrealConnection):
    """A websocket that never redials: a new socket is a session that is not signed in."""

    async def connect(self, url: str | None = None) -> None:
        if self.is_lost:
            raise TransportError("the websocket was closed")
        await super().connect(url)

    @property
    def is_lost(self) -> bool:
        """True once the socket was open and is no more."""
        return self.recv_task is not None and self.recv_task.done()


_Driver = EmbeddedConnection | _OnceConnectedSocket


class SurrealConnection:
    """Runs SurrealQL at ``mem://``, ``surrealkv://PATH``, ``ws://HOST:PORT/rpc`` or ``wss://``.

    Use ``open``.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None,
        password: str | None,
        namespace: str,
        database: str,
        timeout_s: float,
    ) -> None:
        self.url = url
        self._user = user
        self._password = password
        self._namespace = namespace
        self._database = database
        self._timeout_s = timeout_s
        self._driver: _Driver | None = None
        self._dialing = asyncio.Lock()
        self._was_open = False
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        namespace: str = "sagabus",
        database: str = "sagabus",
        timeout_s: float = 10.0,
    ) -> "SurrealConnection":
        """Connect, sign in, and select the database, which is created where it is missing.

        ``timeout_s`` bounds every call to a server; an embedded database is not bounded.

        Raises:
            SettingsError: the address or a name cannot be used.
            StoreUnavailableError: nothing answers at the address.
            StoreError: it answers and refuses: wrong password, or files in use.
        """
        if not url.startswith(("mem://", _FILE_SCHEME, "ws://", "wss://")):
            raise SettingsError(
                f"the database address {url!r} is none of mem://, surrealkv://PATH,"
                " ws://HOST:PORT/rpc, wss://HOST:PORT/rpc"
            )
        for name in (namespace, database):
            if not _NAME.fullmatch(name):
                raise SettingsError(f"{name!r} is no database name: use letters, digits, _ and -")
        connection = cls(
            url,
            user=user,
            password=password,
            namespace=namespace,
            database=database,
            timeout_s=timeout_s,
        )
        await connection._live_driver()
        return connection

    async def run(self, sql: str, **parameters: Any) -> list[Any]:
        """Run statements; one result each.

        Run anew, a few times, when the engine reports a conflict with another transaction: so one
        call is one transaction, a block or reads.

        Raises:
            StatementError: the database refused; nothing of the transaction is stored.
            StoreUnavailableError: no connection, or it broke: the outcome is unknown.
        """
        return await self._retried(lambda: self._run_once(sql, parameters))

    async def close(self) -> None:
        """Release the database; later calls raise ``StoreUnavailableError``."""
        self._is_closed = True
        driver, self._driver = self._driver, None
        if driver is not None:
            await _release(driver)

    async def _run_once(self, sql: str, parameters: dict[str, Any]) -> list[Any]:
        driver = await self._live_driver()
        try:
            if isinstance(driver, _OnceConnectedSocket):
                async with asyncio.timeout(self._timeout_s):
                    response = await driver.query_raw(sql, parameters)
            else:
                response = await driver.query_raw(sql, parameters)
        except (SurrealError, OSError, TimeoutError) as error:
            if isinstance(driver, _OnceConnectedSocket) and self._driver is driver:
                self._driver = None
                await _release(driver)
            raise StoreUnavailableError(self._lost(error)) from error
        return read_results(response)

    async def _live_driver(self) -> _Driver:
        driver = self._driver
        if driver is not None and not _is_lost(driver):
            return driver
        if self._is_closed:
            raise StoreUnavailableError(f"the connection to {self.url} was closed")
        try:
            async with asyncio.timeout(None if self._is_embedded else self._timeout_s):
                async with self._dialing:
                    return await self._dial()
        except (SurrealError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(self._lost(error)) from error
        except StoreError as error:
            if not self._was_open:
                raise
            # It was right once: whoever serves must outlive a server that comes back half ready.
            raise StoreUnavailableError(str(error)) from error

    async def _dial(self) -> _Driver:
        if self._driver is not None:
            if not _is_lost(self._driver):
                return self._driver
            lost, self._driver = self._driver, None
            await _release(lost)
        try:
            self._driver = await self._new_driver()
        except ServerError as error:
            raise StoreError(
                f"SurrealDB at {self.url} refuses user {self._user!r}: {error}; check the user and"
                " the password"
            ) from error
        except TransportError as error:
            if "locked by another process" in str(error):
                raise StoreError(
                    f"the database {self.url} is in use by another process: stop that one, or give"
                    " this one another directory"
                ) from error
            raise
        self._was_open = True
        return self._driver

    async def _new_driver(self) -> _Driver:
        if not self._is_embedded:
            driver = _OnceConnectedSocket(
                self.url, streaming=False, ping_interval=_PING_S, ping_timeout=_PING_S
            )
            return await self._entered(driver)
        if self.url.startswith(_FILE_SCHEME):
            # What follows a question mark are settings of the engine.
            path = Path(self.url.removeprefix(_FILE_SCHEME).partition("?")[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            if _was_killed(path):
                await _release(await self._entered(EmbeddedConnection(self.url)))
        return await self._entered(EmbeddedConnection(self.url))

    async def _entered(self, driver: _Driver) -> _Driver:
        try:
            await self._enter(driver)
        except BaseException:
            await _release(driver)
            raise
        return driver

    async def _enter(self, driver: _Driver) -> None:
        await driver.connect()
        if not self._is_embedded and self._user is not None:
            await driver.signin({"username": self._user, "password": self._password or ""})
        await self._retried(lambda: self._create_database(driver))
        await driver.use(self._namespace, self._database)

    async def _create_database(self, driver: _Driver) -> list[Any]:
        response = await driver.query_raw(
            f"DEFINE NAMESPACE IF NOT EXISTS `{self._namespace}`;"
            f"USE NS `{self._namespace}`;"
            f"DEFINE DATABASE IF NOT EXISTS `{self._database}`;"
        )
        return read_results(response)

    async def _retried(self, call: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
        for attempt in range(_CONFLICT_ATTEMPTS):
            try:
                return await call()
            except StatementError as error:
                if error.detail != "TransactionConflict":
                    raise
            await asyncio.sleep(_CONFLICT_DELAY_S * 2**attempt)
        raise StoreUnavailableError(f"SurrealDB at {self.url} is busy: every attempt conflicted")

    @property
    def _is_embedded(self) -> bool:
        return not self.url.startswith(("ws://", "wss://"))

    def _lost(self, error: BaseException) -> str:
        why = str(error) or f"no answer within {self._timeout_s:g} s"
        return f"SurrealDB at {self.url} is not available: {why}"


def _was_killed(path: Path) -> bool:
    """Whether the last process that had the files open did not close them: its log is there.

    The last record of such a log may be cut off. SurrealKV (0.21.4) reads up to that one, and goes
    on writing behind it: all that would be written now would be gone after one more kill. To close
    the files puts the log into the tables and begins a new one, so that is done first.
    """
    return any((path / "wal").glob("*.wal"))


def _is_lost(driver: _Driver) -> bool:
    return isinstance(driver, _OnceConnectedSocket) and driver.is_lost


async def _release(driver: _Driver) -> None:
    if isinstance(driver, _OnceConnectedSocket):
        # Without this a stalled server would be waited for in the closing handshake.
        if driver.socket is not None:
            driver.socket.transport.abort()
        await driver.close()
    else:
        await driver.close()
        await asyncio.sleep(_EMBEDDED_CLOSE_S)
