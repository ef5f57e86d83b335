"""Real processes: an orchestrator, agents, anything; started, killed and reaped by a test.

Everything here is a context manager. What still runs at its end is killed, whatever became of the
test; the end of its log is added to the error.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import psutil

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
SAGABUS = (sys.executable, "-m", "sagabus_agents.command")
WAIT_S = 30.0
POLL_S = 0.02
LOG_TAIL = 4000
TERMINAL = frozenset({"completed", "failed", "rolled_back", "cancelled"})


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of ours, its terminal's width, and ``more``."""
    kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    kept.pop("COLUMNS", None)
    return kept | more


def _is_setting(name: str) -> bool:
    return name.startswith("SAGABUS_") and not name.startswith("SAGABUS_TEST_")


def until(
    look: Callable[[], T | None], what: str, *, within_s: float = WAIT_S, every_s: float = POLL_S
) -> T:
    """The first result of ``look`` that is true in a condition."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(every_s)


class Program:
    """``with Program("name", [...], directory)``: a process, its output in ``name.log`` there."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.name = name
        self.directory = directory
        self.log_path = directory / f"{name}.log"
        #: Every process id that this program has had.
        self.pids: list[int] = []
        self._command = [str(part) for part in command]
        self._env = environment(**(env or {}))
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        if error is not None:
            error.add_note(f"--- end of {self.name}.log\n{self.log_tail()}")

    @property
    def pid(self) -> int:
        """The process id of the present run, or of the last one."""
        return self.pids[-1]

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; the log is continued."""
        assert not self.is_running
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        self.pids.append(self._process.pid)

    def kill(self) -> None:
        """kill -9; no error when it has ended."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(WAIT_S)

    def interrupt(self) -> None:
        """Ctrl-C, which a terminal sends to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.terminate()

    def ended(self, within_s: float = WAIT_S) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        code = self._process.wait(within_s)
        self._process = None
        return code

    def log(self) -> str:
        """Everything it has written."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self) -> str:
        """The end of what it has written."""
        return self.log()[-LOG_TAIL:]


class Orchestrator(Program):
    """``sagabus up``, or ``sagabus orchestrator`` when ``nats_url`` is given, on a free port.

    ``env`` may hold further settings. Entering the context waits until it is ready, unless
    ``is_awaited`` is False.
    """

    def __init__(
        self,
        directory: Path,
        workflows: str,
        *,
        nats_url: str | None = None,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        is_awaited: bool = True,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "workflows.toml"
        self.config.write_text(workflows)
        self.data = directory / "data"
        command = "up" if nats_url is None else "orchestrator"
        super().__init__(
            "orchestrator",
            [
                *(*SAGABUS, command, "--http", "127.0.0.1:0"),
                *("--config", self.config, "--data", self.data),
                *options,
            ],
            directory,
            env={**({} if nats_url is None else {"SAGABUS_NATS_URL": nats_url}), **(env or {})},
        )
        self._is_awaited = is_awaited
        self._http = httpx.Client(timeout=40.0, trust_env=False)
        #: From the start of the process to its readiness, at the last start.
        self.ready_after_s = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.push(super().__exit__)
            self.start()
            if self._is_awaited:
                self.wait_ready()
            stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._http.close()

    def wait_ready(self, within_s: float = WAIT_S) -> None:
        """Wait until it says that it is ready."""
        began = psutil.Process(self.pid).create_time()
        until(lambda: self.endpoints, "the orchestrator is ready", within_s=within_s)
        self.ready_after_s = time.time() - began

    def restart(self) -> None:
        """kill -9, start, and wait until it is ready."""
        self.kill()
        self.start()
        self.wait_ready()

    @property
    def endpoints(self) -> dict[str, Any] | None:
        """Where it can be reached; None while it is not ready."""
        assert self.is_running, f"the orchestrator has ended:\n{self.log_tail()}"
        try:
            found: dict[str, Any] = json.loads((self.data / "endpoints.json").read_text())
        except (OSError, ValueError):
            return None
        return found if found["pid"] == self.pid else None  # a killed one leaves its file

    @property
    def url(self) -> str:
        found = self.endpoints
        assert found is not None
        return str(found["http"])

    @property
    def nats_url(self) -> str:
        found = self.endpoints
        assert found is not None
        return str(found["nats"])

    def get(self, path: str, **query: Any) -> Any:
        """A document of the API."""
        return _document(self._http.get(self.url + path, params=query))

    def post(self, path: str, document: Mapping[str, Any]) -> Any:
        """Give a command."""
        return _document(self._http.post(self.url + path, json=document))

    def health(self) -> dict[str, Any]:
        """``/health``, good or not."""
        found: dict[str, Any] = self._http.get(f"{self.url}/health").json()
        return found

    def start_instance(self, workflow: str, id: str, parameters: Mapping[str, Any]) -> None:
        """Start an instance; the same again does nothing."""
        document = {"id": id, "parameters": dict(parameters)}
        self.post(f"/api/v1/workflows/{workflow}/execute", document)

    def instance(self, id: str) -> dict[str, Any]:
        """One instance as it stands."""
        found: dict[str, Any] = self.get(f"/api/v1/workflow-executions/{id}")
        return found

    def at_end(self, id: str) -> dict[str, Any] | None:
        """One instance, once it has ended."""
        found = self.instance(id)
        return found if found["status"] in TERMINAL else None

    def history(self, id: str) -> list[dict[str, Any]]:
        """Everything that happened to an instance."""
        found = self.get(f"/api/v1/workflow-executions/{id}/history", limit=10_000)
        return list(found["items"])

    def statuses(self) -> dict[str, str]:
        """Status of every instance."""
        found: dict[str, str] = {}
        cursor = None
        while True:
            query = {"limit": 500} | ({"cursor": cursor} if cursor else {})
            page = self.get("/api/v1/workflow-executions", **query)
            found |= {item["id"]: item["status"] for item in page["items"]}
            cursor = page["cursor"]
            if cursor is None:
                return found


def _document(response: httpx.Response) -> Any:
    if response.is_error:
        message = f"{response.request.url}: {response.status_code} {response.text}"
        raise httpx.HTTPStatusError(message, request=response.request, response=response)
    return response.json()


@contextmanager
def all_of(programs: Sequence[Program]) -> Iterator[None]:
    """Several programs at once; all are killed at the end."""
    with ExitStack() as stack:
        for program in programs:
            stack.enter_context(program)
        yield


def sagabus(
    *arguments: str | Path, url: str = "", cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    """One command of the command line, run to its end; ``url``: of the orchestrator."""
    return subprocess.run(
        [*SAGABUS, *map(str, arguments)],
        cwd=cwd,
        env=environment(**({"SAGABUS_URL": url} if url else {}), **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
