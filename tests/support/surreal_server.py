"""A stand-in for a SurrealDB server: the real engine behind the real protocol, in its own process.

    python -m tests.support.surreal_server --path DIR --port N [--user U --password P]

No server program can be had as a package; the embedded engine can. As on a server, a new socket is
a session that is signed in and has a database only once it has said so. ``port 0`` takes a free
one; the first line on stdout names it. After SIGUSR1 the next query is executed and its connection
cut instead of answered; "armed" on stdout says that this stands.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from surrealdb.data.cbor import decode, encode
from surrealdb_embedded import AsyncEmbeddedDB
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

HOST = "127.0.0.1"
USER = "root"
PASSWORD = "secret-of-the-test"
ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0


class _Server:
    def __init__(self, engine: AsyncEmbeddedDB, user: str, password: str):
        self._engine = engine
        self._user = user
        self._password = password
        self._is_armed = False

    def arm(self) -> None:
        self._is_armed = True
        print("armed", flush=True)

    async def serve(self, socket: ServerConnection) -> None:
        session = {"signed_in": False, "used": False}
        pending: set[asyncio.Task[None]] = set()
        try:
            async for frame in socket:
                assert isinstance(frame, bytes)
                # Like a server: requests of one socket run side by side.
                task = asyncio.create_task(self._reply(socket, session, frame))
                pending.add(task)
                task.add_done_callback(pending.discard)
        except ConnectionClosed:
            pass
        finally:
            await asyncio.gather(*pending, return_exceptions=True)

    async def _reply(
        self, socket: ServerConnection, session: dict[str, bool], frame: bytes
    ) -> None:
        request = decode(frame)
        answer = self._emulated(session, request)
        if answer is None:
            is_cut = self._is_armed and request["method"] == "query"
            if is_cut:
                self._is_armed = False
            answer = await self._engine.execute(frame)
            if is_cut:
                socket.transport.abort()
                return
        await socket.send(answer)

    def _emulated(self, session: dict[str, bool], request: dict[str, Any]) -> bytes | None:
        """The answer where the engine cannot give it: it knows one session, for ever signed in."""
        match request["method"]:
            case "signin":
                given = request["params"][0]
                session["signed_in"] = (given.get("user"), given.get("pass")) == (
                    self._user,
                    self._password,
                )
                if session["signed_in"]:
                    return encode({"id": request["id"], "result": "token.of.test"})
                return _refusal(request, "There was a problem with authentication")
            case "use" if session["signed_in"]:
                session["used"] = True
                return None
            case "query" if session["signed_in"]:
                sets_up = request["params"][0].startswith("DEFINE NAMESPACE")
                if sets_up or session["used"]:
                    return None
                return _refusal(request, "Specify a namespace to use")
            case "ping" | "version":
                return None
            case _:
                return _refusal(request, "Not enough permissions to perform this action")


def _refusal(request: dict[str, Any], message: str) -> bytes:
    error = {"code": -32002, "kind": "NotAllowed", "message": message}
    return encode({"id": request["id"], "error": error})


async def _open(path: Path) -> AsyncEmbeddedDB:
    engine = AsyncEmbeddedDB(f"surrealkv://{path}/db")
    await engine.connect()
    return engine


async def _close(engine: AsyncEmbeddedDB) -> None:
    await engine.close()
    await asyncio.sleep(0.2)  # the engine's threads need it, or the process may abort at exit


async def _main(path: Path, port: int, user: str, password: str) -> None:
    if any((path / "db" / "wal").glob("*.wal")):
        # Killed: stopped and started once more, as docs/operations.md has it for a server.
        await _close(await _open(path))
    engine = await _open(path)
    server = _Server(engine, user, password)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, server.arm)
    async with serve(
        server.serve, HOST, port, subprotocols=[Subprotocol("cbor")], max_size=None
    ) as listener:
        print(listener.sockets[0].getsockname()[1], flush=True)
        await stop.wait()
    await _close(engine)


class SurrealServer:
    """``with SurrealServer(directory) as server``: the stand-in as a process of its own."""

    def __init__(self, directory: Path, *, user: str = USER, password: str = PASSWORD):
        self.directory = directory
        self.user = user
        self.password = password
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "SurrealServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}/rpc"

    def start(self) -> None:
        """Start it; the second time on the port and the files of the first."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.support.surreal_server"]
        options = {
            "--path": self.directory,
            "--port": self.port,
            "--user": self.user,
            "--password": self.password,
        }
        for name, value in options.items():
            command += [name, str(value)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line())

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._reap()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.terminate()
            self._reap()

    def restart(self) -> None:
        """kill -9, and start again with what is stored."""
        self.kill()
        self.start()

    def stall(self) -> None:
        """Stop answering, with every connection open."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``stall``."""
        self._running.send_signal(signal.SIGCONT)

    def cut_after_next_query(self) -> None:
        """Execute the next query, then cut its connection without an answer."""
        self._running.send_signal(signal.SIGUSR1)
        assert self._line() == "armed"

    @property
    def _running(self) -> "subprocess.Popen[str]":
        assert self._process is not None
        return self._process

    def _line(self) -> str:
        assert self._running.stdout is not None
        line = self._running.stdout.readline().strip()
        assert line, f"the stand-in ended: {self._running.wait(START_S)}"
        return line

    def _reap(self) -> None:
        process, self._process = self._running, None
        process.wait(START_S)
        assert process.stdout is not None
        process.stdout.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user", default=USER)
    parser.add_argument("--password", default=PASSWORD)
    given = parser.parse_args()
    asyncio.run(_main(given.path, given.port, given.user, given.password))
