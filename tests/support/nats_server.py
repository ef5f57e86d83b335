"""A real nats-server that tests may kill, start again on its port, and rob of its store."""

import shutil
import subprocess
import time
from pathlib import Path

from sagabus.adapters.nats_child import HOST, launch_command, read_port, server_config

START_S = 20.0


class NatsServer:
    """``with NatsServer(tmp_path) as server``: a server on a free port, with its own directory."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.port = -1
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "NatsServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; the second time on the port of the first."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "test-server.conf"
        config.write_text(server_config(self.directory, self.port, sync_always=False))
        log_path = self.directory / "test-server.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                launch_command("-c", str(config)), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._process = process
        deadline = time.monotonic() + START_S
        while (port := read_port(self.directory, process.pid)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"nats-server did not start:\n{log_path.read_text()}")
            time.sleep(0.005)
        self.port = port

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """kill -9 and start again on the same port, with what is stored."""
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Lose everything stored; only while it does not run."""
        assert self._process is None
        shutil.rmtree(self.directory / "store", ignore_errors=True)
