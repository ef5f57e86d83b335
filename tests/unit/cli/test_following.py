"""An instance that is followed: why it stands is said, and the time that it is given ends."""

from types import SimpleNamespace
from typing import cast

import pytest
import typer

from sagabus.cli import follow
from sagabus.cli.client import Api


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    for name in ("_QUIET_S", "_FIRST_S", "_POLL_S"):
        monkeypatch.setattr(follow, name, 0.02)


def until_ended(follower):
    return follower.until_ended()


def to_the_last_entry(follower):
    for _ in follower.entries():
        pass


FOLLOWING = pytest.mark.parametrize("go", [until_ended, to_the_last_entry])


@FOLLOWING
def test_why_it_stands_is_said_once_and_the_time_ends(remote, capsys, monkeypatch, go):
    remote.do(remote.orchestrator.start("release", id="run-1"))
    tell = follow.Follower._stands
    looks = 0

    def stands(follower):
        nonlocal looks
        tell(follower)
        looks += 1
        if looks == 3:
            follower._began -= 120

    monkeypatch.setattr(follow.Follower, "_stands", stands)
    with pytest.raises(typer.Exit) as ended:
        go(follow.Follower(Api(remote.url), "run-1", timeout_s=120))
    assert ended.value.exit_code == follow.TIMED_OUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "stage 'publish' of 'release' waits for approval (Ship it?); "
        "next: sagabus approve run-1 publish, or sagabus reject run-1 publish --reason TEXT",
        "run-1 has not ended in 2 min 00 s; it goes on: sagabus watch run-1",
    ]
    assert remote.orchestrator.states["run-1"].row.status == "waiting"


@FOLLOWING
def test_another_cause_is_said_too(remote, capsys, monkeypatch, go):
    remote.do(remote.orchestrator.start("release", id="run-1"))
    tell = follow.Follower._stands
    looks = 0

    def stands(follower):
        nonlocal looks
        tell(follower)
        looks += 1
        if looks == 2:
            remote.do(remote.orchestrator.approve_stage("run-1", "publish"))
        if looks == 4:
            remote.do(remote.orchestrator.succeed("run-1"))

    monkeypatch.setattr(follow.Follower, "_stands", stands)
    go(follow.Follower(Api(remote.url), "run-1"))
    approval, no_agent = capsys.readouterr().err.splitlines()
    assert "waits for approval" in approval
    assert no_agent.startswith("no agent of role 'devops' is alive")
    assert no_agent.endswith("next: start an agent of role devops")


def test_what_is_worked_on_and_what_it_waits_for_below():
    running = {"id": "i1", "is_standing": False, "causes": [], "below": []}
    assert follow._standing_cause(running) is None
    stuck = {"cause": "no_agent", "is_standing": True}
    child = {"id": "c1", "is_standing": True, "causes": [stuck], "below": []}
    calls = {"cause": "sub_workflow", "is_standing": False}
    above = {"id": "i1", "is_standing": True, "causes": [calls], "below": [running, child]}
    assert follow._standing_cause(above) == {**stuck, "id": "c1"}


def test_what_is_next_is_said_when_it_is_something_else(capsys):
    """Two outcomes of a stage are unknown: one is resolved, and then there is the other."""
    cause = {"cause": "intent_unknown", "stage": "pays", "role": None, "message": "not known"}
    found = [
        {"id": "i1", "is_standing": True, "below": [], "causes": [{**cause, **more}]}
        for more in [
            {"is_standing": True, "since": "2026-01-01", "next": f"resolve {task}"}
            for task in ("pays-1-0/1", "pays-1-0/1", "pays-1-1/1")
        ]
    ]
    api = SimpleNamespace(get=lambda _: found.pop(0))
    follower = follow.Follower(cast(Api, api), "i1")
    for _ in range(3):
        follower._stands()
    assert capsys.readouterr().err.splitlines() == [
        "not known; next: resolve pays-1-0/1",
        "not known; next: resolve pays-1-1/1",
    ]


def test_a_time_is_for_waiting(sagabus, remote):
    found = sagabus("start", "release", "--timeout", "2m", "--url", remote.url)
    assert found.returncode == 2
    assert "--timeout: belongs to --wait" in found.stderr
    found = sagabus("watch", "run-1", "--timeout", "soon", "--url", remote.url)
    assert found.returncode == 2
    assert "soon" in found.stderr


def test_the_exit_code_says_that_the_time_is_up(sagabus, remote):
    found = sagabus("start", "release", "--wait", "--timeout", "0.1s", "--url", remote.url)
    assert found.returncode == 4
    assert "it goes on: sagabus watch" in found.stderr


def test_a_line_of_the_history_says_what_was_handled_and_published_and_which_stage_failed_it():
    def line(type_, **data):
        entry = {"at": "2030-01-01T10:00:00.500Z", "type": type_, "data": data}
        return follow.line_of(entry).split("  ", 1)[1]

    error = {"type": "boom", "message": "told to fail"}
    failed = {"stage": "c", "error": error, "duration_s": 1.0}
    assert line("StageFailed", **failed, is_handled=True, next=["d", "e"]) == (
        "StageFailed             stage=c  handled  next=d, e  1.0 s  boom: told to fail"
    )
    assert line("StageFailed", **failed, is_handled=False) == (
        "StageFailed             stage=c  1.0 s  boom: told to fail"
    )
    assert line("VariablesPublished", stage="c", variables=["n", "log"]) == (
        "VariablesPublished      stage=c  variables=n, log"
    )
    assert line("WorkflowFailed", error={**error, "stage": "c"}, status="rolled_back") == (
        "WorkflowFailed          status=rolled_back  boom: stage c: told to fail"
    )


def test_the_line_of_an_end_names_the_stage_unless_the_message_does(capsys):
    instance = {"workflow": "w", "id": "i", "status": "failed", "summary": "failed"}
    for stage, message, said in (
        ("hi", "'times' does not fit", "stage hi: 'times' does not fit"),
        ("hi", "stage 'hi' joins 2 of a, b", "stage 'hi' joins 2 of a, b"),
        ("hi", "stage 'high' is broken", "stage hi: stage 'high' is broken"),
        (None, "the workflow took longer than 2 s", "the workflow took longer than 2 s"),
    ):
        error = {"stage": stage, "message": message}
        follow.say_end({**instance, "duration_s": None, "error": error})
        assert capsys.readouterr().out == f"w i failed: {said}\n"
