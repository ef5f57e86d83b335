"""Claims: who may run what, and when nobody can say."""

import pytest

from sagabus.core.definition import RetryPolicy
from sagabus.core.tasks import GRACE, UNHEARD
from tests.unit.core.scene import Scene, seconds, sequence, stage

UNDO = ("devops",)
LONG_S = UNHEARD.total_seconds()


def claimed(**settings) -> Scene:
    """``a`` was done, and ``b`` has just been claimed as ``c2``."""
    settings = {"undo": UNDO, **settings}
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b", **settings), stage("c"))).start()
    scene.succeed("a-1-0")
    assert scene.claim("b-1-0") == "run"
    return scene


def test_a_claim_is_stored_as_the_start() -> None:
    scene = claimed()
    attempt = scene.attempt("b-1-0")
    assert (attempt.status, attempt.claim_id, attempt.agent) == ("running", "c2", "a1")
    assert attempt.started_at == scene.at
    assert scene.data("TaskStarted")["agent"] == "a1"


def test_a_repeated_claim_gets_the_same_answer() -> None:
    scene = claimed()
    assert scene.claim("b-1-0", claim="c2", is_running_elsewhere=True) == "run"
    assert scene.claim("b-1-0", claim="c2", is_presence_known=False) == "run"
    assert scene.types.count("TaskStarted") == 2


def test_who_asks_again_has_not_begun_and_gets_the_whole_time() -> None:
    scene = claimed(timeout=seconds(10)).wait(20)
    assert scene.claim("b-1-0", claim="c2") == "run"
    scene.wait(9 + GRACE.total_seconds())
    assert scene.attempt("b-1-0").status == "running"
    assert scene.wait(1).attempt("b-1-0").status == "timed_out"


def test_a_second_delivery_waits_for_a_live_agent() -> None:
    scene = claimed().wait(LONG_S)
    assert scene.claim("b-1-0", delivery=2, is_running_elsewhere=True) == "later"
    assert scene.attempt("b-1-0").agent == "a1"


def test_a_second_delivery_is_not_answered_while_presence_is_not_known() -> None:
    scene = claimed().wait(LONG_S)
    assert scene.claim("b-1-0", delivery=2, is_presence_known=False) is None
    assert scene.reason == "presence_not_known_yet"


def test_a_second_claim_right_after_the_first_is_not_answered() -> None:
    """The same send was stored twice: presence cannot list the first runner yet."""
    scene = claimed()
    assert scene.claim("b-1-0") is None
    scene.wait(LONG_S - 0.1)
    assert scene.claim("b-1-0") is None
    scene.wait(0.1)
    assert scene.claim("b-1-0", agent="second") == "run"


def test_a_first_claim_is_granted_though_presence_is_not_known() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    assert scene.claim("a-1-0", delivery=3, is_presence_known=False) == "run"


def test_the_runner_that_is_gone_may_have_acted() -> None:
    scene = claimed().wait(LONG_S)
    assert scene.claim("b-1-0", agent="second", delivery=2) == "run"
    scene.fail("b-1-0", agent="second")
    assert scene.attempt("b-1-0").acted is True
    assert scene.sent[-1] == "b-1-0-undo-0/1"


def test_a_failure_counts_only_from_the_agent_that_was_told_to_run() -> None:
    """Two copies of a message: the agent that waits for its claim hears of the cancel first."""
    scene = claimed()
    scene.cancel()
    reason = scene.result("b-1-0", agent="other", status="cancelled", error_type="cancelled")
    assert reason == "failure_of_another_agent"
    assert scene.attempt("b-1-0").status == "running"
    assert scene.result("b-1-0", agent="other") is None
    assert scene.attempt("b-1-0").status == "succeeded"


def test_an_answered_task_is_skipped() -> None:
    scene = claimed().succeed("b-1-0")
    assert scene.claim("b-1-0", delivery=2) == "skip"
    assert scene.claim("b-1-0", claim="c2") == "skip"


def test_a_superseded_attempt_is_skipped() -> None:
    scene = claimed(retry=RetryPolicy(count=1, jitter=False)).fail("b-1-0").wait(5)
    assert scene.claim("b-1-0", 1) == "skip"
    assert scene.claim("b-1-0", 2) == "run"


