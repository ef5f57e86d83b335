"""An undo that failed in an instance below is tried again on the word given to the one above."""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import pytest

from sagabus.core.commands import UndoChild
from sagabus.core.definition import Route, Routes
from sagabus.core.events import CancelRequested, CompensateRequested, RetryRequested, UndoRequested
from sagabus.core.instance import ParentRef
from sagabus.core.subworkflows import ask_again
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Scene, graph, sequence, stage

UNDO = ("u",)
BELOW = sequence(stage("x", undo=UNDO))
F = TypeVar("F", bound=Family)


def undone_in_part(kind: type[F] = Family, **settings: object) -> F:
    """The stage that a child carried out was undone, but for what the child could not undo."""
    family = kind(sequence(child_stage(), stage("b"), **settings), BELOW)
    family.child().succeed("x-1-0")
    family.deliver().scene.fail("b-1-0")
    family.deliver().child().fail("x-1-0-undo-0")
    family.deliver()
    assert family.scene.row.rollback == "partial" or family.scene.status == "needs_operator"
    return family


def failed_in_part() -> Family:
    """The child failed, and could not undo itself; what failed above is handled."""
    handled = Routes(on_failure=(Route(("b",)),), next="b")
    top = graph(child_stage(routes=handled), stage("b"), entry=("sub",))
    family = Family(top, sequence(stage("x", undo=UNDO), stage("y")))
    family.child().succeed("x-1-0").fail("y-1-0").fail("x-1-0-undo-0")
    family.deliver().scene.succeed("b-1-0")
    assert family.scene.status == "completed"
    return family


def retry(scene: Scene) -> bool:
    return scene.ask(RetryRequested, "sub").ok


def compensate(scene: Scene) -> bool:
    return scene.ask(CompensateRequested, "sub").ok


def compensate_all(scene: Scene) -> bool:
    return scene.ask(CompensateRequested).ok


@pytest.mark.parametrize("again", [retry, compensate, compensate_all])
def test_what_failed_below_is_tried_again_on_a_word_above(again: Callable[[Scene], bool]) -> None:
    family = undone_in_part()
    assert again(family.scene)
    child = family.deliver().child()
    assert (family.scene.status, child.status) == ("compensating", "compensating")
    assert child.sent[-1] == "x-1-0-undo-0/2"
    child.succeed("x-1-0-undo-0")
    family.deliver()
    for scene in (child, family.scene):
        assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
        assert (scene.row.failed_compensations, scene.row.effects_left) == ([], [])


def test_what_fails_below_again_is_named_again_and_can_be_tried_once_more() -> None:
    family = undone_in_part()
    for _ in range(2):
        retry(family.scene)
        family.deliver().child().fail("x-1-0-undo-0")
        family.deliver()
        assert (family.scene.status, family.scene.row.rollback) == ("failed", "partial")
        [failed] = family.scene.row.failed_compensations
        assert failed["task"] == "sub-1-0-undo-0"
    assert family.child().sent[-1] == "x-1-0-undo-0/3"


def test_who_is_parked_by_an_undo_below_goes_on_when_that_has_ended() -> None:
    family = undone_in_part(saga_on_failed_undo="park")
    assert retry(family.scene)
    assert family.scene.status == "compensating"
    family.deliver().child().succeed("x-1-0-undo-0")
    family.deliver()
    assert (family.scene.status, family.scene.row.rollback) == ("rolled_back", "full")


def test_what_a_child_could_not_undo_by_itself_is_tried_again_when_a_person_undoes_above() -> None:
    family = failed_in_part()
    assert compensate_all(family.scene)
    child = family.deliver().child()
    assert child.sent[-1] == "x-1-0-undo-0/2"
    child.succeed("x-1-0-undo-0")
    family.deliver()
    assert (child.status, child.row.rollback) == ("rolled_back", "full")
    assert (family.scene.status, family.scene.row.rollback) == ("rolled_back", "full")


def test_a_failure_above_does_not_by_itself_try_again_what_a_child_has_given_up() -> None:
    family = Family(sequence(child_stage()), sequence(stage("x", undo=UNDO), stage("y")))
    child = family.child()
    child.succeed("x-1-0").fail("y-1-0").fail("x-1-0-undo-0")
    family.deliver()
    assert child.sent[-1] == "x-1-0-undo-0/1"
    assert (family.scene.status, family.scene.row.rollback) == ("failed", "partial")
    assert retry(family.scene)
    family.deliver()
    assert child.sent[-1] == "x-1-0-undo-0/2"


