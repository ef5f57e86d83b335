"""What a sub-workflow has left is known above as it is below, and no undo of it offered in vain."""

from dataclasses import replace

import pytest

from sagabus.core import repair_retry, repair_undo
from sagabus.core.definition import Definition
from sagabus.core.events import (
    CancelRequested,
    CompensateRequested,
    FailRequested,
    IntentResolved,
    ResultSet,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import ParentRef
from sagabus.core.preview import preview
from sagabus.views.causes import Surroundings
from sagabus.views.why import causes_of
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Scene, sequence, stage

UNDO = ("u",)
SUB = replace(child_stage(), classification="final")
#: Above, and below: what can be undone, and what is final.
TOP = sequence(SUB, stage("after"))
BELOW = sequence(stage("reserve", undo=UNDO), stage("pay", classification="final"))
PAY = sequence(stage("pay", classification="final"))


def left(scene: Scene) -> list[tuple[str, bool]]:
    return [(each["task"], each["is_certain"]) for each in scene.row.effects_left]


def held(below: Definition = PAY) -> Family:
    """Nobody knows whether the final effect below is there."""
    family = Family(TOP, below)
    child = family.child()
    if "reserve" in below.stages:
        child.succeed("reserve-1-0")
    child.fail("pay-1-0", "unknown_outcome")
    assert child.status == "needs_operator"
    return family.deliver()


def given_up(word: type, family: Family, **more: object) -> Family:
    stage_ = () if word is CancelRequested else ("sub",)
    assert family.scene.ask(word, *stage_, **more).ok
    return family.deliver()


@pytest.mark.parametrize("word", [CancelRequested, FailRequested, SkipRequested])
@pytest.mark.parametrize(("outcome", "known"), [("succeeded", [("sub-1-0", True)]), ("failed", [])])
def test_the_outcome_of_a_final_effect_below_is_known_above(
    word: type, outcome: str, known: list[tuple[str, bool]]
) -> None:
    more = {"is_undone": False} if word is CancelRequested else {}
    family = given_up(word, held(), **more)
    if word is SkipRequested:
        family.scene.succeed("after-1-0")
        assert (family.scene.status, left(family.scene)) == ("completed", [("sub-1-0", False)])
    assert family.child().ask(IntentResolved, "pay", outcome).ok
    family.deliver()
    assert family.scene.row.status.is_terminal
    assert left(family.scene) == known


@pytest.mark.parametrize("word", [CancelRequested, FailRequested, SkipRequested])
def test_no_undo_is_offered_of_what_is_nothing_but_final_below(word: type) -> None:
    more = {"is_undone": False} if word is CancelRequested else {}
    family = given_up(word, held(), **more)
    if word is SkipRequested:
        family.scene.succeed("after-1-0")
    family.child().ask(IntentResolved, "pay", "succeeded")
    scene = family.deliver().scene
    assert repair_undo.refusal(scene.definition, scene.state, None) is not None
    why = "nothing of it stands that could be undone: 'sub' left what is final"
    assert scene.ask(CompensateRequested).message == why


def test_what_is_left_below_and_can_be_undone_is_undone_and_then_no_more_offered() -> None:
    family = given_up(CancelRequested, held(BELOW), is_undone=False)
    child = family.child()
    child.ask(IntentResolved, "pay", "succeeded")
    scene = family.deliver().scene
    found = preview(scene.definition, scene.state)
    assert [each.task for each in found.undos] == ["sub-1-0-undo-0"]
    assert [each["is_certain"] for each in found.left] == [True]
    assert scene.ask(CompensateRequested).ok
    family.deliver()
    child.succeed("reserve-1-0-undo-0")
    family.deliver()
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
    assert left(scene) == [("sub-1-0", True)]
    for word in (CompensateRequested, RetryRequested):
        assert "could be undone: 'sub' left what is final" in (scene.ask(word, "sub").message or "")


def test_an_undo_that_comes_to_nothing_but_what_is_final_is_not_sent() -> None:
    """A child that completed with nothing but a final effect is named, and asked for nothing."""
    family = Family(
        sequence(stage("a", undo=UNDO), SUB, stage("after"), saga_after_final="compensate"), PAY
    )
    family.scene.succeed("a-1-0")
    family.deliver().child().succeed("pay-1-0")
    scene = family.deliver().scene.fail("after-1-0").succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert (left(scene), scene.row.failed_compensations) == ([("sub-1-0", True)], [])
    assert family.child().status == "completed"


def test_what_can_be_undone_after_all_is_undone_late() -> None:
    """A child had nothing but what is final; then a late success below it can be undone."""
    scene = Scene(sequence(stage("a", undo=UNDO), SUB)).start().succeed("a-1-0")
    scene.result("sub-1-0", status="failed", has_left_effects=True, left=["certain"])
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, left(scene)) == ("failed", [("sub-1-0", True)])
    scene.said.clear()
    scene.result("sub-1-0", status="failed", has_left_effects=True, left=["certain", "undoable"])
    scene.result("sub-1-0-undo-0")
    assert (scene.status, scene.row.rollback, left(scene)) == ("failed", "full", [])


