"""Going forward: stage runs begin, send their tasks, end, and lead to others.

One file, because beginnings and ends lead to each other: a stage of a block that ends may end the
block, which begins others.
"""

from typing import Any

from sagabus.core import gates, routes, saga
from sagabus.core.commands import SetTimer
from sagabus.core.definition import Stage, TemplateError
from sagabus.core.instance import (
    Attempt,
    Failure,
    Firing,
    Instance,
    InstanceStatus,
    StageRun,
    StageStatus,
    TaskStatus,
    run_key,
)
from sagabus.core.routes import LimitError, NoChoiceError
from sagabus.core.scope import default_input, is_true, scope_of, stage_scope, width, work_scope
from sagabus.core.tasks import (
    close,
    identity,
    may_send,
    open_task,
    plan_retry,
    refuse_task,
    release,
)
from sagabus.core.transition import Transition

#: What ends a workflow wherever it happens; the type of its failure.
_BROKEN: dict[type[Exception], str] = {
    TemplateError: "template_error",
    LimitError: "limit",
    NoChoiceError: "no_decision",
}
_FORWARD = frozenset({InstanceStatus.RUNNING, InstanceStatus.WAITING, InstanceStatus.PAUSED})
BrokenError = (TemplateError, LimitError, NoChoiceError)


def broken(error: Exception, stage: str | None) -> Failure:
    """The failure of a definition that cannot be gone on with."""
    text = str(error)
    if isinstance(error, TemplateError):
        text = f"{error.key}: {error} in {error.expression!r}"
    return Failure(_BROKEN[type(error)], text, stage)


def is_forward(row: Instance) -> bool:
    """True while it is neither failed nor cancelled, or at the very end."""
    phase = row.phase
    if phase is InstanceStatus.COMPENSATING:
        return row.outcome is not None
    return phase in _FORWARD


# --- beginning ----------------------------------------------------------------------------------


def lead_on(t: Transition, firing: Firing) -> None:
    """Carry out a firing: start the stage, or note that an arm of a join has arrived."""
    source = t.row.runs[firing.source]
    try:
        if t.stage(firing.target).join is not None:
            start = routes.arrive(t, firing.target, firing.source)
        else:
            pass_ = routes.free_pass(t, firing.target, [firing.source], source.lap)
            if pass_ is None:
                routes.ignore(t, firing.target, firing.source)
            start = None if pass_ is None else ([firing.source], pass_)
    except LimitError as error:
        fail(t, broken(error, firing.target))
        return
    if start is not None:
        begin_run(t, firing.target, *start)


def begin_run(t: Transition, name: str, parents: list[str], pass_: int) -> None:
    """Start a stage, led to by the runs ``parents``; runs that were replaced keep their pass."""
    run = StageRun(name, pass_, StageStatus.PENDING, t.at, parents=parents)
    while (key := run_key(name, run.pass_)) in t.row.runs:
        run.pass_, run.stands_for = run.pass_ + 1, pass_
    t.row.runs[key] = run
    t.row.active_runs += 1
    t.begun_left -= 1
    stage = t.stage(name)
    try:
        if stage.when is not None and not is_true(stage.when, stage_scope(t, stage), "when"):
            skip_run(t, run)
        elif stage.approval is not None:
            gates.ask(t, key, run, stage.approval)
        else:
            start_work(t, key, run)
    except BrokenError as error:
        break_run(t, run, error)


def skip_run(t: Transition, run: StageRun, **who: str) -> None:
    """End a run as skipped; ``who`` says so of a person, and why."""
    saga.end_run(t, run, StageStatus.SKIPPED)
    t.record("StageSkipped", {"stage": run.stage, **who})
    if t.stage(run.stage).block is not None:
        _child_ended(t, run)
    else:
        routes.after_skip(t, run)


def pass_gate(t: Transition, key: str, run: StageRun) -> None:
    """Go on with a run whose approval was given."""
    try:
        start_work(t, key, run)
    except BrokenError as error:
        break_run(t, run, error)


def start_work(t: Transition, key: str, run: StageRun) -> None:
    """What the stage is for: its stages, its question, or its tasks as slots become free.

    Raises:
        TemplateError: the question or the list of items cannot be evaluated.
        LimitError: the list is too long.
    """
    stage = t.stage(run.stage)
    if stage.kind == "inquiry":
        gates.put_question(t, key, run, stage)
        return
    run.status = StageStatus.RUNNING
    if stage.kind == "block":
        run.total = len(stage.children)
        for child in stage.children:
            if run.ended_at is None:  # one of them may fail the workflow at once
                begin_run(t, child, [key], run.pass_)
        return
    if stage.items is not None:
        items = _items(t, stage, run)
        run.items = len(items)
        t.state.items[key] = t.decision.items[key] = items
        t.state.results.pop(key, None)  # of a time when there was no list
    run.total = width(stage, run)
    if run.total == 0:
        succeed_run(t, run)
        return
    t.row.unfilled.append(key)


