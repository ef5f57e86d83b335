"""Undoing on request, trying a failed undo again, giving it up, and believing that it is gone."""

from dataclasses import replace
from typing import Any

import pytest

from sagabus.core.commands import CommandChild
from sagabus.core.definition import RetryPolicy
from sagabus.core.events import (
    CancelRequested,
    CompensateRequested,
    ResultSet,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.preview import preview as foresee
from sagabus.core.preview import what_would_be_undone
from tests.unit.core import standings as s
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Broken, Scene, seconds, sequence, stage

UNDO = ("devops",)
RETRY = RetryPolicy(count=3, delay=seconds(50), jitter=False)


def three(**settings: object) -> Scene:
    flow = sequence(stage("a", undo=UNDO), stage("b", undo=UNDO), stage("c"), **settings)
    return Scene(flow).start().succeed("a-1-0", "b-1-0")


def preview(scene: Scene, stage_: str | None = None) -> list[str]:
    return [each.task for each in what_would_be_undone(scene.definition, scene.state, stage_)]


# --- compensate ---------------------------------------------------------------------------------


def test_a_completed_instance_is_undone_newest_first() -> None:
    scene = three().succeed("c-1-0")
    answer = scene.ask(CompensateRequested)
    assert answer.result == {"id": "i1", "status": "compensating", "stages": ["b", "a"]}
    scene.succeed("b-1-0-undo-0", "a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert scene.row.effects_left == []


def test_a_preview_lists_what_is_then_sent_and_sends_nothing() -> None:
    scene = three().succeed("c-1-0")
    before = list(scene.sent)
    listed = preview(scene)
    assert (listed, scene.sent) == (["b-1-0-undo-0", "a-1-0-undo-0"], before)
    scene.ask(CompensateRequested)
    scene.succeed("b-1-0-undo-0", "a-1-0-undo-0")
    assert [each.rpartition("/")[0] for each in scene.sent[len(before) :]] == listed
    assert preview(scene) == []


def test_a_preview_names_what_stands_all_the_same_and_how_it_ends() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("pay", classification="final"))
    scene = Scene(flow).start().succeed("a-1-0", "pay-1-0")
    found = foresee(scene.definition, scene.state)
    assert [each.task for each in found.undos] == ["a-1-0-undo-0"]
    assert (found.status, found.rollback) == ("failed", "partial")
    scene.ask(CompensateRequested)
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == (found.status, found.rollback)
    assert scene.row.effects_left == found.left
    assert [(each["task"], each["is_certain"]) for each in found.left] == [("pay-1-0", True)]


def test_a_preview_says_that_everything_is_undone_where_it_is() -> None:
    scene = three().succeed("c-1-0")
    found = foresee(scene.definition, scene.state)
    assert (found.left, found.status, found.rollback) == ([], "rolled_back", "full")
    of_one = foresee(scene.definition, scene.state, "a")
    assert [each["task"] for each in of_one.left] == ["b-1-0"]
    assert (of_one.status, of_one.rollback) == ("failed", "partial")


def test_a_preview_of_a_child_with_a_final_effect_says_that_it_stays() -> None:
    sub = replace(child_stage(), classification="final")
    below = sequence(stage("a", undo=UNDO), stage("pay", classification="final"))
    family = Family(sequence(sub), below)
    family.child().succeed("a-1-0", "pay-1-0")
    scene = family.deliver().scene
    found = foresee(scene.definition, scene.state)
    assert [each.task for each in found.undos] == ["sub-1-0-undo-0"]
    assert [(each["task"], each["is_certain"]) for each in found.left] == [("sub-1-0", True)]
    assert (found.status, found.rollback) == ("failed", "partial")


def test_one_stage_alone_can_be_undone_and_the_others_later() -> None:
    scene = three().succeed("c-1-0")
    assert preview(scene, "a") == ["a-1-0-undo-0"]
    scene.ask(CompensateRequested, "a")
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["task"] for each in scene.row.effects_left] == ["b-1-0"]
    scene.ask(CompensateRequested)
    scene.succeed("b-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert len([task for task in scene.sent if "undo" in task]) == 2


def test_what_was_left_by_a_cancel_can_be_undone_afterwards() -> None:
    scene = s.cancelled_and_left()
    assert scene.ask(CompensateRequested).ok
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "full")


