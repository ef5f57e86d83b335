"""The command line, as a person at a terminal uses it, against a running orchestrator."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sagabus.adapters.package_data import data_path
from tests.support.nats_server import NatsServer
from tests.support.processes import SAGABUS, Orchestrator, environment, sagabus, until
from tests.support.terminal import Terminal

WORKFLOWS = (data_path("config") / "workflows.toml").read_text()
DEMO_AGENTS = 3


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    """`sagabus up --agents`, once for all who only ask it something."""
    directory = tmp_path_factory.mktemp("operators")
    with Orchestrator(directory, WORKFLOWS, options=["--agents"]) as orchestrator:
        until(lambda: orchestrator.health()["agents"] == DEMO_AGENTS, "the demo agents are there")
        yield orchestrator


@pytest.fixture
def terminal(service: Orchestrator) -> Terminal:
    return Terminal(service)


def test_start_and_wait_says_by_its_exit_code_how_it_ended(terminal: Terminal) -> None:
    done = terminal.read("start", "deploy_pipeline", "--id", "good", "--wait")
    assert (done["status"], done["started_by"]) == ("completed", "ann")
    failed = terminal.read(
        *("start", "deploy_pipeline", "--id", "bad", "-p", "fail_smoke_test=true", "--wait"), code=1
    )
    assert (failed["status"], failed["rollback"]) == ("rolled_back", "full")
    assert failed["error"]["reason"] == "step_failed:smoke_test"


def test_what_happened_can_be_looked_at(terminal: Terminal) -> None:
    terminal.run("start", "deploy_pipeline", "--id", "seen", "--wait")
    assert "seen" in terminal.run("list", "--workflow", "deploy_pipeline", "--status", "completed")
    listed = terminal.read("list", "--workflow", "deploy_pipeline", "--limit", "500")
    assert "seen" in {item["id"] for item in listed["items"]}
    shown = terminal.read("show", "seen")
    assert [stage["stage"] for stage in shown["stages"]] == [
        "provision",
        "migrate_db",
        "smoke_test",
    ]
    assert {task["status"] for task in shown["tasks"]} == {"succeeded"}
    assert "smoke_test" in terminal.run("show", "seen")
    events = terminal.read("history", "seen")["items"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "WorkflowStarted"
    assert events[-1]["type"] == "WorkflowCompleted"
    assert "WorkflowCompleted" in terminal.run("history", "seen")
    watched = [json.loads(line) for line in terminal.run("watch", "seen", "--json").splitlines()]
    assert watched == events


def test_watch_prints_what_happens_as_it_happens(terminal: Terminal, service: Orchestrator) -> None:
    terminal.run("start", "deploy_pipeline", "--id", "live", "-p", "delay_s=1")
    command = [*SAGABUS, "watch", "live"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(SAGABUS_URL=terminal.url)
    ) as watching:
        assert watching.stdout is not None
        assert "WorkflowStarted" in watching.stdout.readline()
        assert service.instance("live")["status"] == "running"
        rest = watching.stdout.read()
        assert "WorkflowCompleted" in rest
        assert rest.splitlines()[-1].startswith("deploy_pipeline live completed")
        assert watching.wait(20) == 0


def test_waiting_stage_is_approved_once(terminal: Terminal) -> None:
    assert terminal.run("start", "release", "--id", "yes").strip() == "yes"
    terminal.until_waiting("yes")
    assert "sagabus approve yes deployment" in terminal.run("show", "yes")
    assert "approved" in terminal.run("approve", "yes", "deployment", "--reason", "looks good")
    done = terminal.read("start", "release", "--id", "yes", "--wait")
    approval = done["stages"][1]["approval"]
    assert (approval["decision"], approval["by"]) == ("approved", "ann")
    assert approval["reason"] == "looks good"
    assert "deployment" in terminal.refused("approve", "yes", "deployment")


def test_rejected_stage_fails_the_workflow(terminal: Terminal) -> None:
    terminal.run("start", "release", "--id", "no")
    terminal.until_waiting("no")
    reply = terminal.read("reject", "no", "deployment", "--reason", "too late")
    assert reply["result"]["decision"] == "rejected"
    failed = terminal.read("start", "release", "--id", "no", "--wait", code=1)
    assert failed["status"] == "failed"
    assert "too late" in failed["error_message"]


def test_cancelled_instance_is_undone(terminal: Terminal) -> None:
    terminal.run("start", "deploy_pipeline", "--id", "stop", "-p", "delay_s=3")
    until(
        lambda: "migrate_db" in terminal.read("show", "stop")["current_tasks"],
        "it is in its second stage",
    )
    assert "cancelled" in terminal.run("cancel", "stop", "--reason", "wrong branch")
    assert "cancelled" in terminal.refused("cancel", "stop")
    again = ("start", "deploy_pipeline", "--id", "stop", "-p", "delay_s=3")
    ended = terminal.read(*again, "--wait", code=1)
    assert (ended["status"], ended["rollback"]) == ("cancelled", "full")


def test_mistakes_are_one_line_that_says_what_to_do(terminal: Terminal) -> None:
    assert "nothing_like_it" in terminal.refused("start", "nothing_like_it")
    assert "nobody" in terminal.refused("show", "nobody")
    assert "nobody" in terminal.refused("history", "nobody")
    terminal.run("start", "deploy_pipeline", "--id", "taken", "--wait")
    assert "other parameters" in terminal.refused(
        "start", "deploy_pipeline", "--id", "taken", "-p", "a=1"
    )
    assert sagabus("start", "deploy_pipeline", "-p", "nonsense", url=terminal.url).returncode == 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    away = sagabus("list", url=url)
    assert away.returncode == 1
    assert url in away.stderr


def test_agents_and_doctor_say_what_is_there(terminal: Terminal, service: Orchestrator) -> None:
    agents = terminal.read("agents")["items"]
    assert sorted(role for agent in agents for role in agent["roles"]) == [
        "backend",
        "devops",
        "tester",
    ]
    assert "devops" in terminal.run("agents")
    where = ("--config", str(service.config), "--data", str(service.data))
    checks = {check["check"]: check for check in terminal.read("doctor", *where)["checks"]}
    assert {check["level"] for check in checks.values()} == {"ok"}
    assert "1 agent" in terminal.run("doctor", *where)


def test_validate_reports_every_mistake_with_its_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(WORKFLOWS)
    bad.write_text(WORKFLOWS.replace('agents = ["tester"]', 'agnets = ["tester"]\ntimeuot = 3'))
    assert sagabus("validate", good).returncode == 0
    done = sagabus("validate", bad)
    assert done.returncode == 1
    line = bad.read_text().splitlines().index('agnets = ["tester"]') + 1
    assert f"{bad}:{line}" in done.stdout
    assert f"{bad}:{line + 1}" in done.stdout
    report = json.loads(sagabus("validate", bad, "--json").stdout)
    assert not report["valid"]
    assert {line, line + 1} <= {problem["line"] for problem in report["problems"]}


def test_migrate_tells_and_applies(tmp_path: Path) -> None:
    before = json.loads(sagabus("migrate", "--status", "--data", tmp_path, "--json").stdout)
    assert {item["applied_at"] for item in before["items"]} == {None}
    assert sagabus("migrate", "--data", tmp_path).returncode == 0
    after = json.loads(sagabus("migrate", "--status", "--data", tmp_path, "--json").stdout)
    assert None not in {item["applied_at"] for item in after["items"]}
    assert "not yet" not in sagabus("migrate", "--status", "--data", tmp_path).stdout


def test_migrate_and_a_second_up_leave_a_running_one_alone(service: Orchestrator) -> None:
    for command in (["up", "--http", "127.0.0.1:0"], ["migrate", "--status"]):
        done = sagabus(*command, "--data", service.data)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert f"{service.data} is in use by process {service.pid}" in line
    assert service.health()["status"] == "ok"
    ended = sagabus("start", "deploy_pipeline", "--wait", url=service.url)
    assert ended.returncode == 0, ended.stderr


def test_ctrl_c_ends_everything_and_removes_the_endpoints(tmp_path: Path) -> None:
    with Orchestrator(tmp_path, WORKFLOWS, options=["--agents"]) as orchestrator:
        children = psutil.Process(orchestrator.pid).children(recursive=True)
        assert len(children) > DEMO_AGENTS
        sagabus("start", "deploy_pipeline", "-p", "delay_s=2", url=orchestrator.url)
        orchestrator.interrupt()
        assert orchestrator.ended() == 0
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        assert not (orchestrator.data / "endpoints.json").exists()
        assert "Traceback" not in orchestrator.log()
        # And what was under way goes on when it is started again.
        orchestrator.start()
        orchestrator.wait_ready()
        [item] = orchestrator.get("/api/v1/workflow-executions")["items"]
        assert item["status"] == "running"


@contextlib.contextmanager
def nobody_listens() -> Iterator[int]:
    """A port that nothing else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("missing", ["NATS", "SurrealDB"])
