"""Repair of one stage that does not get on: a person skips it, says what it gave, or fails it."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sagabus.core import ending, permitted, repair_undo, reviving, saga, stages
from sagabus.core.definition import Definition
from sagabus.core.events import FailRequested, ResultSet, SkipRequested
from sagabus.core.instance import (
    Answer,
    Attempt,
    Failure,
    InstanceState,
    StageRun,
    StageStatus,
    TaskStatus,
    run_key,
    task_id,
)
from sagabus.core.scope import width
from sagabus.core.seen import newer_than, not_active
from sagabus.core.tasks import (
    close,
    end_retry,
    give_result,
    may_have_acted,
    release,
    tell_to_stop,
    withdraw,
)
from sagabus.core.transition import MAX_SENT, Ignored, Transition


def skip(t: Transition, event: SkipRequested) -> Ignored | None:
    """Go on as if the stage's condition were false; or without undoing the stage."""
    run = _active_run(t, event.stage)
    if run is None:
        failed = _failed_run(t, event.stage)
        return repair_undo.give_up(t, event) if failed is None else _skip_failed(t, event, failed)
    why_not = _why_not(t, run, event.attempt)
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    _stop(t, run, event.by, event.reason)
    stages.skip_run(t, run, by=event.by, reason=event.reason)
    _done(t, event)
    return None


def set_result(t: Transition, event: ResultSet) -> Ignored | None:
    """End the stage with that output for every task that gave none; or call it undone by hand."""
    run = _active_run(t, event.stage)
    failed = _failed_run(t, event.stage) if run is None else None
    run = run or failed
    if run is None:
        return repair_undo.believe(t, event)
    kept = {} if failed is None else reviving.kept_runs(t, also=failed)
    why_not = _why_not(t, run, event.attempt) or _why_no_result(t, run)
    why_not = why_not or (None if failed is None else _why_not_kept(t, kept))
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    _stop(t, run, event.by, event.reason)
    _give_results(t, run, event.output)
    data: dict[str, Any] = {"stage": run.stage, "by": event.by, "reason": event.reason}
    t.record("StageResultSet", data)
    if failed is None:
        data["next"] = stages.succeed_run(t, run)
        data["stage_duration_s"] = (t.at - run.started_at).total_seconds()
    else:
        run.status, run.is_unled = StageStatus.SUCCEEDED, True
        reviving.go_forward(t, kept, t.definition)
    _done(t, event)
    return None


def _give_results(t: Transition, run: StageRun, output: Any) -> None:
    stage = t.stage(run.stage)
    run.total = width(stage, run)
    for index in _without_result(t, run, run.total):
        give_result(t, run, stage, index, output)
    run.next_index = run.succeeded = run.total
    run.failed = 0
    run.error = None


def _failed_run(t: Transition, stage: str) -> StageRun | None:
    """The run by which an instance failed after a final stage: it is held, nothing is undone."""
    if all(each.cause != "after_final" for each in t.row.parked):
        return None
    run = reviving.newest_run(t.row, stage)
    if run is None or t.stage(stage).block is not None or stage == t.definition.on_end:
        return None
    is_failed = run.error is not None and run.ended_at is not None and not run.is_handled
    return run if is_failed else None


def past_final(
    definition: Definition, state: InstanceState, command: Literal["skip", "set_result"]
) -> list[str]:
    """Stages that failed after a final one and that ``command`` is accepted of now."""
    t = Transition(definition, state, state.row.updated_at)
    if permitted.refusal(command, state.row) is not None:
        return []
    found: list[str] = []
    for name in definition.stages:
        run = _failed_run(t, name)
        if run is None or _why_not_kept(t, reviving.kept_runs(t, also=run)) is not None:
            continue
        if command == "skip" or _why_no_result(t, run) is None:
            found.append(name)
    return found


def _why_not_kept(t: Transition, kept: Mapping[str, StageRun]) -> str | None:
    return reviving.why_not(t) or reviving.why_not_final(t, kept)


def _skip_failed(t: Transition, event: SkipRequested, run: StageRun) -> Ignored | None:
    """Go on as if the stage that failed had been passed over."""
    kept = reviving.kept_runs(t, also=run)
    why_not = newer_than(t, run, event.attempt) or _why_not_kept(t, kept)
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    run.status, run.error, run.is_unled = StageStatus.SKIPPED, None, True
    t.record("StageSkipped", {"stage": run.stage, "by": event.by, "reason": event.reason})
    reviving.go_forward(t, kept, t.definition)
    _done(t, event)
    return None


