"""A final effect happens once: what nobody knows of is held, until it tells or a person does.

One file, because what holds an effect, what tells of it and what follows are one story.
"""

from typing import Any

import pytest

from sagabus.core import intents
from sagabus.core.commands import WithdrawTask
from sagabus.core.definition import Approval, RetryPolicy, Route, Routes
from sagabus.core.events import (
    FailRequested,
    IntentResolved,
    ResultSet,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import Answer, ParentRef
from sagabus.core.intents import intents_of
from sagabus.core.tasks import GRACE, INTENT_WATCH
from tests.unit.core import standings
from tests.unit.core.scene import Scene, graph, leads_to, seconds, sequence, stage

UNDO = ("devops",)
RETRY = RetryPolicy(count=2, delay=seconds(5), jitter=False)


def final(name: str, *roles: str, **settings: Any):
    return stage(name, *roles, classification="final", **settings)


def resolve(scene: Scene, name: str, outcome: Any, **changes: Any) -> Answer:
    told = {"by": "ann", "reason": "I looked", **changes}
    command = told.pop("command", f"r{len(scene.replies)}")
    scene.decide(IntentResolved(scene.at, command, name, outcome, **told))
    return scene.replies[-1]


def claimed(**settings: Any) -> Scene:
    """A final stage whose task was told to run, and one that follows."""
    scene = Scene(sequence(stage("a", undo=UNDO), final("b", **settings), final("c"))).start()
    scene.succeed("a-1-0")
    assert scene.claim("b-1-0") == "run"
    return scene


def held(**settings: Any) -> Scene:
    """Its agent has died, and another one was given it."""
    scene = claimed(**settings)
    scene.wait(10)
    assert scene.claim("b-1-0", delivery=2) == "hold"
    return scene


# --- it is held ---------------------------------------------------------------------------------


def test_a_second_claim_of_a_final_effect_is_held_and_parks_the_instance() -> None:
    scene = held(retry=RETRY)
    assert scene.status == "needs_operator"
    attempt = scene.attempt("b-1-0")
    assert (attempt.status, attempt.is_held, attempt.attempt) == ("unknown", True, 1)
    [parked] = scene.row.parked
    assert (parked.cause, parked.stage, parked.task, parked.attempt) == (
        "intent_unknown",
        "b",
        "b-1-0",
        1,
    )
    assert intents_of(scene.state) == [attempt]
    scene.wait(10_000)
    assert scene.sent == ["a-1-0/1", "b-1-0/1"]


def test_who_runs_a_final_effect_is_not_told_to_stop() -> None:
    scene = claimed()
    told: list[WithdrawTask] = []
    carry_out = scene._carry_out
    scene._carry_out = lambda commands: (  # type: ignore[method-assign]
        told.extend(each for each in commands if isinstance(each, WithdrawTask)),
        carry_out(commands),
    )
    scene.cancel()
    assert told == []
    scene.wait(10)
    scene.claim("b-1-0", delivery=2)
    assert [(each.is_purged, each.is_told) for each in told] == [(True, False)]


def test_a_claim_while_a_live_agent_lists_it_waits() -> None:
    scene = claimed()
    scene.wait(10)
    assert scene.claim("b-1-0", delivery=2, is_running_elsewhere=True) == "later"
    assert scene.status == "running"


def test_a_claim_is_not_judged_while_presence_is_silent() -> None:
    scene = claimed()
    assert scene.claim("b-1-0", delivery=2) is None
    scene.wait(10)
    assert scene.claim("b-1-0", delivery=2, is_presence_known=False) is None
    assert scene.status == "running"


def test_a_held_effect_stays_held_at_every_further_claim() -> None:
    scene = held()
    assert scene.claim("b-1-0", delivery=3) == "hold"
    assert scene.reason == "claim_of_held_attempt"


def test_the_same_claim_gets_the_same_answer() -> None:
    scene = Scene(sequence(final("a"))).start()
    assert scene.claim("a-1-0", claim="c") == "run"
    assert scene.claim("a-1-0", claim="c") == "run"


@pytest.mark.parametrize(
    "error", ["timeout", "agent_lost", "cancelled", "unknown_outcome", "bad_result"]
)
def test_a_failure_that_says_nothing_of_the_effect_holds_it(error: str) -> None:
    scene = claimed(retry=RETRY)
    scene.result("b-1-0", status="failed", error_type=error, error_message="hm")
    assert (scene.status, scene.attempt("b-1-0").is_held) == ("needs_operator", True)
    assert scene.row.parked[0].message.endswith(f"a1 says {error}: hm")


def test_an_interrupted_agent_leaves_it_unknown() -> None:
    scene = claimed()
    scene.result("b-1-0", status="cancelled")
    assert scene.status == "needs_operator"


def test_an_ordinary_failure_is_a_known_outcome_and_is_tried_again() -> None:
    scene = claimed(retry=RETRY).fail("b-1-0").wait(5)
    assert scene.sent == ["a-1-0/1", "b-1-0/1", "b-1-0/2"]
    scene.succeed("b-1-0", "c-1-0")
    assert (scene.status, scene.row.effects_left) == ("completed", [])


def test_its_time_limit_holds_it_once_no_live_agent_lists_it() -> None:
    scene = claimed(timeout=seconds(30))
    since = scene.at
    scene.wait(30 + GRACE.total_seconds() + 1, since)
    assert (scene.status, scene.attempt("b-1-0").status) == ("running", "running")
    scene.wait(INTENT_WATCH.total_seconds())
    assert (scene.status, scene.attempt("b-1-0").is_held) == ("needs_operator", True)


def test_its_time_limit_waits_until_presence_is_known() -> None:
    scene = claimed(timeout=seconds(30)).wait(60, is_presence_known=False)
    assert scene.status == "running"


def test_an_agent_that_is_gone_is_noticed_without_a_time_limit() -> None:
    scene = claimed().wait(INTENT_WATCH.total_seconds() + 1)
    assert scene.status == "needs_operator"


def test_an_agent_that_is_alive_may_take_as_long_as_it_likes() -> None:
    scene = claimed()
    scene.wait(10 * INTENT_WATCH.total_seconds(), scene.at)
    assert scene.status == "running"
    scene.succeed("b-1-0", "c-1-0")
    assert scene.status == "completed"


def test_what_was_never_claimed_has_not_happened_and_is_tried_again() -> None:
    scene = Scene(sequence(final("a", start_timeout=seconds(5), retry=RETRY))).start().wait(12)
    assert (scene.status, scene.sent[:2]) == ("running", ["a-1-0/1", "a-1-0/2"])


def test_an_idempotent_final_effect_is_sent_again_as_any_other() -> None:
    scene = claimed(is_idempotent=True)
    scene.wait(10)
    assert scene.claim("b-1-0", delivery=2) == "run"
    assert intents_of(scene.state) == []


def test_only_what_was_told_to_run_is_never_sent_again() -> None:
    scene = Scene(sequence(final("a"))).start()
    assert scene.attempt("a-1-0").may_be_sent_again
    scene.claim("a-1-0")
    assert not scene.attempt("a-1-0").may_be_sent_again
    scene.succeed("a-1-0")
    assert not scene.attempt("a-1-0").may_be_sent_again


# --- it is known after all ----------------------------------------------------------------------


def test_a_late_success_of_a_held_effect_is_its_outcome() -> None:
    scene = held().succeed("b-1-0")
    assert (scene.status, scene.row.parked, scene.sent[-1]) == ("running", [], "c-1-0/1")
    assert scene.data("WorkflowUnparked")["cause"] == "intent_unknown"
    assert intents_of(scene.state) == []


def test_a_late_failure_of_a_held_effect_is_its_outcome() -> None:
    scene = held(retry=RETRY).fail("b-1-0")
    assert (scene.status, scene.attempt("b-1-0").acted) == ("running", False)
    scene.wait(5)
    assert scene.sent[-1] == "b-1-0/2"


def test_late_news_that_say_nothing_leave_it_held() -> None:
    scene = held()
    reason = scene.result("b-1-0", status="failed", error_type="timeout")
    assert (reason, scene.status) == ("outcome_still_unknown", "needs_operator")


def test_other_branches_run_to_their_end_meanwhile_and_begin_nothing_more() -> None:
    branch = stage("x", routes=leads_to("y"))
    scene = Scene(graph(final("f"), branch, stage("y"), entry=("f", "x"))).start()
    scene.claim("f-1-0")
    scene.wait(10)
    scene.claim("f-1-0", delivery=2)
    scene.succeed("x-1-0")
    assert (scene.status, scene.run_of("x").status) == ("needs_operator", "succeeded")
    assert scene.sent == ["f-1-0/1", "x-1-0/1"]
    scene.succeed("f-1-0")
    assert scene.sent[-1] == "y-1-0/1"
    assert scene.succeed("y-1-0").status == "completed"


def test_the_clock_stands_still_while_an_operator_is_needed() -> None:
    flow = sequence(final("a"), workflow_timeout=seconds(100))
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.wait(10)
    scene.claim("a-1-0", delivery=2)
    scene.wait(1000)
    assert (scene.status, scene.row.remaining_s) == ("needs_operator", 90)
    resolve(scene, "a", "retry")
    assert (scene.status, scene.row.deadline_at) == ("running", scene.at + seconds(90))


def test_the_time_limit_of_a_gate_stands_still_while_an_operator_is_needed() -> None:
    gate = Approval(timeout=seconds(20))
    scene = Scene(graph(final("f"), stage("g", approval=gate), entry=("f", "g"))).start()
    scene.claim("f-1-0")
    scene.wait(10)
    scene.claim("f-1-0", delivery=2)
    scene.wait(100)
    assert scene.run_of("g").status == "waiting"
    resolve(scene, "f", "succeeded")
    scene.wait(9)
    assert scene.run_of("g").status == "waiting"
    scene.wait(1)
    assert scene.run_of("g").status == "timed_out"


# --- a person says ------------------------------------------------------------------------------


def test_resolved_as_succeeded_it_goes_on_with_the_output_that_a_person_gave() -> None:
    scene = held()
    answer = resolve(scene, "b", "succeeded", output={"id": 7})
    assert (answer.ok, answer.result["status"], answer.result["task"]) == (True, "running", "b-1-0")
    assert (scene.status, scene.attempt("b-1-0").output) == ("running", {"id": 7})
    told = scene.data("IntentResolved")
    assert (told["by"], told["reason"], told["outcome"]) == ("ann", "I looked", "succeeded")
    assert scene.succeed("c-1-0").status == "completed"


def test_resolved_as_failed_it_is_not_tried_again_and_undoes_what_was_before() -> None:
    scene = held(retry=RETRY)
    assert resolve(scene, "b", "failed").ok
    assert (scene.status, scene.sent[-1]) == ("compensating", "a-1-0-undo-0/1")
    assert scene.row.error.type == "failed_by_operator"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback, scene.row.effects_left) == ("rolled_back", "full", [])


