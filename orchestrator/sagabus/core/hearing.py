"""What an instance below says of itself after its stage was settled: it has left more, or less."""

from sagabus.core import below, saga
from sagabus.core.events import ResultReceived
from sagabus.core.instance import Attempt, Failure, StageStatus, TaskStatus
from sagabus.core.tasks import identity
from sagabus.core.transition import Transition


def hear(t: Transition, attempt: Attempt, event: ResultReceived) -> bool:
    """Take what it says of what it left; False: that was known."""
    is_later = event.seq > attempt.told_seq > 0
    if is_later and not event.has_left_effects and _is_named_no_more(t, attempt, event.seq):
        return True
    is_more = event.left is not None and event.left != attempt.left
    if is_more:
        _hear_what_is_left(t, attempt, event)
    if event.has_left_effects:
        is_known = attempt.acted and attempt.status is not TaskStatus.SUCCEEDED
        return (not is_known and learn_of_effects(t, attempt)) or is_more
    if attempt.kind == "task" and _is_news_of_end(attempt, event):
        _left_nothing(t, attempt, event)
        return True
    return is_more


def _hear_what_is_left(t: Transition, attempt: Attempt, event: ResultReceived) -> None:
    was_past_undo = below.is_past_undo(below.newest_words(t, attempt.task))
    attempt.left, attempt.told_seq = event.left, event.seq
    t.change(attempt)
    if was_past_undo and attempt.kind == "task" and "undoable" in (event.left or ()):
        saga.undo_late(t, attempt)  # it was passed over
    if t.row.status.is_terminal:
        saga.correct_end(t, is_more_known=True)


def _is_named_no_more(t: Transition, attempt: Attempt, seq: int) -> bool:
    """Take it from the failures: what it had left is gone by now; False: it is none of them."""
    row, run = t.row, t.run_of(attempt)
    of_it = (attempt.task, attempt.attempt)
    named = [
        each for each in saga.failures_of(row, run) if (each["task"], each.get("attempt")) == of_it
    ]
    if not named:
        return False
    attempt.left, attempt.told_seq = None, seq
    if attempt.kind == "compensation":
        attempt.status, attempt.error = TaskStatus.SUCCEEDED, None
        saga.record_undone(t, attempt)
    elif attempt.status is not TaskStatus.SUCCEEDED:
        attempt.acted = False
    elif run.status is StageStatus.COMPENSATION_FAILED and run.undo_failed == len(named):
        run.status = StageStatus.SUCCEEDED
    t.change(attempt)
    saga.named_no_more(t, run, named)
    return True


def _is_news_of_end(attempt: Attempt, event: ResultReceived) -> bool:
    """Whether a child has undone itself of which nothing was heard since a person gave it up.

    Or one that had left something, which is gone by now.
    """
    is_given_up = attempt.status is TaskStatus.CANCELLED and attempt.error is None
    is_gone = attempt.acted and attempt.status is not TaskStatus.SUCCEEDED
    is_later = is_gone and event.seq > attempt.told_seq > 0
    return (is_given_up or is_later) and event.status != "succeeded"


def _left_nothing(t: Transition, attempt: Attempt, event: ResultReceived) -> None:
    attempt.acted, attempt.left, attempt.told_seq = False, None, event.seq
    attempt.error = Failure(event.error_type, event.error_message, attempt.stage, attempt.task)
    t.change(attempt)
    if t.row.status.is_terminal:
        saga.correct_end(t)


def learn_of_effects(t: Transition, attempt: Attempt) -> bool:
    """An instance below has left something after all, long after it told its end; False: known."""
    row = t.row
    known = {(each["task"], each.get("attempt")) for each in row.failed_compensations}
    if (attempt.task, attempt.attempt) in known:
        return False
    attempt.acted = True
    t.change(attempt)
    error = {"type": "compensation_failed", "message": "a late undo below failed"}
    saga.count_failure(t, t.run_of(attempt), identity(attempt), error)
    if row.status.is_terminal:
        saga.correct_end(t)
    return True
