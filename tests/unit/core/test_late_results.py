"""Results that come when their attempt was given up already."""

from sagabus.core.definition import RetryPolicy
from sagabus.core.events import RetryRequested
from sagabus.core.tasks import GRACE
from tests.unit.core.scene import Broken, Scene, seconds, sequence, stage

UNDO = ("devops",)
LIMIT = seconds(5)
OVERDUE_S = 5 + GRACE.total_seconds()
ONCE_MORE = RetryPolicy(count=1, delay=seconds(10), jitter=False)


def overdue(**settings) -> Scene:
    """``a`` was done; the claimed ``b`` has just timed out."""
    settings = {"undo": UNDO, "timeout": LIMIT, **settings}
    flow = {key: settings.pop(key) for key in list(settings) if key.startswith("saga_")}
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b", **settings), stage("c"), **flow))
    scene.start().succeed("a-1-0")
    scene.claim("b-1-0")
    return scene.wait(OVERDUE_S)


def test_a_late_success_wins_while_its_retry_is_planned() -> None:
    scene = overdue(retry=ONCE_MORE)
    assert scene.attempt("b-1-0").retry is True
    assert scene.result("b-1-0", output="late") is None
    assert scene.sent[-1] == "c-1-0/1"
    assert scene.attempt("c-1-0").input["previous"] == {"b": "late"}
    scene.wait(60)
    assert "b-1-0/2" not in scene.sent


def test_a_late_failure_changes_nothing() -> None:
    scene = overdue(retry=ONCE_MORE)
    assert scene.result("b-1-0", status="failed", error_type="boom") == "duplicate_result"
    assert scene.wait(10).sent[-1] == "b-1-0/2"


def test_a_late_success_is_only_noted_when_its_successor_was_sent() -> None:
    scene = overdue(retry=ONCE_MORE).wait(10)
    assert scene.sent[-1] == "b-1-0/2"
    assert scene.result("b-1-0", 1, output="late") is None
    assert scene.types[-1] == "TaskCompletedLate"
    assert scene.attempt("b-1-0", 1).status == "succeeded"
    scene.succeed("b-1-0", output="in time")
    assert scene.attempt("c-1-0").input["previous"] == {"b": "in time"}
    assert scene.succeed("c-1-0").status == "completed"


def test_attempt_1_times_out_and_2_fails_and_then_1_succeeds() -> None:
    scene = overdue(retry=RetryPolicy(count=2, delay=seconds(10), jitter=False)).wait(10)
    scene.fail("b-1-0")
    assert scene.result("b-1-0", 1) is None
    assert scene.types[-1] == "TaskCompletedLate"
    scene.wait(60).fail("b-1-0")
    # The last attempt reported that it did nothing; the first one did.
    assert scene.sent[-1] == "b-1-0-undo-0/1"


def test_a_late_success_is_undone_with_its_stage_when_that_is_still_to_come() -> None:
    scene = overdue(undo_compensate_self="never", retry=ONCE_MORE).wait(10)
    scene.result("b-1-0", 1)
    scene.fail("b-1-0", is_retryable=False)
    assert scene.sent[-1] == "b-1-0-undo-0/1"
    scene.succeed("b-1-0-undo-0", "a-1-0-undo-0")
    assert scene.status == "rolled_back"


def test_a_late_success_that_the_saga_has_passed_is_undone_before_it_goes_on() -> None:
    flow = sequence(
        stage("z", undo=UNDO),
        stage("a", undo=UNDO),
        stage("b", undo=UNDO, undo_compensate_self="never", timeout=LIMIT),
    )
    scene = Scene(flow).start().succeed("z-1-0", "a-1-0")
    scene.claim("b-1-0")
    scene.wait(OVERDUE_S)
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.result("b-1-0")
    assert scene.sent[-1] == "b-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert scene.sent[-1] == "b-1-0-undo-0/1"
    scene.succeed("b-1-0-undo-0")
    assert scene.run_of("b").status == "compensated"
    scene.succeed("z-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")


def test_what_was_undone_on_suspicion_is_undone_again_when_it_succeeds_late() -> None:
    scene = overdue()
    assert scene.sent[-1] == "b-1-0-undo-0/1"
    scene.succeed("b-1-0-undo-0")
    scene.result("b-1-0")
    assert scene.sent[-1] == "b-1-0-undo-1/1"
    scene.succeed("a-1-0-undo-0", "b-1-0-undo-1")
    assert scene.status == "rolled_back"


def test_a_late_success_is_undone_after_the_end_as_well() -> None:
    scene = overdue().succeed("b-1-0-undo-0", "a-1-0-undo-0")
    assert scene.status == "rolled_back"
    assert scene.result("b-1-0") is None
    assert (scene.sent[-1], scene.row.open_attempts) == ("b-1-0-undo-1/1", 1)
    scene.succeed("b-1-0-undo-1")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert scene.row.open_attempts == 0


