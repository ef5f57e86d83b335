"""`sagabus up` as a process: ready, alone on its directory, and gone without a trace."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

PROGRAM = "import sys; from sagabus.cli.main import main; sys.exit(main())"
END_S = 20.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *arguments]


def sagabus(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=directory, capture_output=True, text=True, timeout=60
    )


@contextmanager
def up(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("up", "--http", "127.0.0.1:0", "--log-level", "error", *arguments),
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(END_S)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, errors = process.communicate(timeout=END_S)
    _, alive = psutil.wait_procs(children, timeout=END_S)
    assert not alive
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ready_announces_itself_and_ends_cleanly(tmp_path, number):
    with up(tmp_path, "--json") as process:
        ready = json.loads(first_line(process))
        announced = json.loads((tmp_path / ".sagabus" / "endpoints.json").read_text())
        assert ready == announced
        assert ready["pid"] == process.pid
        assert httpx.get(f"{ready['http']}/health").json()["status"] == "ok"
        below = tmp_path / "deep" / "below"
        below.mkdir(parents=True)
        assert sagabus(below, "list", "--json").returncode == 0
        assert ended(process, number) == (0, "")
    assert not (tmp_path / ".sagabus" / "endpoints.json").exists()
    assert sagabus(tmp_path, "list").returncode == 1


def test_second_one_on_the_same_directory_is_refused_and_the_first_unharmed(tmp_path):
    with up(tmp_path, "--json") as first:
        ready = json.loads(first_line(first))
        with up(tmp_path) as second:
            out, errors = second.communicate(timeout=END_S)
        assert second.returncode == 1
        assert not out
        assert re.fullmatch(rf"sagabus: \.sagabus is in use by process {first.pid}: .*\n", errors)
        assert json.loads((tmp_path / ".sagabus" / "endpoints.json").read_text()) == ready
        assert httpx.get(f"{ready['http']}/health").status_code == 200


def test_taken_port_is_one_line_and_leaves_nothing_behind(tmp_path):
    with up(tmp_path / "..", "--data", str(tmp_path / "one"), "--json") as first:
        address = json.loads(first_line(first))["http"].removeprefix("http://")
        with up(tmp_path, "--data", str(tmp_path / "two"), "--http", address) as second:
            _, errors = second.communicate(timeout=END_S)
        assert second.returncode == 1
        assert errors.startswith(f"sagabus: cannot listen on {address}")
        assert len(errors.splitlines()) == 1
        assert not (tmp_path / "two" / "endpoints.json").exists()


def test_signal_while_it_starts_ends_it_cleanly(tmp_path):
    with up(tmp_path) as process:
        lock = tmp_path / ".sagabus" / "lock"
        while process.poll() is None and not (lock.exists() and lock.read_text()):
            os.sched_yield()
        assert ended(process, signal.SIGTERM) == (0, "")


def test_killed_one_takes_its_children_along_and_can_be_started_again(tmp_path):
    with up(tmp_path, "--json", "--agents") as process:
        first_line(process)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=END_S)
        assert not alive
    with up(tmp_path, "--json") as process:
        assert json.loads(first_line(process))["pid"] == process.pid


def test_demo_agents_run_the_pipeline(tmp_path):
    with up(tmp_path, "--json", "--agents") as process:
        first_line(process)
        done = sagabus(tmp_path, "start", "deploy_pipeline", "--wait", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"] == "completed"
        assert ended(process, signal.SIGTERM)[0] == 0


def test_wait_and_watch_survive_a_restart_on_another_port(tmp_path):
    with up(tmp_path, "--json", "--agents") as process:
        first_line(process)
        arguments = ("deploy_pipeline", "--id", "run-1", "-p", "delay_s=1")
        waiting = subprocess.Popen(command("start", *arguments, "--wait"), cwd=tmp_path)
        while sagabus(tmp_path, "show", "run-1").returncode:
            assert waiting.poll() is None
        watching = subprocess.Popen(
            command("watch", "run-1", "--json"), cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        assert "WorkflowStarted" in first_line(watching)
        process.kill()
        process.wait()
    with up(tmp_path, "--json", "--agents") as process:
        first_line(process)
        assert waiting.wait(60) == 0
        assert watching.wait(60) == 0
        # Not `communicate`: it does not see what came together with the first line.
        with watching.stdout as lines:
            numbers = [json.loads(line)["seq"] for line in lines]
        assert numbers == list(range(2, len(numbers) + 2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nats-url", "nats://u:hunter2@127.0.0.1:1"], ["127.0.0.1:1", "start NATS there"]),
        (
            ["--nats-url", "nats://127.0.0.1:1", "--surreal-url", "ws://127.0.0.1:1/rpc"],
            ["ws://127.0.0.1:1/rpc", "start SurrealDB there"],
        ),
    ],
)
def test_missing_server_ends_it_with_one_line_that_names_address_and_remedy(
    tmp_path, arguments, words
):
    bounded = ("--connect-timeout", "0.5", "--http", "127.0.0.1:0", "--log-level", "error")
    found = sagabus(tmp_path, "orchestrator", *arguments, *bounded)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert all(word in found.stderr for word in words)
    assert "hunter2" not in found.stderr
