"""Going on after a failure, in place: what succeeded is kept, the rest runs anew."""

from collections.abc import Mapping, Sequence
from typing import Any

from sagabus.core import ending, pausing, repair_undo, reviving
from sagabus.core.definition import Definition, Stage
from sagabus.core.effects import what_stands
from sagabus.core.events import RetryRequested
from sagabus.core.fingerprint import fingerprint
from sagabus.core.graph import ahead_of
from sagabus.core.instance import Answer, InstanceState, StageRun
from sagabus.core.transition import Ignored, Transition


def retry(t: Transition, event: RetryRequested) -> Ignored | None:
    """Keep what succeeded and stands; run the rest, and what ``from_stage`` led to, anew."""
    stage = event.from_stage
    is_plain = event.definition is None and not event.parameters
    if stage is not None and is_plain and repair_undo.failed_runs(t, stage):
        return repair_undo.try_again(t, event, stage)
    definition = event.definition or t.definition
    kept = reviving.kept_runs(t, stage)
    why_not = _why_not(t, event, kept)
    if why_not is None and (mismatch := _why_not_with(t, definition, kept)) is not None:
        why_not = f"{mismatch}: retry with the one that it has, or start a new instance"
    if why_not is not None:
        t.refuse(event.command, why_not)
        return None
    parameters, problems = _parameters(t, definition, event.parameters)
    if problems:
        message = f"workflow {t.row.workflow!r}: {'; '.join(problems)}"
        t.refuse(event.command, message, "invalid_request")
        return None
    t.row.parameters = parameters
    again = [
        run.stage for key, run in t.row.runs.items() if key not in kept and not run.is_replaced
    ]
    again += _new_stages(t, definition, kept, again)
    given_up = what_stands(t, (run for key, run in t.row.runs.items() if key not in kept))
    standing = [*t.row.failed_compensations, *given_up]
    names = {
        "kept": list(dict.fromkeys(run.stage for run in kept.values())),
        "again": list(dict.fromkeys(again)),
        # What these did stands, and they may do it again beside it.
        "not_undone": list(dict.fromkeys(each["stage"] for each in standing)),
    }
    t.record(
        "WorkflowRetried",
        {
            "by": event.by,
            "reason": event.reason,
            "from": stage,
            "parameters": sorted(event.parameters),
            "definition": definition.digest,
            "parameters_sha256": fingerprint(parameters),
            **names,
        },
    )
    if t.row.status.is_terminal:
        pausing.begin_held(t, event.hold)
    reviving.go_forward(t, kept, definition)
    ending.settle(t)
    result = {"id": t.row.id, "status": t.row.status, "digest": definition.digest, **names}
    t.answer(event.command, Answer(ok=True, result=result))
    return None


def _new_stages(
    t: Transition, definition: Definition, kept: Mapping[str, StageRun], again: Sequence[str]
) -> list[str]:
    """Those that only another definition has, and that what runs anew leads to."""
    led = [kept[key].stage for key in reviving.changed_routes(t, kept, definition)]
    known = {run.stage for run in kept.values()}
    begun = [name for name in definition.entry if name not in known]
    last = () if definition.on_end is None else (definition.on_end,)
    ahead = ahead_of(definition, [*again, *led, *begun, *last])
    return [name for name in definition.stages if name in ahead - t.definition.stages.keys()]


def refusal(definition: Definition, state: InstanceState) -> str | None:
    """Why it would be refused now to retry an instance just so; None: it would not be."""
    return reviving.refusal(Transition(definition, state, state.row.updated_at))


def _why_not(t: Transition, event: RetryRequested, kept: Mapping[str, StageRun]) -> str | None:
    """Why an instance cannot be retried like this."""
    why_not = reviving.why_not(t)
    if why_not is not None or event.from_stage is None:
        return why_not or reviving.why_not_final(t, kept)
    stage = t.definition.stages.get(event.from_stage)
    if stage is None:
        return f"workflow {t.row.workflow!r} has no stage {event.from_stage!r}"
    if stage.block is not None:
        return f"stage {stage.name!r} is part of {stage.block!r}: retry from that"
    if stage.name == t.definition.on_end:
        return f"stage {stage.name!r} runs last whatever happens: retry without it"
    if reviving.newest_run(t.row, stage.name) is None:
        return f"stage {stage.name!r} has not begun: retry without it"
    return reviving.why_not_final(t, kept)


def _why_not_with(
    t: Transition, definition: Definition, kept: Mapping[str, StageRun]
) -> str | None:
    """Why what has run does not fit another definition."""
    if definition is t.definition:
        return None
    for key, run in t.row.runs.items():
        was, will = t.stage(run.stage), definition.stages.get(run.stage)
        if will is None:
            return f"stage {run.stage!r} has run, and the new definition has no such stage"
        if key in kept and _shape(was) != _shape(will):
            return f"stage {run.stage!r} is kept, and has other tasks in the new definition"
        if was.block != will.block:
            return f"stage {run.stage!r} has run, and is part of another one in the new definition"
        if run.undo_next and _undo_shape(was) != _undo_shape(will):
            return f"stage {run.stage!r} is undone, and by others in the new definition"
    return None


def _shape(stage: Stage) -> tuple[Any, ...]:
    size = None if stage.items is None else stage.items.batch_size
    return stage.kind, stage.items is None, size, len(stage.roles), stage.children


def _undo_shape(stage: Stage) -> int:
    return 0 if stage.compensation is None else len(stage.compensation.roles)


def _parameters(
    t: Transition, definition: Definition, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    parameters = {**t.row.parameters, **changes}
    if definition.parameters is None:
        return parameters, []
    return definition.parameters.complete(parameters)
