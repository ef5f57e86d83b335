"""``make demo``: five runs on this machine, with real processes, told as they happen.

An orchestrator (SurrealDB embedded, ``nats-server`` as its child) and three agents, each a process
of its own: success; failure and rollback; an approval; a denial by policy; and the orchestrator
killed with ``kill -9`` in the middle of a run, which ends all the same.

One file: a script that is read from top to bottom.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sagabus.adapters.package_data import data_path
from sagabus.core.instance import TERMINAL

_AGENTS: Final = ("devops", "backend", "tester")
_READY_S: Final = 30.0
_END_S: Final = 30.0

#: How a history entry reads, by its type; what is not here is not told.
_LINES: Final[Mapping[str, tuple[str, str]]] = {
    "WorkflowStarted": ("", "started"),
    "TaskScheduled": ("dim", "{stage}: task sent to role {role}"),
    "TaskCompleted": ("green", "{stage}: done by {agent}"),
    "TaskFailed": ("red", "{stage}: failed: {error[message]}"),
    "StageDenied": ("red", "{stage}: denied by policy {policies}: the task never leaves"),
    "ApprovalRequested": ("yellow", "{stage}: waits for a person: {prompt}"),
    "ApprovalGranted": ("green", "{stage}: approved by {by}: {reason}"),
    "WorkflowFailed": ("red", "workflow failed: {error[message]}"),
    "CompensationScheduled": ("yellow", "{stage}: compensation sent to role {role}"),
    "CompensationCompleted": ("yellow", "{stage}: undone by role {role}"),
    "CompensationFailed": ("red", "{stage}: NOT undone: {error[message]}"),
    "WorkflowRolledBack": ("yellow", "rolled back, {rollback}"),
    "WorkflowCompleted": ("bold green", "completed"),
}


class DemoError(Exception):
    """The demo did not show what it promises."""


@dataclass(slots=True)
class _Row:
    title: str
    workflow: str
    expected: str
    status: str = "-"
    rollback: str = "-"
    seconds: float = 0.0
    effects: list[str] = field(default_factory=list)

    @property
    def is_as_expected(self) -> bool:
        return self.status == self.expected


class _Demo:
    """The processes of the demo, and the account of what they do."""

    def __init__(self, root: Path, console: Console) -> None:
        self.root = root
        self.console = console
        self.effect_log = root / "effects.jsonl"
        self.pids: list[int] = []
        self._began = time.monotonic()
        self._orchestrator: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(timeout=10.0)

    def say(self, text: str, style: str = "") -> None:
        """One line with the time since the beginning."""
        at = f"{time.monotonic() - self._began:6.2f} s  "
        self.console.print(Text.assemble((at, "dim"), (text, style)))

    # --- processes ----------------------------------------------------------------------------

    def start_orchestrator(self) -> None:
        """Start the orchestrator and wait until it is ready."""
        command = [
            *(sys.executable, "-m", "sagabus_agents.command", "up", "--http", "127.0.0.1:0"),
            *("--config", str(self.root / "config" / "workflows.toml")),
            *("--data", str(self.root / "data")),
        ]
        began = time.monotonic()
        with (self.root / "orchestrator.log").open("ab") as log:
            self._orchestrator = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.root, start_new_session=True
            )
        self.pids.append(self._orchestrator.pid)
        endpoints = self._until(self._endpoints, _READY_S, "the orchestrator is not ready")
        self._http.base_url = httpx.URL(endpoints["http"])
        seconds = time.monotonic() - began
        self.say(f"orchestrator ready in {seconds:.1f} s: {endpoints['http']}", "bold")

    def _endpoints(self) -> dict[str, Any] | None:
        """What the running orchestrator says of itself; a file left by a killed one is not it."""
        process = self._orchestrator
        if process is None or process.poll() is not None:
            raise DemoError("the orchestrator ended:\n" + self._log_tail("orchestrator"))
        try:
            found = json.loads((self.root / "data" / "endpoints.json").read_text())
        except (OSError, ValueError):
            return None
        return found if found["pid"] == process.pid else None

    def kill_orchestrator(self) -> None:
        """``kill -9``: no chance to write anything down."""
        process = self._orchestrator
        if process is None:
            raise DemoError("there is no orchestrator to kill")
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.say(f"kill -9 {process.pid}: the orchestrator is dead in the middle of the run", "red")

    def stop_orchestrator(self) -> None:
        """Ctrl-C."""
        process = self._orchestrator
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._http.close()

    @contextmanager
    def agent(self, role: str) -> Iterator[None]:
        """A demo agent, in a process of its own."""
        endpoints = self._endpoints() or {}
        environment = {
            **os.environ,
            "SAGABUS_NATS_URL": endpoints["nats"],
            "SAGABUS_EFFECT_LOG": str(self.effect_log),
        }
        with (self.root / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"sagabus_agents.examples.{role}"],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.root,
                start_new_session=True,
            )
        self.pids.append(process.pid)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_for_agents(self) -> None:
        """Wait until every agent has announced itself."""

        def all_there() -> list[Any] | None:
            items: list[Any] = self._get("/api/v1/agents")["items"]
            return items if len(items) >= len(_AGENTS) else None

        for agent in self._until(all_there, _READY_S, "an agent is missing"):
            self.say(f"agent {agent['agent']} is there for role {', '.join(agent['roles'])}")

    def _log_tail(self, name: str) -> str:
        lines = (self.root / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def _until(self, look: Callable[[], Any], seconds: float, otherwise: str) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            time.sleep(0.05)
        raise DemoError(f"{otherwise} after {seconds:g} s:\n{self._log_tail('orchestrator')}")

    # --- the API ------------------------------------------------------------------------------

    def _get(self, path: str) -> dict[str, Any]:
        try:
            response = self._http.get(path)
        except httpx.TransportError as error:
            raise DemoError(f"GET {path}: {error}\n{self._log_tail('orchestrator')}") from error
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST to the API."""
        response = self._http.post(path, json=dict(body))
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document

    def start(self, workflow: str, instance: str, parameters: Mapping[str, Any]) -> None:
        """Start an instance under a name of its own."""
        body = {"id": instance, "parameters": dict(parameters), "by": "demo"}
        self.post(f"/api/v1/workflows/{workflow}/execute", body)

    def follow(self, instance: str, seen: int, until: Callable[[dict[str, Any]], bool]) -> int:
        """Tell what happens from entry ``seen`` on until ``until`` holds; the last one told."""
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            document = self._get(f"/api/v1/workflow-executions/{instance}")
            for event in self._get(f"/api/v1/workflow-executions/{instance}/history")["items"]:
                if event["seq"] > seen:
                    seen = event["seq"]
                    self._tell(instance, event)
            if until(document):
                return seen
            time.sleep(0.1)
        raise DemoError(f"{instance} does not end:\n{self._log_tail('orchestrator')}")

    def _tell(self, instance: str, event: dict[str, Any]) -> None:
        if event["type"] in _LINES:
            style, text = _LINES[event["type"]]
            data = {**event["data"], "policies": ", ".join(event["data"].get("policies", ()))}
            self.say(f"  {instance}  {text.format_map(data)}", style)

    def fill(self, row: _Row, instance: str, began: float) -> None:
        """Note how an instance ended and what its agents did."""
        document = self._get(f"/api/v1/workflow-executions/{instance}")
        row.status, row.rollback = document["status"], document["rollback"]
        row.seconds = time.monotonic() - began
        for line in self.effect_log.read_text().splitlines() if self.effect_log.exists() else ():
            effect = json.loads(line)
            if effect["workflow_id"] == instance:
                row.effects.append(effect["effect"])


