"""What a person saw of a stage, and what there is now: the sentences where they differ."""

from sagabus.core import reviving
from sagabus.core.instance import InstanceStatus, StageRun
from sagabus.core.stages import is_forward
from sagabus.core.transition import Transition


def not_active(t: Transition, stage: str) -> str:
    """Why nothing can be done to a stage that is not under way."""
    row = t.row
    if stage not in t.definition.stages:
        return f"workflow {row.workflow!r} has no stage {stage!r}"
    newest = [run for run in row.runs.values() if run.stage == stage]
    if newest and newest[-1].ended_at is None:
        return f"stage {stage!r} is only waited for, the instance is {row.phase}: wait for its end"
    stands = f"has ended, it is {newest[-1].status}" if newest else "has not begun"
    return f"stage {stage!r} {stands}: {_what_else(t)}"


def _what_else(t: Transition) -> str:
    """What would be accepted now; nothing that would be refused in its turn."""
    row = t.row
    active = dict.fromkeys(run.stage for _, run in t.active_runs())
    if is_forward(row) and active:
        return f"name one that is under way, {', '.join(active)}"
    failed = dict.fromkeys(each["stage"] for each in row.failed_compensations)
    if failed:
        what = "set the result of" if row.status is InstanceStatus.COMPLETED else "skip"
        return f"{what} one whose compensation failed, {', '.join(failed)}"
    if row.status.is_terminal:
        return reviving.refusal(t) or f"the instance is {row.status}, retry it"
    if row.parked:
        return "the instance needs an operator, ask why: that says what can be done"
    return f"wait until the instance, which is {row.phase}, has ended"


def newer_than(t: Transition, run: StageRun, seen: str | None) -> str | None:
    """Why the attempt that a person saw, ``<task>/<attempt>``, is not what there is now."""
    if seen is None:
        return None
    task = seen.rpartition("/")[0]
    newest = t.state.current(task)
    if newest is None:
        return f"stage {run.stage!r} has no attempt {seen}: look again"
    if (newest.stage, newest.pass_) != (run.stage, run.pass_):
        return f"{seen} was seen, and stage {run.stage!r} is in pass {run.pass_} by now: look again"
    if seen != f"{task}/{newest.attempt}":
        return f"{seen} was seen, and {task}/{newest.attempt} is newer: look again"
    return None
