"""`sagabus agent exec` with a shell script: success, failure and undo, cancellation, timeout."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import SAGABUS, Orchestrator, Program, until

WORKFLOWS = """
[[workflows]]
name = "scripted"

[[workflows.stages]]
name = "make"
agents = ["worker"]
compensation_agents = ["worker"]

[[workflows.stages]]
name = "check"
agents = ["worker"]
timeout = "4s"
"""

SCRIPT = """\
payload=$(cat)
echo "$SAGABUS_TYPE $SAGABUS_ACTION" >> "$JOURNAL"
hang() {
  echo $$ > "$JOURNAL.pid.new"
  mv "$JOURNAL.pid.new" "$JOURNAL.pid"
  sleep 600 &
  wait
}
case "$SAGABUS_ACTION $payload" in
  make*hang_in_make*) hang ;;
  check*hang_in_check*) hang ;;
  check*fail_in_check*) echo "it does not fit" >&2; exit 65 ;;
esac
if [ "$SAGABUS_ACTION" = make ]; then
  echo "thing-of-$SAGABUS_WORKFLOW_ID" >> "$SAGABUS_ARTIFACTS"
fi
echo '{"did": "'"$SAGABUS_ACTION"'"}'
"""

UNDO = """\
payload=$(cat)
echo "$SAGABUS_TYPE $SAGABUS_ACTION" >> "$JOURNAL"
printf '%s' "$payload" > "$JOURNAL.undo"
"""


class Scripts:
    """An orchestrator and an agent made of two shell scripts, which keep a journal."""

    def __init__(self, directory: Path, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator
        self._journal = directory / "journal"
        (directory / "do.sh").write_text(SCRIPT)
        (directory / "undo.sh").write_text(UNDO)
        self.agent = Program(
            "exec-agent",
            [
                *(*SAGABUS, "agent", "exec", "worker", "--grace", "1"),
                *("--on", f"*=sh {directory / 'do.sh'}"),
                *("--undo", f"*=sh {directory / 'undo.sh'}"),
            ],
            directory,
            env={"SAGABUS_NATS_URL": orchestrator.nats_url, "JOURNAL": str(self._journal)},
        )

    def begin(self, mode: str) -> None:
        self.orchestrator.start_instance("scripted", mode, {"mode": mode})

    def end(self, id: str) -> dict[str, object]:
        return until(lambda: self.orchestrator.at_end(id), f"{id} ends")

    @property
    def journal(self) -> list[str]:
        return self._journal.read_text().splitlines()

    @property
    def undo_request(self) -> str:
        return self._journal.with_suffix(".undo").read_text()

    def hanging(self) -> int | None:
        """Process group of the script that hangs."""
        try:
            return int(self._journal.with_suffix(".pid").read_text())
        except FileNotFoundError:
            return None


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        scripts = Scripts(tmp_path, orchestrator)
        with scripts.agent:
            yield scripts


def is_gone(group: int) -> bool:
    """Whether no process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_scripts_run_a_workflow_and_undo_it_when_it_fails(scripts: Scripts) -> None:
    scripts.begin("easy")
    assert scripts.end("easy")["status"] == "completed"
    tasks = scripts.orchestrator.get("/api/v1/workflow-executions/easy/tasks")["items"]
    assert [task["result"] for task in tasks] == [{"did": "make"}, {"did": "check"}]
    scripts.begin("fail_in_check")
    ended = scripts.end("fail_in_check")
    assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
    assert ended["error_message"] == "it does not fit"
    assert scripts.journal[2:] == ["task make", "task check", "compensation make"]
    assert '"artifacts_to_undo":["thing-of-fail_in_check"]' in scripts.undo_request


def test_script_that_takes_too_long_is_killed_with_its_children(scripts: Scripts) -> None:
    scripts.begin("hang_in_check")
    group = until(scripts.hanging, "the script hangs")
    ended = scripts.end("hang_in_check")
    assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
    assert ended["error"]["type"] == "timeout"  # type: ignore[index]
    until(lambda: is_gone(group), "its processes end")


def test_script_of_a_cancelled_instance_is_killed_and_undone(scripts: Scripts) -> None:
    scripts.begin("hang_in_make")
    group = until(scripts.hanging, "the script hangs")
    scripts.orchestrator.post("/api/v1/workflow-executions/hang_in_make/cancel", {})
    ended = scripts.end("hang_in_make")
    assert (ended["status"], ended["rollback"]) == ("cancelled", "full")
    until(lambda: is_gone(group), "its processes end")
    # It had begun, and nobody knows how far it came.
    assert scripts.journal == ["task make", "compensation make"]
