"""The real command line in a process of its own, and an API in memory to talk to."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagabus.api.application import create_app
from sagabus.api.server import serve
from tests.support.memory_orchestrator import MemoryOrchestrator
from tests.support.registry_orchestrator import RegistryOrchestrator

PROGRAM = "import sys; from sagabus.cli.main import main; sys.exit(main())"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sagabus(tmp_path: Path) -> Run:
    """Run a command in an empty directory."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        mine = {key: value for key, value in os.environ.items() if not key.startswith("SAGABUS_")}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=tmp_path,
            env={**mine, "SAGABUS_USER": "ada", **environ},
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


class Remote:
    """An orchestrator in memory that serves its API from a thread of its own."""

    def __init__(self, orchestrator: MemoryOrchestrator | None = None) -> None:
        self.orchestrator = orchestrator or MemoryOrchestrator()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    def __enter__(self) -> "Remote":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the orchestrator's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self) -> None:
        async with serve(create_app(self.orchestrator), "127.0.0.1", 0) as self.url:
            self._ready.set()
            await self._end.wait()


@pytest.fixture
def registry_remote(tmp_path: Path) -> Iterator[Remote]:
    """One with a pack in files, where workflows can be registered."""
    with Remote(RegistryOrchestrator(tmp_path / "server")) as remote:
        yield remote


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote
