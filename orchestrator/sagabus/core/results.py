"""Results: how an attempt ended, in time or late. A success is always recorded, of an undo too."""

from sagabus.core import hearing, resources, saga, stages
from sagabus.core.events import ResultReceived
from sagabus.core.instance import Attempt, Failure, TaskStatus
from sagabus.core.parking import hold, settle
from sagabus.core.tasks import close, end_retry
from sagabus.core.transition import Ignored, Transition

#: Types of failures that say nothing about what was done.
_UNKNOWN = frozenset({"timeout", "cancelled", "agent_lost", "unknown_outcome", "bad_result"})
#: How an attempt stands after a failure of a type; any other: failed.
_STATUS = {"timeout": TaskStatus.TIMED_OUT, "unknown_outcome": TaskStatus.UNKNOWN}


def receive(t: Transition, event: ResultReceived) -> Ignored | None:
    """Take a result: each names the attempt it answers, and counts once."""
    attempt = t.state.find(event.task, event.attempt)
    if attempt is None:
        return Ignored("unknown_task", is_dead=True)
    if attempt.role != event.source:
        return Ignored("foreign_role", is_dead=True)
    if not (attempt.is_unanswered or attempt.is_held):
        return _late_result(t, attempt, event)
    is_runner = attempt.claim_id is None or attempt.agent == event.agent
    if event.status != "succeeded" and not is_runner:
        # It held another copy, or was taken for dead: whoever was told to run is at it still.
        return Ignored("failure_of_another_agent")
    if attempt.is_once and event.status != "succeeded" and _is_unknown(event):
        return _hold(t, attempt, event)
    if attempt.is_held:
        settle(t, attempt)
    _take(t, attempt, event)
    if event.status == "succeeded":
        _succeed(t, attempt, event)
    else:
        _fail(t, attempt, event)
    return None


def _hold(t: Transition, attempt: Attempt, event: ResultReceived) -> Ignored | None:
    if attempt.is_held:
        return Ignored("outcome_still_unknown")
    _keep_what_it_left(t, attempt, event)
    why = f"{event.agent} says {event.error_type or event.status}: {event.error_message}"
    hold(t, attempt, why)
    return None


def _succeed(t: Transition, attempt: Attempt, event: ResultReceived) -> None:
    _keep_output(t, attempt, event)
    close(t, attempt, TaskStatus.SUCCEEDED, is_acted=True)
    if attempt.kind == "task":
        stages.task_succeeded(t, attempt)
    else:
        saga.undo_succeeded(t, attempt)
    if event.has_left_effects:
        hearing.learn_of_effects(t, attempt)


def _fail(t: Transition, attempt: Attempt, event: ResultReceived) -> None:
    failure = Failure(event.error_type, event.error_message, attempt.stage, attempt.task)
    if attempt.is_child and attempt.error is not None:
        # Its time was over, and it was ended for that.
        failure, status = attempt.error, TaskStatus.TIMED_OUT
    elif event.status == "cancelled":
        status = TaskStatus.CANCELLED
    else:
        status = _STATUS.get(event.error_type, TaskStatus.FAILED)
    _keep_what_it_left(t, attempt, event)
    is_acted = event.has_left_effects if attempt.is_child else _may_have_acted(event)
    close(t, attempt, status, is_acted=is_acted, error=failure)
    ended = stages.task_failed if attempt.kind == "task" else saga.undo_failed
    # What a child left, a second one would leave beside it: only the last one is undone.
    is_retryable = event.is_retryable and not event.has_left_effects
    ended(t, attempt, failure, is_retryable=is_retryable, after_s=event.retry_after_s)


def _may_have_acted(event: ResultReceived) -> bool:
    """A failure that the agent reports has not acted, unless it says what it left."""
    return _is_unknown(event) or bool(event.artifacts or event.resources)


def _is_unknown(event: ResultReceived) -> bool:
    """Whether a failure leaves it open what was done; any other says: nothing.

    What was interrupted may have acted, and a result that cannot be sent is that of finished work.
    """
    return event.status == "cancelled" or event.error_type in _UNKNOWN


def _take(t: Transition, attempt: Attempt, event: ResultReceived) -> None:
    attempt.agent = event.agent
    attempt.left, attempt.told_seq = event.left, event.seq
    if attempt.started_at is None and event.started_at is not None:
        # The agent's clock may be off: a task cannot have run before it was sent.
        attempt.started_at = min(max(event.started_at, attempt.created_at), t.at)


def _keep_output(t: Transition, attempt: Attempt, event: ResultReceived) -> None:
    attempt.output = event.output
    _keep_what_it_left(t, attempt, event)


def _keep_what_it_left(t: Transition, attempt: Attempt, event: ResultReceived) -> None:
    attempt.artifacts = list(event.artifacts)
    if event.resources:
        resources.declare(t, attempt, event.resources)


def _late_result(t: Transition, attempt: Attempt, event: ResultReceived) -> Ignored | None:
    """A result for an attempt that was settled without it. A success is always recorded."""
    if event.seq < attempt.told_seq:
        return Ignored("older_news")
    is_heard = attempt.is_child and hearing.hear(t, attempt, event)
    is_done = attempt.status is TaskStatus.SUCCEEDED
    if is_done or event.status != "succeeded" or event.has_left_effects:
        return None if is_heard else Ignored("duplicate_result")
    is_retry_planned = attempt.retry
    if is_retry_planned:
        end_retry(t, attempt)
    _take(t, attempt, event)
    _keep_output(t, attempt, event)
    close(t, attempt, TaskStatus.SUCCEEDED, is_acted=True)
    if is_retry_planned:
        succeeded = stages.task_succeeded if attempt.kind == "task" else saga.undo_succeeded
        succeeded(t, attempt)
        return None
    attempt.is_late = True
    if attempt.kind == "compensation":
        saga.undo_succeeded_late(t, attempt)
        return None
    t.record(
        "TaskCompletedLate",
        {
            "stage": attempt.stage,
            "task": attempt.task,
            "attempt": attempt.attempt,
            "agent": attempt.agent,
        },
    )
    saga.undo_late(t, attempt)
    if t.row.status.is_terminal:
        saga.correct_end(t)
    return None