def test_resolved_as_failed_its_routes_fire() -> None:
    handled = Routes(on_failure=(Route(("b",)),))
    scene = Scene(graph(final("a", routes=handled), stage("b"), entry=("a",))).start()
    scene.claim("a-1-0")
    scene.wait(10)
    scene.claim("a-1-0", delivery=2)
    resolve(scene, "a", "failed")
    assert scene.sent[-1] == "b-1-0/1"


def test_resolved_to_be_tried_again_its_next_attempt_leaves_beyond_the_policy() -> None:
    scene = held()
    assert resolve(scene, "b", "retry").ok
    scene.wait(0)
    assert scene.sent[-1] == "b-1-0/2"
    scene.succeed("b-1-0", "c-1-0")
    assert scene.status == "completed"


def test_what_was_sent_again_by_a_person_is_held_again() -> None:
    scene = held()
    resolve(scene, "b", "retry")
    scene.wait(0)
    scene.claim("b-1-0")
    scene.wait(10)
    assert scene.claim("b-1-0", delivery=2) == "hold"
    assert [each.attempt for each in intents_of(scene.state)] == [2]


def both_held() -> Scene:
    """Two final tasks of one stage, and nobody knows of either."""
    scene = Scene(sequence(final("a", "x", "y", parallel=True))).start()
    for task in ("a-1-0", "a-1-1"):
        scene.claim(task)
    scene.wait(10)
    for task in ("a-1-0", "a-1-1"):
        scene.claim(task, delivery=2)
    return scene