def fail(t: Transition, event: FailRequested) -> Ignored | None:
    """End the stage as failed: its routes fire, or the workflow fails."""
    run = _active_run(t, event.stage)
    if run is None:
        t.refuse(event.command, not_active(t, event.stage))
        return None
    why_not = _why_not(t, run, event.attempt)
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    _stop(t, run, event.by, event.reason)
    data = {"stage": run.stage, "by": event.by, "reason": event.reason}
    t.record("StageFailRequested", data)
    why = f": {event.reason}" if event.reason else ""
    message = f"failed by {event.by or 'an operator'}{why}"
    failure = Failure("failed_by_operator", message, run.stage)
    saga.end_run(t, run, StageStatus.FAILED, failure)
    stages.fail_run(t, run, failure)
    _done(t, event)
    return None


def _active_run(t: Transition, stage: str) -> StageRun | None:
    """The run of a stage that goes forward; None also where it is waited for, or an undo failed."""
    is_undo_parked = any(
        each.cause == "compensation_failed" and each.stage == stage for each in t.row.parked
    )
    if is_undo_parked or not stages.is_forward(t.row):
        return None
    return next((run for _, run in t.active_runs() if run.stage == stage), None)


def _why_not(t: Transition, run: StageRun, seen: str | None) -> str | None:
    """Why a person cannot end a run that is under way."""
    tasks = (task for each in (run, *_within(t, run)) for task in _tasks(each))
    for attempt in map(t.state.current, tasks):
        if attempt is not None and attempt.is_open and attempt.is_intent:
            what = "is not known" if attempt.is_held else "is still to be told"
            return (
                f"stage {attempt.stage!r} is final, and whether {attempt.task} had its effect "
                f"{what}: {'resolve it' if attempt.is_held else 'wait for it'}"
            )
    return newer_than(t, run, seen)


def _within(t: Transition, run: StageRun) -> Iterator[StageRun]:
    """What has not ended of the stages of a block."""
    for name in t.stage(run.stage).children:
        child = t.row.runs.get(run_key(name, run.pass_))
        if child is not None and child.ended_at is None:
            yield child


def _why_no_result(t: Transition, run: StageRun) -> str | None:
    """Why a person cannot say what a run gave."""
    stage = t.stage(run.stage)
    if stage.kind == "inquiry":
        return f"stage {run.stage!r} asks a question: answer it instead"
    if stage.kind == "block":
        return f"stage {run.stage!r} consists of stages: set the results of those instead"
    if stage.items is not None and run.items is None:
        return f"stage {run.stage!r} has not made its list yet: approve or skip it instead"
    missing = sum(1 for _ in _without_result(t, run, width(stage, run)))
    if missing > MAX_SENT:
        return (
            f"stage {run.stage!r} has {missing} tasks without a result, and at most {MAX_SENT} "
            "can be given one: skip it instead"
        )
    return None


def _tasks(run: StageRun) -> Iterator[str]:
    return (task_id(run.stage, run.pass_, index) for index in range(run.next_index))


def _without_result(t: Transition, run: StageRun, total: int) -> Iterator[int]:
    for index in range(total):
        tries = t.state.attempts.get(task_id(run.stage, run.pass_, index), ())
        if all(each.status is not TaskStatus.SUCCEEDED for each in tries):
            yield index


def _stop(t: Transition, run: StageRun, by: str, reason: str) -> None:
    """Take back what is open of a run and of the stages in it; what may have acted stays known."""
    key = run_key(run.stage, run.pass_)
    if key in t.row.unfilled:
        t.row.unfilled.remove(key)
    if run.gate is not None and run.gate.decision is None:
        run.gate.decision = "withdrawn"
        run.gate.by, run.gate.at, run.gate.reason = by, t.at, reason
    for child in _within(t, run):
        _stop(t, child, by, reason)
        saga.end_run(t, child, StageStatus.CANCELLED)
    for task in _tasks(run):
        attempt = t.state.current(task)
        if attempt is not None and attempt.is_open:
            _take_back(t, attempt)
            run.failed += 1
    run.total = run.next_index


def _take_back(t: Transition, attempt: Attempt) -> None:
    """End an attempt; one that may be acting is told to stop, and its end is waited for.

    What undoes it must not come before it.
    """
    has_undo = t.stage(attempt.stage).compensation is not None
    if has_undo and attempt.status is TaskStatus.RUNNING and not attempt.is_child:
        tell_to_stop(t, attempt)
        return
    if attempt.retry:
        end_retry(t, attempt)
    else:
        is_acted = may_have_acted(attempt)
        close(t, attempt, TaskStatus.CANCELLED, is_acted=is_acted)
        withdraw(t, attempt, "withdrawn")
    release(t, attempt)


def _done(t: Transition, event: SkipRequested | ResultSet | FailRequested) -> None:
    ending.settle(t)
    result = {"id": t.row.id, "status": t.row.status, "stage": event.stage}
    t.answer(event.command, Answer(ok=True, result=result))
