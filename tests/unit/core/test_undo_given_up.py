"""An undo that a person gives up, or takes for done: what is under way is waited for."""

from typing import Any

import pytest

from sagabus.core.events import (
    ResultSet,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import Resource
from tests.unit.core.scene import Scene, seconds, sequence, stage
from tests.unit.core.test_repair_undo import RETRY, UNDO, three


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


def test_what_an_undo_that_succeeds_late_has_deleted_is_gone() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO, undo_timeout=seconds(5)), stage("b"))).start()
    scene.result("a-1-0", resources=[Resource("vm", "vm-1", {"size": 2})])
    scene.fail("b-1-0")
    scene.claim("a-1-0-undo-0")
    scene.wait(1000)
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert scene.resources[-1].spec is None
