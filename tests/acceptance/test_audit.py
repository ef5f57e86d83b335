"""The audit trail on a terminal: who did what, and what becomes of it when somebody edits it."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_connection import SurrealConnection
from tests.support.processes import Orchestrator, until
from tests.support.terminal import Terminal

WORKFLOWS = (data_path("config") / "workflows.toml").read_text()
DEMO_AGENTS = 3
#: What every other page would hide: the instances are verified a page at a time.
DONE = ("d1", "d2", "d3")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    directory = tmp_path_factory.mktemp("audit")
    with Orchestrator(directory, WORKFLOWS, options=["--agents"]) as orchestrator:
        until(lambda: orchestrator.health()["agents"] == DEMO_AGENTS, "the demo agents are there")
        terminal = Terminal(orchestrator)
        for id in DONE:
            terminal.run("start", "deploy_pipeline", "--id", id, "--wait")
        yield orchestrator


@pytest.fixture
def terminal(service: Orchestrator) -> Terminal:
    return Terminal(service)


def _edit(service: Orchestrator, sql: str) -> None:
    """What somebody does to the files of the database while nobody looks."""

    async def edit() -> None:
        connection = await SurrealConnection.open(f"surrealkv://{service.data}/db")
        await connection.run(sql)
        await connection.close()

    service.terminate()
    service.ended()
    asyncio.run(edit())
    service.start()
    service.wait_ready()


def test_commands_are_in_the_trail_with_who_and_why(terminal: Terminal) -> None:
    terminal.run("start", "release", "--id", "told")
    terminal.until_waiting("told")
    terminal.run("pause", "told", "--reason", "lunch")
    terminal.run("resume", "told", "--reason", "back")
    terminal.run("approve", "told", "deployment", "--reason", "looks good")
    terminal.run("start", "release", "--id", "told", "--wait")
    entries = terminal.read("audit", "told")["items"]
    told = {entry["type"]: (entry["by"], entry["reason"]) for entry in entries}
    assert told["WorkflowStarted"] == ("ann", "")
    assert told["WorkflowPaused"] == ("ann", "lunch")
    assert told["WorkflowResumed"] == ("ann", "back")
    assert told["ApprovalGranted"] == ("ann", "looks good")
    assert [entry["number"] for entry in entries] == list(range(1, len(entries) + 1))
    assert all(len(entry["link"]) == 64 for entry in entries)
    shown = terminal.run("audit", "show", "told")
    assert "looks good" in shown
    assert shown == terminal.run("audit", "told")
    assert "nobody" in terminal.refused("audit", "nobody")


def test_what_is_done_beside_instances_is_in_a_trail_of_its_own(terminal: Terminal) -> None:
    terminal.run("kv", "set", "limit", "7", "--reason", "more load")
    terminal.run("kv", "delete", "limit", "--reason", "as before")
    terminal.run("pause", "--role", "tester", "--reason", "night")
    terminal.run("resume", "--role", "tester", "--reason", "morning")
    told = [
        (entry["type"], entry["by"], entry["reason"])
        for entry in terminal.read("audit", "show")["items"]
    ]
    assert told == [
        ("KeySet", "ann", "more load"),
        ("KeyDeleted", "ann", "as before"),
        ("HoldSet", "ann", "night"),
        ("HoldReleased", "ann", "morning"),
    ]


def test_the_ledger_has_a_line_for_every_attempt(terminal: Terminal) -> None:
    failed = ("start", "deploy_pipeline", "--id", "undone", "-p", "fail_smoke_test=true", "--wait")
    terminal.run(*failed, code=1)
    entries = terminal.read("ledger", "undone")["items"]
    last = {entry["task"]: entry["step_status"] for entry in entries}
    assert (last["provision-1-0"], last["migrate_db-1-0"]) == ("compensated", "compensated")
    assert last["smoke_test-1-0"] == "failed"
    assert {entry["idempotency_key"] for entry in entries} == {f"undone:{task}" for task in last}
    assert "compensated" in terminal.run("ledger", "undone")


def test_edited_rows_are_named_and_the_others_are_not(
    terminal: Terminal, service: Orchestrator, tmp_path: Path
) -> None:
    assert terminal.run("audit", "verify").startswith("intact: ")
    before = terminal.read("audit", "verify")
    assert (before["is_intact"], before["faults"], before["not_covered"]) == (True, [], 0)
    assert before["instances"] >= len(DONE)
    heads = tmp_path / "heads.jsonl"
    printed = terminal.run("audit", "head")
    heads.write_text(printed)
    assert set(DONE) <= {json.loads(line)["instance"] for line in printed.splitlines()}
    assert "intact" in terminal.run("audit", "verify", "--heads", str(heads))
    _edit(
        service,
        "UPDATE history_event:['d1', 2] SET events = string::replace(events, 'devops', 'nobody');"
        "DELETE workflow_instances:d2; DELETE history_event:['d2', 0]..['d2', []];",
    )
    after = terminal.read("audit", "verify", code=1)
    [found] = after["faults"]
    assert (found["instance"], found["fault"]["kind"]) == ("d1", "changed")
    assert after["instances"] == before["instances"] - 1
    assert "instance d1, version 2" in terminal.run("audit", "verify", "d1", code=1)
    assert re.fullmatch(r"intact: \d+ rows\n", terminal.run("audit", "verify", "d3"))
    noted = terminal.read("audit", "verify", "--heads", str(heads), code=1)
    gone = {fault["instance"]: fault["fault"]["message"] for fault in noted["faults"]}
    assert "nothing in the trail says that it was deleted" in gone["d2"]
    assert (set(gone), noted["gone"]) == ({"d1", "d2"}, [])
    assert "d1" in terminal.refused("audit", "head")


def test_what_is_no_file_of_heads_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    heads = tmp_path / "heads.jsonl"
    heads.write_text("{}\n")
    assert "heads.jsonl:1: " in terminal.refused("audit", "verify", "--heads", str(heads))
