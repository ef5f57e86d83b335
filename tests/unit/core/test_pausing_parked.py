"""Pausing of what needs an operator, of undos that come late, and of what begins anew."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sagabus.core.definition import Approval
from sagabus.core.events import (
    CompensateRequested,
    IntentResolved,
    PauseRequested,
    RetryRequested,
    StartRequested,
    UndoRequested,
)
from sagabus.core.instance import ParentRef
from sagabus.core.transition import MAX_BEGUN
from tests.unit.core import standings
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Scene, graph, leads_to, seconds, sequence, stage

# --- what needs an operator -----------------------------------------------------------------------

#: Instances that need one, a command that settles it, and what is sent by that.
WAYS_OUT: list[tuple[Callable[[], Scene], type[Any], tuple[Any, ...], str]] = [
    (standings.held, IntentResolved, ("f", "succeeded"), "x-1-0/1"),
    (standings.held, IntentResolved, ("f", "failed"), "a-1-0-undo-0/1"),
    (standings.held, IntentResolved, ("f", "retry"), "f-1-0/2"),
    (standings.failed_after_final, RetryRequested, (), "x-2-0/1"),
    (standings.failed_after_final, CompensateRequested, (), "a-1-0-undo-0/1"),
    (standings.undo_parked, RetryRequested, ("a",), "a-1-0-undo-0/2"),
    (standings.undo_parked, RetryRequested, (), "a-2-0/1"),
    (standings.undo_parked, CompensateRequested, (), "a-1-0-undo-0/2"),
]


@pytest.mark.parametrize(("make", "command", "given", "sent"), WAYS_OUT)
def test_what_an_operator_settles_of_a_paused_instance_is_sent_when_it_goes_on(
    make: Callable[[], Scene], command: type[Any], given: tuple[Any, ...], sent: str
) -> None:
    free, scene = make(), make()
    assert free.ask(command, *given).ok
    assert free.sent[-1] == sent
    assert scene.pause().result["status"] == "needs_operator"
    before = list(scene.sent)
    assert scene.ask(command, *given).ok
    scene.wait(3600)
    assert scene.status in {"paused", "compensating"}
    assert scene.row.paused is not None
    assert scene.sent == before
    assert scene.resume().ok
    scene.wait(0)
    assert (scene.sent[len(before) :], scene.status) == ([sent], free.status)


def test_a_result_that_comes_late_settles_a_paused_instance_and_it_stays_paused() -> None:
    scene = standings.held_and_paused()
    scene.succeed("f-1-0")
    assert (scene.status, scene.sent[-1]) == ("paused", "f-1-0/1")
    scene.resume()
    assert (scene.status, scene.sent[-1]) == ("running", "x-1-0/1")


def test_the_end_of_a_pause_settles_nothing_that_needs_an_operator() -> None:
    scene = standings.held_and_paused()
    answer = scene.resume()
    assert (answer.ok, answer.result["status"], scene.row.paused) == (True, "needs_operator", None)
    assert scene.sent[-1] == "f-1-0/1"
    again = scene.resume()
    assert "is not paused, it needs an operator" in again.message
    scene.ask(IntentResolved, "f", "succeeded")
    assert scene.sent[-1] == "x-1-0/1"


def test_what_the_engine_failed_on_tries_once_more_when_it_is_not_paused() -> None:
    scene = standings.given_up()
    scene.pause()
    assert scene.resume().result["status"] == "needs_operator"
    assert scene.resume().result["status"] == "running"


def test_what_is_tried_again_of_a_paused_instance_leaves_when_only_the_rest_is_unknown() -> None:
    scene = standings.several_held()
    scene.pause()
    answer = scene.ask(IntentResolved, "f", "retry", None, "f-1-1/1")
    assert not answer.result["is_sent"]
    scene.wait(0)
    assert scene.sent[-1] == "f-1-2/1"
    scene.resume()
    scene.wait(0)
    assert (scene.status, scene.sent[-1]) == ("needs_operator", "f-1-1/2")


@pytest.mark.parametrize("is_paused_first", [True, False])
@pytest.mark.parametrize("is_resumed_first", [True, False])
def test_clocks_stand_still_while_it_is_paused_or_needs_an_operator(
    is_paused_first: bool, is_resumed_first: bool
) -> None:
    f = stage("f", classification="final")
    gated = stage("g", approval=Approval(timeout=seconds(80)))
    scene = Scene(graph(f, gated, entry=("f", "g"), workflow_timeout=seconds(100))).start()
    scene.claim("f-1-0")
    scene.wait(10)
    if is_paused_first:
        scene.pause()
    scene.wait(1000 if is_paused_first else 0).claim("f-1-0", delivery=2)
    scene.wait(1000)
    if not is_paused_first:
        scene.pause()
    if is_resumed_first:
        scene.resume()
    scene.wait(1000).ask(IntentResolved, "f", "succeeded")
    scene.wait(0 if is_resumed_first else 1000)
    if not is_resumed_first:
        assert scene.status == "paused"
        scene.resume()
    gate = scene.run_of("g").gate
    assert gate.due_at == scene.at + seconds(70)
    assert scene.status == "waiting"
    assert scene.row.remaining_s == 90  # a person is waited for
    scene.approve("g")
    assert scene.row.deadline_at == scene.at + seconds(90)


def test_an_instance_below_that_needs_an_operator_is_paused_with_the_one_above() -> None:
    last = replace(child_stage(), classification="final", compensation=None)
    finals = [stage(name, classification="final") for name in ("f", "x")]
    family = Family(sequence(last), sequence(*finals))
    child = family.child()
    child.claim("f-1-0")
    child.wait(10)
    child.claim("f-1-0", delivery=2)
    family.scene.pause()
    family.deliver()
    assert child.ask(IntentResolved, "f", "succeeded").ok
    assert (child.status, child.sent) == ("paused", ["f-1-0/1"])
    family.scene.resume()
    family.deliver()
    assert (child.status, child.sent[-1]) == ("running", "x-1-0/1")


# --- undos that come late -------------------------------------------------------------------------


def undoing_with_a_late_success() -> Scene:
    """z and a are to be undone yet; b may succeed when the saga has passed it."""
    late = stage("b", undo=("v",), undo_compensate_self="never", timeout=seconds(5))
    scene = Scene(sequence(stage("z", undo=("u",)), stage("a", undo=("u",)), late)).start()
    scene.succeed("z-1-0", "a-1-0").claim("b-1-0")
    scene.wait(30)
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    return scene


def test_the_undo_of_a_late_success_waits_for_the_end_of_a_pause() -> None:
    scene = undoing_with_a_late_success()
    scene.pause()
    scene.result("b-1-0")
    scene.succeed("a-1-0-undo-0").wait(60)
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.resume()
    scene.wait(0)
    assert scene.sent[-1] == "b-1-0-undo-0/2"
    scene.succeed("b-1-0-undo-0")
    assert scene.sent[-1] == "z-1-0-undo-0/1"
    scene.succeed("z-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")


def test_a_cancel_sends_what_the_pause_has_kept_back() -> None:
    late = stage("a", undo=("u",), undo_compensate_self="never", timeout=seconds(5))
    scene = Scene(sequence(late)).start()
    scene.claim("a-1-0")
    scene.wait(30)
    assert scene.status == "failed"
    scene.ask(RetryRequested)
    scene.pause()
    scene.result("a-1-0")
    scene.wait(60)
    assert scene.sent[-1] == "a-2-0/1"
    assert scene.cancel().ok
    scene.wait(0)
    assert scene.sent[-1] == "a-1-0-undo-0/2"
    scene.succeed("a-1-0-undo-0")
    assert scene.status == "cancelled"


# --- workflows that are on hold -------------------------------------------------------------------


def hold(scene: Scene) -> PauseRequested:
    return PauseRequested(scene.at, "the hold", by="ann", reason="the freeze", is_of_workflow=True)


def test_a_new_instance_of_a_held_workflow_begins_paused_and_has_done_with_the_hold() -> None:
    scene = Scene(sequence(stage("a")))
    scene.decide(StartRequested(scene.at, "start", hold=hold(scene)))
    assert (scene.status, scene.sent) == ("paused", [])
    assert scene.resume().ok
    assert scene.decide(hold(scene)) == "repeated_command"
    assert scene.sent == ["a-1-0/1"]


@pytest.mark.parametrize(
    ("make", "command", "sent"),
    [
        (standings.failed, RetryRequested, "b-2-0/1"),
        (standings.failed, CompensateRequested, "a-1-0-undo-0/1"),
        (standings.rolled_back, RetryRequested, "a-2-0/1"),
        (standings.completed, CompensateRequested, "a-1-0-undo-0/1"),
        (standings.failed_partial, CompensateRequested, "a-1-0-undo-0/2"),
    ],
)
def test_an_ended_instance_of_a_held_workflow_begins_anew_paused(
    make: Callable[[], Scene], command: type[Any], sent: str
) -> None:
    scene = make()
    before = list(scene.sent)
    assert scene.ask(command, hold=hold(scene)).ok
    paused = scene.row.paused
    assert (paused.by, paused.reason, paused.is_of_workflow) == ("ann", "the freeze", True)
    assert scene.status in {"paused", "compensating"}
    scene.wait(3600)
    assert scene.sent == before
    assert scene.resume().ok
    assert scene.sent[len(before) :] == [sent]


def test_what_begins_anew_with_more_than_one_event_can_begin_is_paused() -> None:
    many = [f"b{number}" for number in range(MAX_BEGUN + 20)]
    first = stage("a", routes=leads_to(*many))
    flow = graph(
        first, *map(stage, many), entry=("a",), saga_on_failure="halt", workflow_timeout=seconds(60)
    )
    scene = Scene(flow).start().succeed("a-1-0").wait(0)
    scene.fail("b0-1-0")
    assert scene.status == "failed"
    scene.ask(RetryRequested, hold=hold(scene))
    assert scene.row.pending
    assert (scene.status, scene.row.deadline_at) == ("paused", None)


def test_what_is_refused_of_an_ended_instance_of_a_held_workflow_pauses_nothing() -> None:
    scene = standings.completed_for_nothing()
    assert not scene.ask(CompensateRequested, hold=hold(scene)).ok
    assert (scene.status, scene.row.paused) == ("completed", None)


def test_an_instance_below_of_a_held_workflow_is_undone_when_that_goes_on() -> None:
    scene = standings.completed()
    parent = ParentRef("up", "x-1-0-undo-0", 1)
    scene.decide(UndoRequested(scene.at, "undo", parent, hold=hold(scene)))
    assert (scene.status, scene.sent[-1]) == ("compensating", "b-1-0/1")
    assert scene.resume().ok
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_an_instance_that_goes_on_without_having_ended_is_not_paused_by_the_hold() -> None:
    scene = standings.failed_after_final()
    scene.ask(RetryRequested, hold=hold(scene))
    assert scene.row.paused is None  # it was told of the hold by itself
