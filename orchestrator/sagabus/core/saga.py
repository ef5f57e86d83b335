"""Undoing: settle what is in flight, then compensate in reverse order of completion.

Honesty is the rule: ``rolled_back`` is only said when every compensation succeeded, and whatever
may have acted counts as having acted.
"""

from collections.abc import Mapping
from typing import Any

from sagabus.core import gates
from sagabus.core.definition import Compensation, TemplateError
from sagabus.core.effects import needs_undo
from sagabus.core.instance import (
    Attempt,
    Failure,
    Instance,
    InstanceStatus,
    StageRun,
    StageStatus,
    TaskStatus,
    task_id,
    undo_id,
)
from sagabus.core.news import tell_above
from sagabus.core.scope import is_true, scope_of
from sagabus.core.tasks import (
    GRACE,
    close,
    end_retry,
    identity,
    may_have_acted,
    may_send,
    open_undo,
    plan_retry,
    release,
    withdraw,
)
from sagabus.core.transition import Transition


def begin(t: Transition, failure: Failure) -> None:
    """Stop going forward and undo; ``row.error`` says why."""
    row = t.row
    row.error = row.error or failure
    row.status = InstanceStatus.COMPENSATING
    row.deadline_at = None
    row.remaining_s = None
    row.unfilled.clear()
    row.arrived.clear()
    row.failing.clear()
    row.outcome = None
    t.firings.clear()
    row.pending.clear()
    t.local.clear()
    for _, run in t.active_runs():
        for index in range(run.next_index):
            attempt = t.state.current(task_id(run.stage, run.pass_, index))
            if attempt is not None and attempt.is_open:
                _settle(t, run, attempt)
        end_if_settled(t, run)
    proceed(t)


def _settle(t: Transition, run: StageRun, attempt: Attempt) -> None:
    """End at once what has not acted for certain; give what was claimed time to tell."""
    if attempt.retry:
        end_retry(t, attempt)
    elif attempt.is_child:
        withdraw(t, attempt, "cancelled")
        attempt.due_at = None  # it undoes itself, and tells when it is done
        t.change(attempt)
        return
    elif attempt.status is TaskStatus.RUNNING:
        if t.row.cancel_requested:
            withdraw(t, attempt, "cancelled", is_purged=False)
        if attempt.due_at is None:
            attempt.due_at = t.at + GRACE
            t.change(attempt)
        return
    else:
        close(t, attempt, TaskStatus.CANCELLED, is_acted=may_have_acted(attempt))
        withdraw(t, attempt, "cancelled")
    release(t, attempt)
    run.failed += 1


def end_if_settled(t: Transition, run: StageRun) -> None:
    """End a run that the failure interrupted, once nothing of it is in flight."""
    if run.ended_at is None and run.in_flight == 0:
        end_run(t, run, _status_of(run.error), run.error)


def _status_of(error: Failure | None) -> StageStatus:
    if error is None:
        return StageStatus.CANCELLED
    match error.type:
        case "timeout" | "start_timeout" | "approval_timeout":
            return StageStatus.TIMED_OUT
        case "denied":
            return StageStatus.DENIED
        case _:
            return StageStatus.FAILED


def end_run(
    t: Transition, run: StageRun, status: StageStatus, error: Failure | None = None
) -> None:
    """End a stage run; its place in the order of completion decides when it is undone."""
    run.status = status
    run.error = error
    run.ended_at = t.at
    t.row.ended_count += 1
    run.ended_order = t.row.ended_count
    t.row.active_runs -= 1


def proceed(t: Transition) -> None:
    """Undo as far as slots allow; finish when nothing is left."""
    row = t.row
    if row.status is not InstanceStatus.COMPENSATING or row.active_runs:
        return
    if row.undo_order is None:
        if is_halted(t):
            row.undo_order = 0
        else:
            row.undo_order = row.ended_count
    by_order = {run.ended_order: run for run in row.runs.values()}
    while row.undo_order:
        if not _undo_run(t, by_order[row.undo_order]):
            return
        row.undo_order -= 1
    if row.in_flight == 0 and row.status is InstanceStatus.COMPENSATING:  # not parked on the way
        row.outcome = outcome(row)


