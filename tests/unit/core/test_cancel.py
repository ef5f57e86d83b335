"""Cancelling: what was done is undone, what has not begun never begins."""

from datetime import timedelta

from sagabus.core.definition import RetryPolicy
from sagabus.core.events import CancelRequested
from sagabus.core.machine import MAX_ANSWERS
from sagabus.core.tasks import GRACE
from tests.unit.core.scene import Scene, graph, seconds, sequence, stage

UNDO = ("devops",)
GRACE_S = GRACE.total_seconds()


def test_an_instance_that_did_nothing_is_cancelled_at_once() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    answer = scene.cancel()
    assert (answer.ok, answer.result) == (True, {"id": "i1", "status": "cancelled"})
    assert (scene.status, scene.row.rollback) == ("cancelled", "none")
    assert scene.row.error.message == "cancelled by ann: enough"
    assert scene.data("WorkflowCancelled")["status"] == "cancelled"


def test_a_cancel_may_come_before_the_start() -> None:
    scene = Scene(sequence(stage("a")))
    scene.cancel()
    scene.start()
    assert (scene.status, scene.sent) == ("cancelled", [])


def test_what_was_done_is_undone() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b", undo=UNDO))).start()
    scene.succeed("a-1-0")
    assert scene.cancel().result["status"] == "compensating"
    assert scene.withdrawn == ["b-1-0/1"]
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "full")
    assert scene.run_of("a").status == "compensated"


def test_what_runs_is_told_to_stop_and_waited_for() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    scene.claim("a-1-0")
    scene.cancel()
    assert (scene.status, scene.withdrawn) == ("compensating", ["a-1-0/1"])
    scene.result("a-1-0", status="cancelled", error_type="cancelled")
    assert scene.attempt("a-1-0").acted is True
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "full")


def test_what_ends_well_in_spite_of_the_cancel_is_undone() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.cancel()
    scene.succeed("a-1-0")
    assert scene.sent == ["a-1-0/1", "a-1-0-undo-0/1"]


def test_what_fails_while_settling_is_not_tried_again() -> None:
    retry = RetryPolicy(count=3, jitter=False)
    scene = Scene(sequence(stage("a", undo=UNDO, retry=retry))).start()
    scene.claim("a-1-0")
    scene.cancel()
    scene.fail("a-1-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "none")


def test_a_silent_agent_is_given_up_after_its_time_and_some_grace() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO, timeout=seconds(10)))).start()
    scene.claim("a-1-0")
    scene.cancel()
    assert scene.wait(9 + GRACE_S).status == "compensating"
    scene.wait(1)
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_an_agent_without_a_limit_is_given_up_when_it_is_gone() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    scene.claim("a-1-0")
    scene.cancel()
    scene.wait(100, running_since=scene.at)
    assert scene.attempt("a-1-0").status == "running"
    scene.wait(GRACE_S)
    attempt = scene.attempt("a-1-0")
    assert (attempt.status, attempt.error.type, attempt.acted) == ("unknown", "agent_lost", True)
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_tasks_without_declared_effect_are_not_waited_for() -> None:
    scene = Scene(sequence(stage("a"))).start()
    scene.cancel()
    assert (scene.status, scene.withdrawn) == ("cancelled", ["a-1-0/1"])


def test_a_saga_cannot_be_cancelled_while_it_undoes() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.succeed("a-1-0").fail("b-1-0")
    answer = scene.cancel()
    assert (answer.ok, answer.code, scene.row.cancel_requested) == (False, "conflict", False)
    assert scene.succeed("a-1-0-undo-0").status == "rolled_back"


def test_what_is_being_cancelled_cannot_be_cancelled_again() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start().succeed("a-1-0")
    first = scene.cancel("one")
    assert scene.cancel("two").code == "conflict"
    assert scene.cancel("one") == first


def test_what_has_ended_cannot_be_cancelled() -> None:
    scene = Scene(sequence(stage("a"))).start().succeed("a-1-0")
    answer = scene.cancel()
    assert (answer.code, answer.message) == (
        "conflict",
        "the instance is completed: nothing to cancel",
    )
    seq = scene.row.seq
    scene.decide(CancelRequested(scene.at, "x", "ann"))
    assert (scene.row.seq, scene.row.answers["x"]) == (seq, answer)


def test_a_halting_workflow_undoes_when_a_person_cancels_it() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"), saga_on_failure="halt")
    scene = Scene(flow).start().succeed("a-1-0")
    scene.cancel()
    assert scene.succeed("a-1-0-undo-0").status == "cancelled"
    assert scene.row.rollback == "full"


def test_a_waiting_clock_does_not_run_on_after_a_cancel() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"), workflow_timeout=timedelta(seconds=30))
    scene = Scene(flow).start().succeed("a-1-0")
    scene.cancel()
    assert scene.wait(100).status == "compensating"
    assert scene.row.error.type == "cancelled"


def test_only_the_newest_answers_are_kept() -> None:
    scene = Scene(sequence(stage("a"))).start()
    for number in range(MAX_ANSWERS + 10):
        scene.approve("a", f"many{number}")
    assert len(scene.row.answers) == MAX_ANSWERS
    assert "many9" not in scene.row.answers


def test_a_cancel_of_what_was_parked_between_two_tasks_of_its_very_last_stage_ends_it() -> None:
    flow = graph(stage("a"), stage("last", "one", "two"), entry=("a",), on_end="last")
    scene = Scene(flow).start()
    scene.ask(CancelRequested)
    assert scene.sent[-1] == "last-1-0/1"
    scene.park().succeed("last-1-0")
    scene.ask(CancelRequested)
    assert (scene.status, scene.sent[-1]) == ("cancelled", "last-1-0/1")
