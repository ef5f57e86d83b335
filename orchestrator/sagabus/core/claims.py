"""Claims: an agent asks before it runs what must be undone, or what may be running elsewhere.

The stored claim is the attempt's start. A claim is refused for good with ``skip``, for now with
``later``, and with ``hold`` where a final effect may be there already; what cannot be judged yet
gets no answer, and the agent asks again.
"""

from datetime import timedelta

from sagabus.core import saga, stages
from sagabus.core.commands import AnswerClaim, BuryTask, Verdict
from sagabus.core.events import ClaimReceived
from sagabus.core.instance import Attempt, Failure, TaskStatus
from sagabus.core.parking import hold
from sagabus.core.tasks import (
    GRACE,
    INTENT_WATCH,
    UNHEARD,
    close,
    identity,
    may_have_acted,
    plan_of,
)
from sagabus.core.transition import Ignored, Transition


def receive(t: Transition, event: ClaimReceived) -> Ignored | None:
    """Answer a claim."""
    attempt = t.state.find(event.task, event.attempt)
    if attempt is None or attempt.role != event.source:
        reason = "unknown_task" if attempt is None else "foreign_role"
        return Ignored(f"claim_of_{reason}", is_dead=True, commands=(_answer(event, "skip"),))
    if attempt.is_held:
        return Ignored("claim_of_held_attempt", commands=(_answer(event, "hold"),))
    if not attempt.is_unanswered:
        return Ignored("claim_of_ended_attempt", commands=(_answer(event, "skip"),))
    if attempt.claim_id == event.claim:
        _repeat(t, attempt, event)
        return None
    ignored = _not_now(t, attempt, event)
    if ignored is not None:
        return ignored
    if attempt.is_intent:
        hold(t, attempt, f"it was delivered again, and {attempt.agent} has not told how it ended")
        t.do(_answer(event, "hold"))
        return None
    if event.delivery > event.max_deliver:
        _lose(t, attempt, event)
    elif _is_given_up(t, attempt):
        # Settling: whoever ran it is gone, and it is not started again.
        _forget(t, attempt, event)
    else:
        _run(t, attempt, event)
    return None


def _is_given_up(t: Transition, attempt: Attempt) -> bool:
    if attempt.kind == "compensation":
        return attempt.stopped is not None
    return not stages.is_forward(t.row) or t.run_of(attempt).ended_at is not None


def _not_now(t: Transition, attempt: Attempt, event: ClaimReceived) -> Ignored | None:
    """Why an attempt that somebody may be running already is not begun now; None: it may be."""
    may_run_already = attempt.status is TaskStatus.RUNNING or not attempt.claim
    if not may_run_already and t.row.restored_at is None:
        return None
    if not event.is_presence_known:
        return Ignored("presence_not_known_yet")
    if event.is_running_elsewhere:
        return Ignored("claim_of_running_attempt", commands=(_answer(event, "later"),))
    if may_run_already and t.at - (attempt.started_at or attempt.created_at) < UNHEARD:
        return Ignored("presence_not_known_yet")
    return None


def _answer(event: ClaimReceived, answer: Verdict) -> AnswerClaim:
    return AnswerClaim(event.reply, event.claim, answer)


def _repeat(t: Transition, attempt: Attempt, event: ClaimReceived) -> None:
    """Its agent has not heard the answer, and begins only now: so does its time."""
    timeout = plan_of(t.definition, attempt).timeout
    attempt.started_at = t.at
    if attempt.due_at is not None:
        attempt.due_at = t.at + (timeout or timedelta()) + GRACE
    t.change(attempt)
    t.do(_answer(event, "run"))


def _run(t: Transition, attempt: Attempt, event: ClaimReceived) -> None:
    # A claim on top of another one: the first runner is gone, and may have acted.
    attempt.acted = may_have_acted(attempt)
    attempt.status = TaskStatus.RUNNING
    attempt.claim_id = event.claim
    attempt.agent = event.agent
    attempt.started_at = t.at
    timeout = plan_of(t.definition, attempt).timeout
    attempt.due_at = None if timeout is None else t.at + timeout + GRACE
    if timeout is None and attempt.is_once:
        attempt.due_at = t.at + INTENT_WATCH
    t.change(attempt)
    t.record("TaskStarted", {**identity(attempt), "agent": event.agent})
    t.do(_answer(event, "run"))


def _lose(t: Transition, attempt: Attempt, event: ClaimReceived) -> None:
    message = f"delivered {event.delivery} times without a result: its agents die or never answer"
    failure = Failure("agent_lost", message, attempt.stage, attempt.task)
    close(t, attempt, TaskStatus.UNKNOWN, is_acted=may_have_acted(attempt), error=failure)
    t.do(BuryTask(attempt, f"agent_lost: {message}", event.delivery))
    t.do(_answer(event, "skip"))
    _fail(t, attempt, failure)


def _forget(t: Transition, attempt: Attempt, event: ClaimReceived) -> None:
    message = "its agent was gone when it was to stop: whether it acted is not known"
    failure = Failure("agent_lost", message, attempt.stage, attempt.task)
    close(t, attempt, TaskStatus.UNKNOWN, is_acted=True, error=failure)
    t.do(_answer(event, "skip"))
    _fail(t, attempt, failure)


def _fail(t: Transition, attempt: Attempt, failure: Failure) -> None:
    ended = stages.task_failed if attempt.kind == "task" else saga.undo_failed
    ended(t, attempt, failure)
