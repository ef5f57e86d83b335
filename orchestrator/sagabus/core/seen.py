"""What a person saw of a stage, and what there is now: the sentences where they differ."""

from sagabus.core.instance import StageRun
from sagabus.core.transition import Transition


def not_active(t: Transition, stage: str) -> str:
    """Why nothing can be done to a stage that is not under way."""
    row = t.row
    if stage not in t.definition.stages:
        return f"workflow {row.workflow!r} has no stage {stage!r}"
    newest = [run for run in row.runs.values() if run.stage == stage]
    if not newest:
        return f"stage {stage!r} has not begun"
    if newest[-1].ended_at is None:
        return f"stage {stage!r} is only waited for: the instance is {row.phase} already"
    return f"stage {stage!r} has ended: it is {newest[-1].status}"


def newer_than(t: Transition, run: StageRun, seen: str | None) -> str | None:
    """Why the attempt that a person saw, ``<task>/<attempt>``, is not what there is now."""
    if seen is None:
        return None
    task = seen.rpartition("/")[0]
    newest = t.state.current(task)
    if newest is None:
        return f"stage {run.stage!r} has no attempt {seen}"
    if (newest.stage, newest.pass_) != (run.stage, run.pass_):
        return f"{seen} was seen, and stage {run.stage!r} is in pass {run.pass_} by now: look again"
    if seen != f"{task}/{newest.attempt}":
        return f"{seen} was seen, and {task}/{newest.attempt} is newer: look again"
    return None
