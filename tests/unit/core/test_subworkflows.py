"""Stages that another instance carries out."""

from collections.abc import Callable

import pytest

from sagabus.core.commands import StartChild, UndoChild
from sagabus.core.definition import Items, RetryPolicy, Route, Routes
from sagabus.core.events import UndoRequested
from sagabus.core.instance import ParentRef
from sagabus.core.subworkflows import ask_again
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Says, Scene, graph, seconds, sequence, stage

UNDO = ("u",)
OUTPUT = {"sum": Says(lambda scope: scope["task"]["x"]["result"])}
BELOW = sequence(stage("x", undo=UNDO), output_map=OUTPUT)


def test_a_child_carries_out_the_stage_and_its_output_is_the_result() -> None:
    after = stage("after", input=Says(lambda scope: scope["task"]["sub"]["result"]))
    family = Family(sequence(child_stage(), after), BELOW)
    child = family.child()
    assert child.row.parameters == {"of": 0}
    assert child.row.root == family.scene.row.id
    assert child.row.trace == family.scene.row.trace
    child.succeed("x-1-0", output=42)
    family.deliver()
    assert family.scene.attempt("after-1-0").input == {"sum": 42}


def test_a_childs_failure_is_the_stages_failure_and_it_has_undone_itself() -> None:
    below = sequence(stage("x", undo=UNDO), stage("y"))
    family = Family(sequence(stage("a", undo=UNDO), child_stage()), below)
    family.scene.succeed("a-1-0")
    child = family.deliver().child()
    child.succeed("x-1-0").fail("y-1-0", "no_disk")
    family.deliver()
    assert family.scene.status == "running"  # it is still undoing
    child.succeed("x-1-0-undo-0")
    family.deliver()
    assert child.status == "rolled_back"
    assert family.scene.row.error.type == "no_disk"
    assert family.scene.sent[-1] == "a-1-0-undo-0/1"
    family.scene.succeed("a-1-0-undo-0")
    assert family.scene.status == "rolled_back"
    assert not any(isinstance(each, UndoChild) for each in family.scene.said)


def test_a_stage_that_a_child_carried_out_is_undone_by_undoing_the_child() -> None:
    family = Family(sequence(child_stage(), stage("b")), BELOW)
    child = family.child()
    child.succeed("x-1-0")
    family.deliver()
    family.scene.fail("b-1-0")
    family.deliver()
    assert child.status == "compensating"
    assert family.scene.status == "compensating"
    child.succeed("x-1-0-undo-0")
    family.deliver()
    assert child.status == "rolled_back"
    assert family.scene.status == "rolled_back"


def test_a_child_that_cannot_be_undone_leaves_the_rollback_partial() -> None:
    family = Family(sequence(child_stage(), stage("b")), BELOW)
    child = family.child()
    child.succeed("x-1-0")
    family.deliver()
    family.scene.fail("b-1-0")
    family.deliver()
    child.fail("x-1-0-undo-0")
    family.deliver()
    assert (child.status, child.row.rollback) == ("failed", "partial")
    assert (family.scene.status, family.scene.row.rollback) == ("failed", "partial")


def test_a_child_without_anything_to_undo_stays_completed() -> None:
    family = Family(sequence(child_stage(), stage("b")), sequence(stage("x")))
    family.child().succeed("x-1-0")
    family.deliver().scene.fail("b-1-0")
    family.deliver()
    assert family.child().status == "completed"
    assert family.scene.status == "rolled_back"


def test_cancelling_cancels_the_child_and_waits_for_its_end() -> None:
    family = Family(sequence(child_stage()), sequence(stage("x", undo=UNDO), stage("y")))
    child = family.child()
    child.succeed("x-1-0")
    assert family.scene.cancel().ok
    family.deliver()
    assert child.status == "compensating"
    assert family.scene.status == "compensating"
    child.succeed("x-1-0-undo-0")
    family.deliver()
    assert child.status == "cancelled"
    assert family.scene.status == "cancelled"


def test_a_stage_whose_time_is_over_ends_its_child_first() -> None:
    flow = graph(
        child_stage(timeout=seconds(10), routes=Routes(on_timeout=(Route(("b",)),))),
        stage("b"),
        entry=("sub",),
    )
    family = Family(flow, sequence(stage("x", undo=UNDO), stage("y")))
    child = family.child()
    child.succeed("x-1-0")
    family.scene.wait(10)
    family.deliver()
    assert family.scene.run_of("sub").status == "running"
    child.at = family.scene.at
    child.succeed("x-1-0-undo-0")
    family.deliver()
    assert family.scene.run_of("sub").status == "timed_out"
    assert family.scene.sent == ["b-1-0/1"]


def test_a_failed_child_is_tried_again_as_a_new_one() -> None:
    flow = sequence(child_stage(retry=RetryPolicy(count=1, delay=seconds(1), jitter=False)))
    family = Family(flow, sequence(stage("x")))
    family.child().fail("x-1-0")
    family.deliver().scene.wait(1)
    family.deliver().child(attempt=2).succeed("x-1-0")
    family.deliver()
    assert family.scene.status == "completed"
    assert len(family.children) == 2


def test_a_list_is_carried_out_by_one_child_per_item() -> None:
    items = Items(list=Says(lambda _: ["a", "b"]))
    family = Family(sequence(child_stage(items=items)), BELOW)
    assert [child.row.parameters["of"] for child in family.children.values()] == ["a", "b"]
    for index, child in enumerate(family.children.values()):
        child.succeed("x-1-0", output=index)
    family.deliver()
    assert family.scene.status == "completed"