def test_a_task_that_was_not_claimed_before_the_failure_is_skipped() -> None:
    """Cancelled while queued with no agent alive; then one appears."""
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    scene.cancel()
    assert (scene.status, scene.withdrawn) == ("cancelled", ["a-1-0/1"])
    assert scene.claim("a-1-0") == "skip"
    assert scene.attempt("a-1-0").acted is False


def test_a_claim_of_an_unknown_task_is_skipped_and_dead() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    assert scene.claim("a-1-0", attempt=7) == "skip"
    assert scene.reason == "claim_of_unknown_task"


def test_a_claim_of_another_role_is_skipped_and_dead() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    assert scene.claim("a-1-0", source="backend") == "skip"
    assert scene.reason == "claim_of_foreign_role"
    assert scene.attempt("a-1-0").claim_id is None


def test_a_task_that_is_delivered_too_often_is_lost() -> None:
    scene = claimed().wait(LONG_S)
    assert scene.claim("b-1-0", delivery=11, max_deliver=10) == "skip"
    attempt = scene.attempt("b-1-0")
    assert (attempt.status, attempt.error.type, attempt.acted) == ("unknown", "agent_lost", True)
    assert scene.sent[-1] == "b-1-0-undo-0/1"


def test_a_task_that_is_delivered_too_often_and_was_never_claimed_has_not_acted() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO))).start()
    assert scene.claim("a-1-0", delivery=11, max_deliver=10) == "skip"
    assert scene.attempt("a-1-0").acted is False
    assert (scene.status, scene.row.rollback) == ("failed", "none")


def test_a_lost_agent_is_a_reason_for_a_retry() -> None:
    scene = claimed(retry=RetryPolicy(count=1, jitter=False)).wait(LONG_S)
    scene.claim("b-1-0", delivery=11)
    assert scene.wait(5).sent[-1] == "b-1-0/2"


def test_the_delivery_limit_does_not_count_while_a_live_agent_runs_it() -> None:
    scene = claimed().wait(LONG_S)
    assert scene.claim("b-1-0", delivery=11, is_running_elsewhere=True) == "later"


def test_work_whose_agent_is_gone_is_not_begun_again_while_settling() -> None:
    scene = claimed().wait(LONG_S)
    scene.cancel()
    assert scene.claim("b-1-0", delivery=2) == "skip"
    assert (scene.attempt("b-1-0").status, scene.attempt("b-1-0").acted) == ("unknown", True)
    assert scene.sent[-1] == "b-1-0-undo-0/1"


def test_work_that_runs_is_left_to_its_agent_while_settling() -> None:
    scene = claimed().wait(LONG_S)
    scene.cancel()
    assert scene.claim("b-1-0", delivery=2, is_running_elsewhere=True) == "later"
    assert scene.claim("b-1-0", claim="c2") == "run"


def test_compensations_are_claimed_while_undoing_and_after_the_end() -> None:
    scene = claimed().fail("b-1-0")
    assert scene.attempt("a-1-0-undo-0").claim is True
    assert scene.claim("a-1-0-undo-0") == "run"
    assert scene.data("TaskStarted")["task"] == "a-1-0-undo-0"


@pytest.mark.parametrize("classification", ["unclassified", "read_only"])
def test_tasks_without_declared_effect_need_no_claim(classification: str) -> None:
    scene = Scene(sequence(stage("a", classification=classification))).start()
    assert scene.attempt("a-1-0").claim is False


def test_a_redelivered_task_without_claim_asks_like_one_that_runs_already() -> None:
    scene = Scene(sequence(stage("a"))).start()
    assert scene.claim("a-1-0", delivery=2) is None
    scene.wait(LONG_S)
    assert scene.claim("a-1-0", delivery=2, is_presence_known=False) is None
    assert scene.claim("a-1-0", delivery=2, is_running_elsewhere=True) == "later"
    assert scene.claim("a-1-0", delivery=2) == "run"
    assert scene.succeed("a-1-0").status == "completed"