def test_what_was_held_after_a_final_stage_is_undone_as_far_as_possible() -> None:
    scene = s.failed_after_final()
    scene.ask(CompensateRequested)
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["task"] for each in scene.row.effects_left] == ["f-1-0"]


def test_undos_that_failed_are_tried_again_with_the_rest() -> None:
    scene = three().fail("c-1-0").fail("b-1-0-undo-0").succeed("a-1-0-undo-0")
    assert preview(scene) == ["b-1-0-undo-0"]
    scene.ask(CompensateRequested)
    assert scene.sent[-1] == "b-1-0-undo-0/2"
    scene.succeed("b-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert scene.row.failed_compensations == []


def test_an_undo_that_fails_again_is_named_again() -> None:
    scene = three().fail("c-1-0").fail("b-1-0-undo-0").succeed("a-1-0-undo-0")
    scene.ask(CompensateRequested)
    scene.fail("b-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["task"] for each in scene.row.failed_compensations] == ["b-1-0-undo-0"]


def test_an_undo_that_could_never_be_sent_is_tried_again() -> None:
    flow = sequence(stage("a", undo=UNDO, undo_input=Broken()), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    assert scene.row.rollback == "partial"
    assert preview(scene) == ["a-1-0-undo-0"]
    scene.ask(CompensateRequested)
    assert [each["task"] for each in scene.row.failed_compensations] == ["a-1-0-undo-0"]


def parked_alone(stage_: str = "b", **settings: object) -> Scene:
    """One stage of a completed instance was to be undone, and that failed."""
    scene = three(saga_on_failed_undo="park", **settings).succeed("c-1-0")
    scene.ask(CompensateRequested, stage_)
    scene.fail(f"{stage_}-1-0-undo-0")
    assert (scene.status, scene.row.undo_only) == ("needs_operator", stage_)
    return scene


def undone_after(scene: Scene, event: type[Any], *arguments: Any) -> list[str]:
    """What a command has undone in the end, where every undo succeeds."""
    before = len(scene.sent)
    assert scene.ask(event, *arguments).ok
    done = before
    while len(scene.sent) > done:
        task = scene.sent[done].rpartition("/")[0]
        scene.succeed(task)
        done += 1
    return [each.rpartition("/")[0] for each in scene.sent[before:]]


@pytest.mark.parametrize("alone", ["a", "b"])
def test_all_is_undone_on_request_where_one_stage_alone_was_parked(alone: str) -> None:
    scene = parked_alone(alone)
    promised = preview(scene)
    assert promised == ["b-1-0-undo-0", "a-1-0-undo-0"]
    assert undone_after(scene, CompensateRequested) == promised
    assert (scene.status, scene.row.effects_left) == ("rolled_back", [])


def test_a_cancel_undoes_all_where_one_stage_alone_was_parked() -> None:
    scene = parked_alone()
    assert undone_after(scene, CancelRequested) == ["a-1-0-undo-0"]
    assert (scene.status, [each["task"] for each in scene.row.effects_left]) == (
        "cancelled",
        ["b-1-0"],
    )


@pytest.mark.parametrize("again", [(CompensateRequested, "b"), (RetryRequested, "b")])
def test_one_stage_that_is_tried_again_goes_on_as_it_was_asked(again: tuple[Any, ...]) -> None:
    alone = parked_alone()
    assert preview(alone, "b") == ["b-1-0-undo-0"]
    assert undone_after(alone, *again) == ["b-1-0-undo-0"]
    assert [each["task"] for each in alone.row.effects_left] == ["a-1-0"]
    of_all = three(saga_on_failed_undo="park").fail("c-1-0").fail("b-1-0-undo-0")
    promised = preview(of_all, "b")
    assert promised == ["b-1-0-undo-0", "a-1-0-undo-0"]
    assert undone_after(of_all, *again) == promised


@pytest.mark.parametrize("again", [(CompensateRequested, "b"), (RetryRequested, "b")])
def test_what_was_left_by_a_cancel_is_not_undone_with_one_stage(again: tuple[Any, ...]) -> None:
    two = stage("b", "devops", "backend", undo=UNDO, parallel=True)
    flow = sequence(stage("a", undo=UNDO), two, stage("c"), saga_on_failed_undo="park")
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0", "b-1-1").fail("c-1-0")
    scene.claim("b-1-1-undo-0")
    scene.fail("b-1-0-undo-0")
    scene.ask(CancelRequested, is_undone=False)
    scene.fail("b-1-1-undo-0")  # it is parked once more
    promised = preview(scene, "b")
    assert (scene.status, promised) == ("needs_operator", ["b-1-0-undo-0", "b-1-1-undo-0"])
    assert undone_after(scene, *again) == promised
    assert [each["task"] for each in scene.row.effects_left] == ["a-1-0"]


def test_a_stage_that_is_tried_again_is_so_while_another_one_alone_is_undone() -> None:
    flow = (stage(name, undo=UNDO) for name in ("a", "b", "c"))
    scene = Scene(sequence(*flow, stage("d"), saga_on_failed_undo="park")).start()
    scene.succeed("a-1-0", "b-1-0", "c-1-0").fail("d-1-0").fail("c-1-0-undo-0")
    scene.ask(SkipRequested, "c")
    scene.succeed("b-1-0-undo-0").fail("a-1-0-undo-0")
    scene.ask(SkipRequested, "a")
    scene.ask(CompensateRequested, "a")
    scene.fail("a-1-0-undo-0")
    assert (scene.status, scene.row.undo_only) == ("needs_operator", "a")
    assert preview(scene, "c") == ["c-1-0-undo-0"]
    scene.ask(CompensateRequested, "c")
    scene.ask(RetryRequested, "a")
    assert scene.sent[-1] == "c-1-0-undo-0/2"
    scene.succeed("c-1-0-undo-0", "a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")


def test_only_what_came_late_is_tried_again_of_an_instance_that_goes_forward() -> None:
    late = stage("b", undo=UNDO, undo_compensate_self="never", timeout=seconds(5))
    flow = sequence(stage("a", undo=UNDO), late, saga_on_failed_undo="park")
    scene = Scene(flow).start().succeed("a-1-0")
    scene.claim("b-1-0")
    scene.wait(60).succeed("a-1-0-undo-0")
    scene.ask(RetryRequested)
    scene.succeed("a-2-0").result("b-1-0")
    scene.fail("b-1-0-undo-0")
    assert (scene.status, scene.row.parked[0].stage) == ("needs_operator", "b")
    assert preview(scene) == ["b-1-0-undo-0"]
    assert scene.ask(CompensateRequested).result["stages"] == ["b"]


def test_stages_without_an_undo_are_named_as_such() -> None:
    scene = three().succeed("c-1-0")
    assert (
        scene.ask(CompensateRequested, "c").message
        == "nothing of stage 'c' stands that could be undone"
    )
    assert scene.ask(CompensateRequested, "x").message == "workflow 'flow' has no stage 'x'"


# --- an undo that failed ------------------------------------------------------------------------


def test_a_parked_undo_goes_on_when_it_is_tried_again() -> None:
    scene = three(saga_on_failed_undo="park").fail("c-1-0").fail("b-1-0-undo-0")
    assert scene.status == "needs_operator"
    scene.ask(RetryRequested, "b")
    assert (scene.status, scene.sent[-1]) == ("compensating", "b-1-0-undo-0/2")
    scene.succeed("b-1-0-undo-0", "a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")


def test_a_parked_undo_that_is_skipped_stays_named() -> None:
    scene = three(saga_on_failed_undo="park").fail("c-1-0").fail("b-1-0-undo-0")
    assert scene.ask(SkipRequested, "b").result["status"] == "compensating"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["stage"] for each in scene.row.failed_compensations] == ["b"]


def test_a_parked_undo_that_was_done_by_hand_counts_as_done() -> None:
    scene = three(saga_on_failed_undo="park").fail("c-1-0").fail("b-1-0-undo-0")
    scene.ask(ResultSet, "b", None)
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert scene.data("StageUndoneByHand") == {"stage": "b", "by": "ann", "reason": "because"}


def test_an_end_is_corrected_when_a_person_has_undone_the_rest() -> None:
    scene = three().fail("c-1-0").fail("b-1-0-undo-0").succeed("a-1-0-undo-0")
    assert scene.ask(ResultSet, "b", None).result["status"] == "rolled_back"
    assert (scene.row.rollback, scene.row.effects_left) == ("full", [])


def test_an_undo_that_hangs_is_given_up() -> None:
    scene = three().fail("c-1-0")
    scene.claim("b-1-0-undo-0")
    scene.ask(SkipRequested, "b")
    assert scene.withdrawn[-1] == "b-1-0-undo-0/1"
    assert scene.sent[-1] == "b-1-0-undo-0/1"  # what comes next does not come before its end
    scene.result("b-1-0-undo-0", status="cancelled", error_type="cancelled")
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    [failed] = scene.row.failed_compensations
    assert failed["error"] == {"type": "skipped", "message": "skipped by ann: because"}
    [left] = scene.row.effects_left
    assert (left["task"], left["is_certain"]) == ("b-1-0", False)


def test_an_undo_that_is_given_up_and_succeeds_is_a_success() -> None:
    scene = three(saga_on_failed_undo="park").fail("c-1-0")
    scene.claim("b-1-0-undo-0")
    scene.ask(SkipRequested, "b")
    scene.succeed("b-1-0-undo-0", "a-1-0-undo-0")
    assert (scene.status, scene.row.failed_compensations) == ("rolled_back", [])


@pytest.mark.parametrize("command", [(SkipRequested, "b"), (ResultSet, "b", None)])
def test_an_undo_that_is_given_up_is_not_tried_again_and_parks_nothing(
    command: tuple[Any, ...],
) -> None:
    two = stage("b", undo=UNDO, undo_retry=RETRY)
    flow = sequence(stage("a", undo=UNDO), two, stage("c"), saga_on_failed_undo="park")
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0").fail("c-1-0")
    scene.claim("b-1-0-undo-0")
    scene.ask(*command)
    scene.fail("b-1-0-undo-0", is_retryable=True)
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    is_skipped = command[0] is SkipRequested
    assert scene.status == ("failed" if is_skipped else "rolled_back")
    # Its agent says that it did nothing.
    assert [each["is_certain"] for each in scene.row.effects_left] == [True] * is_skipped


def test_an_undo_that_is_given_up_and_whose_agent_is_gone_is_named_as_not_certain() -> None:
    scene = three().fail("c-1-0")
    scene.claim("b-1-0-undo-0")
    scene.ask(SkipRequested, "b")
    scene.wait(60).succeed("a-1-0-undo-0")
    assert [each["is_certain"] for each in scene.row.effects_left] == [False]
    assert scene.result("b-1-0-undo-0") is None
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")


def test_an_undo_that_was_given_up_is_not_begun_again_when_its_agent_is_gone() -> None:
    scene = three().fail("c-1-0")
    scene.claim("b-1-0-undo-0")
    scene.ask(SkipRequested, "b")
    scene.at += seconds(10)
    assert scene.claim("b-1-0-undo-0", delivery=2) == "skip"
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_an_undo_that_has_not_begun_is_given_up_at_once() -> None:
    scene = three().fail("c-1-0")
    scene.ask(SkipRequested, "b")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert [each["is_certain"] for each in scene.row.effects_left] == [True]


def test_an_undo_that_waits_for_its_next_attempt_is_believed_to_be_done() -> None:
    flow = sequence(stage("a", undo=UNDO, undo_retry=RETRY), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0").fail("a-1-0-undo-0")
    scene.ask(ResultSet, "a", None)
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert scene.wait(100).sent[-1] == "a-1-0-undo-0/1"


def test_the_attempt_that_was_seen_must_be_the_newest() -> None:
    flow = sequence(stage("a", undo=UNDO, undo_retry=RETRY), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0").fail("a-1-0-undo-0").wait(60)
    assert "is newer" in scene.ask(SkipRequested, "a", "a-1-0-undo-0/1").message
    assert scene.ask(SkipRequested, "a", "a-1-0-undo-0/2").ok


# --- cancel without undoing ---------------------------------------------------------------------


def test_a_cancel_can_leave_everything_as_it_is() -> None:
    scene = three()
    assert scene.ask(CancelRequested, is_undone=False).result["status"] == "cancelled"
    assert (scene.row.rollback, scene.sent) == ("none", ["a-1-0/1", "b-1-0/1", "c-1-0/1"])
    assert [each["task"] for each in scene.row.effects_left] == ["a-1-0", "b-1-0"]


def test_a_cancel_that_leaves_everything_waits_for_what_was_begun() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    scene.claim("a-1-0")
    scene.ask(CancelRequested, is_undone=False)
    assert scene.status == "compensating"
    scene.succeed("a-1-0")
    assert (scene.status, scene.sent) == ("cancelled", ["a-1-0/1"])
    assert [each["task"] for each in scene.row.effects_left] == ["a-1-0"]


def test_a_parked_undo_is_left_where_it_is() -> None:
    scene = three(saga_on_failed_undo="park").fail("c-1-0").fail("b-1-0-undo-0")
    scene.ask(CancelRequested, is_undone=False)
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
    assert {each["task"] for each in scene.row.effects_left} == {"a-1-0", "b-1-0"}


def test_instances_below_are_left_as_they_are_too() -> None:
    below = stage("a", "_workflow", kind="workflow", workflow="w", workflow_digest="d")
    scene = Scene(sequence(below)).start()
    scene.ask(CancelRequested, is_undone=False)
    said = scene.said[-1]
    assert isinstance(said, CommandChild)
    assert (said.name, said.is_undone) == ("cancel", False)


# --- the engine failed on it --------------------------------------------------------------------


def test_an_instance_that_the_engine_failed_on_tries_once_more() -> None:
    scene = s.given_up()
    assert scene.ask(SkipRequested, "a").result["status"] == "needs_operator"
    scene.resume()
    assert scene.status == "waiting"


def test_what_was_to_be_tried_again_and_is_skipped_stays_named() -> None:
    two = stage("a", "devops", "backend", undo=UNDO)
    flow = sequence(two, stage("b"), saga_on_failed_undo="park", max_parallel_tasks=1)
    scene = Scene(flow).start().succeed("a-1-0", "a-1-1").fail("b-1-0").fail("a-1-0-undo-0")
    scene.ask(SkipRequested, "a")
    scene.fail("a-1-1-undo-0")
    scene.ask(RetryRequested, "a")
    assert scene.run_of("a").undo_again == ["a-1-1-undo-0"]
    scene.ask(SkipRequested, "a")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    named = sorted(each["task"] for each in scene.row.failed_compensations)
    assert named == ["a-1-0-undo-0", "a-1-1-undo-0"]


def test_what_comes_late_of_a_stage_that_was_undone_by_hand_is_named_when_it_stands() -> None:
    flow = sequence(stage("a", undo=UNDO, timeout=seconds(5)), stage("b"))
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.wait(60).fail("a-1-0-undo-0")
    scene.ask(ResultSet, "a", None)
    assert (scene.status, scene.row.effects_left) == ("rolled_back", [])
    scene.result("a-1-0")
    scene.fail("a-1-0-undo-1")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["task"] for each in scene.row.effects_left] == ["a-1-0"]


@pytest.mark.parametrize("again", [(CompensateRequested,), (RetryRequested, "a")])
def test_an_undo_that_a_person_wants_again_is_tried_as_often_as_its_retry_says(
    again: tuple[Any, ...],
) -> None:
    retry = RetryPolicy(count=2, delay=seconds(5), backoff="exponential", jitter=False)
    flow = sequence(stage("a", undo=UNDO, undo_retry=retry), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    for _ in range(2):
        scene.fail("a-1-0-undo-0").wait(5).fail("a-1-0-undo-0").wait(10).fail("a-1-0-undo-0")
        assert (scene.status, scene.row.rollback) == ("failed", "partial")
        scene.wait(1000)
        scene.ask(*again)
    assert scene.sent[-1] == "a-1-0-undo-0/7"
    scene.fail("a-1-0-undo-0").wait(5)
    assert scene.sent[-1] == "a-1-0-undo-0/8"
