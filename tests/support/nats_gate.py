"""A door before a nats-server: it can be told to let nothing through from a certain message on.

So a test ends a process between what it has stored and what it says about it.
"""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 65_536
_START_S = 10.0


class NatsGate:
    """``with NatsGate(port) as gate``: clients of ``gate.url`` reach the server at ``port``."""

    def __init__(self, port: int) -> None:
        self.url = ""
        #: Set once something is held.
        self.is_held = threading.Event()
        self._port = port
        self._needle: bytes | None = None
        self._passes = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._is_open = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_open.wait(_START_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def hold(self, needle: bytes, *, after: int) -> None:
        """Let ``after`` messages with ``needle`` reach the server, then none of that client."""
        self.is_held.clear()
        self._passes, self._needle = after, needle

    def release(self) -> None:
        """Let everything pass from now on; what was held is lost."""
        self._needle = None

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._connect, HOST, 0) as server:
            self.url = f"nats://{HOST}:{server.sockets[0].getsockname()[1]}"
            self._is_open.set()
            await self._stop.wait()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            answers, to_server = await asyncio.open_connection(HOST, self._port)
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._forward(reader, to_server))
                    ways.create_task(self._back(answers, writer))
            finally:
                to_server.close()
                writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_holding, tail = False, b""  # a needle may stand in two chunks
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                is_holding = is_holding or self._is_to_hold(tail + data)
                if is_holding:
                    continue  # its end must still be noticed
                tail = data[1 - len(self._needle or b"..") :]
                writer.write(data)
                await writer.drain()
        writer.close()

    def _is_to_hold(self, data: bytes) -> bool:
        if self._needle is None:
            return False
        self._passes -= data.count(self._needle)
        if self._passes < 0:
            self.is_held.set()
        return self._passes < 0
