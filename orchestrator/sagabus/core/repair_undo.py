"""Repair of an undo: what stands is undone on request, what failed is tried again or given up."""

from collections.abc import Sequence
from typing import Any

from sagabus.core import below, ending, pausing, permitted, resources, saga, stages
from sagabus.core.definition import Definition
from sagabus.core.effects import what_stands
from sagabus.core.events import CompensateRequested, ResultSet, RetryRequested, SkipRequested
from sagabus.core.instance import (
    Answer,
    Attempt,
    Failure,
    InstanceState,
    InstanceStatus,
    StageRun,
    TaskStatus,
)
from sagabus.core.parking import unpark
from sagabus.core.preview import undone_alone, what_would_be_undone
from sagabus.core.seen import newer_than, not_active
from sagabus.core.tasks import (
    close,
    end_retry,
    identity,
    may_have_acted,
    release,
    tell_to_stop,
    withdraw,
)
from sagabus.core.transition import Ignored, Transition


def compensate(t: Transition, event: CompensateRequested) -> Ignored | None:
    """Undo what stands, of one stage or of all; what failed to be undone is tried again."""
    why_not = _why_not(t, event.stage)
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    undone = what_would_be_undone(t.definition, t.state, event.stage)
    _start(t, event, event.stage)
    names = list(dict.fromkeys(each.stage for each in undone))
    t.answer(
        event.command,
        Answer(ok=True, result={"id": t.row.id, "status": t.row.status, "stages": names}),
    )
    return None


def refusal(definition: Definition, state: InstanceState, stage: str | None) -> str | None:
    """Why it would be refused now to undo an instance, or a stage of it; None: it would not be."""
    t = Transition(definition, state, state.row.updated_at)
    return permitted.refusal("compensate", state.row) or _why_not(t, stage)


def try_again(t: Transition, event: RetryRequested, stage: str) -> Ignored | None:
    """Try the compensations of a stage again that failed."""
    why_not = _why_not(t, stage)
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    _start(t, event, stage)
    result = {"id": t.row.id, "status": t.row.status, "undoing": stage}
    t.answer(event.command, Answer(ok=True, result=result))
    return None


def _why_not(t: Transition, stage: str | None) -> str | None:
    row = t.row
    if stage is not None and stage not in t.definition.stages:
        return f"workflow {row.workflow!r} has no stage {stage!r}"
    causes = {each.cause for each in row.parked}
    if "intent_unknown" in causes:
        return "the outcome of a final stage is unknown: resolve it first"
    if causes and not causes & {"after_final", "compensation_failed"}:
        return "the engine failed on the instance: resume it, or cancel it to undo what it did"
    is_only_stuck = row.parked and (stages.is_forward(row) or row.undo_order is not None)
    if is_only_stuck and not failed_runs(t, stage):
        failed = ", ".join(dict.fromkeys(run.stage for run in failed_runs(t, None)))
        return f"no compensation of stage {stage!r} failed: name one of which one did, {failed}"
    if stages.is_forward(row) and (kept := _kept_below(t, stage)) is not None:
        return (
            f"stage {kept!r} succeeded but for what it left below, and undoing it would take away "
            "what the instance goes on with: skip it, or cancel the instance"
        )
    if not what_would_be_undone(t.definition, t.state, stage):
        where = "of it" if stage is None else f"of stage {stage!r}"
        final = _finals_left(t, stage)
        why = f": {', '.join(final)} left what is final" if final else ""
        return f"nothing {where} stands that could be undone{why}"
    return None


def _finals_left(t: Transition, stage: str | None) -> list[str]:
    """Stages that have certainly left something final."""
    runs = [run for run in t.row.runs.values() if stage in {None, run.stage}]
    standing = [each for each in what_stands(t, runs) if each["class"] == "final"]
    return list(dict.fromkeys(repr(each["stage"]) for each in standing if each["is_certain"]))


def _start(t: Transition, event: CompensateRequested | RetryRequested, stage: str | None) -> None:
    t.record("UndoRequested", {"by": event.by, "reason": event.reason, "stage": stage})
    if t.row.status.is_terminal:
        pausing.begin_held(t, event.hold)
    start_over(t, stage)
    ending.settle(t)


