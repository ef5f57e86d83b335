"""Time limits. A timer that is out of date is ignored; one that is early is set again."""

from datetime import timedelta

from sagabus.core import saga, stages
from sagabus.core.commands import SetTimer, attempt_timer
from sagabus.core.events import (
    AttemptTimerFired,
    GateTimerFired,
    HoldEnded,
    MoreToSend,
    WorkflowTimerFired,
)
from sagabus.core.instance import (
    Attempt,
    Failure,
    InstanceState,
    InstanceStatus,
    StageStatus,
    TaskStatus,
    run_key,
)
from sagabus.core.parking import hold
from sagabus.core.tasks import (
    GRACE,
    INTENT_WATCH,
    UNHEARD,
    close,
    first_limit,
    may_have_acted,
    plan_of,
    start_retry,
    withdraw,
)
from sagabus.core.transition import Ignored, Transition


def go_on(t: Transition, event: MoreToSend) -> Ignored | None:
    """Send what the last event left."""
    if t.row.paused is not None or t.row.parked:
        return Ignored("stopped")
    if t.row.status is InstanceStatus.COMPENSATING:
        saga.proceed(t)
        return None
    has_more = t.row.unfilled or t.row.pending
    return None if has_more else Ignored("nothing_more_to_send")


def end_workflow(t: Transition, event: WorkflowTimerFired) -> Ignored | None:
    """The instance has had its time."""
    deadline = t.row.deadline_at
    if deadline is None or event.at < deadline:
        return Ignored("timer_out_of_date")
    seconds = (t.definition.workflow_timeout or timedelta()).total_seconds()
    stages.fail(t, Failure("timeout", f"the workflow took longer than {seconds:g} s"))
    return None


def end_gate(t: Transition, event: GateTimerFired) -> Ignored | None:
    """Nobody answered a gate in time."""
    run = t.row.runs.get(event.run)
    if t.row.paused is not None or t.row.parked:
        return Ignored("stopped")  # what an older version stored, or the very last stage waits for
    if not stages.is_forward(t.row):
        return Ignored("timer_out_of_date")
    if run is None or run.status is not StageStatus.WAITING or run.gate is None:
        return Ignored("timer_out_of_date")
    if run.gate.due_at is None or event.at < run.gate.due_at:
        return Ignored("timer_out_of_date")
    approval = t.stage(run.stage).approval
    is_question = run.gate.is_question
    is_approved = not is_question and approval is not None and approval.on_timeout == "approve"
    run.gate.decision = "timed_out"
    run.gate.at = t.at
    if is_question:
        t.record("InquiryTimedOut", {"stage": run.stage})
    else:
        t.record("ApprovalTimedOut", {"stage": run.stage, "is_approved": is_approved})
    if is_approved:
        # The definition's author approves by silence: policies see it as approved.
        run.gate.decision, run.gate.by = "approved", "timeout"
        stages.pass_gate(t, run_key(run.stage, run.pass_), run)
    else:
        type_ = "timeout" if is_question else "approval_timeout"
        failure = Failure(type_, "nobody answered in time", run.stage)
        stages.fail_run(t, run, failure)
    return None


def end_attempt(t: Transition, event: AttemptTimerFired) -> Ignored | None:
    """An attempt is due: to be tried again, or to be given up."""
    attempt = t.state.find(event.task, event.attempt)
    if attempt is None or attempt.due_at is None or event.at < attempt.due_at:
        return Ignored("timer_out_of_date")
    if attempt.retry:
        is_stopped = t.row.parked and not attempt.is_asked_for
        if t.row.paused is not None or is_stopped:
            return Ignored("stopped")
        start_retry(t, attempt)
        return None
    if attempt.is_local:
        attempt.due_at = None
        t.local.append((attempt, None))
        return None
    if attempt.is_child:
        _end_child(t, attempt)
        return None
    is_silent = event.running_since is None and not event.is_presence_known
    if is_silent and _only_presence_tells(t, attempt):
        attempt.due_at = t.at + UNHEARD
        t.change(attempt)
        return None
    if attempt.status is TaskStatus.RUNNING:
        return _run_limit(t, attempt, event)
    return _start_limit(t, attempt, event)


def end_hold(t: Transition, event: HoldEnded) -> Ignored | None:
    """An attempt that was held back leaves: the time that it waited for that does not count."""
    attempt = t.state.find(event.task, event.attempt)
    if attempt is None or attempt.status is not TaskStatus.DISPATCHED or attempt.due_at is None:
        return Ignored("no_limit_to_begin")
    attempt.due_at = first_limit(t, attempt)
    t.change(attempt)
    return None


