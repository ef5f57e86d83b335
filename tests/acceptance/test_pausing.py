"""A pause is kept in the instances below, over the death of the orchestrator, until the resume."""

import json
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.support.effects import read_effects
from tests.support.nats_gate import NatsGate
from tests.support.nats_server import NatsServer
from tests.support.processes import Orchestrator, Program, sagabus, until

WORKFLOWS = """
[[workflows]]
name = "release"

[[workflows.stages]]
name = "announce"
agents = ["claimed"]
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "deliver"
action = "delivery"
with_items = ["eu", "us"]
input = {region = "{{ item }}", slow = "{{ parameters.slow }}"}

[[workflows.stages]]
name = "celebrate"
agents = ["claimed"]
compensation_agents = ["claimed"]

[[workflows]]
name = "delivery"

[[workflows.stages]]
name = "prepare"
agents = ["claimed"]
approval_required = true
input = {slow = "{{ 'prepare' if parameters.region == parameters.slow else '' }}", slow_s = 6}
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "ship"
agents = ["claimed"]
compensation_agents = ["claimed"]
"""
#: What the release and the deliveries to both regions do, by stage.
WORK = Counter(announce=1, prepare=2, ship=2, celebrate=1)

SENT = {"TaskScheduled", "CompensationScheduled"}


def agent(directory: Path, nats_url: str) -> Program:
    return Program(
        "agent",
        [
            *(sys.executable, "-m", "tests.support.effect_agent", "claimed"),
            *("--log", directory / "effects.jsonl"),
        ],
        directory,
        env={"SAGABUS_NATS_URL": nats_url},
    )


def approve(orchestrator: Orchestrator, id: str) -> None:
    path = f"/api/v1/workflow-executions/{id}/approve"
    orchestrator.post(path, {"stage": "prepare", "by": "ann"})


def run(orchestrator: Orchestrator, *arguments: str) -> str:
    """What a command of the command line prints."""
    done = sagabus(*arguments, url=orchestrator.url, SAGABUS_USER="ann")
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def shown(orchestrator: Orchestrator, id: str) -> dict[str, Any]:
    """``sagabus show``, as JSON."""
    found: dict[str, Any] = json.loads(run(orchestrator, "show", id, "--json"))
    return found


def waiting_deliveries(orchestrator: Orchestrator, top: str) -> list[str]:
    """Ids of both deliveries, in the order of their regions, once they wait for their approval."""
    tree = orchestrator.get(f"/api/v1/workflow-executions/{top}/tree")
    children = sorted(tree["children"], key=lambda child: child["task"])
    waiting = [one["instance"]["id"] for one in children if one["instance"]["status"] == "waiting"]
    return waiting if len(waiting) == 2 else []


def are_paused(orchestrator: Orchestrator, ids: list[str]) -> bool:
    return {orchestrator.instance(id)["status"] for id in ids} == {"paused"}


def starts_of(directory: Path, id: str) -> list[str]:
    """Stages that an agent has begun for an instance."""
    lines = read_effects(directory)
    return [x["stage"] for x in lines if (x["instance"], x["phase"]) == (id, "start")]


def types_of(orchestrator: Orchestrator, id: str) -> list[str]:
    """What happened to an instance, in its order."""
    return [event["type"] for event in orchestrator.history(id)]


def assert_nothing_was_sent_while_paused(types: list[str]) -> None:
    paused, resumed = types.index("WorkflowPaused"), types.index("WorkflowResumed")
    assert not SENT & set(types[paused:resumed]), types
    assert SENT & set(types[resumed:]), types
    assert (types.count("WorkflowPaused"), types.count("WorkflowResumed")) == (1, 1)


def assert_all_was_done_once(directory: Path) -> None:
    begun = [line for line in read_effects(directory) if line["phase"] == "start"]
    assert Counter(line["stage"] for line in begun) == WORK
    tasks = Counter((line["instance"], line["task"]) for line in begun)
    assert set(tasks.values()) == {1}, tasks.most_common(3)


def test_pause_holds_below_and_over_a_kill_until_the_resume(tmp_path: Path) -> None:
    with (
        Orchestrator(tmp_path, WORKFLOWS) as orchestrator,
        agent(tmp_path, orchestrator.nats_url),
    ):
        orchestrator.start_instance("release", "top", {"slow": "eu"})
        eu, us = until(lambda: waiting_deliveries(orchestrator, "top"), "both deliveries wait")
        family = ["top", eu, us]
        approve(orchestrator, eu)
        until(lambda: starts_of(tmp_path, eu), "the first delivery is prepared")

        assert "top: paused" in run(orchestrator, "pause", "top", "--reason", "the freeze")
        until(lambda: are_paused(orchestrator, family), "those below are paused")
        # An approval is taken, and what it allows is held back as well.
        approve(orchestrator, us)
        orchestrator.restart()

        paused = shown(orchestrator, "top")["paused"]
        assert (paused["by"], paused["reason"]) == ("ann", "the freeze")
        assert shown(orchestrator, us)["paused"]["by"] == "top"
        # What ran goes on to its end, and nothing follows.
        until(lambda: "TaskCompleted" in types_of(orchestrator, eu), "it is prepared")
        assert are_paused(orchestrator, family)
        assert starts_of(tmp_path, eu) == ["prepare"]
        assert starts_of(tmp_path, us) == []
        assert orchestrator.instance("top")["current_tasks"] == ["deliver"]

        assert "top: goes on" in run(orchestrator, "resume", "top")
        for id in ("top", eu, us):
            until(lambda id=id: orchestrator.at_end(id), f"{id} ends")
            assert orchestrator.instance(id)["status"] == "completed"
            assert orchestrator.instance(id)["paused"] is None
            assert_nothing_was_sent_while_paused(types_of(orchestrator, id))
    assert_all_was_done_once(tmp_path)


def test_pause_that_was_stored_and_not_passed_on_is_passed_on_after_the_crash(
    tmp_path: Path,
) -> None:
    with (
        NatsServer(tmp_path / "nats") as nats,
        NatsGate(nats.port) as gate,
        Orchestrator(tmp_path, WORKFLOWS, nats_url=gate.url) as orchestrator,
        agent(tmp_path, nats.url),
    ):
        orchestrator.start_instance("release", "top", {"slow": ""})
        below = until(lambda: waiting_deliveries(orchestrator, "top"), "both deliveries wait")
        gate.hold(b"._command ", after=1)  # the pause itself passes
        with suppress(httpx.HTTPError):  # its answer may be held
            orchestrator.post("/api/v1/workflow-executions/top/pause", {"by": "ann"})
        assert gate.is_held.wait(30)
        orchestrator.kill()
        gate.release()
        orchestrator.start()
        orchestrator.wait_ready()
        until(lambda: are_paused(orchestrator, ["top", *below]), "those below are paused")
        for id in below:
            approve(orchestrator, id)
        orchestrator.post("/api/v1/workflow-executions/top/resume", {"by": "ann"})
        for id in ("top", *below):
            until(lambda id=id: orchestrator.at_end(id), f"{id} ends")
            assert orchestrator.instance(id)["status"] == "completed"
            assert_nothing_was_sent_while_paused(types_of(orchestrator, id))
    assert_all_was_done_once(tmp_path)
