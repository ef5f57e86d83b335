"""What went wrong is put right from the command line, against a running orchestrator."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Orchestrator, Program, until
from tests.support.scripted_agent import read_lines
from tests.support.terminal import Terminal

WORKFLOWS = """
[[workflows]]
name = "build"
[[workflows.stages]]
name = "compile"
agents = ["backend"]
[[workflows.stages]]
name = "test"
agents = ["tester"]
input = {level = "{{ parameters.level | default(0) }}"}

[[workflows]]
name = "changing"
[[workflows.stages]]
name = "compile"
agents = ["backend"]
[[workflows.stages]]
name = "test"
agents = ["tester"]
timeout = 5

[[workflows]]
name = "provision"
[[workflows.stages]]
name = "network"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "machine"
agents = ["devops"]
compensation_agents = ["devops"]

[[workflows]]
name = "stuck"
[[workflows.stages]]
name = "network"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "wait"
agents = ["nobody"]
[[workflows.stages]]
name = "tell"
agents = ["tester"]
input = {heard = "{{ stage.wait.result }}"}

[[workflows]]
name = "pay"
[[workflows.stages]]
name = "transfer"
agents = ["bank"]
classification = "final"
"""
UNKNOWN = {"refused": ["unknown_outcome", "the line went dead"]}
BROKEN = {"refused": ["Broken", "no"]}
SCRIPT = {
    **{f"{id}/test-1-0": BROKEN for id in ("again", "param", "changed", "many-1", "many-2")},
    **{f"{id}/transfer": [UNKNOWN, {}] for id in ("paid", "unpaid", "repaid")},
}


class Shop(Terminal):
    """The terminal, and the agents' log."""

    def __init__(self, orchestrator: Orchestrator, log: Path) -> None:
        super().__init__(orchestrator)
        self.orchestrator = orchestrator
        self._log = log

    def work(self, id: str, stage: str, kind: str = "task") -> list[dict[str, Any]]:
        """What agents did of a stage."""
        wanted = (id, stage, kind, "start")
        lines = read_lines(self._log)
        return [x for x in lines if (x["instance"], x["stage"], x["kind"], x["phase"]) == wanted]

    def start(self, workflow: str, id: str, **parameters: Any) -> None:
        self.orchestrator.start_instance(workflow, id, parameters)

    def until_status(self, id: str, status: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.orchestrator.instance(id)
            return found if found["status"] == status else None

        return until(look, f"{id} is {status}")

    def until_stuck(self, id: str) -> None:
        until(lambda: self.orchestrator.instance(id)["current_tasks"] == ["wait"], f"{id} waits")

    def event(self, id: str, type: str) -> dict[str, Any]:
        """What the only entry of that type says."""
        [found] = [each for each in self.orchestrator.history(id) if each["type"] == type]
        return dict(found["data"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("repair")
    script, log = directory / "script.json", directory / "log.jsonl"
    script.write_text(json.dumps(SCRIPT))
    with Orchestrator(directory, WORKFLOWS) as orchestrator:
        agent = Program(
            "agent",
            [
                *(sys.executable, "-m", "tests.support.scripted_agent"),
                *("backend", "tester", "devops", "bank", "--script", script, "--log", log),
            ],
            directory,
            env={"SAGABUS_NATS_URL": orchestrator.nats_url},
        )
        with agent:
            yield Shop(orchestrator, log)


def test_failed_instance_goes_on_in_place_with_what_it_has(shop: Shop) -> None:
    shop.start("build", "again")
    shop.until_status("again", "failed")
    line = shop.run("retry", "again", "--reason", "the disk is empty again")
    assert line.startswith("again: kept compile; again test; it is running: sagabus watch again")
    shop.until_status("again", "completed")
    assert len(shop.work("again", "compile")) == 1
    assert [each["task"] for each in shop.work("again", "test")] == ["test-1-0", "test-2-0"]
    retried = shop.event("again", "WorkflowRetried")
    assert (retried["by"], retried["reason"]) == ("ann", "the disk is empty again")
    assert "completed" in shop.refused("retry", "again")


def test_retry_may_change_parameters_and_begin_earlier(shop: Shop) -> None:
    shop.start("build", "param", level=1)
    shop.until_status("param", "failed")
    line = shop.run("retry", "param", "--from", "compile", "--param", "level=2")
    assert line.startswith("param: kept nothing; again compile")
    assert shop.until_status("param", "completed")["parameters"] == {"level": 2}
    assert len(shop.work("param", "compile")) == 2
    assert shop.work("param", "test")[-1]["input"]["level"] == 2


def test_retry_with_the_newest_definition_shows_what_changed_and_asks(shop: Shop) -> None:
    shop.start("changing", "changed")
    old = shop.until_status("changed", "failed")["digest"]
    config = shop.orchestrator.config
    config.write_text(WORKFLOWS.replace("timeout = 5", "timeout = 7"))
    path = "/api/v1/workflows/changing"
    until(lambda: shop.orchestrator.get(path)["digest"] != old, "the new definition is in force")
    asked = shop.run("retry", "changed", "--definition", "latest", code=1)
    assert "~ stage test: timeout: 5 → 7" in asked
    assert "Go on with it (changed)?" in asked
    assert shop.orchestrator.instance("changed")["status"] == "failed"
    told = shop.run("retry", "changed", "--definition", "latest", "--yes")
    assert "changed: kept compile; again test" in told
    found = shop.until_status("changed", "completed")
    assert found["digest"] == shop.orchestrator.get(path)["digest"]


def test_stage_that_is_stuck_is_skipped(shop: Shop) -> None:
    shop.start("stuck", "skipped")
    shop.until_stuck("skipped")
    line = shop.run("skip", "skipped", "wait", "--reason", "nobody is there")
    assert line.startswith("skipped: stage wait is skipped; it is ")
    found = shop.until_status("skipped", "completed")
    assert {each["stage"]: each["status"] for each in found["stages"]}["wait"] == "skipped"


def test_stage_that_is_stuck_is_given_its_result(shop: Shop) -> None:
    shop.start("stuck", "given")
    shop.until_stuck("given")
    given = ("set-result", "given", "wait", "--output", '{"seen": 3}', "--reason", "by phone")
    line = shop.run(*given, "--attempt", "wait-1-0/1")
    assert line.startswith("given: stage wait has its result; it is ")
    shop.until_status("given", "completed")
    assert shop.work("given", "tell")[0]["input"]["heard"] == {"seen": 3}


def test_stage_that_is_stuck_fails_and_all_is_undone(shop: Shop) -> None:
    shop.start("stuck", "failed")
    shop.until_stuck("failed")
    shop.run("fail", "failed", "wait", "--reason", "it never comes")
    found = shop.until_status("failed", "rolled_back")
    assert found["error"]["type"] == "failed_by_operator"
    assert len(shop.work("failed", "network", "compensation")) == 1


def test_command_of_somebody_who_saw_an_older_attempt_is_refused(shop: Shop) -> None:
    shop.start("stuck", "old")
    shop.until_stuck("old")
    refused = shop.refused("skip", "old", "wait", "--reason", "x", "--attempt", "wait-1-0/2")
    assert "wait-1-0" in refused
    shop.run("cancel", "old")
    shop.until_status("old", "cancelled")


def test_completed_instance_is_undone_after_a_preview_that_sends_nothing(shop: Shop) -> None:
    shop.start("provision", "undone")
    shop.until_status("undone", "completed")
    rows = shop.read("compensate", "undone", "--preview")
    assert [each["stage"] for each in rows["items"]] == ["machine", "network"]
    told = shop.run("compensate", "undone", "--preview")
    assert told.index("machine-1-0-undo-0") < told.index("network-1-0-undo-0")
    assert "nothing was sent; to do it: sagabus compensate undone" in told
    one = shop.run("compensate", "undone", "--stage", "network", "--preview")
    assert "to do it: sagabus compensate undone --stage network" in one
    assert not shop.work("undone", "machine", "compensation")
    line = shop.run("compensate", "undone", "--reason", "wrong account")
    assert line.startswith("undone: undoing machine, network, in this order; it is ")
    assert shop.until_status("undone", "rolled_back")["rollback"] == "full"
    assert len(shop.work("undone", "machine", "compensation")) == 1


def test_cancel_may_leave_everything_as_it_is_and_names_it(shop: Shop) -> None:
    shop.start("stuck", "kept")
    shop.until_stuck("kept")
    line = shop.run("cancel", "kept", "--no-compensate", "--reason", "the machine stays")
    assert line.startswith("kept: cancelled; what it did is left as it is: sagabus show kept")
    found = shop.until_status("kept", "cancelled")
    assert found["rollback"] == "none"
    assert not shop.work("kept", "network", "compensation")
    assert [each["stage"] for each in found["effects_left"]] == ["network"]


@pytest.mark.parametrize(
    ("id", "options", "status"),
    [
        ("paid", ("--succeeded", "--output", '{"receipt": 7}'), "completed"),
        ("unpaid", ("--failed",), "failed"),
        ("repaid", ("--retry",), "completed"),
    ],
)
def test_final_stage_whose_outcome_is_unknown_is_resolved(
    shop: Shop, id: str, options: tuple[str, ...], status: str
) -> None:
    shop.start("pay", id)
    shop.until_status(id, "needs_operator")
    line = shop.run("resolve", id, "transfer", *options, "--reason", "asked the bank")
    words = "is sent once more" if id == "repaid" else f"counts as {options[0].strip('-')}"
    assert line.startswith(f"{id}: stage transfer {words}; it ")
    shop.until_status(id, status)
    assert len(shop.work(id, "transfer")) == (2 if id == "repaid" else 1)
    told = shop.run("compensate", id, "--preview")
    assert ("final stage transfer, task transfer-1-0 cannot be undone" in told) == (id != "unpaid")


def test_many_are_touched_at_once_and_none_by_a_dry_run(shop: Shop) -> None:
    for id in ("many-1", "many-2"):
        shop.start("build", id)
    for id in ("many-1", "many-2"):
        shop.until_status(id, "failed")
    select = ("--workflow", "build", "--status", "failed")
    told = shop.run("retry", *select, "--dry-run")
    assert "2 would go on; nothing was touched" in told
    assert {shop.orchestrator.instance(f"many-{n}")["status"] for n in (1, 2)} == {"failed"}
    assert "1 go on; more match" in shop.run("retry", *select, "--limit", "1")
    done = shop.read("retry", *select, "--reason", "disk")
    assert [each["ok"] for each in done["items"]] == [True]
    for id in ("many-1", "many-2"):
        shop.until_status(id, "completed")
    assert "no instance matches: nothing was touched" in shop.run("retry", *select)
    assert "1 refused" in shop.run(
        "cancel", "--workflow", "provision", "--status", "rolled_back", code=1
    )