def is_halted(t: Transition) -> bool:
    """A failure leaves all as it is, unless a person or the instance above says otherwise."""
    is_asked = t.row.cancel_requested or t.row.undo_parent is not None
    return t.definition.saga_on_failure == "halt" and not is_asked


def _may_send(t: Transition, run: StageRun) -> bool:
    """One stage after another: what is in flight of a stage undone before, late, goes first."""
    row = t.row
    is_undoing = row.status is InstanceStatus.COMPENSATING
    return is_undoing and row.in_flight == run.undo_in_flight and may_send(t)


def _undo_run(t: Transition, run: StageRun) -> bool:
    """Send what is still to be undone of a run; True when it is done with."""
    plan = t.stage(run.stage).compensation
    if plan is None:
        return True
    candidates = run.next_index * len(plan.roles)
    while run.undo_next < candidates and _may_send(t, run):
        index, entry = divmod(run.undo_next, len(plan.roles))
        run.undo_next += 1
        task = task_id(run.stage, run.pass_, index)
        if needs_undo(t, plan, task) and t.state.current(undo_id(task, entry)) is None:
            _send_undo(t, run, plan, index, entry)
    if run.undo_in_flight or run.undo_next < candidates:
        return False
    _mark_undone(run)
    return True


def _send_undo(t: Transition, run: StageRun, plan: Compensation, index: int, entry: int) -> None:
    run.status = StageStatus.COMPENSATING
    try:
        input_, secrets = (None, ()) if plan.input is None else plan.input.render_input(scope_of(t))
    except TemplateError as error:
        # No attempt was made, and the honest word for that is: not undone.
        run.undo_sent += 1
        message = f"{error.key}: {error} in {error.expression!r}"
        _count_failure(
            t,
            run,
            {
                "stage": run.stage,
                "task": undo_id(task_id(run.stage, run.pass_, index), entry),
                "role": plan.roles[entry % len(plan.roles)],
            },
            {"type": "template_error", "message": message},
        )
        return
    open_undo(t, run, plan, index, entry, input_, secrets)


def _count_failure(
    t: Transition, run: StageRun, identity_: Mapping[str, Any], error: Mapping[str, Any]
) -> None:
    run.undo_failed += 1
    t.row.failed_compensations.append({**identity_, "error": error})
    t.record("CompensationFailed", {**identity_, "error": error})
    if t.definition.saga_on_failed_undo == "park" and not t.row.status.is_terminal:
        run.status = StageStatus.COMPENSATION_FAILED
        park(t, f"compensation of stage {run.stage!r} failed: {error['message']}")


def _mark_undone(run: StageRun) -> None:
    if run.undo_sent:
        run.status = StageStatus.COMPENSATION_FAILED if run.undo_failed else StageStatus.COMPENSATED


def outcome(row: Instance) -> InstanceStatus:
    """What an instance ends with; says how far that was undone which was to be undone."""
    if row.failed_compensations:
        row.rollback = "partial"
    elif any(run.undo_sent for run in row.runs.values()):
        row.rollback = "full"
    if row.undo_order is None:  # it went forward to its end; what failed was an undo below it
        return InstanceStatus.COMPLETED
    if row.cancel_requested:
        return InstanceStatus.CANCELLED
    if row.rollback == "full":
        return InstanceStatus.ROLLED_BACK
    # Without an error it had completed, and was to be undone on request: there was nothing to undo.
    has_failed = row.error is not None or row.rollback != "none"
    return InstanceStatus.FAILED if has_failed else InstanceStatus.COMPLETED


