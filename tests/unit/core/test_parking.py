"""An instance that the engine failed on is stopped until an operator decides; and its timers."""

from sagabus.core.commands import SetTimer
from sagabus.core.definition import Approval, RetryPolicy
from sagabus.core.timers import timers_of
from tests.unit.core.scene import Scene, graph, seconds, sequence, stage

UNDO = ("devops",)
RETRY = RetryPolicy(count=2, delay=seconds(5), jitter=False)


def test_a_parked_instance_says_so_and_why() -> None:
    scene = Scene(sequence(stage("a"))).start().park()
    assert scene.status == "needs_operator"
    nothing = {"stage": None, "task": None, "attempt": None}
    told = {"cause": "invariant", "message": "a bug", **nothing}
    assert scene.data("WorkflowParked") == told
    [parked] = scene.row.parked
    assert (parked.cause, parked.message, parked.at) == ("invariant", "a bug", scene.at)


def test_a_parked_instance_takes_results_and_goes_nowhere() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.park().succeed("a-1-0")
    assert (scene.status, scene.sent) == ("needs_operator", ["a-1-0/1"])
    assert scene.attempt("a-1-0").status == "succeeded"


def test_a_parked_instance_does_not_fail_by_itself() -> None:
    flow = sequence(stage("a", undo=UNDO, retry=RETRY), stage("b"), workflow_timeout=seconds(60))
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.park().fail("a-1-0").wait(1000)
    assert (scene.status, scene.sent) == ("needs_operator", ["a-1-0/1"])


def test_a_parked_instance_sends_no_retry() -> None:
    scene = Scene(sequence(stage("a", retry=RETRY))).start().fail("a-1-0").park().wait(100)
    assert scene.sent == ["a-1-0/1"]


def test_what_was_sent_before_it_was_parked_runs_to_its_end() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start().park()
    assert scene.claim("a-1-0") == "run"
    scene.succeed("a-1-0")
    assert (scene.status, scene.sent) == ("needs_operator", ["a-1-0/1"])
    assert scene.run_of("a").status == "succeeded"


def test_a_parked_gate_neither_opens_nor_times_out() -> None:
    gate = Approval(timeout=seconds(10), on_timeout="approve")
    scene = Scene(sequence(stage("a", approval=gate))).start().park().wait(100)
    assert (
        scene.approve("a").message
        == "the instance needs an operator: it takes answers again when that is done"
    )
    assert (scene.status, scene.sent) == ("needs_operator", [])


def test_a_cancel_is_the_way_out_and_undoes_what_was_done() -> None:
    flow = graph(stage("a", undo=UNDO), stage("b", undo=UNDO), entry=("a", "b"))
    scene = Scene(flow).start()
    scene.claim("b-1-0")
    scene.succeed("a-1-0").park().succeed("b-1-0")
    scene.cancel()
    assert scene.sent[-1] == "b-1-0-undo-0/1"
    scene.succeed("b-1-0-undo-0", "a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "full")


def test_an_instance_that_is_parked_while_a_cancel_settles_can_be_cancelled_again() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    scene.claim("a-1-0")
    scene.cancel()
    scene.park()
    assert scene.cancel().ok is True
    scene.succeed("a-1-0", "a-1-0-undo-0")
    assert scene.status == "cancelled"


def test_a_failure_stays_the_reason_when_a_parked_saga_is_cancelled() -> None:
    flow = graph(stage("a", undo=UNDO), stage("b"), entry=("a", "b"))
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.fail("b-1-0").park()
    scene.cancel()
    scene.succeed("a-1-0", "a-1-0-undo-0")
    assert (scene.status, scene.row.error.type) == ("cancelled", "boom")


def test_every_timer_can_be_set_again_from_what_is_stored() -> None:
    gate = Approval(timeout=seconds(30))
    flow = graph(
        stage("a", start_timeout=seconds(10)),
        stage("b", approval=gate),
        stage("c", undo=UNDO, timeout=seconds(7)),
        stage("d", retry=RETRY),
        stage("e"),
        entry=("a", "b", "c", "d", "e"),
        workflow_timeout=seconds(60),
    )
    scene = Scene(flow).start()
    scene.claim("c-1-0")
    scene.fail("d-1-0")
    assert timers_of(scene.state) == [
        SetTimer(scene.at + seconds(60), "workflow"),
        SetTimer(scene.at + seconds(30), "gate", "b-1"),
        SetTimer(scene.at + seconds(10), "attempt", "a-1-0", 1),
        SetTimer(scene.at + seconds(22), "attempt", "c-1-0", 1),
        SetTimer(scene.at + seconds(5), "due", "d-1-0", 1),
    ]
    assert set(timers_of(scene.state)) == set(scene.timers)


def test_what_has_ended_has_no_timers() -> None:
    flow = sequence(
        stage("a", start_timeout=seconds(10), timeout=seconds(5)), workflow_timeout=seconds(60)
    )
    scene = Scene(flow).start().succeed("a-1-0")
    assert timers_of(scene.state) == []


def test_a_timer_of_something_that_is_gone_is_ignored() -> None:
    scene = Scene(sequence(stage("a", start_timeout=seconds(10)), stage("b"))).start()
    scene.succeed("a-1-0").wait(100)
    assert (scene.status, scene.sent) == ("running", ["a-1-0/1", "b-1-0/1"])
