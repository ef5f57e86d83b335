"""What a sub-workflow could not undo and a person did is said of it, and above it follows."""

from dataclasses import replace

import pytest

from sagabus.core.events import CancelRequested, ResultSet, SkipRequested, UndoRequested
from sagabus.core.instance import ParentRef, Resource
from sagabus.views.causes import Surroundings
from sagabus.views.why import causes_of
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Scene, sequence, stage

UNDO = ("u",)
BELOW = sequence(stage("x", undo=UNDO))
ABOVE = ParentRef("top", "m-1-0", 1)


def undone_in_part(**settings: object) -> Family:
    """The stage that a child carried out was undone, but for what the child could not undo."""
    family = Family(sequence(child_stage(), stage("b"), **settings), BELOW)
    child = family.child()
    child.claim("x-1-0")
    child.result("x-1-0", resources=[Resource("vm", "vm-1", {"size": 2})])
    family.deliver().scene.fail("b-1-0")
    family.deliver().child().fail("x-1-0-undo-0")
    return family.deliver()


@pytest.mark.parametrize("policy", ["continue", "park"])
def test_what_was_undone_by_hand_below_is_undone_above(policy: str) -> None:
    family = undone_in_part(saga_on_failed_undo=policy)
    child = family.child()
    assert family.scene.status == ("needs_operator" if policy == "park" else "failed")
    assert family.scene.ask(ResultSet, "sub", None).message == (
        f"stage 'sub' is carried out by instance '{child.row.id}': set the result of its stage "
        "that is not undone, and this one follows"
    )
    assert child.ask(ResultSet, "x", None).ok
    assert child.resources[-1].spec is None
    family.deliver()
    for scene in (child, family.scene):
        assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
        assert (scene.row.failed_compensations, scene.row.effects_left) == ([], [])
    assert family.scene.run_of("sub").status == "compensated"


def test_it_is_told_where_to_say_what_was_undone_by_hand() -> None:
    family = undone_in_part(saga_on_failed_undo="park")
    child = family.child()
    [above] = causes_of(family.scene.state, family.scene.definition, Surroundings())
    assert f"sagabus why {child.row.id} (the instance that has not undone it)" in above.remedy
    assert "set-result" not in above.remedy
    [ended] = causes_of(child.state, child.definition, Surroundings())
    assert "sagabus set-result ID x --output JSON --reason TEXT" in ended.remedy


def test_what_is_final_below_cannot_be_called_undone() -> None:
    below = sequence(stage("x", undo=UNDO), stage("pay", classification="final"))
    family = Family(sequence(replace(child_stage(), classification="final"), stage("b")), below)
    family.child().succeed("x-1-0", "pay-1-0")
    family.deliver().scene.fail("b-1-0")
    family.scene.ask(CancelRequested)
    family.deliver().child().succeed("x-1-0-undo-0")
    scene = family.deliver().scene
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
    child = family.child().row.id
    refused = f"stage 'sub' left what is final in instance '{child}': skip it"
    assert scene.ask(ResultSet, "sub", None).message == refused
    assert scene.ask(SkipRequested, "sub").ok
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
    assert not family.child().ask(ResultSet, "pay", None).ok


def test_what_is_undone_two_levels_below_is_said_at_every_level() -> None:
    scene = Scene(sequence(child_stage(), stage("b"))).start()
    scene.row.parent = ABOVE
    scene.succeed("sub-1-0").succeed("b-1-0")
    undo = ParentRef("top", "m-1-0-undo-0", 1)
    scene.decide(UndoRequested(scene.at, "undo", undo))
    left = {"status": "failed", "has_left_effects": True, "left": ["certain", "undoable"]}
    scene.result("sub-1-0-undo-0", seq=9, **left)
    assert scene.said[-1].status == "failed"
    scene.result("sub-1-0-undo-0", seq=10)
    assert (scene.said[-1].parent, scene.said[-1].status) == (undo, "succeeded")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    # What was said before that, and comes once more, changes nothing.
    assert scene.result("sub-1-0-undo-0", seq=9, **left) == "older_news"
    assert scene.status == "rolled_back"


def test_a_completed_instance_forgets_what_is_undone_below_after_all() -> None:
    scene = Scene(sequence(child_stage())).start()
    scene.result("sub-1-0", seq=5)
    scene.result("sub-1-0", has_left_effects=True, left=["undoable"], seq=7)
    assert (scene.status, scene.row.rollback) == ("completed", "partial")
    assert scene.result("sub-1-0", seq=5) == "older_news"
    assert scene.result("sub-1-0", seq=8) is None
    assert (scene.status, scene.row.rollback) == ("completed", "none")
    assert scene.row.failed_compensations == []
    assert scene.run_of("sub").status == "succeeded"


def test_what_a_failed_child_had_left_and_is_undone_by_hand_is_named_no_more() -> None:
    """Nobody has had it undone from above: what is above halts, and names it."""
    flow = sequence(child_stage(), saga_on_failure="halt")
    family = Family(flow, sequence(stage("x", undo=UNDO), stage("y")))
    child = family.child()
    child.succeed("x-1-0").fail("y-1-0").fail("x-1-0-undo-0")
    scene = family.deliver().scene
    assert [each["task"] for each in scene.row.effects_left] == ["sub-1-0"]
    assert child.ask(ResultSet, "x", None).ok
    family.deliver()
    assert (scene.status, scene.row.rollback, scene.row.effects_left) == ("failed", "none", [])


def test_a_child_that_had_undone_itself_in_part_says_what_becomes_of_the_rest() -> None:
    """It was asked for an undo when everything had been tried, and is heard of as that undo."""
    family = Family(sequence(child_stage()), sequence(stage("x", undo=UNDO), stage("y")))
    scene, child = family.scene, family.child()
    child.succeed("x-1-0").fail("y-1-0").fail("x-1-0-undo-0")
    family.deliver()
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["task"] for each in scene.row.failed_compensations] == ["sub-1-0-undo-0"]
    assert child.ask(ResultSet, "x", None).ok
    family.deliver()
    for each in (child, scene):
        assert (each.status, each.row.rollback) == ("rolled_back", "full")
        assert (each.row.failed_compensations, each.row.effects_left) == ([], [])