def test_missing_server_ends_the_start_in_time_with_address_and_remedy(
    tmp_path: Path, missing: str
) -> None:
    with NatsServer(tmp_path / "nats") as nats, nobody_listens() as port:
        address = f"127.0.0.1:{port}"
        env = {"SAGABUS_NATS_URL": f"nats://{address}"}
        if missing == "SurrealDB":
            env = {"SAGABUS_NATS_URL": nats.url, "SAGABUS_SURREAL_URL": f"ws://{address}/rpc"}
        began = time.monotonic()
        done = sagabus(
            *("orchestrator", "--connect-timeout", "2", "--log-level", "error"),
            *("--data", tmp_path / "data", "--http", "127.0.0.1:0"),
            **env,
        )
        assert 1.5 < time.monotonic() - began < 15
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert address in line
        assert f"start {missing}" in line


def test_server_that_comes_within_the_time_is_waited_for(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as nats:
        nats.stop()
        with Orchestrator(tmp_path, WORKFLOWS, nats_url=nats.url, is_awaited=False) as orchestrator:
            until(lambda: "waiting_for_connection" in orchestrator.log(), "it waits for NATS")
            nats.start()
            orchestrator.wait_ready()


def test_bad_workflows_file_ends_the_start_with_the_report(tmp_path: Path) -> None:
    config = tmp_path / "workflows.toml"
    config.write_text(WORKFLOWS.replace('agents = ["tester"]', 'agnets = ["tester"]\ntimeuot = 3'))
    done = sagabus("up", "--config", config, "--data", tmp_path / "data", "--http", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"{config}:" in done.stderr
    assert "agnets" in done.stderr
    assert "timeuot" in done.stderr
    assert "Traceback" not in done.stderr
