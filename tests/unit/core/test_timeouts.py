"""Time limits: of a run, of the wait for an agent, of the whole workflow."""

from sagabus.core.definition import Approval, RetryPolicy
from sagabus.core.tasks import GRACE, UNHEARD
from tests.unit.core.scene import Scene, seconds, sequence, stage

GRACE_S = GRACE.total_seconds()
ONCE_MORE = RetryPolicy(count=1, delay=seconds(1), jitter=False)
UNDO = ("devops",)


def test_a_claimed_attempt_times_out_counted_from_its_claim() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO, timeout=seconds(10), retry=ONCE_MORE))).start()
    scene.wait(100)
    assert scene.attempt("a-1-0").status == "dispatched"
    assert scene.claim("a-1-0") == "run"
    scene.wait(9 + GRACE_S)
    assert scene.attempt("a-1-0").status == "running"
    scene.wait(1)
    first = scene.attempt("a-1-0", 1)
    assert (first.status, first.acted, first.error.type) == ("timed_out", True, "timeout")
    assert scene.withdrawn == ["a-1-0/1"]
    assert scene.wait(1).sent == ["a-1-0/1", "a-1-0/2"]


def test_a_claimed_attempt_without_a_limit_may_run_for_ever() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO, start_timeout=seconds(5)))).start()
    assert scene.claim("a-1-0") == "run"
    assert scene.wait(1e6).status == "running"


def test_an_agent_that_says_timeout_may_have_acted() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start().fail("a-1-0", "timeout")
    assert scene.attempt("a-1-0").status == "timed_out"
    assert scene.run_of("a").error.type == "timeout"
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_an_unclaimed_task_waits_for_an_agent_however_long() -> None:
    scene = Scene(sequence(stage("a", timeout=seconds(10)))).start()
    assert scene.wait(10_000).attempt("a-1-0").status == "dispatched"
    assert scene.status == "running"


def test_an_unclaimed_task_that_presence_lists_times_out_counted_from_its_start() -> None:
    scene = Scene(sequence(stage("a", timeout=seconds(10)))).start().wait(20)
    began = scene.at
    scene.wait(9 + GRACE_S, running_since=began)
    assert scene.status == "running"
    scene.wait(1, running_since=began)
    assert (scene.status, scene.row.error.type) == ("failed", "timeout")
    assert scene.attempt("a-1-0").acted is True


def test_a_task_that_no_agent_takes_in_time_fails() -> None:
    scene = Scene(sequence(stage("a", "tester", start_timeout=seconds(5)))).start().wait(5)
    assert (scene.status, scene.row.error.type) == ("failed", "start_timeout")
    assert scene.row.error.message == "no agent of role tester took it in 5 s"
    assert scene.withdrawn == ["a-1-0/1"]
    assert scene.run_of("a").status == "timed_out"


def test_a_claimed_stage_that_nobody_took_has_not_acted() -> None:
    first = stage("a", undo=UNDO, start_timeout=seconds(5))
    scene = Scene(sequence(first)).start().wait(5)
    assert scene.attempt("a-1-0").acted is False
    assert (scene.status, scene.sent) == ("failed", ["a-1-0/1"])


def test_a_claim_ends_the_wait_for_an_agent() -> None:
    both = stage("a", undo=UNDO, start_timeout=seconds(5), timeout=seconds(60))
    scene = Scene(sequence(both)).start()
    scene.claim("a-1-0")
    assert scene.wait(30).status == "running"


def test_an_unclaimed_task_that_presence_lists_has_been_taken() -> None:
    scene = Scene(sequence(stage("a", start_timeout=seconds(5)))).start()
    scene.wait(10_000, running_since=scene.at)
    assert scene.status == "running"


def test_nobody_is_given_up_before_presence_is_known() -> None:
    scene = Scene(sequence(stage("a", start_timeout=seconds(5)))).start()
    scene.wait(100, is_presence_known=False)
    assert scene.attempt("a-1-0").status == "dispatched"
    assert scene.wait(UNHEARD.total_seconds()).row.error.type == "start_timeout"


def test_what_asks_first_has_no_need_of_presence() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO, start_timeout=seconds(5)))).start()
    assert scene.wait(5, is_presence_known=False).row.error.type == "start_timeout"


def test_a_silent_agent_is_not_given_up_while_settling_before_presence_is_known() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    scene.claim("a-1-0")
    scene.cancel()
    scene.wait(100, is_presence_known=False)
    assert scene.attempt("a-1-0").status == "running"
    assert scene.wait(UNHEARD.total_seconds()).attempt("a-1-0").status == "unknown"


def test_a_start_timeout_is_retried_like_any_failure() -> None:
    scene = Scene(sequence(stage("a", start_timeout=seconds(5), retry=ONCE_MORE))).start()
    assert scene.wait(6).sent == ["a-1-0/1", "a-1-0/2"]
    assert scene.wait(5).status == "failed"


def test_a_compensation_that_takes_too_long_has_failed() -> None:
    flow = sequence(stage("a", undo=UNDO, undo_timeout=seconds(3)), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    scene.claim("a-1-0-undo-0")
    scene.wait(3 + GRACE_S)
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert scene.row.failed_compensations[0]["error"]["type"] == "timeout"


def test_a_compensation_waits_for_an_agent_however_long() -> None:
    flow = sequence(
        stage("a", undo=UNDO, start_timeout=seconds(5), undo_timeout=seconds(3)), stage("b")
    )
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    assert scene.wait(10_000).status == "compensating"
    assert scene.succeed("a-1-0-undo-0").status == "rolled_back"


def test_the_workflow_has_a_limit_of_its_own() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"), workflow_timeout=seconds(60))).start()
    scene.succeed("a-1-0").wait(59)
    assert scene.status == "running"
    scene.wait(1)
    assert (scene.status, scene.row.error.type) == ("compensating", "timeout")
    assert scene.row.error.message == "the workflow took longer than 60 s"
    assert scene.attempt("b-1-0").status == "cancelled"


def test_the_limit_of_the_workflow_does_not_apply_to_compensation() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"), workflow_timeout=seconds(60))).start()
    scene.succeed("a-1-0").fail("b-1-0").wait(1000)
    assert scene.status == "compensating"
    assert scene.row.deadline_at is None


def test_the_clock_of_the_workflow_stands_still_while_it_waits_for_a_person() -> None:
    flow = sequence(stage("a"), stage("b", approval=Approval()), workflow_timeout=seconds(60))
    scene = Scene(flow).start().wait(20).succeed("a-1-0").wait(10_000)
    assert (scene.status, scene.row.deadline_at, scene.row.remaining_s) == ("waiting", None, 40.0)
    scene.approve("b")
    assert scene.row.deadline_at == scene.at + seconds(40)
    assert scene.wait(39).status == "running"
    assert scene.wait(1).status == "failed"


def test_a_completed_workflow_has_no_limit_any_more() -> None:
    scene = Scene(sequence(stage("a"), workflow_timeout=seconds(60))).start().succeed("a-1-0")
    assert scene.wait(100).status == "completed"