def test_who_heard_nothing_asks_again_and_is_told_the_end() -> None:
    family = Family(sequence(child_stage()), BELOW)
    family.child().succeed("x-1-0", output=7)
    family.child().said.clear()  # the news is lost
    attempt = family.scene.attempt("sub-1-0")
    family.scene.said += ask_again(family.scene.definition, family.scene.state, attempt)
    family.deliver()
    assert family.scene.status == "completed"
    assert family.scene.attempt("sub-1-0").output == {"sum": 7}


def test_an_undo_asked_for_twice_is_done_once() -> None:
    family = Family(sequence(child_stage(), stage("b")), BELOW)
    child = family.child()
    child.succeed("x-1-0")
    family.deliver().scene.fail("b-1-0")
    again = list(family.scene.said)
    family.deliver()
    family.scene.said += again
    family.deliver()
    assert child.sent.count("x-1-0-undo-0/1") == 1
    child.succeed("x-1-0-undo-0")
    family.deliver()
    family.scene.said += again
    family.deliver()
    assert family.scene.status == "rolled_back"
    assert child.sent.count("x-1-0-undo-0/1") == 1


def test_a_child_with_halt_is_undone_when_the_instance_above_is() -> None:
    below = sequence(stage("x", undo=UNDO), stage("y"), saga_on_failure="halt")
    family = Family(sequence(child_stage()), below)
    child = family.child()
    child.succeed("x-1-0").fail("y-1-0")
    family.deliver()
    assert child.status == "compensating"
    child.succeed("x-1-0-undo-0")
    family.deliver()
    assert family.scene.status == "rolled_back"


def test_a_child_that_left_effects_is_not_tried_again_beside_them() -> None:
    flow = sequence(child_stage(retry=RetryPolicy(count=1, delay=seconds(1), jitter=False)))
    family = Family(flow, sequence(stage("x", undo=UNDO), stage("y")))
    child = family.child()
    child.succeed("x-1-0").fail("y-1-0").fail("x-1-0-undo-0")
    family.deliver()
    assert len(family.children) == 1
    assert (family.scene.status, family.scene.row.rollback) == ("failed", "partial")


def test_the_child_of_the_last_stage_is_not_cancelled_while_the_instance_ends() -> None:
    last = child_stage("sub")
    flow = graph(stage("a", undo=UNDO), last, entry=("a",), on_end="sub")
    family = Family(flow, BELOW)
    family.scene.fail("a-1-0")
    family.deliver()
    attempt = family.scene.attempt("sub-1-0")
    asked = ask_again(family.scene.definition, family.scene.state, attempt)
    assert [type(each) for each in asked] == [StartChild]


def test_an_instance_that_goes_forward_is_undone_when_the_one_above_asks() -> None:
    family = Family(sequence(child_stage()), sequence(stage("x", undo=UNDO), stage("y")))
    child = family.child()
    child.succeed("x-1-0")
    child.decide(UndoRequested(child.at, "undo", ParentRef("i1", "sub-1-0-undo-0", 1)))
    assert child.sent[-1] == "x-1-0-undo-0/1"
    child.succeed("x-1-0-undo-0")
    assert child.status == "rolled_back"
    [told] = child.said
    assert (told.parent.task, told.status) == ("sub-1-0-undo-0", "succeeded")


def test_what_was_parked_at_the_very_end_stays_parked_and_can_be_cancelled() -> None:
    flow = graph(stage("a"), stage("last"), entry=("a",), on_end="last")
    scene = Scene(flow).start().succeed("a-1-0").park()
    scene.result("last-1-0")
    assert scene.status == "needs_operator"
    assert scene.cancel().ok
    assert scene.status == "cancelled"


def test_without_input_a_child_gets_the_parameters_and_nothing_else() -> None:
    family = Family(sequence(stage("a"), child_stage(input=None)), BELOW)
    family.scene.succeed("a-1-0")
    assert family.deliver().child().row.parameters == {"size": 3}


@pytest.mark.parametrize("end", [Scene.cancel, lambda scene: scene.fail("b-1-0")])
def test_a_stage_that_a_child_was_stopped_in_is_cancelled(end: Callable[[Scene], object]) -> None:
    below = sequence(stage("x", undo=UNDO), stage("y"))
    flow = graph(child_stage(), stage("b"), entry=("sub", "b"))
    family = Family(flow, below)
    family.child().succeed("x-1-0")
    end(family.scene)
    family.deliver().child().succeed("x-1-0-undo-0")
    family.deliver()
    assert family.scene.row.rollback == "none"
    sub = family.scene.run_of("sub")
    assert (sub.status, sub.error) == ("cancelled", None)


def test_a_stage_whose_child_failed_while_it_was_stopped_has_failed() -> None:
    flow = graph(child_stage(), stage("b"), entry=("sub", "b"))
    family = Family(flow, sequence(stage("x")))
    family.child().claim("x-1-0")
    family.child().fail("x-1-0")
    family.scene.fail("b-1-0")
    family.deliver()
    sub = family.scene.run_of("sub")
    assert (sub.status, sub.error and sub.error.type) == ("failed", "boom")


def test_a_stage_whose_agent_was_stopped_is_cancelled() -> None:
    flow = sequence(stage("a", undo=UNDO, undo_compensate_self="never"))
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.cancel()
    scene.result("a-1-0", status="cancelled", error_type="cancelled")
    assert (scene.status, scene.run_of("a").status) == ("cancelled", "cancelled")
