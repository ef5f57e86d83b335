"""Many active instances: how soon the orchestrator is ready with them, and what they weigh."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.processes import ROOT, Orchestrator, environment

RELOAD_S = 10.0
IDLE_INSTANCES = 10_000
IDLE_MB = 150.0
MB = 1024 * 1024

WORKFLOWS = """
[[workflows]]
name = "at_a_gate"

[[workflows.stages]]
name = "deploy"
agents = ["devops"]
approval_required = true
compensation_agents = ["devops"]

[[workflows.stages]]
name = "verify"
agents = ["tester"]

[[workflows]]
name = "at_work"

[[workflows.stages]]
name = "deploy"
agents = ["devops"]
compensation_agents = ["devops"]

[[workflows.stages]]
name = "verify"
agents = ["tester"]
"""


def filled(directory: Path, workflow: str, count: int) -> Orchestrator:
    """An orchestrator, not started yet, on a database with ``count`` active instances."""
    orchestrator = Orchestrator(directory, WORKFLOWS, is_awaited=False)
    if count:
        began = time.monotonic()
        subprocess.run(
            [
                *(sys.executable, "-m", "tests.support.full_store"),
                *(orchestrator.config, orchestrator.data, workflow, str(count)),
            ],
            cwd=ROOT,
            env=environment(),
            check=True,
            timeout=600,
        )
        print(f"\n{count} instances stored in {time.monotonic() - began:.1f} s")
    return orchestrator


def healthy_after(orchestrator: Orchestrator) -> float:
    """Wait until ``/health`` is good; seconds since the start of the process."""
    orchestrator.wait_ready(within_s=120)
    response = httpx.get(f"{orchestrator.url}/health", timeout=60, trust_env=False)
    seconds = time.time() - psutil.Process(orchestrator.pid).create_time()
    assert response.json()["status"] == "ok", response.text
    return seconds


def unfinished(orchestrator: Orchestrator) -> int:
    """How many instances the orchestrator has in memory."""
    return int(orchestrator.health()["loops"]["detail"].rpartition(", ")[2].split()[0])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("workflow", ["at_a_gate", "at_work"])
@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_active_instances_are_reloaded_in_seconds(
    tmp_path: Path, count: int, workflow: str
) -> None:
    with filled(tmp_path, workflow, count) as orchestrator:
        seconds = healthy_after(orchestrator)
        assert unfinished(orchestrator) == count
        memory = psutil.Process(orchestrator.pid).memory_info().rss / MB
    print(f"{count} instances {workflow}: /health ok after {seconds:.1f} s, RSS {memory:.0f} MB")
    assert seconds < RELOAD_S


@pytest.mark.timeout(600)
@pytest.mark.soak
def test_idle_instances_are_light(tmp_path: Path) -> None:
    weights = {}
    for count in (0, IDLE_INSTANCES):
        with filled(tmp_path / str(count), "at_a_gate", count) as orchestrator:
            healthy_after(orchestrator)
            assert unfinished(orchestrator) == count
            weights[count] = psutil.Process(orchestrator.pid).memory_info().rss / MB
    more = weights[IDLE_INSTANCES] - weights[0]
    print(f"empty {weights[0]:.0f} MB, with {IDLE_INSTANCES} idle instances {more:.0f} MB more")
    assert more < IDLE_MB
