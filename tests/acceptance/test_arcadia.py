"""The third seed's runner: lists of steps, an accumulating context, a ledger, and an undo that
survives kill -9. Its live smoke, and what its notes promise, with real processes."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagabus_agents import Saga
from sagabus_agents.examples.steps import happy, unhappy
from tests.support.engine import ended, owners, shorten_grace
from tests.support.processes import Orchestrator, Program, until
from tests.support.saga_agent import ROLE, SAGAS
from tests.support.worlds import RealWorld, open_world

WORKFLOWS = 'include = ["sagas/*.yaml"]\n'
#: What a step puts: together more than a message holds, or an expression may make.
LARGE = 700_000

Line = dict[str, Any]


class Stage:
    """Where sagas are played: their definitions, an agent, and what it has written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "lines.jsonl"
        self.config = directory / "workflows.toml"
        self.config.write_text(WORKFLOWS)
        (directory / "sagas").mkdir()
        for each in (*SAGAS, happy):
            each.write(directory / "sagas" / f"{each.name}.yaml")

    def agent(self, nats_url: str) -> Program:
        """The agent of the sagas that this file's tests look into."""
        command = [sys.executable, "-m", "tests.support.saga_agent", "--log", self.log]
        return Program("agent", command, self.directory, env={"SAGABUS_NATS_URL": nats_url})

    def held(self, id: str, at: str) -> tuple[Path, dict[str, Any]]:
        """A file, and inputs with which the step ``at`` waits for as long as it is there."""
        hold = self.directory / f"hold-{id}"
        hold.touch()
        return hold, {"hold": str(hold), "hold_at": at}

    def lines(self, id: str) -> list[Line]:
        """What was done for an instance, in order."""
        if not self.log.exists():
            return []
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if line["instance"] == id]

    def until_started(self, id: str, stage: str, *, is_undo: bool = False, times: int = 1) -> None:
        def look() -> bool:
            begun = [
                line
                for line in self.lines(id)
                if (line["phase"], line["stage"], line["is_undo"]) == ("start", stage, is_undo)
            ]
            return len(begun) >= times

        until(look, f"{stage} of {id} has begun")

    def done(self, id: str) -> list[str]:
        """Stages in the order in which their work ended, their undos with a minus in front."""
        return [
            f"-{line['stage']}" if line["is_undo"] else line["stage"]
            for line in self.lines(id)
            if line["phase"] == "end"
        ]


class Play(Stage):
    """The same with an orchestrator as a process of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.orchestrator = Orchestrator(directory, WORKFLOWS)

    def start(self, workflow: str, id: str, hold_at: str = "", **inputs: Any) -> Path:
        """Start an instance; the file for as long as which the step at ``hold_at`` waits."""
        hold, given = self.held(id, hold_at)
        self.orchestrator.start_instance(workflow, id, given | inputs)
        return hold

    def command(self, id: str, name: str, **document: Any) -> None:
        path = f"/api/v1/workflow-executions/{id}/{name}"
        self.orchestrator.post(path, {"by": "ann", **document})

    def at_end(self, id: str) -> dict[str, Any]:
        """The instance, once it has ended."""
        found: dict[str, Any] = until(lambda: self.orchestrator.at_end(id), f"{id} has ended")
        return found

    def ledger(self, id: str) -> list[dict[str, Any]]:
        """Its ledger: an entry per attempt."""
        path = f"/api/v1/workflow-executions/{id}/ledger"
        return list(self.orchestrator.get(path)["items"])


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    found = Play(tmp_path_factory.mktemp("arcadia"))
    with found.orchestrator as orchestrator:
        env = {"SAGABUS_NATS_URL": orchestrator.nats_url}
        command = [sys.executable, "-m", "sagabus_agents.examples.steps", found.directory]
        steps = Program("steps", command, found.directory, env=env)
        with steps, found.agent(orchestrator.nats_url):
            yield found


def register(orchestrator: Orchestrator, made: Saga) -> None:
    """As a program does it that has no file of the orchestrator's to write."""
    url = f"{orchestrator.url}/api/v1/workflows/{made.name}"
    httpx.put(url, json=made.definition, trust_env=False).raise_for_status()


def test_echo_echo_echo_completes_and_its_context_has_accumulated(play: Play) -> None:
    play.orchestrator.start_instance(happy.name, "happy", {"message": "hello"})
    ended = play.at_end("happy")
    assert ended["status"] == "completed"
    context = {key: said for put in ended["output"].values() for key, said in put.items()}
    assert context == {f"echoed_at_step_{step_idx}": "hello" for step_idx in range(3)}


