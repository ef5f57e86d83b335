"""The demo agents do what the demo workflow relies on."""

import json
from pathlib import Path

import pytest

from sagabus_agents import Agent
from sagabus_agents.examples import backend, devops, tester
from sagabus_agents.testing import run_task
from sagabus_agents.wire import ResultStatus


@pytest.mark.parametrize(
    ("agent", "action", "artifact", "effects"),
    [
        (devops.agent, "provision", "env-wf", ["provisioned", "destroyed"]),
        (backend.agent, "migrate_db", "migration-wf", ["migrated", "reverted"]),
    ],
)
async def test_demo_agent_undoes_what_it_declared(
    agent: Agent,
    action: str,
    artifact: str,
    effects: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "effects.jsonl"
    monkeypatch.setenv("SAGABUS_EFFECT_LOG", str(log))
    made = await run_task(agent, action, {"delay_s": 0.01}, workflow_id="wf")
    undone = await run_task(
        agent, action, compensation=True, artifacts_to_undo=made.artifacts, workflow_id="wf"
    )
    assert made.artifacts == [artifact]
    assert undone.status is ResultStatus.SUCCEEDED
    assert [json.loads(line)["effect"] for line in log.read_text().splitlines()] == effects


async def test_compensation_with_nothing_to_undo_succeeds() -> None:
    result = await run_task(devops.agent, "provision", compensation=True)
    assert result.output == {"destroyed": []}


async def test_smoke_test_fails_when_told_to() -> None:
    passed = await run_task(tester.agent, "smoke_test", {"fail_smoke_test": False})
    failed = await run_task(tester.agent, "smoke_test", {"fail_smoke_test": True})
    assert passed.status is ResultStatus.SUCCEEDED
    assert failed.error is not None
    assert (failed.error.type, failed.error.retryable) == ("smoke_test_failed", False)