def start_over(t: Transition, stage: str | None = None, *, is_asked: bool = True) -> None:
    """Undo from the newest run down once more: what is done with is passed over.

    ``is_asked``: a person wants it, and so what failed is tried again.
    """
    row = t.row
    runs = failed_runs(t, stage) if is_asked else []
    for run in runs:
        _try_again(t, run)
    if not stages.is_forward(row):
        row.undo_only = undone_alone(t, stage)
        if row.status.is_terminal:
            row.undo_order = None
        elif row.undo_order is not None:
            row.undo_order = row.ended_count
        row.undo_asked, row.is_left = row.undo_asked or is_asked, False
        row.ended_at = row.outcome = None
        row.phase = InstanceStatus.COMPENSATING
    unpark(t, "after_final")
    if is_asked:
        unpark(t, "compensation_failed", stage=stage)
    saga.proceed(t)


def failed_runs(t: Transition, stage: str | None) -> list[StageRun]:
    """Runs of a stage, or of all, with compensations that failed."""
    return [run for run in t.row.runs.values() if run.undo_failed and stage in {None, run.stage}]


def _kept_below(t: Transition, stage: str | None) -> str | None:
    """A stage whose instance succeeded, and is named because something is left below that."""
    for run in failed_runs(t, stage):
        for each in saga.failures_of(t.row, run):
            found = t.state.find(each["task"], each.get("attempt", 0))
            if found and found.kind == "task" and found.status is TaskStatus.SUCCEEDED:
                return run.stage
    return None


def _try_again(t: Transition, run: StageRun) -> None:
    """Forget the failures of a run's compensations, and send those again when it is its turn."""
    plan = t.stage(run.stage).compensation
    failed = _forget_failures(t, run, saga.failures_to_mend(t, run))
    if plan is None:
        return
    if not stages.is_forward(t.row):
        run.undo_again += failed
        return
    for task in failed:  # of what came late: nothing else is undone now
        saga.send_again(t, run, plan, task)


def _forget_failures(t: Transition, run: StageRun, failures: Sequence[dict[str, Any]]) -> list[str]:
    for each in failures:
        t.row.failed_compensations.remove(each)
    run.undo_failed = len(saga.failures_of(t.row, run))
    # Below a stage that was undone, or was not, the one of its tries that has left something.
    return [
        each["task"] if "-undo-" in each["task"] else f"{each['task']}/{each['attempt']}"
        for each in failures
    ]


def give_up(t: Transition, event: SkipRequested) -> Ignored | None:
    """Go on without the undo of a stage: it stays named as one that failed."""
    runs = _being_undone(t, event.stage)
    why_not = _why_not_by_hand(t, event, runs)
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    t.record("CompensationSkipped", _who(event))
    why = _why(event, "skipped")
    error = {"type": why.type, "message": why.message}
    for run in runs:
        for undo in _open_undos(t, run):
            if _has_taken_back(t, undo, why):
                saga.count_failure(t, run, identity(undo), error, may_park=False)
        for task in run.undo_again:  # which had failed before
            last = t.state.current(task)
            names = {"stage": run.stage, "task": task, "role": "" if last is None else last.role}
            saga.count_failure(t, run, names, error, may_park=False)
        run.undo_again.clear()
        _mark(run)
    _done(t, event)
    return None


def believe(t: Transition, event: ResultSet) -> Ignored | None:
    """Take it from a person that what a stage did is gone."""
    runs = _being_undone(t, event.stage)
    why_not = _why_not_by_hand(t, event, runs) or _why_not_here(t, event.stage, runs)
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    t.record("StageUndoneByHand", _who(event))
    plan = t.stage(event.stage).compensation
    width = len(plan.roles) if plan is not None else 0
    for run in runs:
        run.undo_again.clear()
        for undo in _open_undos(t, run):
            _has_taken_back(t, undo, _why(event, "undone by hand"))
        _forget_failures(t, run, saga.failures_of(t.row, run))
        run.undo_next = run.next_index * width
        run.undo_sent = max(run.undo_sent, 1)
        run.is_undone_by_hand = True
        resources.undone_by_hand(t, run)
        _mark(run)
    _done(t, event)
    return None


