"""The values that a template may read."""

from collections.abc import Iterator, Mapping
from typing import Any

from sagabus.core.definition import Stage
from sagabus.core.instance import InstanceState, StageRun, TaskStatus, task_id
from sagabus.core.transition import Transition


def stage_result(state: InstanceState, stage: Stage, run: StageRun) -> Any:
    """What a stage gave: the output, or a list of them where it has several ``agents``.

    A failed entry is None.
    """
    outputs = [_output(state, task_id(run.stage, run.pass_, index)) for index in range(run.total)]
    if len(stage.roles) > 1:
        return outputs
    return outputs[0] if outputs else None


def _output(state: InstanceState, task: str) -> Any:
    for attempt in reversed(state.attempts.get(task, ())):
        if attempt.status is TaskStatus.SUCCEEDED:
            return attempt.output
    return None


class _Stages(Mapping[str, Mapping[str, Any]]):
    """``task.<stage>``: built for the stages that are read, and no others."""

    def __init__(self, t: Transition) -> None:
        self._t = t
        #: The newest run of each stage.
        self._runs = {run.stage: run for run in t.row.runs.values()}

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        run = self._runs[name]
        return {
            "result": stage_result(self._t.state, self._t.stage(name), run),
            "status": run.status.value,
            "error": None
            if run.error is None
            else {"type": run.error.type, "message": run.error.message},
            "total_count": run.total,
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def scope_of(t: Transition) -> dict[str, Any]:
    """The scope of every template of the instance, as it stands now."""
    stages = _Stages(t)
    return {
        "parameters": t.row.parameters,
        "task": stages,
        "stage": stages,
        "system": {
            "workflow_id": t.row.id,
            "execution_id": t.row.id,
            "workflow_name": t.row.workflow,
            "timestamp": t.at.isoformat(),
            "identity": {"login": t.row.started_by},
        },
    }


def default_input(t: Transition, run: StageRun) -> dict[str, Any]:
    """The input of a stage that writes none: the parameters, plus ``previous``."""
    previous = {}
    for key in run.parents:
        parent = t.row.runs[key]
        previous[parent.stage] = stage_result(t.state, t.stage(parent.stage), parent)
    return {**t.row.parameters, "previous": previous}