def test_what_a_person_has_tried_again_leaves_at_once_while_another_outcome_is_unknown() -> None:
    scene = both_held()
    answer = resolve(scene, "a", "retry", attempt="a-1-1/1")
    assert (answer.ok, answer.result["is_sent"]) == (True, True)
    assert scene.sent == ["a-1-0/1", "a-1-1/1", "a-1-1/2"]
    scene.succeed("a-1-1")
    assert scene.status == "needs_operator"
    assert resolve(scene, "a", "succeeded").ok
    assert scene.status == "completed"


def test_what_a_person_has_tried_again_leaves_after_a_pause_and_the_answer_says_so() -> None:
    scene = claimed()
    scene.pause()
    scene.wait(10)
    scene.claim("b-1-0", delivery=2)
    answer = resolve(scene, "b", "retry")
    assert (answer.result["status"], answer.result["is_sent"]) == ("paused", False)
    scene.wait(0)
    assert scene.sent[-1] == "b-1-0/1"
    scene.resume()
    scene.wait(0)
    assert scene.sent[-1] == "b-1-0/2"


def test_a_repeated_command_changes_nothing() -> None:
    scene = held()
    first = resolve(scene, "b", "succeeded", command="one")
    event = IntentResolved(scene.at, "one", "b", "failed")
    assert scene.decide(event) == "repeated_command"
    assert (scene.replies[-1], scene.status) == (first, "running")


def test_what_is_not_unknown_is_not_resolved() -> None:
    scene = claimed()
    assert not resolve(scene, "b", "failed").ok
    scene = held()
    assert resolve(scene, "x", "failed").message == "workflow 'flow' has no stage 'x'"
    assert (
        resolve(scene, "a", "failed").message
        == "the outcome of stage 'a' is not unknown: nothing to resolve"
    )
    newer = resolve(scene, "b", "failed", attempt="b-1-0/2").message
    assert newer == "the outcome of b-1-0/2 is not unknown, name one that is: b-1-0/1"
    assert scene.status == "needs_operator"


def test_of_several_unknown_outcomes_one_is_to_be_named() -> None:
    scene = both_held()
    message = resolve(scene, "a", "succeeded").message
    assert message == (
        "several outcomes of stage 'a' are unknown, name one, or say it of all: a-1-0/1, a-1-1/1"
    )
    assert resolve(scene, "a", "succeeded", attempt="a-1-1/1").ok
    assert scene.status == "needs_operator"
    assert resolve(scene, "a", "succeeded").ok
    assert scene.status == "completed"


def test_one_word_settles_all_that_is_unknown_of_a_stage() -> None:
    scene = both_held()
    answer = resolve(scene, "a", "succeeded", is_all=True, output=7)
    assert (answer.result["attempts"], answer.result["left"]) == (["a-1-0/1", "a-1-1/1"], 0)
    assert (scene.status, scene.attempt("a-1-0").output) == ("completed", 7)
    assert scene.types.count("IntentResolved") == 2


def test_all_that_is_unknown_of_a_stage_is_tried_again() -> None:
    scene = both_held()
    answer = resolve(scene, "a", "retry", is_all=True)
    assert (answer.result["is_sent"], scene.sent[-2:]) == (True, ["a-1-0/2", "a-1-1/2"])
    assert scene.status == "running"


def test_all_that_is_unknown_of_a_stage_fails_together() -> None:
    scene = both_held()
    assert resolve(scene, "a", "failed", is_all=True).result["status"] == "failed"
    assert scene.row.effects_left == []


def test_all_that_was_given_up_of_a_stage_is_settled_after_the_end() -> None:
    scene = standings.several_doubted()
    assert resolve(scene, "f", "failed", is_all=True).ok
    assert scene.row.effects_left == []
    assert not resolve(scene, "f", "failed", is_all=True).ok


def test_one_word_settles_no_more_than_one_event_may_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intents, "MAX_SENT", 1)
    scene = both_held()
    assert resolve(scene, "a", "succeeded", is_all=True).result["left"] == 1
    assert (scene.status, len(scene.row.parked)) == ("needs_operator", 1)
    assert resolve(scene, "a", "succeeded", is_all=True).result["left"] == 0
    assert scene.status == "completed"


# --- a person finds out later ---------------------------------------------------------------------


def test_what_was_tried_again_and_failed_can_be_said_not_to_have_happened_after_the_end() -> None:
    scene = standings.doubted()
    left = {"stage": "f", "task": "f-1-0", "class": "final", "is_certain": False}
    assert (scene.status, scene.row.rollback, scene.row.effects_left) == (
        *("failed", "partial"),
        [left],
    )
    assert "resolve it before it can run again" in str(scene.ask(RetryRequested).message)
    answer = resolve(scene, "f", "failed")
    assert (answer.ok, answer.result["attempt"], answer.result["status"]) == (
        *(True, 1),
        "rolled_back",
    )
    assert (scene.row.rollback, scene.row.effects_left) == ("full", [])
    assert (scene.attempt("f-1-0", 1).status, scene.attempt("f-1-0", 1).acted) == ("failed", False)
    assert scene.ask(RetryRequested).ok
    assert scene.succeed("a-2-0", "f-2-0", "x-1-0").status == "completed"


def test_what_was_tried_again_and_failed_can_be_said_to_have_happened_after_the_end() -> None:
    scene = standings.doubted()
    assert resolve(scene, "f", "succeeded", output={"id": 7}, attempt="f-1-0/1").ok
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["is_certain"] for each in scene.row.effects_left] == [True]
    assert scene.attempt("f-1-0", 1).output == {"id": 7}
    assert "has succeeded" in str(scene.ask(RetryRequested).message)
    assert not resolve(scene, "f", "failed").ok


def test_what_is_found_out_of_an_attempt_leaves_a_later_one_of_the_same_task_held() -> None:
    scene = standings.doubted_at_work()
    scene.claim("f-1-0")
    message = "stage 'f' is at work still: wait until it tells how it ended"
    assert resolve(scene, "f", "succeeded").message == message
    scene.wait(10)
    scene.claim("f-1-0", delivery=2)
    assert resolve(scene, "f", "failed").result["attempt"] == 2
    assert resolve(scene, "f", "failed").result["attempt"] == 1
    assert scene.succeed("a-1-0-undo-0").status == "rolled_back"


def test_what_was_given_up_is_not_sent_once_more() -> None:
    scene = standings.doubted()
    message = "f-1-0/1 was given up: say whether it succeeded or failed"
    assert resolve(scene, "f", "retry").message == message


def test_of_several_that_were_given_up_one_is_to_be_named() -> None:
    scene = standings.several_doubted()
    assert str(resolve(scene, "f", "failed").message).endswith(": f-1-0/1, f-1-1/1")
    assert resolve(scene, "f", "failed", attempt="f-1-0/1").ok
    assert resolve(scene, "f", "failed").ok
    assert scene.row.effects_left == []


def test_held_behind_a_final_stage_what_is_found_out_lets_it_be_tried_again() -> None:
    scene = standings.doubted_after_final()
    assert not scene.ask(RetryRequested).ok
    assert resolve(scene, "x", "failed").ok
    assert scene.status == "needs_operator"
    assert scene.ask(RetryRequested).ok
    assert scene.succeed("x-2-0").status == "completed"


@pytest.mark.parametrize(("outcome", "left"), [("failed", 0), ("succeeded", 1)])
def test_what_a_completed_instance_went_on_without_is_found_out(outcome: str, left: int) -> None:
    scene = standings.doubted_and_completed()
    assert [each["is_certain"] for each in scene.row.effects_left] == [False]
    assert resolve(scene, "x", outcome).ok
    assert [each["is_certain"] for each in scene.row.effects_left] == left * [True]
    assert scene.status == "completed"


@pytest.mark.parametrize("outcome", ["failed", "succeeded"])
def test_what_a_person_gave_the_result_of_is_meant_to_stand(outcome: str) -> None:
    scene = standings.doubted_after_final()
    scene.ask(ResultSet, "x", {"sent": True})
    assert [each["is_certain"] for each in scene.row.effects_left] == [False]
    assert resolve(scene, "x", outcome).ok
    assert (scene.status, scene.row.effects_left) == ("completed", [])


@pytest.mark.parametrize(
    ("outcome", "left"), [("failed", None), ("succeeded", ["certain", "final"])]
)
def test_what_is_found_out_below_is_told_above(outcome: str, left: list[str] | None) -> None:
    scene = standings.doubted()
    scene.row.parent = ParentRef("up", "x-1-0", 1)
    scene.said.clear()
    assert resolve(scene, "f", outcome).ok
    [told] = scene.said
    assert (told.parent, told.has_left_effects, told.left) == (
        scene.row.parent,
        left is not None,
        left,
    )


# --- and the saga -------------------------------------------------------------------------------


def beside(**settings: Any) -> Scene:
    """A final effect that was begun, beside a stage that can fail, after one that is undone."""
    first = stage("a", undo=UNDO, routes=leads_to("f", "x"))
    scene = Scene(graph(first, final("f"), stage("x"), entry=("a",), **settings)).start()
    scene.succeed("a-1-0")
    scene.claim("f-1-0")
    return scene


def test_nothing_is_undone_before_a_final_effect_that_was_begun_has_told() -> None:
    scene = beside().fail("x-1-0")
    assert (scene.status, "WorkflowFailed" in scene.types) == ("compensating", True)
    scene.wait(INTENT_WATCH.total_seconds())
    assert (scene.status, scene.sent[-1]) == ("needs_operator", "x-1-0/1")
    resolve(scene, "f", "failed")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.effects_left) == ("rolled_back", [])


