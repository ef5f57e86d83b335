"""The values that a template may read, and what becomes of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from sagabus.core.definition import Stage, Template, TemplateError
from sagabus.core.instance import (
    Failure,
    Instance,
    InstanceState,
    StageRun,
    StageStatus,
    TaskStatus,
    run_key,
    task_id,
)
from sagabus.core.kv import KnownKeys
from sagabus.core.transition import Transition


def stage_result(t: Transition, stage: Stage, run: StageRun) -> Any:
    """What a stage gave: an output, a list of them (failed ones null), or a map by child."""
    if run.status is StageStatus.SKIPPED:
        return None
    if stage.kind == "block":
        return {child: _child_result(t, child, run) for child in stage.children}
    if not stage.is_list:
        return _output(t.state, task_id(run.stage, run.pass_, 0))
    key = run_key(run.stage, run.pass_)
    if key not in t.state.results:
        tasks = (task_id(run.stage, run.pass_, index) for index in range(width(stage, run)))
        t.state.results[key] = [_output(t.state, task) for task in tasks]
    return t.state.results[key]


def width(stage: Stage, run: StageRun) -> int:
    """How many tasks a run has, whether or not all are sent."""
    if stage.items is None:
        return len(stage.roles)
    return -(-(run.items or 0) // (stage.items.batch_size or 1))


def _child_result(t: Transition, name: str, block: StageRun) -> Any:
    run = t.row.runs.get(run_key(name, block.pass_))
    return None if run is None else stage_result(t, t.stage(name), run)


def _output(state: InstanceState, task: str) -> Any:
    for attempt in reversed(state.attempts.get(task, ())):
        if attempt.status is TaskStatus.SUCCEEDED:
            return attempt.output
    return None


class _Stages(Mapping[str, Mapping[str, Any]]):
    """``task.<stage>``: built for the stages that are read, and no others."""

    def __init__(self, t: Transition, failed: tuple[StageRun, Failure] | None) -> None:
        self._t = t
        self._failed = failed
        #: The run of each stage with the highest pass; it need not be the last that began.
        self._runs: dict[str, StageRun] = {}
        for run in t.row.runs.values():
            known = self._runs.get(run.stage)
            if known is None or run.pass_ > known.pass_:
                self._runs[run.stage] = run

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        run = self._runs[name]
        stage = self._t.stage(name)
        error = run.error
        if self._failed is not None and self._failed[0] is run:
            error = self._failed[1]
        return {
            "result": stage_result(self._t, stage, run),
            "status": run.status.value,
            "error": _error(error),
            "total_count": run.total if run.items is None else run.items,
            "approvals": approvals_of(run),
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def scope_of(
    t: Transition, failed: tuple[StageRun, Failure] | None = None, **more: Any
) -> dict[str, Any]:
    """The scope of every template of the instance, as it stands now.

    ``failed``: the run that has just failed and why, seen as ``error`` and ``task.<stage>.error``.
    """
    stages = _Stages(t, failed)
    scope = {
        "parameters": t.row.parameters,
        "vars": t.row.vars,
        "task": stages,
        "stage": stages,
        "pack": {"config": t.definition.pack_config},
        "kv": KnownKeys(t.kv),
        "system": {
            "workflow_id": t.row.id,
            "execution_id": t.row.id,
            "workflow_name": t.row.workflow,
            "timestamp": t.at.isoformat(),
            "identity": {"login": t.row.started_by},
        },
        **more,
    }
    if failed is not None:
        scope["error"] = _error(failed[1])
    return scope


def approvals_of(run: StageRun) -> list[dict[str, Any]]:
    """Who approved a stage before it began, and what each of them filled in."""
    given = [] if run.gate is None else run.gate.approvals
    return [{"by": each.by, "reason": each.reason, "data": each.data} for each in given]


def _error(error: Failure | None) -> dict[str, Any] | None:
    return None if error is None else {"type": error.type, "message": error.message}


def end_error(row: Instance) -> dict[str, Any] | None:
    """Why the instance failed, as templates see it at the end."""
    if row.error is None:
        return None
    return {"type": row.error.type, "message": row.error.message, "stage": row.error.stage}


def work_scope(t: Transition, stage: Stage, run: StageRun, **item: Any) -> dict[str, Any]:
    """The scope of what a stage works on: it sees its own approvals, too."""
    return stage_scope(t, stage, approvals=approvals_of(run), **item)


def stage_scope(t: Transition, stage: Stage, **item: Any) -> dict[str, Any]:
    """The scope in which a stage begins; the one that runs last sees why the workflow failed."""
    if stage.name == t.definition.on_end:
        item["error"] = end_error(t.row)
    return scope_of(t, **item)


def default_input(t: Transition, run: StageRun, **item: Any) -> dict[str, Any]:
    """The input of a stage that writes none: the parameters, ``previous``, and the item.

    The stage that runs last is also told ``error``. A workflow gets the parameters alone: it says
    itself which it takes.
    """
    if t.stage(run.stage).kind == "workflow":
        return dict(t.row.parameters)
    if run.stage == t.definition.on_end:
        item["error"] = end_error(t.row)
    block = t.stage(run.stage).block
    starter = run if block is None else t.row.runs[run_key(block, run.pass_)]
    previous = {}
    for key in starter.parents:
        parent = t.row.runs[key]
        previous[parent.stage] = stage_result(t, t.stage(parent.stage), parent)
    return {**t.row.parameters, "previous": previous, **item}


def is_true(template: Template | None, scope: Mapping[str, Any], key: str) -> bool:
    """What a condition gives; true where there is none.

    Raises:
        TemplateError: it cannot be evaluated, or gives something else than true or false.
    """
    if template is None:
        return True
    value = template.render(scope)
    if isinstance(value, bool):
        return value
    message = f"gives {_shown(value)} where true or false is needed"
    raise TemplateError(message, key=key, expression=getattr(template, "text", key))


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