def _end_child(t: Transition, attempt: Attempt) -> None:
    """Its time is over: it undoes what it did, and how that ends is awaited."""
    seconds = (plan_of(t.definition, attempt).timeout or timedelta()).total_seconds()
    message = f"ran longer than {seconds:g} s"
    attempt.error = Failure("timeout", message, attempt.stage, attempt.task)
    attempt.due_at = None
    t.change(attempt)
    withdraw(t, attempt, "timeout")


def _only_presence_tells(t: Transition, attempt: Attempt) -> bool:
    """Whether nothing that is stored says if an agent is at work."""
    if attempt.status is TaskStatus.RUNNING:
        return attempt.is_intent or plan_of(t.definition, attempt).timeout is None
    return not attempt.claim


def _run_limit(t: Transition, attempt: Attempt, event: AttemptTimerFired) -> Ignored | None:
    """A claimed attempt has had its time, or settling has waited long enough for it."""
    if attempt.is_intent:
        _watch_intent(t, attempt, event)
        return None
    timeout = plan_of(t.definition, attempt).timeout
    if timeout is None and event.running_since is not None:
        attempt.due_at = t.at + GRACE  # settling: it is alive and has no limit of its own
        t.change(attempt)
        return None
    if timeout is None:
        failure = Failure("agent_lost", "its agent is gone", attempt.stage, attempt.task)
        _expire(t, attempt, TaskStatus.UNKNOWN, failure)
    else:
        message = f"ran longer than {timeout.total_seconds():g} s"
        failure = Failure("timeout", message, attempt.stage, attempt.task)
        _expire(t, attempt, TaskStatus.TIMED_OUT, failure)
    return None


def _watch_intent(t: Transition, attempt: Attempt, event: AttemptTimerFired) -> None:
    """A final effect: who is alive and at it will tell; of who is gone nobody knows."""
    if event.running_since is None:
        hold(t, attempt, f"{attempt.agent} is gone, and has not told how it ended")
        return
    attempt.due_at = t.at + INTENT_WATCH
    t.change(attempt)


def _start_limit(t: Transition, attempt: Attempt, event: AttemptTimerFired) -> Ignored | None:
    """An attempt that is not known to have started: only presence tells whether it runs."""
    plan = plan_of(t.definition, attempt)
    timeout = plan.timeout
    if event.running_since is None:
        start_timeout = t.stage(attempt.stage).start_timeout
        if attempt.kind == "task" and start_timeout is not None:
            message = (
                f"no agent of role {attempt.role} took it in {start_timeout.total_seconds():g} s"
            )
            failure = Failure("start_timeout", message, attempt.stage, attempt.task)
            _expire(t, attempt, TaskStatus.TIMED_OUT, failure)
            return None
        limit = t.at if timeout is None else t.at + timeout + GRACE
    else:
        limit = t.at if timeout is None else event.running_since + timeout + GRACE
    if timeout is None:
        attempt.due_at = None  # it runs, and may as long as it likes
    elif t.at < limit:
        attempt.due_at = limit
    else:
        message = f"ran longer than {timeout.total_seconds():g} s"
        failure = Failure("timeout", message, attempt.stage, attempt.task)
        _expire(t, attempt, TaskStatus.TIMED_OUT, failure)
        return None
    t.change(attempt)
    return None


def _expire(t: Transition, attempt: Attempt, status: TaskStatus, failure: Failure) -> None:
    """End an attempt that gave no answer in time."""
    close(t, attempt, status, is_acted=may_have_acted(attempt), error=failure)
    withdraw(t, attempt, failure.type)
    if attempt.kind == "task":
        stages.task_failed(t, attempt, failure)
    else:
        saga.undo_failed(t, attempt, failure)


def timers_of(state: InstanceState) -> list[SetTimer]:
    """Every timer of a reloaded instance: its own, its gates', its open attempts'."""
    row = state.row
    timers = []
    if row.deadline_at is not None:
        timers.append(SetTimer(row.deadline_at, "workflow"))
    if row.unfilled or row.pending or row.phase is InstanceStatus.COMPENSATING:
        timers.append(SetTimer(row.updated_at, "more"))
    for key, run in row.runs.items():
        if run.status is StageStatus.WAITING and run.gate is not None and run.gate.due_at:
            timers.append(SetTimer(run.gate.due_at, "gate", key))
    for tries in state.attempts.values():
        timers.extend(
            attempt_timer(attempt, attempt.due_at)
            for attempt in tries
            if attempt.is_open and attempt.due_at is not None
        )
    return timers
