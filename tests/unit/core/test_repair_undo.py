"""Undoing on request, one stage alone, and trying a failed undo again."""

from dataclasses import replace
from typing import Any

import pytest

from sagabus.core.commands import CommandChild
from sagabus.core.definition import RetryPolicy
from sagabus.core.events import (
    CancelRequested,
    CompensateRequested,
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