def _items(t: Transition, stage: Stage, run: StageRun) -> list[Any]:
    if stage.items is None:
        return []
    items = stage.items.list.render(work_scope(t, stage, run))
    if not isinstance(items, list):
        message = f"gives {type(items).__name__} where a list is needed"
        text = getattr(stage.items.list, "text", "with_items")
        raise TemplateError(message, key="with_items", expression=text)
    if len(items) > t.definition.max_items:
        raise LimitError(
            f"with_items of stage {stage.name!r} gives {len(items)} items, "
            f"engine.limits.max_items allows {t.definition.max_items}"
        )
    return items


def advance(t: Transition) -> None:
    """After an event: start what was fired and send what may be sent."""
    while is_forward(t.row):
        if t.firings and t.begun_left > 0:
            lead_on(t, t.firings.popleft())
        elif not t.firings and (failure := _failure_now(t)) is not None:
            fail(t, failure)
        elif t.local:
            _carry_out(t, *t.local.popleft())
        elif t.firings or not _fill(t):
            break
    t.row.pending = list(t.firings)
    if t.row.pending:
        t.do(SetTimer(t.at, "more"))


def _failure_now(t: Transition) -> Failure | None:
    return routes.failing_now(t) or routes.broken_join(t)


def _carry_out(t: Transition, attempt: Attempt, failure: Failure | None) -> None:
    """End an attempt that no agent is asked for."""
    if not attempt.is_unanswered:
        return
    if failure is None:
        close(t, attempt, TaskStatus.SUCCEEDED, is_acted=False)
        task_succeeded(t, attempt)
    else:
        close(t, attempt, TaskStatus.FAILED, is_acted=False, error=failure)
        task_failed(t, attempt, failure, is_retryable=False)


def _fill(t: Transition) -> bool:
    """Send what slots allow; False when nothing was sent."""
    row = t.row
    is_sent = False
    for key in list(row.unfilled):
        run = row.runs[key]
        stage = t.stage(run.stage)
        limit = _limit(stage, run)
        while run.next_index < run.total and run.in_flight < limit and may_send(t):
            index = run.next_index
            try:
                input_, secrets = _input(t, key, run, stage, index)
            except TemplateError as error:
                break_run(t, run, error)
                return True
            run.next_index += 1
            problems = stage.input_schema.problems(input_) if stage.input_schema else ()
            if problems:
                refuse_task(t, run, stage, index, input_, problems)
            else:
                open_task(t, run, stage, index, input_, secrets)
            is_sent = True
        if run.next_index == run.total and key in row.unfilled:
            row.unfilled.remove(key)
    return is_sent


def _limit(stage: Stage, run: StageRun) -> int:
    if stage.items is not None:
        return stage.items.concurrency or run.total
    return (stage.max_parallel or run.total) if stage.parallel else 1


def _input(t: Transition, key: str, run: StageRun, stage: Stage, index: int) -> Any:
    item: dict[str, Any] = {}
    if stage.items is not None:
        items = t.state.items[key]
        size = stage.items.batch_size
        batch = items[index] if size is None else items[index * size : (index + 1) * size]
        item = {"item": batch, "index": index}
    if stage.input is None:
        return default_input(t, run, **item), ()
    return stage.input.render_input(work_scope(t, stage, run, **item))


# --- tasks end ----------------------------------------------------------------------------------


def task_succeeded(t: Transition, attempt: Attempt) -> None:
    """A forward task has succeeded; its attempt is closed."""
    run = release(t, attempt)
    if run.ended_at is not None:
        attempt.is_late = True
        t.record("TaskCompletedLate", {**identity(attempt), "agent": attempt.agent})
        saga.proceed(t)
        return
    run.succeeded += 1
    started = attempt.started_at or attempt.created_at
    duration_s = (t.at - started).total_seconds()
    data = {**identity(attempt), "agent": attempt.agent, "duration_s": duration_s}
    t.record("TaskCompleted", data)
    fired = _task_ended(t, run)
    if run.status is StageStatus.SUCCEEDED:
        # The end of a stage is no entry of its own: most stages have one task.
        data["stage_duration_s"] = (t.at - run.started_at).total_seconds()
        data["next"] = fired


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
    run = t.run_of(attempt)
    stage = t.stage(run.stage)
    if run.ended_at is not None:  # by a person, who has told it to stop
        release(t, attempt)
        saga.proceed(t)
        return
    if is_forward(t.row):
        try:
            is_retryable = is_retryable and is_true(
                stage.retry.on_error, scope_of(t, (run, failure)), "retry.on_error"
            )
        except TemplateError as error:
            release(t, attempt)
            run.failed += 1
            break_run(t, run, error)
            return
        if plan_retry(t, attempt, is_retryable=is_retryable, after_s=after_s):
            return
    release(t, attempt)
    run.failed += 1
    if is_forward(t.row) or attempt.status is not TaskStatus.CANCELLED:
        run.error = run.error or failure  # else it was told to stop, and that is no failure of it
    if stage.items.fail_fast if stage.items is not None else not stage.parallel:
        run.total = run.next_index  # the rest is never sent
    _task_ended(t, run)


