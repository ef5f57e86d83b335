"""An instance that failed goes forward again: from runs that are kept, into what they led to."""

from collections import deque
from collections.abc import Mapping

from sagabus.core import permitted, routes, stages
from sagabus.core.commands import SetTimer
from sagabus.core.definition import FAIL, Definition
from sagabus.core.graph import leads_of
from sagabus.core.instance import (
    Firing,
    Instance,
    InstanceStatus,
    StageRun,
    StageStatus,
    TaskStatus,
    run_key,
    task_id,
)
from sagabus.core.parking import unpark
from sagabus.core.transition import Transition


def refusal(t: Transition) -> str | None:
    """Why it would be refused now to retry an instance just so; None: it would not be."""
    why = permitted.refusal("retry", t.row) or why_not(t)
    return why or why_not_final(t, kept_runs(t))


def why_not(t: Transition) -> str | None:
    """Why an instance cannot go forward again."""
    row = t.row
    causes = {each.cause for each in row.parked}
    # Held after a final stage it has not told its end: the one above still waits for it.
    if row.parent is not None and "after_final" not in causes:
        return f"the instance carries out a stage of instance {row.parent.instance!r}: retry that"
    if "intent_unknown" in causes:
        return "the outcome of a final stage is unknown: resolve it first"
    if causes and not causes & {"after_final", "compensation_failed"}:
        return "the engine failed on the instance: resume it, or skip or fail a stage of it"
    if causes and stages.is_forward(row):
        return "the instance has not failed: retry from the stage that is not undone, or skip that"
    undoing = next((run.stage for run in row.runs.values() if run.undo_in_flight), None)
    if undoing is not None:
        return f"stage {undoing!r} is being undone: ask again when that has ended, or skip it"
    return None


def newest_run(row: Instance, stage: str) -> StageRun | None:
    """The run of a stage that began last, of those that still count."""
    runs = [run for run in row.runs.values() if run.stage == stage and not run.is_replaced]
    return runs[-1] if runs else None


def kept_runs(
    t: Transition, from_stage: str | None = None, also: StageRun | None = None
) -> dict[str, StageRun]:
    """By key: what has succeeded, or failed and was taken care of, and stands, with all before it.

    Not ``from_stage`` in its newest run, and what descends from that; ``also`` as if it were done.
    """
    row = t.row
    again = newest_run(row, from_stage) if from_stage is not None else None
    failed = {each.source for each in row.dropped if each.target == FAIL}
    undone = {
        run_key(stage.block, run.pass_)
        for run in row.runs.values()
        if (stage := t.stage(run.stage)).block is not None and _is_undone(run)
    }
    kept: dict[str, StageRun] = {}
    for key, run in row.runs.items():  # each after those that started it
        is_wanted = run is not again and key not in failed and key not in undone
        is_after_kept = all(parent in kept for parent in run.parents)
        is_in_block = t.stage(run.stage).block is not None
        if is_wanted and is_after_kept and (is_in_block or run is also or _is_done(t, run)):
            kept[key] = run
    return kept


def why_not_final(t: Transition, kept: Mapping[str, StageRun]) -> str | None:
    """Why what is not kept cannot run again: a final effect is, or may be, there already."""
    if not t.definition.has_finals:
        return None
    for key, run in t.row.runs.items():
        if key in kept or t.stage(run.stage).classification != "final":
            continue
        tasks = (task_id(run.stage, run.pass_, index) for index in range(run.next_index))
        tries = [each for task in tasks for each in t.state.attempts.get(task, ())]
        if any(each.status is TaskStatus.SUCCEEDED for each in tries):
            return (
                f"stage {run.stage!r} is final and has succeeded: "
                "neither it nor anything before it can run again, start a new instance for that"
            )
        unknown = next((each for each in tries if each.acted), None)
        if unknown is not None:
            where = f" what is left of instance {unknown.agent!r}" if unknown.is_child else ""
            return (
                f"stage {run.stage!r} is final and may have had its effect: "
                f"find out and resolve{where or ' it'} before it can run again"
            )
    return None