def _being_undone(t: Transition, stage: str) -> list[StageRun]:
    """Runs of a stage whose undo failed, or is under way."""
    return [
        run
        for run in t.row.runs.values()
        if run.stage == stage and (run.undo_failed or run.undo_in_flight or run.undo_again)
    ]


def _why_not_by_hand(
    t: Transition, event: SkipRequested | ResultSet, runs: list[StageRun]
) -> str | None:
    if not runs:
        return not_active(t, event.stage)
    return newer_than(t, runs[-1], event.attempt)


def done_below(definition: Definition, state: InstanceState, stage: str) -> list[str]:
    """The instances below that have not undone what they did of a stage; none of an agents' one."""
    if definition.stages[stage].kind != "workflow":
        return []
    t = Transition(definition, state, state.row.updated_at)
    return _done_below(t, _being_undone(t, stage))


def _done_below(t: Transition, runs: Sequence[StageRun]) -> list[str]:
    undos = [each.task for run in runs for each in _open_undos(t, run)]
    undos += [each["task"] for run in runs for each in saga.failures_of(t.row, run)]
    tasks = dict.fromkeys(each.partition("-undo-")[0] for each in undos)
    words = [word for task in tasks for word in below.newest_words(t, task)]
    return list(dict.fromkeys(word.agent for word in words if word.agent))


def _why_not_here(t: Transition, stage: str, runs: Sequence[StageRun]) -> str | None:
    """Why it is not said of this instance what was undone by hand: another one has done it."""
    if t.stage(stage).kind != "workflow":
        return None
    named = ", ".join(repr(each) for each in _done_below(t, runs))
    if not any(run.undo_again or run.undo_in_flight for run in runs) and not any(
        saga.failures_to_mend(t, run) for run in runs
    ):
        return f"stage {stage!r} left what is final in instance {named}: skip it"
    return (
        f"stage {stage!r} is carried out by instance {named}: set the result of its stage that is "
        "not undone, and this one follows"
    )


def _open_undos(t: Transition, run: StageRun) -> list[Attempt]:
    return [
        tries[-1]
        for tries in t.state.attempts.values()
        if tries[-1].kind == "compensation"
        and tries[-1].is_open
        and (tries[-1].stage, tries[-1].pass_) == (run.stage, run.pass_)
    ]


def _has_taken_back(t: Transition, undo: Attempt, why: Failure) -> bool:
    """End an undo; False: it may be acting, is told to stop, and its end says what came of it.

    What is undone next must not come before that. Another instance is not waited for.
    """
    if undo.status is TaskStatus.RUNNING and not undo.is_child:
        undo.stopped = why
        tell_to_stop(t, undo)
        return False
    if undo.retry:
        end_retry(t, undo)
    else:
        close(t, undo, TaskStatus.CANCELLED, is_acted=may_have_acted(undo))
        withdraw(t, undo, "withdrawn")
    release(t, undo)
    return True


def _why(event: SkipRequested | ResultSet, what: str) -> Failure:
    why = f": {event.reason}" if event.reason else ""
    message = f"{what} by {event.by or 'an operator'}{why}"
    return Failure(what.replace(" ", "_"), message, event.stage)


def _mark(run: StageRun) -> None:
    if not run.undo_in_flight:
        saga.mark_undone(run)


def _done(t: Transition, event: SkipRequested | ResultSet) -> None:
    row = t.row
    unpark(t, "compensation_failed", stage=event.stage)
    if row.status.is_terminal:
        saga.revise_end(t)
    else:
        saga.proceed(t)
        ending.settle(t)
    result = {"id": row.id, "status": row.status, "stage": event.stage}
    t.answer(event.command, Answer(ok=True, result=result))


def _who(event: SkipRequested | ResultSet) -> dict[str, str]:
    return {"stage": event.stage, "by": event.by, "reason": event.reason}
