"""Serves the application inside the orchestrator's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI

from sagabus.errors import SettingsError

#: Whatever is still open is cut off this long after the server was told to stop.
_GRACE_S: Final = 1


class _Server(uvicorn.Server):
    """uvicorn without its hold on the process: signals belong to whoever runs the orchestrator."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listening.set()


@contextlib.asynccontextmanager
async def serve(app: FastAPI, host: str, port: int) -> AsyncIterator[str]:
    """Serve what ``create_app`` made for the time of the context; gives the URL.

    Port 0 takes a free one.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    listener = _listen(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve([listener]), name="http")
        await server.listening.wait()
        bound = listener.getsockname()[1]
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        finally:
            app.state.closing.close()
            server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another address "
            "with --http, or --http 127.0.0.1:0 for a free port"
        ) from None
    return listener