def _is_ended(document: Mapping[str, Any]) -> bool:
    return document["status"] in TERMINAL


def _run(demo: _Demo, row: _Row, parameters: Mapping[str, Any]) -> None:
    instance = _begin(demo, row)
    began = time.monotonic()
    demo.start(row.workflow, instance, parameters)
    demo.follow(instance, 0, _is_ended)
    demo.fill(row, instance, began)


def _run_with_approval(demo: _Demo, row: _Row) -> None:
    instance = _begin(demo, row)
    began = time.monotonic()
    demo.start(row.workflow, instance, {})
    seen = demo.follow(instance, 0, lambda document: document["status"] == "waiting")
    decision = {"stage": "deployment", "by": "demo script", "reason": "looks good"}
    demo.post(f"/api/v1/workflow-executions/{instance}/approve", decision)
    demo.follow(instance, seen, _is_ended)
    demo.fill(row, instance, began)


def _run_through_a_crash(demo: _Demo, row: _Row) -> None:
    instance = _begin(demo, row)
    began = time.monotonic()
    demo.start(row.workflow, instance, {"delay_s": 0.6})
    seen = demo.follow(instance, 0, lambda document: "migrate_db" in document["current_tasks"])
    demo.kill_orchestrator()
    demo.start_orchestrator()
    demo.follow(instance, seen, _is_ended)
    demo.fill(row, instance, began)