def test_whoever_is_further_above_is_told_what_more_is_known() -> None:
    scene = Scene(sequence(SUB)).start()
    scene.row.parent = ParentRef("top", "m-1-0", 1)
    scene.result("sub-1-0", status="failed", has_left_effects=True, left=[])
    assert (scene.status, left(scene)) == ("failed", [("sub-1-0", False)])
    assert scene.said[-1].left == []
    scene.result("sub-1-0", status="failed", has_left_effects=True, left=["certain", "final"])
    assert left(scene) == [("sub-1-0", True)]
    assert scene.said[-1].left == ["certain", "final"]
    said = len(scene.said)
    again = {"status": "failed", "has_left_effects": True, "left": ["certain", "final"]}
    assert scene.result("sub-1-0", **again) == "duplicate_result"
    assert len(scene.said) == said


# --- the instance above ---------------------------------------------------------------------------


def paid_and_failed(**settings: object) -> Family:
    """A child has made its final effect, and its next stage fails."""
    below = sequence(*BELOW.stages.values(), stage("letter", classification="final"))
    family = Family(sequence(stage("first", undo=UNDO), SUB, stage("after"), **settings), below)
    family.scene.succeed("first-1-0")
    child = family.deliver().child()
    child.succeed("reserve-1-0", "pay-1-0").fail("letter-1-0")
    assert child.row.parked[0].cause == "after_final"
    return family.deliver()


def test_a_child_is_not_left_as_it_is_while_the_instance_above_would_undo_it() -> None:
    family = paid_and_failed()
    child, top = family.child(), family.scene.row.id
    assert child.ask(CancelRequested, is_undone=False).message == (
        f"the instance carries out a stage of instance {top!r}, which has undone what that leaves: "
        f"cancel {top!r} with --no-compensate"
    )
    assert family.scene.ask(CancelRequested, is_undone=False).ok
    family.deliver()
    assert (child.status, family.scene.status) == ("cancelled", "cancelled")
    assert [task for task, _ in left(child)] == ["reserve-1-0", "pay-1-0"]
    assert left(family.scene) == [("first-1-0", True), ("sub-1-0", True)]


def test_an_instance_holds_where_something_final_stands_below_for_certain() -> None:
    family = paid_and_failed()
    child = family.child()
    assert child.ask(CompensateRequested).ok
    child.succeed("reserve-1-0-undo-0")
    scene = family.deliver().scene
    assert (child.status, scene.status) == ("failed", "needs_operator")
    assert [each.cause for each in scene.row.parked] == ["after_final"]
    assert scene.sent == ["first-1-0/1"]
    assert scene.ask(CompensateRequested).ok
    scene.succeed("first-1-0-undo-0")
    assert (scene.status, left(scene)) == ("failed", [("sub-1-0", True)])


@pytest.mark.parametrize("is_known", [True, False])
def test_an_instance_holds_not_where_it_is_to_compensate_or_nothing_final_is_certain(
    is_known: bool,
) -> None:
    settings = {"saga_after_final": "compensate"} if is_known else {}
    scene = Scene(sequence(stage("first", undo=UNDO), SUB, **settings)).start().succeed("first-1-0")
    told = ["certain", "final"] if is_known else []
    scene.result("sub-1-0", status="failed", has_left_effects=True, left=told)
    scene.succeed("first-1-0-undo-0")
    assert (scene.status, left(scene)) == ("failed", [("sub-1-0", is_known)])


@pytest.mark.parametrize("word", [RetryRequested, SkipRequested, ResultSet])
def test_a_child_that_failed_after_its_final_effect_goes_forward_again(word: type) -> None:
    family = paid_and_failed()
    child, scene = family.child(), family.scene
    assert repair_retry.refusal(child.definition, child.state) is None
    [cause] = causes_of(child.state, child.definition, Surroundings())
    assert cause.remedy.startswith("sagabus retry ID (goes on from here)")
    arguments = {RetryRequested: (), SkipRequested: ("letter",), ResultSet: ("letter", "sent")}
    assert child.ask(word, *arguments[word]).ok
    if word is RetryRequested:
        assert child.sent[-1] == "letter-2-0/1"
        child.succeed("letter-2-0")
    family.deliver()
    assert (child.status, scene.sent) == ("completed", ["first-1-0/1", "after-1-0/1"])
    scene.succeed("after-1-0")
    assert (scene.status, left(scene)) == ("completed", [])


def test_a_child_that_the_instance_above_has_given_up_goes_forward_no_more() -> None:
    family = paid_and_failed()
    child, scene = family.child(), family.scene
    assert scene.ask(FailRequested, "sub").ok
    assert child.ask(RetryRequested).ok  # the word of the one above is on its way
    family.deliver()
    assert child.status == "compensating"
    refused = child.ask(RetryRequested)
    assert "is being undone" in (refused.message or "")
