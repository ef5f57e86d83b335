"""The packages as a user installs them: built here, installed elsewhere, run from there."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import nats
import pytest

from sagabus.adapters.nats_streams import stream_configs
from sagabus_agents import wire
from tests.support.nats_server import NatsServer

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
#: An installation may have to download; not what is measured here.
INSTALL_S = 300.0


def foreign_env(venv: Path, **more: str) -> dict[str, str]:
    """An environment in which nothing of this repository can be found."""
    ours = ("PYTHON", "SAGABUS_URL", "SAGABUS_NATS", "SAGABUS_DATA", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return env | {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"} | more


def run(venv: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [venv / "bin" / program, *arguments],
        cwd=cwd,
        env=foreign_env(venv),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, its output in ``cwd/output.txt``, killed at the end if it still runs."""
    with (cwd / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    except BaseException as error:
        error.add_note((cwd / "output.txt").read_text(errors="replace")[-4000:])
        raise
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert process.poll() is None, f"ended with status {process.returncode}"
        assert time.monotonic() < deadline, f"nothing after {WAIT_S:.0f} s"
        time.sleep(0.02)


def build(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", *map(str, arguments), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def install(venv: Path, wheel: Path, extra: str = "") -> Path:
    """A fresh environment with the wheel, and nothing but what it asks for."""
    # Without its own pip, and filled by ours: the same result in a fraction of the time.
    make = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    fill = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install"]
    for command in (make, [*fill, "-qq", "--disable-pip-version-check", f"{wheel}{extra}"]):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return venv


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    build("--wheel", "--outdir", target)
    [path] = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("bare") / "venv", wheel)


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("full") / "venv", wheel, "[orchestrator]")


def content(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def data_files(directory: str) -> set[str]:
    return {
        f"sagabus/_data/{path.relative_to(ROOT)}"
        for path in (ROOT / directory).rglob("*")
        if path.is_file()
    }


def test_wheel_carries_both_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    names = content(wheel)
    assert {"sagabus/py.typed", "sagabus_agents/py.typed", "sagabus_agents/wire.py"} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "sagabus",
        "sagabus_agents",
    }
    data = {name for name in names if name.startswith("sagabus/_data/")}
    assert data == data_files("migrations") | data_files("config")
    assert "sagabus/_data/migrations/001_workflow_state.surql" in data
    assert "sagabus/_data/config/workflows.toml" in data


def test_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build("--outdir", tmp_path)  # the source distribution, then the wheel from it
    [from_source] = tmp_path.glob("*.whl")
    assert content(from_source) == content(wheel)


def test_bare_install_is_the_agent_sdk_alone(bare: Path, tmp_path: Path) -> None:
    program = (
        "import importlib.util as util, sagabus_agents as sdk\n"
        "print(sdk.__file__)\n"
        "print([name for name in ('typer', 'surrealdb', 'fastapi', 'cedarpy', 'jinja2')"
        " if util.find_spec(name)])\n"
    )
    done = run(bare, tmp_path, "python", "-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr
    place, found = done.stdout.splitlines()
    assert Path(place).is_relative_to(bare)
    assert found == "[]"


def test_bare_command_offers_agents_and_says_what_the_rest_needs(
    bare: Path, tmp_path: Path
) -> None:
    offered = run(bare, tmp_path, "sagabus", "--help")
    assert offered.returncode == 0, offered.stderr
    assert "agent" in offered.stdout
    refused = run(bare, tmp_path, "sagabus", "up")
    assert refused.returncode == 2
    assert "pip install 'sagabus[orchestrator]'" in refused.stderr
    assert "Traceback" not in refused.stderr


AGENT = """
from sagabus_agents import Agent, Task

agent = Agent("greeter")


@agent.task("greet")
def greet(task: Task, who: dict) -> dict:
    task.artifact("greeting-1")
    return {"said": "hello " + who["name"]}


agent.run()
"""


async def test_an_agent_works_on_the_bare_sdk(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text(AGENT, encoding="utf-8")
    task = wire.TaskMessage(
        type=wire.TaskType.TASK,
        stage_name="welcome",
        workflow_id="first",
        workflow="welcoming",
        task="welcome-1-0",
        attempt=1,
        role="greeter",
        action="greet",
        input={"name": "world"},
        idempotency_key="first-welcome-1-0",
        trace="",
    )
    with (
        NatsServer(tmp_path / "nats") as server,
        started(
            [bare / "bin" / "python", "greeter.py"],
            cwd=tmp_path,
            env=foreign_env(bare, SAGABUS_NATS_URL=server.url),
        ) as agent,
    ):
        async with await nats.connect(server.url) as client:
            jetstream = client.jetstream()
            for config in stream_configs(partitions=1, replicas=1):
                await jetstream.add_stream(config)
            results = await client.subscribe(wire.inbox_subject("first", "greeter"))
            subject = wire.task_subject("greeter", task.workflow_id, task.task, task.attempt)
            await jetstream.publish(subject, task.model_dump_json().encode())
            message = await results.next_msg(timeout=WAIT_S)
        result = wire.ResultMessage.model_validate_json(message.data)
        assert result.status is wire.ResultStatus.SUCCEEDED, result
        assert result.output == {"said": "hello world"}
        assert result.artifacts == ["greeting-1"]
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(WAIT_S) == 0


@pytest.mark.timeout(INSTALL_S + 120)
def test_full_install_runs_a_workflow_from_an_empty_directory(full: Path, tmp_path: Path) -> None:
    endpoints = tmp_path / ".sagabus" / "endpoints.json"
    up = [full / "bin" / "sagabus", "up", "--agents", "--http", "127.0.0.1:0"]
    with started(up, cwd=tmp_path, env=foreign_env(full)) as orchestrator:
        wait_for(endpoints.exists, orchestrator)
        done = run(full, tmp_path, "sagabus", "start", "deploy_pipeline", "--wait", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["status"] == "completed"
        orchestrator.send_signal(signal.SIGINT)
        assert orchestrator.wait(WAIT_S) == 0
    assert not endpoints.exists()
