"""Undoing: settle what is in flight, then compensate in reverse order of completion.

Honesty is the rule: ``rolled_back`` is only said when every compensation succeeded, and whatever
may have acted counts as having acted.

One file, because settling, undoing and what is said of it in the end are one course of events.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sagabus.core import below, resources
from sagabus.core.definition import FAIL, Compensation, TemplateError
from sagabus.core.effects import effects_left, needs_undo
from sagabus.core.instance import (
    Attempt,
    Failure,
    Firing,
    Instance,
    InstanceStatus,
    Rollback,
    StageRun,
    StageStatus,
    TaskStatus,
    child_id,
    task_id,
    undo_id,
)
from sagabus.core.news import tell_above
from sagabus.core.parking import park, unpark
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
    try_again,
    withdraw,
)
from sagabus.core.transition import Transition


def begin(t: Transition, failure: Failure) -> None:
    """Stop going forward and undo; ``row.error`` says why."""
    row = t.row
    row.error = row.error or failure
    row.phase = InstanceStatus.COMPENSATING
    row.deadline_at = None
    row.remaining_s = None
    row.unfilled.clear()
    row.outcome = None
    _drop(t)
    t.local.clear()
    for _, run in t.active_runs():
        for index in range(run.next_index):
            attempt = t.state.current(task_id(run.stage, run.pass_, index))
            if attempt is not None and attempt.is_open:
                _settle(t, run, attempt)
        end_if_settled(t, run)
    proceed(t)


def _drop(t: Transition) -> None:
    """Lead nowhere any more; what was fired is kept for a retry."""
    row = t.row
    row.dropped += t.firings
    row.dropped += [Firing(FAIL, each.source) for each in row.failing]
    for name, arms in row.arrived.items():
        row.dropped += [Firing(name, source) for source in arms.values()]
    t.firings.clear()
    row.pending.clear()
    row.arrived.clear()
    row.failing.clear()


def _settle(t: Transition, run: StageRun, attempt: Attempt) -> None:
    """End at once what has not acted for certain; give what was claimed time to tell."""
    if attempt.is_held:
        return
    if attempt.retry:
        end_retry(t, attempt)
    elif attempt.is_child:
        withdraw(t, attempt, "cancelled")
        attempt.due_at = None  # it undoes itself, and tells when it is done
        t.change(attempt)
        return
    elif attempt.status is TaskStatus.RUNNING:
        # What is final had better end than be stopped half-way: nobody would know how far it came.
        if t.row.cancel_requested and not attempt.is_once:
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
    if row.phase is not InstanceStatus.COMPENSATING or row.active_runs:
        return
    if row.undo_order is None:
        if is_halted(t):
            row.undo_order = 0
        elif _is_past_undoing(t):
            message = "a final stage has succeeded: undo what can be undone, or go on from here"
            park(t, "after_final", message)
            return
        else:
            row.undo_order = row.ended_count
    by_order = {run.ended_order: run for run in row.runs.values()}
    while row.undo_order:
        if not _undo_run(t, by_order[row.undo_order]):
            return
        row.undo_order -= 1
    if row.in_flight == 0 and not row.parked:
        row.outcome = outcome(t)


def _is_asked(row: Instance) -> bool:
    """A person, or the instance above, wants it undone."""
    return row.cancel_requested or row.undo_asked or row.undo_parent is not None


def is_halted(t: Transition) -> bool:
    """A failure leaves all as it is, unless a person or the instance above says otherwise."""
    return t.row.is_left or (t.definition.saga_on_failure == "halt" and not _is_asked(t.row))


def _is_past_undoing(t: Transition) -> bool:
    """What is final has succeeded, and nobody has said yet that the rest is to be undone."""
    definition = t.definition
    if not definition.has_finals or definition.saga_after_final == "compensate":
        return False
    return not _is_asked(t.row) and any(
        definition.stages[run.stage].classification == "final"
        and any(
            _has_final(t, task_id(run.stage, run.pass_, each)) for each in range(run.next_index)
        )
        for run in t.row.runs.values()
    )


def _has_final(t: Transition, task: str) -> bool:
    """Whether a task of a final stage succeeded, or failed below with something final done."""
    tries = t.state.attempts.get(task, ())
    is_done = any(attempt.status is TaskStatus.SUCCEEDED for attempt in tries)
    return is_done or below.has_final(below.newest_words(t, task))


def _may_send(t: Transition, run: StageRun) -> bool:
    """One stage after another: what is in flight of a stage undone before, late, goes first."""
    row = t.row
    is_undoing = row.phase is InstanceStatus.COMPENSATING
    return is_undoing and row.in_flight == run.undo_in_flight and may_send(t)


def _undo_run(t: Transition, run: StageRun) -> bool:
    """Send what is still to be undone of a run; True when it is done with."""
    plan = t.stage(run.stage).compensation
    if plan is None:
        return True
    candidates = run.next_index * len(plan.roles)
    if t.row.undo_only not in {None, run.stage}:
        candidates = run.undo_next  # nothing but what a person wants to be tried again
    while run.undo_next < candidates and _may_send(t, run):
        index, entry = divmod(run.undo_next, len(plan.roles))
        run.undo_next += 1
        if is_due(t, plan, run, index, entry):
            _send_undo(t, run, plan, index, entry)
    while run.undo_again and _may_send(t, run):
        send_again(t, run, plan, run.undo_again.pop(0))
    if run.undo_in_flight or run.undo_next < candidates or run.undo_again:
        return False
    mark_undone(run)
    return True


def is_due(t: Transition, plan: Compensation, run: StageRun, index: int, entry: int) -> bool:
    """Whether a task is to be undone by an entry, can be, and that was not asked for yet."""
    task = task_id(run.stage, run.pass_, index)
    if not needs_undo(t, plan, task) or t.state.current(undo_id(task, entry)) is not None:
        return False
    return not below.is_past_undo(below.newest_words(t, task))


def send_again(t: Transition, run: StageRun, plan: Compensation, task: str) -> None:
    """Try an undo again that failed; one that was never sent is made anew.

    ``task`` is the undo, or ``<task>/<attempt>`` where another instance did it, and left something.
    """
    task, _, tried = task.partition("/")
    failed = _undo_of(t, plan, task, int(tried)) if tried else t.state.current(task)
    if failed is not None:
        run.status = StageStatus.COMPENSATING
        if not failed.is_open:
            try_again(t, failed)
        return
    for index in range(run.next_index):
        undone = task_id(run.stage, run.pass_, index)
        if task == undone:
            # The first round is of the instance that succeeded, and this is another one.
            child = child_id(t.row.id, task, int(tried))
            for entry in _next_round(t, plan, task, after=1):
                _send_undo(t, run, plan, index, entry, child)
        for entry in range(len(plan.roles)):
            if undo_id(undone, entry) == task:
                _send_undo(t, run, plan, index, entry)


def _undo_of(t: Transition, plan: Compensation, task: str, tried: int) -> Attempt | None:
    """The undo of the instance that carried out an attempt, if there was one."""
    child = child_id(t.row.id, task, tried)
    rounds = 2 * (1 + len(t.state.attempts[task]))  # at most: one by itself, one for what came late
    undos = (t.state.current(undo_id(task, entry)) for entry in range(rounds * len(plan.roles)))
    return next((each for each in undos if each is not None and each.agent == child), None)


def _next_round(t: Transition, plan: Compensation, task: str, after: int = 0) -> list[int]:
    """Entries of a whole round: an undo that was sent before may have run before the effect did."""
    width = len(plan.roles)
    first = after * width
    while any(t.state.current(undo_id(task, first + each)) for each in range(width)):
        first += width
    return list(range(first, first + width))


def _send_undo(
    t: Transition,
    run: StageRun,
    plan: Compensation,
    index: int,
    entry: int,
    child: str | None = None,
) -> None:
    run.status = StageStatus.COMPENSATING
    try:
        input_, secrets = (None, ()) if plan.input is None else plan.input.render_input(scope_of(t))
    except TemplateError as error:
        # No attempt was made, and the honest word for that is: not undone.
        run.undo_sent += 1
        message = f"{error.key}: {error} in {error.expression!r}"
        count_failure(
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
    open_undo(t, run, plan, index, entry, input_, secrets, child)


def count_failure(
    t: Transition,
    run: StageRun,
    identity_: Mapping[str, Any],
    error: Mapping[str, Any],
    *,
    may_park: bool = True,
) -> None:
    """Note by name what is not undone; ``may_park``: no operator has seen to it yet."""
    run.undo_failed += 1
    t.row.failed_compensations.append({**identity_, "error": error})
    t.record("CompensationFailed", {**identity_, "error": error})
    is_parking = may_park and t.definition.saga_on_failed_undo == "park"
    if is_parking and not t.row.status.is_terminal:
        run.status = StageStatus.COMPENSATION_FAILED
        message = f"compensation of stage {run.stage!r} failed: {error['message']}"
        park(t, "compensation_failed", message, stage=run.stage)


def failures_of(row: Instance, run: StageRun) -> list[dict[str, Any]]:
    """Those of the failed compensations that are of one run."""
    tasks = task_id(run.stage, run.pass_, 0)[:-1]
    return [each for each in row.failed_compensations if each["task"].startswith(tasks)]


def failures_to_mend(t: Transition, run: StageRun) -> list[dict[str, Any]]:
    """Those of them that can be tried again: not where nothing but what is final is left."""
    return [
        each
        for each in failures_of(t.row, run)
        if not below.is_past_undo(below.newest_words(t, each["task"].partition("-undo-")[0]))
    ]


def mark_undone(run: StageRun) -> None:
    """Give a run that was undone, as far as that went, its status."""
    if run.undo_sent:
        run.status = StageStatus.COMPENSATION_FAILED if run.undo_failed else StageStatus.COMPENSATED


def outcome(t: Transition) -> InstanceStatus:
    """What an instance ends with; says how far it was undone, and what is left."""
    row = t.row
    row.effects_left = effects_left(t)
    if row.undo_order is None:  # it went forward to its end; what failed was an undo below it
        row.rollback = "partial" if row.failed_compensations else "none"
        return InstanceStatus.COMPLETED
    is_undone = any(run.undo_sent for run in row.runs.values())
    if row.failed_compensations or (is_undone and row.effects_left):
        row.rollback = "partial"
    else:
        row.rollback = "full" if is_undone else "none"
    return status_at_end(row, row.rollback)


def status_at_end(row: Instance, rollback: Rollback) -> InstanceStatus:
    """What an instance ends with that was to be undone, and was so far."""
    if row.cancel_requested:
        return InstanceStatus.CANCELLED
    if rollback == "full":
        return InstanceStatus.ROLLED_BACK
    # Without an error it had completed, and was to be undone on request: there was nothing to undo.
    has_failed = row.error is not None or rollback != "none"
    return InstanceStatus.FAILED if has_failed else InstanceStatus.COMPLETED


def undo_succeeded(t: Transition, attempt: Attempt) -> None:
    """A compensation was carried out; its attempt is closed."""
    run = release(t, attempt)
    record_undone(t, attempt)
    resources.undone(t, attempt)
    go_on(t, run)


def undo_succeeded_late(t: Transition, attempt: Attempt) -> None:
    """A compensation that was given up has been carried out all the same."""
    run = t.run_of(attempt)
    record_undone(t, attempt)
    resources.undone(t, attempt)
    newest = t.state.attempts[attempt.task][-1]
    if newest.retry:
        end_retry(t, newest)
        release(t, newest)
    elif newest.is_open:
        return  # sent once more, and its end is waited for
    if attempt.task in run.undo_again:
        run.undo_again.remove(attempt.task)
    named_no_more(t, run, [e for e in failures_of(t.row, run) if e["task"] == attempt.task])


def named_no_more(t: Transition, run: StageRun, failures: Sequence[dict[str, Any]]) -> None:
    """What failures name is undone by now."""
    for each in failures:
        t.row.failed_compensations.remove(each)
    run.undo_failed = len(failures_of(t.row, run))
    if run.undo_in_flight == 0:
        mark_undone(run)
    if not run.undo_failed:
        unpark(t, "compensation_failed", stage=run.stage)
    if t.row.status.is_terminal:
        revise_end(t)
    else:
        proceed(t)


def record_undone(t: Transition, attempt: Attempt) -> None:
    """Say in the history that a compensation was carried out."""
    started = attempt.started_at or attempt.created_at
    duration_s = (t.at - started).total_seconds()
    t.record("CompensationCompleted", {**identity(attempt), "duration_s": duration_s})


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
    is_done = _is_done_before(t, attempt) or (attempt.stopped is not None and run.is_undone_by_hand)
    is_retryable = is_retryable and not (is_done or attempt.stopped)
    if is_retryable:
        is_retryable, failure = _wants_retry(t, run, attempt, failure)
    if plan_retry(t, attempt, is_retryable=is_retryable, after_s=after_s):
        return
    release(t, attempt)
    if not is_done:
        _count(t, run, attempt, attempt.stopped or failure)
    go_on(t, run)


def _is_done_before(t: Transition, attempt: Attempt) -> bool:
    """Whether an attempt before it, of which nothing was heard then, has undone the task."""
    tries = t.state.attempts[attempt.task]
    return not attempt.is_child and any(each.status is TaskStatus.SUCCEEDED for each in tries)


def _count(t: Transition, run: StageRun, attempt: Attempt, failure: Failure) -> None:
    error: dict[str, Any] = {"type": failure.type, "message": failure.message}
    if failure.policies:
        error["policies"] = list(failure.policies)
    count_failure(t, run, identity(attempt), error, may_park=attempt.stopped is None)


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


def go_on(t: Transition, run: StageRun) -> None:
    """An undo has ended: undo what is next."""
    if run.undo_in_flight == 0 and run.ended_order > (t.row.undo_order or 0):
        mark_undone(run)  # a late undo, of a stage that was done with
    if not t.row.status.is_terminal:
        proceed(t)
    else:
        correct_end(t)


def correct_end(t: Transition, *, is_more_known: bool = False) -> None:
    """After news that came after the end: what the instance says of itself stays true.

    ``is_more_known``: of what is left, which is told above though the names of it are the same.
    """
    row = t.row
    said = row.status, row.rollback, row.effects_left
    is_told = row.in_flight == 0  # what is being undone now is neither left nor gone
    if is_told:
        row.effects_left = effects_left(t)
    is_undone = is_told and row.status is not InstanceStatus.COMPLETED
    is_undone = is_undone and any(run.undo_sent for run in row.runs.values())
    if row.failed_compensations or (is_undone and row.effects_left):
        row.rollback = "partial"
        if row.status is InstanceStatus.ROLLED_BACK:
            row.status = InstanceStatus.FAILED
    elif is_undone:
        row.rollback = "full"
    is_revised = (row.status, row.rollback, row.effects_left) != said
    if is_revised:
        t.record("RollbackRevised", {"status": row.status, "rollback": row.rollback})
    if is_revised or is_more_known:
        tell_above(t)


def revise_end(t: Transition) -> None:
    """After an end, what a person has settled of it, or an instance below: it ends anew."""
    row = t.row
    said = row.status, row.rollback, row.effects_left
    row.status = outcome(t)
    if (row.status, row.rollback, row.effects_left) != said:
        t.record("RollbackRevised", {"status": row.status, "rollback": row.rollback})
        tell_above(t)


def _is_undone_by_now(t: Transition, run: StageRun, candidate: int) -> bool:
    """Whether the saga has passed a candidate for being undone, and will not come back to it."""
    row = t.row
    if row.undo_order is None or is_halted(t) or row.undo_only not in {None, run.stage}:
        # What was undone before a retry stays undone.
        return run.is_replaced and run.undo_next > candidate
    return run.ended_order > row.undo_order or run.undo_next > candidate


def undo_late(t: Transition, attempt: Attempt) -> None:
    """A forward task turned out to have succeeded when the saga had passed it: undo it now."""
    run = t.run_of(attempt)
    plan = t.stage(attempt.stage).compensation
    if plan is None or not _is_undone_by_now(t, run, attempt.index * len(plan.roles)):
        return
    for entry in _next_round(t, plan, attempt.task):
        _send_undo(t, run, plan, attempt.index, entry)
    go_on(t, run)
