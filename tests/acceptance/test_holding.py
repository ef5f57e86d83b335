"""A role, a workflow and everything are paused from the command line, and survive ``kill -9``."""

import sys
from pathlib import Path

from tests.support.effects import read_effects
from tests.support.processes import Orchestrator, Program, until
from tests.support.terminal import Terminal

WORKFLOWS = """
[[workflows]]
name = "release"
[[workflows.stages]]
name = "make"
agents = ["claimed"]
compensation_agents = ["claimed"]
[[workflows.stages]]
name = "ship"
agents = ["shipper"]
start_timeout = 1
"""
COUNT = 5


def agent(role: str, orchestrator: Orchestrator) -> Program:
    directory = orchestrator.directory
    return Program(
        role,
        [
            *(sys.executable, "-m", "tests.support.effect_agent", role),
            *("--log", directory / "effects.jsonl"),
        ],
        directory,
        env={"SAGABUS_NATS_URL": orchestrator.nats_url},
    )


def begun(orchestrator: Orchestrator) -> list[tuple[str, str]]:
    lines = read_effects(orchestrator.directory)
    return [(line["instance"], line["stage"]) for line in lines if line["phase"] == "start"]


def start_all(orchestrator: Orchestrator, *ids: str) -> None:
    for id in ids:
        orchestrator.start_instance("release", id, {})


def test_tasks_of_a_paused_role_survive_a_kill_and_go_on_after_the_resume(tmp_path: Path) -> None:
    ids = [f"r{number}" for number in range(COUNT)]
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        terminal = Terminal(orchestrator)
        told = terminal.run("pause", "--role", "shipper", "--reason", "no fuel")
        assert told.startswith("role shipper is paused: its tasks wait")
        assert "to go on: sagabus resume --role shipper" in told
        refused = terminal.refused("pause", "--role", "shipper", "--reason", "other")
        assert "role 'shipper' is paused already, by ann since" in refused
        with agent("claimed", orchestrator), agent("shipper", orchestrator):
            start_all(orchestrator, *ids)
            until(lambda: len(begun(orchestrator)) == COUNT, "all are made")
            orchestrator.restart()
            [held] = orchestrator.health()["holds"]
            assert (held["kind"], held["name"], held["by"]) == ("role", "shipper", "ann")
            assert "role shipper since" in terminal.run("doctor", "--config", orchestrator.config)
            assert "no fuel" in terminal.run("holds")
            # Longer than they may wait for an agent: that time does not run.
            until(
                lambda: all(orchestrator.instance(id)["current_tasks"] == ["ship"] for id in ids),
                "all wait",
            )
        # Nobody took one, and nobody is there now.
        assert {stage for _, stage in begun(orchestrator)} == {"make"}
        with agent("claimed", orchestrator), agent("shipper", orchestrator):
            assert "its tasks are sent" in terminal.run("resume", "--role", "shipper")
            for id in ids:
                until(lambda id=id: orchestrator.at_end(id), f"{id} ends")
                assert orchestrator.instance(id)["status"] == "completed"
    assert sorted(begun(orchestrator)) == sorted(
        (id, stage) for id in ids for stage in ("make", "ship")
    )


def test_paused_orchestrator_sends_nothing_until_everything_is_resumed(tmp_path: Path) -> None:
    with Orchestrator(tmp_path, WORKFLOWS) as first:
        start_all(first, "old")
        until(lambda: first.instance("old")["current_tasks"] == ["make"], "it waits")
        first.interrupt()
        assert first.ended() == 0
    with Orchestrator(
        tmp_path, WORKFLOWS, options=["--paused"], env={"SAGABUS_USER": "ann"}
    ) as orchestrator:
        terminal = Terminal(orchestrator)
        paused = "paused     everything  (sagabus resume --all)"
        until(lambda: paused in orchestrator.log(), "it says so")
        with agent("claimed", orchestrator), agent("shipper", orchestrator):
            until(lambda: orchestrator.health()["agents"] == 2, "the agents are there")
            start_all(orchestrator, "new")
            orchestrator.restart()
            start_all(orchestrator, "newer")
            until(lambda: orchestrator.health()["agents"] == 2, "the agents are there")
            [held] = orchestrator.health()["holds"]
            assert (held["kind"], held["by"]) == ("all", "ann")
            assert begun(orchestrator) == []
            assert "everything goes on" in terminal.run("resume", "--all", "--reason", "fine")
            for id in ("old", "new", "newer"):
                until(lambda id=id: orchestrator.at_end(id), f"{id} ends")
                assert orchestrator.instance(id)["status"] == "completed"
            nothing = "nothing is paused beyond single instances"
            assert terminal.run("holds").strip() == nothing
            assert "not everything is paused" in terminal.refused("resume", "--all")
    assert len(begun(orchestrator)) == 6


def test_paused_workflow_goes_on_but_for_what_was_paused_one_by_one(tmp_path: Path) -> None:
    with (
        Orchestrator(tmp_path, WORKFLOWS) as orchestrator,
        agent("shipper", orchestrator),
    ):
        terminal = Terminal(orchestrator)
        start_all(orchestrator, "one", "two")
        terminal.run("pause", "one")
        told = terminal.run("pause", "--workflow", "release", "--limit", "5", "--dry-run")
        assert "1 would be paused; nothing was touched" in told
        assert orchestrator.instance("two")["status"] != "paused"
        assert "new ones start paused" in terminal.run("pause", "--workflow", "release")
        start_all(orchestrator, "three")
        assert {orchestrator.instance(id)["status"] for id in ("two", "three")} == {"paused"}
        assert "paused one by one" in terminal.run("resume", "--workflow", "release")
        assert orchestrator.instance("one")["status"] == "paused"
        assert "1 go on" in terminal.run("resume", "--workflow", "release", "--status", "paused")
        with agent("claimed", orchestrator):
            for id in ("one", "two", "three"):
                until(lambda id=id: orchestrator.at_end(id), f"{id} ends")
                assert orchestrator.instance(id)["status"] == "completed"