def undo_succeeded(t: Transition, attempt: Attempt) -> None:
    """A compensation was carried out; its attempt is closed."""
    run = release(t, attempt)
    started = attempt.started_at or attempt.created_at
    duration_s = (t.at - started).total_seconds()
    t.record("CompensationCompleted", {**identity(attempt), "duration_s": duration_s})
    _go_on(t, run)


def undo_failed(
    t: Transition,
    attempt: Attempt,
    failure: Failure,
    *,
    is_retryable: bool = True,
    after_s: float | None = None,
) -> None:
    """A compensation's attempt failed and is closed: try again, or go on without it."""
    run = t.run_of(attempt)
    if is_retryable:
        is_retryable, failure = _wants_retry(t, run, attempt, failure)
    if plan_retry(t, attempt, is_retryable=is_retryable, after_s=after_s):
        return
    release(t, attempt)
    _count_failure(t, run, identity(attempt), {"type": failure.type, "message": failure.message})
    _go_on(t, run)


def _wants_retry(
    t: Transition, run: StageRun, attempt: Attempt, failure: Failure
) -> tuple[bool, Failure]:
    plan = t.stage(run.stage).compensation
    if plan is None or attempt.is_child:  # an instance has tried by itself
        return False, failure
    scope = scope_of(t, (run, failure))
    try:
        return is_true(plan.retry.on_error, scope, "compensation.retry.on_error"), failure
    except TemplateError as error:
        message = f"{failure.message}; {error.key}: {error} in {error.expression!r}"
        return False, Failure(failure.type, message, failure.stage, failure.task)


def _go_on(t: Transition, run: StageRun) -> None:
    if run.undo_in_flight == 0 and run.ended_order > (t.row.undo_order or 0):
        _mark_undone(run)  # a late undo, of a stage that was done with
    if not t.row.status.is_terminal:
        proceed(t)
    else:
        _correct_end(t)


def _correct_end(t: Transition) -> None:
    """After an undo that was sent after the end: what the instance says of itself stays true."""
    row = t.row
    said = row.status, row.rollback
    if row.failed_compensations:
        row.rollback = "partial"
        if row.status is InstanceStatus.ROLLED_BACK:
            row.status = InstanceStatus.FAILED
    elif row.in_flight == 0:
        row.rollback = "full"
    if (row.status, row.rollback) != said:  # not an end: the instance has ended before
        t.record("RollbackRevised", {"status": row.status, "rollback": row.rollback})
        if row.rollback == "partial":
            tell_above(t)


def learn_of_effects(t: Transition, attempt: Attempt) -> bool:
    """An instance below has left something after all, long after it told its end; False: known."""
    row = t.row
    if any(each["task"] == attempt.task for each in row.failed_compensations):
        return False
    attempt.acted = True
    t.change(attempt)
    error = {"type": "compensation_failed", "message": "a late undo below failed"}
    _count_failure(t, t.run_of(attempt), identity(attempt), error)
    if row.status.is_terminal:
        _correct_end(t)
    return True


def park(t: Transition, reason: str) -> None:
    """Stop until an operator decides."""
    t.row.status = InstanceStatus.NEEDS_OPERATOR
    gates.stop_clock(t)
    t.record("WorkflowNeedsOperator", {"reason": reason})


def undo_late(t: Transition, attempt: Attempt) -> None:
    """A forward task turned out to have succeeded when the saga had passed it: undo it now."""
    run = t.run_of(attempt)
    plan = t.stage(attempt.stage).compensation
    is_undoing = t.row.undo_order is not None and not is_halted(t)
    if plan is None or not is_undoing:
        return
    width = len(plan.roles)
    is_passed = run.ended_order > (t.row.undo_order or 0) or run.undo_next > attempt.index * width
    if not is_passed:
        return
    # Whole rounds: an undo that was sent before may have run before the effect did.
    first = 0
    while any(t.state.current(undo_id(attempt.task, first + each)) for each in range(width)):
        first += width
    for entry in range(first, first + width):
        _send_undo(t, run, plan, attempt.index, entry)
    _go_on(t, run)