def _is_undone(run: StageRun) -> bool:
    return run.undo_sent > 0 or run.is_undone_by_hand


def _is_done(t: Transition, run: StageRun) -> bool:
    """Whether a run has given what its stage was to give, and that is still there."""
    if run.is_replaced or _is_undone(run) or run.stage == t.definition.on_end:
        return False
    if run.status in {StageStatus.SUCCEEDED, StageStatus.SKIPPED}:
        return True
    return run.is_handled or _has_settled_well(run)


def _has_settled_well(run: StageRun) -> bool:
    """It succeeded when the instance had failed already, and so led nowhere."""
    is_whole = run.total > 0 and run.succeeded == run.total
    return run.status is StageStatus.CANCELLED and is_whole


def go_forward(t: Transition, kept: Mapping[str, StageRun], definition: Definition) -> None:
    """Run anew what is not kept, as far as what is kept leads there."""
    row = t.row
    changed = changed_routes(t, kept, definition)
    replaced = [run for key, run in row.runs.items() if key not in kept and not run.is_replaced]
    for run in replaced:
        run.is_replaced = True
    dropped = [each for each in row.dropped if each.source in kept and each.source not in changed]
    firings = [*_fired(t, kept, replaced, changed), *dropped]
    _reset(t, definition)
    row.handled_failures = sum(run.is_handled for run in kept.values())
    t.firings = deque(dict.fromkeys(firings))
    try:
        _set_vars(t, is_new=not kept)
        for key, run in kept.items():
            if key in changed or run.is_unled or _has_settled_well(run):
                _lead_anew(t, run)
    except stages.BrokenError as error:
        stages.fail(t, stages.broken(error, None))
    for name in t.definition.entry:
        if row.error is None and routes.standing(row, name, 1) is None:
            stages.begin_run(t, name, [], 1)


def _fired(
    t: Transition, kept: Mapping[str, StageRun], replaced: list[StageRun], changed: set[str]
) -> list[Firing]:
    """What kept runs had led to and is to run anew."""
    return [
        Firing(run.stage, source)
        for run in replaced
        if t.stage(run.stage).block is None
        for source in [*run.parents, *run.other_arms]
        if source in kept and source not in changed
    ]


def changed_routes(t: Transition, kept: Mapping[str, StageRun], definition: Definition) -> set[str]:
    """Keys of kept runs whose stage leads elsewhere in the new definition."""
    if definition is t.definition:
        return set()
    was, will = leads_of(t.definition), leads_of(definition)
    return {key for key, run in kept.items() if was.get(run.stage) != will.get(run.stage)}


def _reset(t: Transition, definition: Definition) -> None:
    """Forget the failure and the undo; what it left stays named."""
    row = t.row
    unpark(t)
    t.definition, row.digest = definition, definition.digest
    row.phase = InstanceStatus.RUNNING
    row.retries += 1
    row.error = row.outcome = row.ended_at = row.undo_order = row.undo_only = None
    row.cancel_requested = row.undo_asked = row.is_left = False
    row.rollback = "none"
    row.output = {}
    row.warnings, row.effects_left, row.dropped = [], [], []
    timeout = definition.workflow_timeout
    row.remaining_s = None
    row.deadline_at = None if timeout is None else t.at + timeout
    if row.deadline_at is not None:
        t.do(SetTimer(row.deadline_at, "workflow"))


def _set_vars(t: Transition, *, is_new: bool) -> None:
    """Variables as at the start where nothing is kept; else those that are new."""
    known = {} if is_new else t.row.vars
    t.row.vars = {}
    routes.first_vars(t)
    t.row.vars = {**t.row.vars, **known}


def _lead_anew(t: Transition, run: StageRun) -> None:
    """Find out where a kept run leads, and publish: it never did, or its routes were corrected."""
    run.is_unled = False
    if run.status is StageStatus.SKIPPED:
        routes.after_skip(t, run)
    elif run.is_handled and run.error is not None:
        routes.after_failure(t, run, run.error)
    else:
        run.status = StageStatus.SUCCEEDED
        routes.after_success(t, run)