def test_it_cannot_be_tried_again_once_the_instance_has_failed() -> None:
    scene = beside().fail("x-1-0").wait(INTENT_WATCH.total_seconds())
    answer = resolve(scene, "f", "retry")
    assert (answer.ok, scene.status) == (False, "needs_operator")


def test_a_failure_after_a_final_success_undoes_nothing_before_a_person_says_so() -> None:
    scene = beside().succeed("f-1-0").fail("x-1-0")
    assert (scene.status, scene.row.parked[0].cause) == ("needs_operator", "after_final")
    assert "WorkflowFailed" in scene.types
    assert scene.sent[-1] == "x-1-0/1"
    scene.cancel()
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
    left = {"stage": "f", "task": "f-1-0", "class": "final", "is_certain": True}
    assert scene.row.effects_left == [left]


def test_after_final_compensate_undoes_what_can_be_undone_and_names_the_rest() -> None:
    scene = beside(saga_after_final="compensate").succeed("f-1-0").fail("x-1-0")
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert [each["task"] for each in scene.row.effects_left] == ["f-1-0"]
    assert scene.data("WorkflowSettled")["effects_left"] == scene.row.effects_left


def test_a_held_effect_that_is_found_to_have_happened_holds_the_undo_back() -> None:
    scene = beside().fail("x-1-0").wait(INTENT_WATCH.total_seconds())
    resolve(scene, "f", "succeeded")
    assert [each.cause for each in scene.row.parked] == ["after_final"]
    assert scene.sent[-1] == "x-1-0/1"


def test_a_cancel_of_what_is_unknown_waits_for_its_resolution() -> None:
    scene = held()
    assert scene.cancel().ok
    assert (scene.status, scene.sent[-1]) == ("needs_operator", "b-1-0/1")
    resolve(scene, "b", "succeeded")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
    assert [each["task"] for each in scene.row.effects_left] == ["b-1-0"]


def test_halt_leaves_everything_and_names_it() -> None:
    scene = beside(saga_on_failure="halt").succeed("f-1-0").fail("x-1-0")
    assert (scene.status, scene.row.rollback) == ("failed", "none")
    assert [each["task"] for each in scene.row.effects_left] == ["a-1-0", "f-1-0"]


def test_an_undo_that_failed_is_named_among_what_is_left() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.succeed("a-1-0").fail("b-1-0").fail("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    left = {"stage": "a", "task": "a-1-0", "class": "compensatable", "is_certain": True}
    assert scene.row.effects_left == [left]


def test_what_may_have_acted_and_was_not_undone_is_named_as_uncertain() -> None:
    flow = sequence(stage("a", undo=UNDO, timeout=seconds(5)), saga_on_failure="halt")
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.wait(100)
    assert [each["is_certain"] for each in scene.row.effects_left] == [False]


def test_a_late_success_after_the_end_is_named_among_what_is_left() -> None:
    scene = held(retry=RETRY)
    resolve(scene, "b", "failed")
    scene.succeed("a-1-0-undo-0")
    assert scene.row.effects_left == []
    scene.result("b-1-0")
    assert [each["task"] for each in scene.row.effects_left] == ["b-1-0"]
    assert (scene.status, scene.row.rollback) == ("failed", "partial")


def test_a_completed_instance_has_nothing_left_to_name() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), final("b"))).start().succeed("a-1-0", "b-1-0")
    assert (scene.status, scene.row.effects_left) == ("completed", [])


@pytest.mark.parametrize("event", [SkipRequested, FailRequested])
def test_a_block_is_not_ended_while_a_final_stage_in_it_has_not_told(event) -> None:
    flow = graph(
        stage("all", children=("x", "f"), kind="block"),
        stage("x", block="all"),
        final("f", block="all"),
        entry=("all",),
    )
    scene = Scene(flow).start()
    scene.claim("f-1-0")
    running = scene.ask(event, "all")
    assert (running.ok, running.code) == (False, "conflict")
    assert running.message == (
        "stage 'f' is final, and whether f-1-0 had its effect is still to be told: wait for it"
    )
    assert scene.withdrawn == []
    scene.result("f-1-0", status="failed", error_type="unknown_outcome")
    assert scene.ask(event, "all").message.endswith("is not known: resolve it")
    assert scene.attempt("f-1-0").is_held
    resolve(scene, "f", "succeeded")
    assert scene.ask(event, "all").ok
