"""``sagabus why`` at a terminal: what stands still, and what to do about it, then doing it."""

import json
import sys
from pathlib import Path

from tests.support.processes import Orchestrator, Program, sagabus, until

WORKFLOWS = """
[[workflows]]
name = "release"
[[workflows.stages]]
name = "build"
agents = ["builder"]
[[workflows.stages]]
name = "ship"
agents = ["builder"]
approval_required = true
"""


def run(orchestrator: Orchestrator, *arguments: str) -> str:
    """What a command prints."""
    done = sagabus(*arguments, url=orchestrator.url, SAGABUS_USER="ann")
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def test_what_stands_still_is_told_by_cause_until_it_moves(tmp_path: Path) -> None:
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        assert "nothing stands still" in run(orchestrator, "why")
        for number in range(3):
            orchestrator.start_instance("release", f"r{number}", {})
        told = run(orchestrator, "why")
        assert "3 instances: no agent of role 'builder' is alive" in told
        assert "next: start an agent of role builder" in told
        command = [sys.executable, "-m", "sagabus_agents.command", "agent", "exec", "builder"]
        env = {"SAGABUS_NATS_URL": orchestrator.nats_url}
        with Program("builder", [*command, "--on", "*=echo {}"], tmp_path, env=env):
            until(lambda: orchestrator.instance("r0")["status"] == "waiting", "it waits")
        told = run(orchestrator, "why", "r0")
        assert "release r0 stands still" in told
        assert "next: sagabus approve r0 ship" in told
        assert "sagabus approve r0 ship" in run(orchestrator, "show", "r0")
        document = json.loads(run(orchestrator, "why", "r0", "--json"))
        assert [cause["cause"] for cause in document["causes"]] == ["approval"]
        assert document == json.loads(run(orchestrator, "show", "r0", "--json"))["why"]
        run(orchestrator, "cancel", "r0")
        assert "release r0 has ended" in run(orchestrator, "why", "r0")
        refused = sagabus("why", "nobody", url=orchestrator.url)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
