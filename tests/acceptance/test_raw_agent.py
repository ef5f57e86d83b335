"""Agents that know nats-py and the protocol document, and nothing of ours, run whole workflows."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.journeys import WORKFLOWS
from tests.support.processes import ROOT, Orchestrator, Program, all_of, until


def raw_agents(directory: Path, nats_url: str, roles: Sequence[str]) -> list[Program]:
    """One process per role; it sees the interpreter's packages, but none of this repository."""
    return [
        Program(
            f"raw-{role}",
            [sys.executable, "-P", ROOT / "tests" / "support" / "raw_agent.py", nats_url, role],
            directory,
            env={"SAGABUS_EFFECT_LOG": str(directory / "effects.jsonl")},
            cwd=directory,
        )
        for role in roles
    ]


def done_by_agents(directory: Path, id: str) -> list[str]:
    lines = map(json.loads, (directory / "effects.jsonl").read_text().splitlines())
    return [f"{line['type']} {line['task']}" for line in lines if line["workflow_id"] == id]


def test_workflows_succeed_and_are_undone_with_raw_agents(tmp_path: Path) -> None:
    with (
        Orchestrator(tmp_path, WORKFLOWS) as orchestrator,
        all_of(raw_agents(tmp_path, orchestrator.nats_url, ["claimed", "plain"])),
    ):
        orchestrator.start_instance("journey", "forward", {"size": 3})
        ended = until(lambda: orchestrator.at_end("forward"), "forward ends")
        assert ended["status"] == "completed"
        assert done_by_agents(tmp_path, "forward") == [
            "task reserve-1-0",
            "task notify-1-0",
            "task ship-1-0",
        ]
        tasks = orchestrator.get("/api/v1/workflow-executions/forward/tasks")["items"]
        assert tasks[0]["result"] == {"did": "reserve", "input": {"size": 3, "previous": {}}}

        orchestrator.start_instance("gated", "backward", {})
        until(lambda: orchestrator.instance("backward")["waiting_for"], "it waits for a person")
        decision = {"stage": "ship", "reason": "no"}
        orchestrator.post("/api/v1/workflow-executions/backward/reject", decision)
        ended = until(lambda: orchestrator.at_end("backward"), "backward ends")
        assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
        assert done_by_agents(tmp_path, "backward") == [
            "task reserve-1-0",
            "compensation reserve-1-0-undo-0",
        ]
        agents = orchestrator.get("/api/v1/agents")["items"]
        assert {agent["version"] for agent in agents} == {"raw"}
