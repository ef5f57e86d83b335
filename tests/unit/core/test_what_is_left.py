"""What is left behind is undone, too, or named: by an attempt that failed, a retry, a child."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from sagabus.core.definition import RetryPolicy, Route, Routes
from sagabus.core.events import (
    CompensateRequested,
    FailRequested,
    ResultSet,
    RetryRequested,
    SkipRequested,
)
from sagabus.runtime.messages import task_message
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Scene, graph, seconds, sequence, stage

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


# --- beside what a retry did anew ---------------------------------------------------------------


def left(scene: Scene) -> list[tuple[str, bool]]:
    return [(each["task"], each["is_certain"]) for each in scene.row.effects_left]


def halted() -> Scene:
    flow = sequence(stage("a", undo=UNDO), stage("b"), saga_on_failure="halt")
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    assert (scene.status, left(scene)) == ("failed", [("a-1-0", True)])
    return scene


def test_what_a_retry_does_anew_is_named_with_what_stands_of_it_and_still_when_it_completes() -> (
    None
):
    scene = halted()
    assert scene.ask(RetryRequested, "a").result["not_undone"] == ["a"]
    assert scene.data("WorkflowRetried")["not_undone"] == ["a"]
    scene.succeed("a-2-0", "b-2-0")
    assert (scene.status, left(scene)) == ("completed", [("a-1-0", True)])
    assert scene.data("WorkflowCompleted")["effects_left"] == scene.row.effects_left


def test_what_is_kept_stands_as_it_should_and_is_not_named() -> None:
    scene = halted()
    assert scene.ask(RetryRequested).result["not_undone"] == []
    scene.succeed("b-2-0")
    assert (scene.status, left(scene)) == ("completed", [])
    assert "effects_left" not in scene.data("WorkflowCompleted")


def test_what_failed_to_be_undone_before_a_retry_is_named_when_it_completes() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0").fail("a-1-0-undo-0")
    scene.ask(RetryRequested)
    scene.succeed("a-2-0", "b-2-0")
    assert (scene.status, scene.row.rollback) == ("completed", "partial")
    assert left(scene) == [("a-1-0", True)]


def test_what_is_told_late_of_a_stage_that_was_done_anew_is_named_after_the_end_as_well() -> None:
    flow = sequence(stage("a", undo=UNDO, undo_compensate_self="never", timeout=seconds(5)))
    scene = Scene(replace(flow, saga_on_failure="halt")).start()
    scene.claim("a-1-0")
    scene.wait(60)
    assert (scene.status, left(scene)) == ("failed", [])
    scene.ask(RetryRequested)
    scene.succeed("a-2-0")
    assert (scene.status, left(scene)) == ("completed", [])
    scene.result("a-1-0")
    assert (scene.status, left(scene)) == ("completed", [("a-1-0", True)])
    assert scene.types[-1] == "RollbackRevised"


# --- what was given up on the way ---------------------------------------------------------------


def handled(*roles: str, **settings: object) -> Scene:
    """The second stage runs whether the first one succeeds or fails."""
    a, b = stage("a", *roles, undo=UNDO, **settings), stage("b")
    on_failure = Routes(on_failure=(Route(("b",)),), next="b")
    return Scene(graph(replace(a, routes=on_failure), b, entry=("a",))).start()


def given_up(event: type, *arguments: object) -> Scene:
    """A stage was claimed, and a person has ended it; its agent is silent."""
    scene = handled()
    scene.claim("a-1-0")
    scene.ask(event, "a", *arguments)
    scene.succeed("b-1-0").wait(20)
    assert scene.status == "completed"
    return scene


GIVEN_UP = [(SkipRequested,), (ResultSet, {"by": "hand"}), (FailRequested,)]


@pytest.mark.parametrize("command", GIVEN_UP)
def test_what_a_person_gave_up_while_it_may_have_acted_is_named_when_the_instance_completes(
    command: tuple[Any, ...],
) -> None:
    scene = given_up(*command)
    assert left(scene) == [("a-1-0", False)]
    assert scene.data("WorkflowCompleted")["effects_left"] == scene.row.effects_left
    assert scene.row.rollback == "none"


@pytest.mark.parametrize("command", GIVEN_UP)
def test_a_late_success_of_what_was_given_up_makes_it_certain(
    command: tuple[Any, ...],
) -> None:
    scene = given_up(*command)
    scene.result("a-1-0", 1)
    assert left(scene) == [("a-1-0", True)]
    assert scene.types[-1] == "RollbackRevised"


def test_a_success_that_comes_before_the_end_of_what_was_skipped_is_named_too() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.ask(SkipRequested, "a")
    scene.result("a-1-0")
    scene.succeed("b-1-0")
    assert (scene.status, left(scene)) == ("completed", [("a-1-0", True)])


def test_what_says_that_it_did_nothing_when_it_was_skipped_is_not_named() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.ask(SkipRequested, "a")
    scene.fail("a-1-0").succeed("b-1-0")
    assert (scene.status, left(scene)) == ("completed", [])


def test_what_never_began_when_it_was_skipped_is_not_named() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.ask(SkipRequested, "a")
    scene.succeed("b-1-0")
    assert (scene.status, left(scene)) == ("completed", [])


@pytest.mark.parametrize(
    ("error", "itself", "named"),
    [
        ("timeout", "unknown", [("a-1-1", False)]),
        ("timeout", "never", []),
        ("boom", "unknown", []),
        ("boom", "always", [("a-1-1", False)]),
    ],
)
def test_of_a_failure_that_was_handled_is_named_what_the_stage_says_may_have_happened(
    error: str, itself: str, named: list[tuple[str, bool]]
) -> None:
    # The first of its tasks has succeeded: that is known, and stands as it should.
    scene = handled("devops", "backend", undo_compensate_self=itself)
    scene.succeed("a-1-0").fail("a-1-1", error).succeed("b-1-0")
    assert (scene.status, left(scene)) == ("completed", named)


def test_what_may_have_acted_before_it_succeeded_is_not_named() -> None:
    flow = sequence(stage("a", undo=UNDO, retry=AGAIN), stage("b"))
    scene = Scene(flow).start().fail("a-1-0", "timeout").wait(2).succeed("a-1-0", "b-1-0")
    assert (scene.status, left(scene)) == ("completed", [])
    scene.result("a-1-0", 1)
    assert left(scene) == []


def skipped_child() -> Family:
    """The instance above has completed, and the one whose stage was skipped is at its undo."""
    below = sequence(stage("x", undo=UNDO), stage("y"))
    family = Family(sequence(child_stage(), stage("b")), below)
    family.child().succeed("x-1-0")
    family.scene.ask(SkipRequested, "sub")
    family.scene.succeed("b-1-0")
    assert (family.scene.status, left(family.scene)) == ("completed", [("sub-1-0", False)])
    return family.deliver()


def test_a_child_whose_stage_was_skipped_is_named_until_it_is_undone() -> None:
    family = skipped_child()
    family.child().result("y-1-0", status="cancelled", error_type="cancelled")
    family.child().succeed("x-1-0-undo-0")
    family.deliver()
    assert (family.child().row.rollback, left(family.scene)) == ("full", [])


def test_a_child_whose_stage_was_skipped_stays_named_where_it_ends_partial() -> None:
    family = skipped_child()
    family.child().result("y-1-0", status="cancelled", error_type="cancelled")
    family.child().fail("x-1-0-undo-0")
    family.deliver()
    assert family.child().row.rollback == "partial"
    assert left(family.scene) == [("sub-1-0", True)]


def test_what_was_given_up_below_is_no_failure_of_the_stage_above() -> None:
    below = sequence(stage("x", undo=UNDO), stage("y"))
    family = Family(sequence(child_stage(), stage("b"), saga_on_failed_undo="park"), below)
    family.child().claim("x-1-0")
    family.child().ask(SkipRequested, "x")
    family.child().succeed("y-1-0").wait(20)
    family.deliver().scene.wait(20).succeed("b-1-0")
    assert (family.scene.status, left(family.scene)) == ("completed", [])
    assert left(family.child()) == [("x-1-0", False)]


# --- below ----------------------------------------------------------------------------------------


def final_child(**settings: object) -> Family:
    """A child has completed of which one stage is final, and the instance above is to be undone."""
    below = sequence(stage("x", undo=UNDO), stage("pay", classification="final"))
    sub = replace(child_stage(), classification="final")
    family = Family(sequence(sub, **settings), below)
    family.child().succeed("x-1-0", "pay-1-0")
    family.deliver()
    assert family.scene.status == "completed"
    assert family.scene.ask(CompensateRequested).ok
    family.deliver().child().succeed("x-1-0-undo-0")
    return family.deliver()


def test_a_child_that_is_undone_but_for_a_final_effect_is_not_called_undone() -> None:
    family = final_child()
    child = family.child()
    assert (child.status, child.row.rollback) == ("failed", "partial")
    assert left(child) == [("pay-1-0", True)]
    assert (family.scene.status, family.scene.row.rollback) == ("failed", "partial")
    assert left(family.scene) == [("sub-1-0", True)]


def test_who_is_above_says_what_is_left_below() -> None:
    family = final_child()
    [failed] = family.scene.row.failed_compensations
    assert failed["error"] == {
        "type": "effects_left",
        "message": f"instance {family.child().row.id} is not undone: pay-1-0 is final",
    }


def test_what_is_left_below_of_a_try_that_was_given_up_is_undone_in_that_child() -> None:
    retry = RetryPolicy(count=1, delay=seconds(1), jitter=False)
    below = sequence(stage("x", undo=UNDO, timeout=seconds(5)))
    family = Family(sequence(child_stage(retry=retry)), below)
    first = family.child()
    first.claim("x-1-0")
    first.wait(60).succeed("x-1-0-undo-0")
    family.deliver().scene.wait(90)
    family.deliver().child(attempt=2).succeed("x-1-0")
    family.deliver()
    first.result("x-1-0")
    first.fail("x-1-0-undo-1")
    family.deliver()
    assert (family.scene.status, family.scene.row.rollback) == ("completed", "partial")
    assert family.scene.ask(CompensateRequested).ok
    family.deliver()
    assert first.sent[-1] == "x-1-0-undo-1/2"
    second = family.child(attempt=2)
    assert second.sent[-1] == "x-1-0-undo-0/1"
    second.succeed("x-1-0-undo-0")
    family.deliver()
    assert family.scene.status == "compensating"
    first.succeed("x-1-0-undo-1")
    family.deliver()
    assert (family.scene.status, family.scene.row.rollback) == ("rolled_back", "full")


def test_what_an_instance_goes_on_with_is_not_undone_for_what_is_left_below_it() -> None:
    flow = sequence(child_stage(), stage("after"), saga_on_failed_undo="park")
    scene = Scene(flow).start()
    scene.result("sub-1-0", has_left_effects=True)
    assert scene.status == "needs_operator"
    refused = scene.ask(RetryRequested, "sub")
    assert refused.message == (
        "stage 'sub' succeeded but for what it left below, and undoing it would take away what the "
        "instance goes on with: skip it, or cancel the instance"
    )
    assert scene.ask(SkipRequested, "sub").ok
    scene.succeed("after-1-0")
    assert (scene.status, scene.row.rollback) == ("completed", "partial")
