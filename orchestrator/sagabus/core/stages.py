"""Going forward: stage runs begin, send their tasks, end, and lead to others."""

from typing import Any

from sagabus.core import gates, saga
from sagabus.core.definition import Stage, TemplateError
from sagabus.core.instance import (
    Attempt,
    Failure,
    Instance,
    InstanceStatus,
    StageRun,
    StageStatus,
    run_key,
)
from sagabus.core.scope import default_input, scope_of
from sagabus.core.tasks import has_slot, identity, open_task, plan_retry, release
from sagabus.core.transition import Transition


def begin_run(t: Transition, name: str, parent: tuple[str, StageRun] | None) -> None:
    """Start a stage, in the pass of the run that leads to it.

    A stage runs at most once per pass: a second arm that leads to it is ignored.
    """
    pass_ = parent[1].pass_ if parent else 1
    key = run_key(name, pass_)
    if key in t.row.runs:
        return
    run = StageRun(name, pass_, StageStatus.PENDING, t.at, parents=[parent[0]] if parent else [])
    t.row.runs[key] = run
    t.row.active_runs += 1
    approval = t.stage(name).approval
    if approval is None:
        start_tasks(t, key, run)
    else:
        gates.ask(t, key, run, approval)


def start_tasks(t: Transition, key: str, run: StageRun) -> None:
    """Let a run send its tasks as slots become free."""
    run.status = StageStatus.RUNNING
    run.total = len(t.stage(run.stage).roles)
    t.row.unfilled.append(key)


def is_forward(row: Instance) -> bool:
    """True while new tasks may be sent: not failed, not cancelled, not parked."""
    return row.status in {InstanceStatus.RUNNING, InstanceStatus.WAITING}


def advance(t: Transition) -> None:
    """After an event: send what may be sent; end the instance when no branch is active."""
    row = t.row
    if not is_forward(row):
        return
    _fill(t)
    if not is_forward(row):  # a template failed
        return
    if row.active_runs == 0:
        row.status = InstanceStatus.COMPLETED
        row.ended_at = t.at
        row.deadline_at = None
        row.remaining_s = None
        duration_s = (t.at - row.created_at).total_seconds()
        t.record("WorkflowCompleted", {"status": row.status, "duration_s": duration_s})
        return
    gates.keep_clock(t)


def _fill(t: Transition) -> None:
    row = t.row
    for key in list(row.unfilled):
        run = row.runs[key]
        stage = t.stage(run.stage)
        limit = (stage.max_parallel or run.total) if stage.parallel else 1
        while run.next_index < run.total and run.in_flight < limit and has_slot(t):
            try:
                input_ = _input(t, run, stage)
            except TemplateError as error:
                message = f"{error.key}: {error} in {error.expression!r}"
                fail_run(t, run, Failure("template_error", message, stage=run.stage))
                return
            index = run.next_index
            run.next_index += 1
            open_task(t, run, stage, index, input_)
        if run.next_index == run.total:
            row.unfilled.remove(key)


def _input(t: Transition, run: StageRun, stage: Stage) -> Any:
    return default_input(t, run) if stage.input is None else stage.input.render(scope_of(t))


def task_succeeded(t: Transition, attempt: Attempt) -> None:
    """A forward task has succeeded; its attempt is closed."""
    run = release(t, attempt)
    run.succeeded += 1
    started = attempt.started_at or attempt.created_at
    duration_s = (t.at - started).total_seconds()
    data = {**identity(attempt), "agent": attempt.agent, "duration_s": duration_s}
    t.record("TaskCompleted", data)
    _task_ended(t, run)
    if run.status is StageStatus.SUCCEEDED:
        # The end of a stage is no entry of its own: most stages have one task.
        data["stage_duration_s"] = (t.at - run.started_at).total_seconds()
        data["next"] = list(t.stage(run.stage).routes.on_success)


def task_failed(
    t: Transition,
    attempt: Attempt,
    failure: Failure,
    *,
    is_retryable: bool = True,
    after_s: float | None = None,
) -> None:
    """A forward task's attempt has failed and is closed: try again, or end the task."""
    t.record(
        "TaskFailed",
        {
            **identity(attempt),
            "agent": attempt.agent,
            "status": attempt.status,
            "error": {"type": failure.type, "message": failure.message},
        },
    )
    if is_forward(t.row) and plan_retry(t, attempt, is_retryable=is_retryable, after_s=after_s):
        return
    run = release(t, attempt)
    run.failed += 1
    run.error = run.error or failure
    if not t.stage(run.stage).parallel:
        run.total = run.next_index  # one after another: the rest is never sent
    _task_ended(t, run)


def _task_ended(t: Transition, run: StageRun) -> None:
    if t.row.status is InstanceStatus.COMPENSATING:
        saga.end_if_settled(t, run)
        saga.proceed(t)
        return
    if t.row.status is InstanceStatus.NEEDS_OPERATOR:
        return
    if run.succeeded + run.failed < run.total or run.in_flight:
        return
    key = run_key(run.stage, run.pass_)
    if key in t.row.unfilled:
        t.row.unfilled.remove(key)
    if run.error is None:
        _run_succeeded(t, key, run)
    else:
        fail_run(t, run, run.error)


def _run_succeeded(t: Transition, key: str, run: StageRun) -> None:
    saga.end_run(t, run, StageStatus.SUCCEEDED)
    for name in t.stage(run.stage).routes.on_success:
        begin_run(t, name, (key, run))


def fail_run(t: Transition, run: StageRun, failure: Failure) -> None:
    """End a run as failed, or let it settle; nothing handles the failure: the workflow fails."""
    run.error = failure
    saga.end_if_settled(t, run)
    t.record(
        "StageDenied" if failure.type == "denied" else "StageFailed",
        {
            "stage": run.stage,
            "error": {"type": failure.type, "message": failure.message},
            "policies": list(failure.policies),
            "duration_s": (t.at - run.started_at).total_seconds(),
        },
    )
    fail(t, failure)


def fail(t: Transition, failure: Failure) -> None:
    """Fail the workflow: announce it, then undo."""
    data: dict[str, Any] = {
        "error": {"type": failure.type, "message": failure.message, "stage": failure.stage}
    }
    t.record("WorkflowFailed", data)
    saga.begin(t, failure)
    data["status"] = t.row.status
