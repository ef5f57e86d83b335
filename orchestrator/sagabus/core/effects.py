"""What an instance did that a compensation would undo."""

from sagabus.core.definition import Compensation
from sagabus.core.instance import TaskStatus, task_id
from sagabus.core.transition import Transition


def needs_undo(t: Transition, plan: Compensation, task: str) -> bool:
    """Whether a task is undone: it succeeded, or it may have acted and the stage says so."""
    tries = t.state.attempts.get(task, ())
    if any(attempt.status is TaskStatus.SUCCEEDED for attempt in tries):
        return True
    match plan.compensate_self:
        case "unknown":
            return any(attempt.acted for attempt in tries)
        case "always":
            return any(attempt.started_at is not None for attempt in tries)
        case "never":
            return False


def has_effects(t: Transition) -> bool:
    """Whether anything was done that a compensation would undo."""
    for run in t.row.runs.values():
        plan = t.stage(run.stage).compensation
        tasks = (task_id(run.stage, run.pass_, index) for index in range(run.next_index))
        if plan is not None and any(needs_undo(t, plan, task) for task in tasks):
            return True
    return False
