"""What undoing an instance would send and leave: read from its state, and nothing is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sagabus.core import below, saga
from sagabus.core.definition import Definition
from sagabus.core.effects import what_stands
from sagabus.core.instance import (
    InstanceState,
    InstanceStatus,
    Rollback,
    StageRun,
    task_id,
    undo_id,
)
from sagabus.core.stages import is_forward
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


@dataclass(frozen=True, slots=True)
class Preview:
    """What undoing would come to, if every compensation succeeds."""

    undos: list[Undo]
    #: What stands then: ``{stage, task, class, is_certain}``.
    left: list[dict[str, Any]]
    #: How the instance ends.
    status: InstanceStatus
    rollback: Rollback


def preview(definition: Definition, state: InstanceState, stage: str | None = None) -> Preview:
    """What undoing an instance, or one stage of it, would send, leave, and end with."""
    t = Transition(definition, state, state.row.updated_at)
    undos = what_would_be_undone(definition, state, stage)
    undone = {each.undoes for each in undos}
    left = []
    for each in what_stands(t, state.row.runs.values()):
        if each["task"] not in undone:
            left.append(each)
        elif each["class"] == "final":  # of another instance, of which the rest is undone
            is_certain = below.has_final(below.newest_words(t, each["task"]))
            left.append({**each, "is_certain": is_certain})
    rollback: Rollback = "partial" if left else "full"
    return Preview(undos, left, saga.status_at_end(state.row, rollback), rollback)


def what_would_be_undone(
    definition: Definition, state: InstanceState, stage: str | None = None
) -> list[Undo]:
    """Every compensation that undoing would send, asked for one stage or for all, in that order.

    Of an instance that still goes on: what would be sent if it were stopped now.
    """
    t = Transition(definition, state, state.row.updated_at)
    only = undone_alone(t, stage)
    # Of one that goes forward only what came late, and was not undone, is tried again.
    is_late = is_forward(state.row) and any(
        each.cause == "compensation_failed" for each in state.row.parked
    )
    # What has not ended would end now, and be undone before the others.
    newest_first = sorted(
        state.row.runs.values(), key=lambda run: -(run.ended_order or state.row.ended_count + 1)
    )
    return [
        undo
        for run in newest_first
        for undo in _undos_of(
            t,
            run,
            is_new=not is_late and only in {None, run.stage},
            is_again=stage in {None, run.stage},
        )
    ]


def undone_alone(t: Transition, stage: str | None) -> str | None:
    """The only stage of which more is undone when that is asked of a stage, or of all; None: all.

    What is being undone already is so no less for a stage of it that is tried again.
    """
    row = t.row
    is_begun = row.undo_order is not None or (row.active_runs > 0 and not is_forward(row))
    is_going_on = is_begun and not row.status.is_terminal and not saga.is_halted(t)
    return row.undo_only if is_going_on and stage is not None else stage


def _undos_of(t: Transition, run: StageRun, *, is_new: bool, is_again: bool) -> Iterator[Undo]:
    """Of one run: what was not asked for yet, and what failed; and what is to be tried again."""
    plan = t.stage(run.stage).compensation
    if plan is None:
        return
    candidates = run.next_index * len(plan.roles) if is_new else run.undo_next
    for candidate in range(run.undo_next, candidates):
        index, entry = divmod(candidate, len(plan.roles))
        if saga.is_due(t, plan, run, index, entry):
            undoes = task_id(run.stage, run.pass_, index)
            task = undo_id(undoes, entry)
            yield Undo(run.stage, task, undoes, plan.roles[entry], plan.action)
    failed = [each["task"] for each in saga.failures_to_mend(t, run)] if is_again else []
    for task in [*run.undo_again, *failed]:
        undoes, _, entry = task.partition("/")[0].partition("-undo-")
        role = plan.roles[int(entry or 0) % len(plan.roles)]
        yield Undo(run.stage, task, undoes, role, plan.action, is_again=True)
