"""What undoing an instance would send: read from its state, and nothing is sent."""

from collections.abc import Iterator
from dataclasses import dataclass

from sagabus.core import saga
from sagabus.core.definition import Definition
from sagabus.core.instance import InstanceState, StageRun, task_id, undo_id
from sagabus.core.transition import Transition


@dataclass(frozen=True, slots=True)
class Undo:
    """A compensation that would be sent."""

    stage: str
    #: Identity of the compensation, and of the task that it undoes.
    task: str
    undoes: str
    role: str
    action: str
    #: One was sent before, and failed.
    is_again: bool = False


def what_would_be_undone(
    definition: Definition, state: InstanceState, stage: str | None = None
) -> list[Undo]:
    """Every compensation that undoing would send, of one stage or of all, in that order.

    Of an instance that still goes on: what would be sent if it were stopped now.
    """
    t = Transition(definition, state, state.row.updated_at)
    # What has not ended would end now, and be undone before the others.
    newest_first = sorted(
        state.row.runs.values(), key=lambda run: -(run.ended_order or state.row.ended_count + 1)
    )
    return [
        undo for run in newest_first if stage in {None, run.stage} for undo in _undos_of(t, run)
    ]


def _undos_of(t: Transition, run: StageRun) -> Iterator[Undo]:
    plan = t.stage(run.stage).compensation
    if plan is None:
        return
    for candidate in range(run.undo_next, run.next_index * len(plan.roles)):
        index, entry = divmod(candidate, len(plan.roles))
        if saga.is_due(t, plan, run, index, entry):
            undoes = task_id(run.stage, run.pass_, index)
            task = undo_id(undoes, entry)
            yield Undo(run.stage, task, undoes, plan.roles[entry], plan.action)
    failed = [each["task"] for each in saga.failures_of(t.row, run)]
    for task in [*run.undo_again, *failed]:
        undoes, _, entry = task.partition("/")[0].partition("-undo-")
        role = plan.roles[int(entry or 0) % len(plan.roles)]
        yield Undo(run.stage, task, undoes, role, plan.action, is_again=True)
