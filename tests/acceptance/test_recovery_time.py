"""After kill -9 work goes on within two seconds of the orchestrator being up."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.effects import read_effects
from tests.support.journeys import WORKFLOWS, agents
from tests.support.nats_server import NatsServer
from tests.support.processes import Orchestrator, all_of, until
from tests.support.slowness import slowness

RESUMES_WITHIN_S = 2.0


def progress_after(orchestrator: Orchestrator, ids: list[str], since: float) -> float | None:
    """When a task was completed for the first time after ``since``."""
    ends = [
        datetime.fromisoformat(event["at"]).timestamp()
        for id in ids
        for event in orchestrator.history(id)
        if event["type"] == "TaskCompleted"
    ]
    return min((end for end in ends if end > since), default=None)


@pytest.mark.parametrize("bus", ["managed", "external"])
def test_stage_progresses_within_two_seconds_of_being_up(tmp_path: Path, bus: str) -> None:
    ids = [f"busy-{number}" for number in range(30)]
    with NatsServer(tmp_path / "nats") as nats:
        external = nats.url if bus == "external" else None
        with (
            Orchestrator(tmp_path, WORKFLOWS, nats_url=external) as orchestrator,
            all_of(agents(tmp_path, orchestrator.nats_url, delay_s=(0.3, 0.6), slots=4)),
        ):
            for id in ids:
                orchestrator.start_instance("journey", id, {})
            until(lambda: len(read_effects(tmp_path)) > 20, "work is in flight")
            orchestrator.kill()
            killed_at = time.time()
            orchestrator.start()
            orchestrator.wait_ready()
            ready_at = time.time()
            resumed_at = until(
                lambda: progress_after(orchestrator, ids, killed_at), "a stage progresses"
            )
    print(
        f"\n{bus} bus: ready {ready_at - killed_at:.2f} s after the kill, "
        f"first progress {resumed_at - ready_at:+.2f} s later"
    )
    assert resumed_at - ready_at < RESUMES_WITHIN_S * slowness()


def _restarted(orchestrator: Orchestrator, moment: Callable[[], object]) -> None:
    until(moment, "the moment to kill has come")
    orchestrator.restart()


def test_undo_goes_on_after_a_crash_and_is_not_repeated(tmp_path: Path) -> None:
    with (
        Orchestrator(tmp_path, WORKFLOWS) as orchestrator,
        all_of(agents(tmp_path, orchestrator.nats_url, delay_s=(0.5, 0.5))),
    ):
        orchestrator.start_instance("journey", "undone", {"fail": "ship"})
        _restarted(
            orchestrator,
            lambda: any(line["kind"] == "compensation" for line in read_effects(tmp_path)),
        )
        ended = until(lambda: orchestrator.at_end("undone"), "undone ends")
        assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
        undos = [line for line in read_effects(tmp_path) if line["kind"] == "compensation"]
        assert [line["phase"] for line in undos] == ["start", "end"]


def test_gate_still_waits_after_a_crash_and_can_be_answered(tmp_path: Path) -> None:
    with (
        Orchestrator(tmp_path, WORKFLOWS) as orchestrator,
        all_of(agents(tmp_path, orchestrator.nats_url)),
    ):
        orchestrator.start_instance("gated", "patient", {})
        _restarted(orchestrator, lambda: orchestrator.instance("patient")["status"] == "waiting")
        assert orchestrator.instance("patient")["waiting_for"] == ["ship"]
        approve = "/api/v1/workflow-executions/patient/approve"
        orchestrator.post(approve, {"stage": "ship", "by": "ann"})
        ended = until(lambda: orchestrator.at_end("patient"), "patient ends")
        assert ended["status"] == "completed"
        starts = [line["task"] for line in read_effects(tmp_path) if line["phase"] == "start"]
        assert starts == ["reserve-1-0", "ship-1-0"]