def test_echo_echo_fail_is_rolled_back_and_its_ledger_says_how(play: Play) -> None:
    register(play.orchestrator, unhappy)
    play.orchestrator.start_instance(unhappy.name, "unhappy", {"message": "hello"})
    ended = play.at_end("unhappy")
    assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
    error = ended["error"]
    assert (error["compensate_from_idx"], error["reason"]) == (1, "step_failed:fail")
    forward = [entry for entry in play.ledger("unhappy") if entry["kind"] == "task"]
    assert [entry["action"].rpartition("/")[2] for entry in forward] == ["echo", "echo_2", "fail_"]
    assert [entry["step_status"] for entry in forward] == ["compensated", "compensated", "failed"]


def test_cancel_between_steps_undoes_what_was_done_and_does_no_more(play: Play) -> None:
    hold = play.start("three_acts", "between", "act_2")
    play.until_started("between", "act_2")
    play.command("between", "pause")
    hold.unlink()
    until(lambda: play.done("between") == ["act", "act_2"], "the second step has ended")
    play.command("between", "cancel", reason="changed my mind")
    ended = play.at_end("between")
    assert (ended["status"], ended["rollback"]) == ("cancelled", "full")
    assert ended["error"]["reason"] == "cancelled"
    assert play.done("between") == ["act", "act_2", "-act_2", "-act"]


def test_cancel_within_a_step_undoes_that_step_too(play: Play) -> None:
    play.start("three_acts", "within", "act_2")
    play.until_started("within", "act_2")
    play.command("within", "cancel", reason="changed my mind")
    ended = play.at_end("within")
    assert (ended["status"], ended["rollback"]) == ("cancelled", "full")
    assert play.done("within") == ["act", "-act_2", "-act"]


def test_raised_exception_triggers_compensation_and_is_named(play: Play) -> None:
    play.start("exploding", "bang")
    ended = play.at_end("bang")
    assert ended["status"] == "rolled_back"
    error = ended["error"]
    assert (error["type"], error["message"]) == ("ZeroDivisionError", "nothing to divide among 2")
    assert play.done("bang") == ["act", "act_2", "-act_2", "-act"]
    # Each compensation saw the context as its step left it.
    seen = [line["seen"] for line in play.lines("bang") if line["phase"] == "start"]
    assert seen == [[], ["act"], ["act", "act_2"], ["act"]]


def test_large_context_travels_from_step_to_step_and_to_the_undo(play: Play) -> None:
    play.start("exploding", "heavy", padding=LARGE)
    assert play.at_end("heavy")["status"] == "rolled_back"
    assert play.done("heavy") == ["act", "act_2", "-act_2", "-act"]


def test_saga_goes_on_at_the_step_it_was_killed_at(play: Play) -> None:
    hold = play.start("three_acts", "reentry", "act_2")
    play.until_started("reentry", "act_2")
    play.orchestrator.restart()
    hold.unlink()
    assert play.at_end("reentry")["status"] == "completed"
    # No step was begun twice, and the context has come through.
    begun = [line for line in play.lines("reentry") if line["phase"] == "start"]
    assert [line["stage"] for line in begun] == ["act", "act_2", "act_3"]
    assert [line["seen"] for line in begun] == [[], ["act"], ["act", "act_2"]]


def test_compensation_goes_on_after_the_orchestrator_was_killed(play: Play) -> None:
    hold = play.start("exploding", "undo", "undo:act_2")
    play.until_started("undo", "act_2", is_undo=True)
    assert play.orchestrator.instance("undo")["status"] == "compensating"
    play.orchestrator.restart()
    hold.unlink()
    assert play.at_end("undo")["status"] == "rolled_back"
    assert play.done("undo") == ["act", "act_2", "-act_2", "-act"]


async def test_compensation_of_a_killed_agent_is_done_by_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An orchestrator in this process, for which agents are gone sooner.
    stage = Stage(tmp_path)
    shorten_grace(monkeypatch, 0.3)
    async with open_world("real", tmp_path) as world, owners(stage.config, world) as own:
        assert isinstance(world, RealWorld)
        owner = await own()
        await world.deliver_again_after(ROLE, 1.0)
        with stage.agent(world.server.url) as agent:
            hold, inputs = stage.held("undo", "undo:act_2")
            await owner.facade.start("exploding", inputs, id="undo")
            begun = ("undo", "act_2")
            await asyncio.to_thread(stage.until_started, *begun, is_undo=True)
            agent.kill()
            agent.start()
            await asyncio.to_thread(stage.until_started, *begun, is_undo=True, times=2)
            hold.unlink()
            state = await ended(world.store, "undo")
    assert state.row.status == "rolled_back"
    assert stage.done("undo") == ["act", "act_2", "-act_2", "-act"]
    # The second run of it was given the key of the first, and no other task was.
    keys = [line["key"] for line in stage.lines("undo") if line["phase"] == "start"]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 4