def test_a_word_above_reaches_what_is_two_levels_below() -> None:
    """The one in the middle is told what a person wants, and asks the same of the one below it."""
    scene = Scene(sequence(child_stage(), stage("b"))).start()
    scene.row.parent = ParentRef("top", "m-1-0", 1)
    scene.succeed("sub-1-0").succeed("b-1-0")
    scene.decide(UndoRequested(scene.at, "undo", ParentRef("top", "m-1-0-undo-0", 1)))
    scene.result("sub-1-0-undo-0", status="failed", has_left_effects=True)
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    scene.said.clear()
    again = ParentRef("top", "m-1-0-undo-0", 2)
    scene.decide(UndoRequested(scene.at, "undo", again, is_asked=True))
    [said] = scene.said
    assert isinstance(said, UndoChild)
    assert (said.parent.task, said.parent.attempt, said.is_asked) == ("sub-1-0-undo-0", 2, True)
    scene.said.clear()
    scene.result("sub-1-0-undo-0")
    [told] = scene.said
    assert (told.parent, told.status) == (again, "succeeded")
    assert scene.status == "rolled_back"


def test_an_older_word_that_comes_late_changes_nothing() -> None:
    family = undone_in_part()
    retry(family.scene)
    child = family.deliver().child()
    older = ParentRef(family.scene.row.id, "sub-1-0-undo-0", 1)
    assert child.decide(UndoRequested(child.at, "undo", older)) == "undo_under_way"
    child.fail("x-1-0-undo-0")
    late = UndoRequested(child.at, "undo", older, is_asked=True)
    assert child.decide(late) == "undone_before"
    family.deliver()
    assert child.sent[-1] == "x-1-0-undo-0/2"
    assert family.scene.status == "failed"


def test_what_a_cancel_has_left_below_is_undone_on_a_word_above() -> None:
    family = Family(sequence(child_stage()), sequence(stage("x", undo=UNDO), stage("y")))
    family.child().succeed("x-1-0")
    family.scene.ask(CancelRequested, is_undone=False)
    family.deliver()
    child = family.child()
    assert (family.scene.status, child.status) == ("cancelled", "cancelled")
    assert [each["task"] for each in child.row.effects_left] == ["x-1-0"]
    assert compensate_all(family.scene)
    family.deliver()
    child.succeed("x-1-0-undo-0")
    family.deliver()
    assert (child.row.rollback, family.scene.row.rollback) == ("full", "full")


def test_an_undo_that_is_asked_for_while_the_last_stage_runs_comes_after_it() -> None:
    below = graph(stage("x", undo=UNDO), stage("last"), entry=("x",), on_end="last")
    scene = Scene(below)
    scene.row.parent = ParentRef("top", "m-1-0", 1)
    scene.start().succeed("x-1-0")
    undo = ParentRef("top", "m-1-0-undo-0", 1)
    scene.decide(UndoRequested(scene.at, "undo", undo))
    assert scene.sent[-1] == "last-1-0/1"
    scene.succeed("last-1-0")
    assert (scene.status, scene.sent[-1]) == ("compensating", "x-1-0-undo-0/1")
    assert scene.said == []
    scene.succeed("x-1-0-undo-0")
    assert scene.status == "rolled_back"
    [told] = scene.said
    assert (told.parent, told.status) == (undo, "succeeded")


# --- deaths -------------------------------------------------------------------------------------


class Careless(Family):
    """One message of those that are said from some point on is lost; all have what is stored."""

    said = 0
    lost: int | None = None

    def _carry_out(self, scene: Scene, command: object) -> None:
        for each in (self.scene, *self.children.values()):
            each.state = deepcopy(each.state)
        self.said += 1
        if self.said != self.lost:
            super()._carry_out(scene, command)

    def ask_again(self) -> None:
        """What an owner does with what has no answer."""
        for tries in self.scene.state.attempts.values():
            if tries[-1].is_unanswered:
                asked = ask_again(self.scene.definition, self.scene.state, tries[-1])
                self.scene.said += asked
        self.deliver()


@pytest.mark.parametrize("again", [retry, compensate, compensate_all])
@pytest.mark.parametrize("lost", [None, 1, 2])
def test_a_message_that_a_death_has_lost_is_made_up_for(
    again: Callable[[Scene], bool], lost: int | None
) -> None:
    family = undone_in_part(Careless)
    family.said, family.lost = 0, lost
    assert again(family.scene)
    family.deliver().ask_again()
    family.child().succeed("x-1-0-undo-0")
    family.deliver().ask_again()
    child = family.child()
    assert (child.status, family.scene.status) == ("rolled_back", "rolled_back")
    assert [task for task in child.sent if "undo" in task] == ["x-1-0-undo-0/1", "x-1-0-undo-0/2"]
    assert family.said >= 2