def _task_ended(t: Transition, run: StageRun) -> list[str]:
    """End the run when nothing of it is left to do; gives the stages that it leads to."""
    if not is_forward(t.row):
        if t.row.phase is InstanceStatus.COMPENSATING:
            saga.end_if_settled(t, run)
            saga.proceed(t)
        return []
    if run.succeeded + run.failed < run.total or run.in_flight:
        return []
    key = run_key(run.stage, run.pass_)
    if key in t.row.unfilled:
        t.row.unfilled.remove(key)
    if run.error is None:
        return succeed_run(t, run)
    fail_run(t, run, run.error)
    return []


# --- runs end -----------------------------------------------------------------------------------


def answer_question(t: Transition, run: StageRun, data: Any) -> None:
    """A person has answered an inquiry: the answer is the stage's result."""
    run.status = StageStatus.RUNNING
    run.total = run.next_index = 1
    stage = t.stage(run.stage)
    asked: dict[str, Any] = {"prompt": run.gate.prompt if run.gate is not None else ""}
    if stage.form is not None:
        asked["schema"] = stage.form.document
    open_task(t, run, stage, 0, asked).output = data


def succeed_run(t: Transition, run: StageRun) -> list[str]:
    """End a run as succeeded; gives the stages that it leads to."""
    saga.end_run(t, run, StageStatus.SUCCEEDED)
    stage = t.stage(run.stage)
    if run.total == 0 or stage.kind == "block":  # no task's end tells of it
        duration_s = (t.at - run.started_at).total_seconds()
        t.record("StageCompleted", {"stage": run.stage, "stage_duration_s": duration_s})
    try:
        if run.stage == t.definition.on_end:
            routes.publish(t, run, stage.publish)
        elif stage.block is None:
            return routes.after_success(t, run)
        else:
            routes.publish(t, run, stage.publish)
            _child_ended(t, run)
    except BrokenError as error:
        failure = broken(error, run.stage)
        if run.stage == t.definition.on_end:
            _record_failure(t, run, failure)
        else:
            run.is_unled = True
            fail(t, failure)
    return []


def _child_ended(t: Transition, run: StageRun) -> None:
    """Count the end of a stage inside a block; the last one ends the block."""
    block = t.row.runs[run_key(t.stage(run.stage).block or "", run.pass_)]
    if run.status in {StageStatus.SUCCEEDED, StageStatus.SKIPPED}:
        block.succeeded += 1
    else:
        block.failed += 1
        block.error = block.error or run.error
    if block.succeeded + block.failed < block.total:
        return
    if block.error is None:
        succeed_run(t, block)
    else:
        fail_run(t, block, block.error)


def fail_run(t: Transition, run: StageRun, failure: Failure) -> None:
    """End a run as failed; a route may handle that, else the workflow fails."""
    run.error = failure
    if _is_last_and_busy(t, run):
        return
    saga.end_if_settled(t, run)
    data = _record_failure(t, run, failure)
    stage = t.stage(run.stage)
    if run.stage == t.definition.on_end:
        return
    if failure.type == "denied" or run.ended_at is None:
        fail(t, failure)
    elif stage.block is not None:
        _child_ended(t, run)
    else:
        try:
            fired = routes.after_failure(t, run, failure)
        except BrokenError as error:
            fail(t, broken(error, run.stage))
            return
        if fired:
            run.is_handled = data["is_handled"] = True
            data["next"] = fired
            t.row.handled_failures += 1
        else:
            fail(t, failure)


def break_run(t: Transition, run: StageRun, error: Exception) -> None:
    """A run whose definition cannot be evaluated: nothing handles that."""
    failure = broken(error, run.stage)
    run.error = failure
    if run_key(run.stage, run.pass_) in t.row.unfilled:
        t.row.unfilled.remove(run_key(run.stage, run.pass_))
    if _is_last_and_busy(t, run):
        return
    saga.end_if_settled(t, run)
    _record_failure(t, run, failure)
    if run.stage != t.definition.on_end:
        fail(t, failure)


def _is_last_and_busy(t: Transition, run: StageRun) -> bool:
    """Whether the stage of ``on_end`` has tasks in flight; no more are sent, and they end it."""
    if run.stage != t.definition.on_end:
        return False
    run.total = run.next_index
    return run.in_flight > 0


def _record_failure(t: Transition, run: StageRun, failure: Failure) -> dict[str, Any]:
    data: dict[str, Any] = {
        "stage": run.stage,
        "error": {"type": failure.type, "message": failure.message},
        "policies": list(failure.policies),
        "duration_s": (t.at - run.started_at).total_seconds(),
        "is_handled": False,
    }
    t.record("StageDenied" if failure.type == "denied" else "StageFailed", data)
    return data


def fail(t: Transition, failure: Failure) -> None:
    """Fail the workflow: announce it, then undo."""
    data: dict[str, Any] = {
        "error": {"type": failure.type, "message": failure.message, "stage": failure.stage}
    }
    t.record("WorkflowFailed", data)
    saga.begin(t, failure)
    data["status"] = t.row.outcome or t.row.phase