def _begin(demo: _Demo, row: _Row) -> str:
    demo.console.print()
    demo.say(row.title, "bold")
    return row.title.partition(":")[0].lower().replace(" ", "-")


def _prepare_config(root: Path) -> None:
    """The shipped configuration, with its policies put in force."""
    config = root / "config"
    shutil.copytree(data_path("config"), config)
    path = config / "workflows.toml"
    text = path.read_text()
    if "# cedar_policy_dir" not in text:
        raise DemoError("the shipped configuration has no policies to switch on")
    path.write_text(text.replace("# cedar_policy_dir", "cedar_policy_dir"))


def _summary(rows: list[_Row]) -> Table:
    table = Table(title="What happened", title_justify="left")
    for heading in ("run", "workflow", "ended", "rollback", "effects in the world", "took"):
        table.add_column(heading)
    for row in rows:
        style = "green" if row.is_as_expected else "bold red"
        table.add_row(
            row.title.partition(":")[0],
            row.workflow,
            Text(row.status, style),
            row.rollback,
            ", ".join(row.effects) or "none",
            f"{row.seconds:.1f} s",
        )
    return table


def _leftovers(pids: list[int]) -> list[int]:
    """Processes of the demo that are still there."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def main() -> int:
    """Run the demo; 0 when everything went as promised."""
    console = Console(highlight=False)
    rows = [
        _Row("Success: three stages, three agents", "deploy_pipeline", "completed"),
        _Row("Failure: the smoke test fails", "deploy_pipeline", "rolled_back"),
        _Row("Approval: a person lets it go on", "release", "completed"),
        _Row("Denial: a policy forbids the second stage", "production_deploy", "rolled_back"),
        _Row("Crash: kill -9 in the middle", "deploy_pipeline", "completed"),
    ]
    with tempfile.TemporaryDirectory(prefix="sagabus-demo-") as directory:
        demo = _Demo(Path(directory), console)
        try:
            with ExitStack() as stack:
                _prepare_config(demo.root)
                stack.callback(demo.stop_orchestrator)
                demo.start_orchestrator()
                for role in _AGENTS:
                    stack.enter_context(demo.agent(role))
                demo.wait_for_agents()
                _run(demo, rows[0], {})
                _run(demo, rows[1], {"fail_smoke_test": True})
                _run_with_approval(demo, rows[2])
                _run(demo, rows[3], {})
                _run_through_a_crash(demo, rows[4])
        except DemoError as error:
            console.print(Text(f"demo failed: {error}", "bold red"))
            return 1
        left = _leftovers(demo.pids)
    console.print()
    console.print(_summary(rows))
    if left:
        console.print(Text(f"still running: {left}", "bold red"))
    return 0 if not left and all(row.is_as_expected for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
