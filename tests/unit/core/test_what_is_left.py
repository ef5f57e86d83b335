"""What an attempt that did not succeed has left behind is undone, too."""

import orjson
import pytest

from sagabus.core.definition import RetryPolicy
from sagabus.runtime.messages import task_message
from tests.unit.core.scene import Scene, seconds, sequence, stage

UNDO = ("devops",)
AGAIN = RetryPolicy(count=1, delay=seconds(1), jitter=False)


def artifacts_to_undo(scene: Scene, task: str) -> list[str]:
    message = task_message(scene.definition, scene.state, scene.attempt(task))
    found: list[str] = orjson.loads(message.data)["artifacts_to_undo"]
    return found


@pytest.mark.parametrize(
    "error", ["timeout", "agent_lost", "cancelled", "unknown_outcome", "bad_result"]
)
def test_failure_that_says_nothing_of_what_was_done_is_undone(error: str) -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start().fail("a-1-0", error)
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_failure_that_left_artifacts_is_undone() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    scene.fail("a-1-0", artifacts=["vm-1"])
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    assert artifacts_to_undo(scene, "a-1-0-undo-0") == ["vm-1"]


def test_clean_failure_leaves_nothing_to_undo() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start().fail("a-1-0")
    assert (scene.status, scene.row.rollback) == ("failed", "none")


def test_artifacts_of_every_attempt_are_undone() -> None:
    flow = sequence(stage("a", undo=UNDO, retry=AGAIN), stage("b"))
    scene = Scene(flow).start()
    scene.fail("a-1-0", artifacts=["vm-A"])
    scene.wait(2)
    assert scene.claim("a-1-0", 2) == "run"
    assert scene.result("a-1-0", 2, artifacts=["vm-B", "vm-A"]) is None
    scene.fail("b-1-0")
    assert artifacts_to_undo(scene, "a-1-0-undo-0") == ["vm-A", "vm-B"]