def test_a_late_undo_that_fails_takes_the_rolled_back_back() -> None:
    scene = overdue().succeed("b-1-0-undo-0", "a-1-0-undo-0")
    scene.result("b-1-0")
    scene.fail("b-1-0-undo-1")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert scene.data("RollbackRevised")["status"] == "failed"


def test_a_late_undo_that_cannot_be_rendered_takes_the_rolled_back_back() -> None:
    class BrokenLater:
        def __init__(self) -> None:
            self.calls = 0

        def render_input(self, scope):
            self.calls += 1
            return ("fine", ()) if self.calls == 1 else Broken().render(scope)

    scene = overdue(undo_input=BrokenLater()).succeed("b-1-0-undo-0", "a-1-0-undo-0")
    scene.result("b-1-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")


def test_a_late_undo_of_an_instance_that_had_nothing_to_undo() -> None:
    flow = sequence(stage("b", undo=UNDO, undo_compensate_self="never", timeout=LIMIT))
    scene = Scene(flow).start()
    scene.claim("b-1-0")
    scene.wait(OVERDUE_S)
    assert (scene.status, scene.row.rollback) == ("failed", "none")
    scene.result("b-1-0")
    scene.succeed("b-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "full")


def test_every_role_of_a_compensation_undoes_a_late_success() -> None:
    scene = overdue(undo=("devops", "backend"))
    scene.succeed("b-1-0-undo-0", "b-1-0-undo-1")
    scene.result("b-1-0")
    assert scene.sent[-2:] == ["b-1-0-undo-2/1", "b-1-0-undo-3/1"]
    assert [scene.attempt(f"b-1-0-undo-{n}").role for n in (2, 3)] == ["devops", "backend"]


def test_two_late_successes_while_the_first_undo_waits_for_slots() -> None:
    late = stage("b", undo=("devops", "backend"), timeout=LIMIT, retry=ONCE_MORE)
    scene = Scene(sequence(late, max_parallel_tasks=1)).start()
    scene.claim("b-1-0")
    scene.wait(OVERDUE_S + 10)
    scene.claim("b-1-0")
    scene.wait(OVERDUE_S)
    assert scene.sent[-1] == "b-1-0-undo-0/1"
    scene.result("b-1-0", 2)
    scene.result("b-1-0", 1)
    assert scene.sent[-4:] == [f"b-1-0-undo-{entry}/1" for entry in (2, 3, 4, 5)]
    scene.succeed(*(f"b-1-0-undo-{entry}" for entry in (0, 2, 3, 4, 5)))
    assert scene.sent[-1] == "b-1-0-undo-1/1"
    assert scene.succeed("b-1-0-undo-1").status == "rolled_back"


def test_a_late_success_of_a_halted_instance_stays() -> None:
    scene = overdue(saga_on_failure="halt")
    assert scene.status == "failed"
    assert scene.result("b-1-0") is None
    assert scene.attempt("b-1-0").status == "succeeded"
    assert scene.row.open_attempts == 0


def test_a_late_success_of_a_compensation_wins_while_its_retry_is_planned() -> None:
    flow = sequence(stage("a", undo=UNDO, undo_timeout=LIMIT, undo_retry=ONCE_MORE), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    scene.claim("a-1-0-undo-0")
    scene.wait(OVERDUE_S)
    assert scene.status == "compensating"
    scene.result("a-1-0-undo-0")
    assert scene.status == "rolled_back"
    assert scene.wait(60).sent[-1] == "a-1-0-undo-0/1"


def given_up(**settings) -> Scene:
    """The undo of ``a`` has timed out, and was given up."""
    flow = sequence(stage("a", undo=UNDO, undo_timeout=LIMIT), stage("b"), **settings)
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    scene.claim("a-1-0-undo-0")
    return scene.wait(OVERDUE_S)


def test_a_late_success_of_a_compensation_that_was_given_up_corrects_the_end() -> None:
    scene = given_up()
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["is_certain"] for each in scene.row.effects_left] == [False]
    assert scene.result("a-1-0-undo-0") is None
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert (scene.row.failed_compensations, scene.row.effects_left) == ([], [])
    assert scene.run_of("a").status == "compensated"


def test_a_late_success_of_a_compensation_lets_what_it_parked_go_on() -> None:
    scene = given_up(saga_on_failed_undo="park")
    assert scene.status == "needs_operator"
    assert scene.result("a-1-0-undo-0") is None
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")


def test_a_compensation_that_succeeded_late_is_undone_though_its_next_attempt_fails() -> None:
    scene = given_up(saga_on_failed_undo="park")
    scene.ask(RetryRequested, "a")
    assert scene.sent[-1] == "a-1-0-undo-0/2"
    assert scene.result("a-1-0-undo-0", 1) is None
    assert scene.status == "compensating"
    scene.fail("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
