"""Pausing: what was sent goes on, nothing else is sent until somebody lets it."""

from sagabus.core.definition import Approval, Items, RetryPolicy
from sagabus.core.events import SkipRequested
from sagabus.core.instance import Gate
from sagabus.core.subworkflows import ask_again
from sagabus.core.timers import timers_of
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Says, Scene, core, graph, seconds, sequence, stage
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
