"""Pausing: what was sent goes on, nothing else is sent until somebody lets it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sagabus.core.definition import Approval, Items, RetryPolicy
from sagabus.core.events import (
    CompensateRequested,
    IntentResolved,
    PauseRequested,
    RetryRequested,
    SkipRequested,
    StartRequested,
    UndoRequested,
)
from sagabus.core.instance import Gate, ParentRef
from sagabus.core.subworkflows import ask_again
from sagabus.core.timers import timers_of
from sagabus.core.transition import MAX_BEGUN
from tests.unit.core import standings
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Says, Scene, core, graph, leads_to, seconds, sequence, stage
from tests.unit.core.test_inquiries import inquiry
from tests.unit.core.test_subworkflows import BELOW


def test_results_are_taken_and_nothing_more_is_sent() -> None:
    scene = Scene(sequence(stage("a"), stage("b"))).start()
    assert scene.pause().ok
    assert scene.status == "paused"
    scene.succeed("a-1-0")
    assert scene.status == "paused"
    assert scene.sent == ["a-1-0/1"]
    assert scene.resume().ok
    assert scene.sent == ["a-1-0/1", "b-1-0/1"]
    assert scene.status == "running"


def test_who_paused_it_is_recorded_and_a_second_pause_is_refused() -> None:
    scene = Scene(sequence(stage("a"))).start()
    first = scene.pause("c1")
    assert scene.pause("c1") == first
    again = scene.pause()
    assert (again.ok, again.code) == (False, "conflict")
    assert "paused already by ann" in again.message
    assert scene.data("WorkflowPaused") == {"by": "ann", "reason": "lunch"}
    assert not Scene(sequence(stage("a"))).start().resume().ok


def test_the_workflows_clock_stands_still() -> None:
    scene = Scene(sequence(stage("a"), workflow_timeout=seconds(60))).start().wait(50)
    scene.pause()
    scene.wait(3600)
    assert scene.status == "paused"
    scene.resume()
    scene.wait(9)
    assert scene.status == "running"
    scene.wait(1)
    assert scene.row.error.type == "timeout"


def test_the_time_limits_of_gates_stand_still() -> None:
    asked = Approval(timeout=seconds(60))
    question = inquiry(timeout=seconds(70))
    scene = Scene(graph(stage("a", approval=asked), question, entry=("a", "ask"))).start().wait(50)
    scene.pause()
    assert [scene.row.wake_at, *(each.due_at for each in gates_of(scene))] == [None] * 3
    assert scene.wait(3600).status == "paused"
    scene.resume()
    assert scene.row.wake_at == scene.at + seconds(10)
    assert [each.due_at for each in gates_of(scene)] == [scene.at + seconds(n) for n in (10, 20)]
    scene.wait(9)
    assert scene.status == "waiting"
    scene.wait(1)
    assert scene.row.error.type == "approval_timeout"


def test_a_gate_that_opens_during_a_pause_has_all_its_time_afterwards() -> None:
    gated = stage("b", approval=Approval(timeout=seconds(60), on_timeout="approve"))
    scene = Scene(sequence(stage("a"), gated)).start()
    scene.pause()
    scene.succeed("a-1-0").wait(100)
    assert (scene.status, scene.run_of("b").status) == ("paused", "waiting")
    scene.resume()
    scene.wait(59)
    assert scene.sent == ["a-1-0/1"]
    scene.wait(1)
    assert scene.sent == ["a-1-0/1", "b-1-0/1"]


def test_a_gate_is_answered_during_a_pause() -> None:
    scene = Scene(sequence(stage("a", approval=Approval(timeout=seconds(60))))).start()
    scene.pause()
    assert scene.approve("a").ok
    scene.wait(100)
    scene.resume()
    scene.succeed("a-1-0")
    assert scene.status == "completed"


def gates_of(scene: Scene) -> list[Gate]:
    return [run.gate for run in scene.row.runs.values() if run.gate is not None]


def test_a_retry_that_came_up_meanwhile_is_made_when_it_goes_on() -> None:
    retry = RetryPolicy(count=1, delay=seconds(5), jitter=False)
    scene = Scene(sequence(stage("a", retry=retry))).start().fail("a-1-0")
    scene.pause()
    scene.wait(60)
    assert scene.sent == ["a-1-0/1"]
    scene.resume()
    scene.wait(0)
    assert scene.sent == ["a-1-0/1", "a-1-0/2"]


def test_a_fan_out_stops_where_it_is() -> None:
    items = Items(list=Says(lambda _: list(range(20))), concurrency=2)
    scene = Scene(sequence(stage("all", items=items))).start()
    scene.pause()
    scene.succeed("all-1-0", "all-1-1")
    assert len(scene.sent) == 2
    scene.resume()
    assert len(scene.sent) == 4


def test_stages_without_agents_wait_too() -> None:
    scene = Scene(sequence(stage("a"), core("b"), core("c"))).start()
    scene.pause()
    scene.succeed("a-1-0")
    assert list(scene.row.runs) == ["a-1", "b-1"]
    scene.resume()
    assert scene.status == "completed"


def test_an_undo_waits_until_it_goes_on() -> None:
    flow = sequence(stage("a", undo=("u",)), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0")
    scene.pause()
    scene.fail("b-1-0")
    assert scene.status == "compensating"
    assert "a-1-0-undo-0/1" not in scene.sent
    scene.resume()
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert scene.status == "rolled_back"


def test_cancelling_ends_the_pause() -> None:
    scene = Scene(sequence(stage("a", undo=("u",)), stage("b"))).start().succeed("a-1-0")
    scene.pause()
    assert scene.cancel().ok
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_the_instances_below_are_paused_with_it() -> None:
    family = Family(sequence(child_stage()), BELOW)
    child = family.child()
    family.scene.pause()
    family.deliver()
    assert child.status == "paused"
    child.succeed("x-1-0")
    family.deliver()
    assert child.status == "completed"  # nothing more was to be sent
    assert family.scene.status == "completed"
    family = Family(sequence(child_stage()), sequence(stage("x"), stage("y")))
    family.scene.pause()
    family.deliver().child().succeed("x-1-0")
    assert family.child().sent == ["x-1-0/1"]
    family.scene.resume()
    family.deliver()
    assert family.child().sent == ["x-1-0/1", "y-1-0/1"]


def test_a_pause_outlives_a_restart() -> None:
    retry = RetryPolicy(count=1, delay=seconds(5), jitter=False)
    scene = Scene(sequence(stage("a", retry=retry))).start().fail("a-1-0")
    scene.pause()
    scene.timers = timers_of(scene.state)  # all that a new owner knows
    scene.wait(60)
    assert scene.status == "paused"
    assert scene.sent == ["a-1-0/1"]


def ask_for_the_end(family: Family) -> None:
    scene = family.scene
    scene.said += ask_again(scene.definition, scene.state, scene.attempt("sub-1-0"))
    family.deliver()


def test_a_pause_and_its_end_that_were_lost_are_heard_with_the_next_question() -> None:
    family = Family(sequence(child_stage()), sequence(stage("x"), stage("y")))
    family.scene.pause()
    family.scene.said.clear()  # it never leaves
    ask_for_the_end(family)
    assert family.child().status == "paused"
    family.child().succeed("x-1-0")
    family.scene.resume()
    family.scene.said.clear()
    ask_for_the_end(family)
    assert family.child().sent == ["x-1-0/1", "y-1-0/1"]


def test_a_pause_by_a_person_is_not_ended_by_the_instance_above() -> None:
    family = Family(sequence(child_stage()), BELOW)
    family.child().pause()
    ask_for_the_end(family)
    assert family.child().status == "paused"


def test_cancelling_ends_the_pause_of_an_undo_below() -> None:
    family = Family(sequence(child_stage()), sequence(stage("x", undo=("u",)), stage("y")))
    child = family.child()
    child.succeed("x-1-0")
    family.scene.pause()
    family.deliver()
    child.fail("y-1-0")
    assert child.status == "compensating"
    assert family.scene.cancel().ok
    family.deliver()
    assert child.sent[-1] == "x-1-0-undo-0/1"


def test_a_child_that_completed_while_paused_can_still_be_undone() -> None:
    family = Family(sequence(child_stage(), stage("b")), BELOW)
    family.scene.pause()
    family.deliver().child().succeed("x-1-0")
    family.deliver().scene.resume()
    family.deliver().scene.fail("b-1-0")
    family.deliver().child().succeed("x-1-0-undo-0")
    family.deliver()
    assert family.scene.status == "rolled_back"


def test_the_status_of_the_very_end_says_whether_it_is_paused() -> None:
    flow = graph(stage("a"), stage("last"), entry=("a",), on_end="last")
    scene = Scene(flow).start()
    scene.pause()
    scene.succeed("a-1-0")
    assert (scene.status, scene.sent) == ("paused", ["a-1-0/1"])
    scene.resume()
    assert (scene.status, scene.sent[-1]) == ("running", "last-1-0/1")
    scene.succeed("last-1-0")
    assert scene.status == "completed"


def test_the_status_while_what_was_told_to_stop_is_waited_for_says_whether_it_is_paused() -> None:
    scene = Scene(sequence(stage("a", undo=("u",)))).start()
    scene.claim("a-1-0")
    scene.pause()
    scene.ask(SkipRequested, "a")
    assert scene.status == "paused"
    scene.resume()
    assert scene.status == "running"
    scene.succeed("a-1-0")
    assert scene.status == "completed"


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
    [gate] = gates_of(scene)
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
