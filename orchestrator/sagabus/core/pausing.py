"""Pausing: what was sent runs to its end, nothing more is sent, in the instances below neither.

Those below are told at once, and hear it again whenever they are asked for their end: what is lost
on the way is made up for.
"""

from sagabus.core import saga
from sagabus.core.events import PauseRequested
from sagabus.core.instance import Answer, InstanceStatus, ParentRef, Pause, child_id
from sagabus.core.subworkflows import pass_on
from sagabus.core.timers import timers_of
from sagabus.core.transition import Transition


def stop(
    t: Transition, by: str, reason: str, command: str, *, is_of_workflow: bool = False
) -> None:
    """Send nothing more."""
    t.row.paused = Pause(t.at, by, reason, is_of_workflow)
    t.record("WorkflowPaused", {"by": by, "reason": reason})
    for each in pass_on(t.state, "pause", command, reason):
        t.do(each)


def begin_held(t: Transition, hold: PauseRequested | None) -> None:
    """Begin paused, at the start or anew after the end, where the workflow is on hold.

    With that ``hold`` is done: a person may let the instance go on by itself.
    """
    if hold is None or t.row.paused is not None:
        return
    stop(t, hold.by, hold.reason, hold.command, is_of_workflow=True)
    result = {"id": t.row.id, "status": InstanceStatus.PAUSED}
    t.row.answers[hold.command] = Answer(ok=True, result=result)


def go_on(t: Transition, by: str, reason: str, command: str) -> None:
    """Send what was held back."""
    t.row.paused = None
    t.record("WorkflowResumed", {"by": by, "reason": reason})
    for each in pass_on(t.state, "resume", command, reason):
        t.do(each)
    send_held_back(t)


def send_held_back(t: Transition) -> None:
    """Go on, be it after a pause or after an operator has settled what was to be settled."""
    if t.row.phase is InstanceStatus.COMPENSATING:
        saga.proceed(t)
    for timer in timers_of(t.state):  # those that came up meanwhile were let pass
        t.do(timer)


def follow(t: Transition, parent: ParentRef, *, is_paused: bool) -> bool:
    """Be paused as the instance above is; a pause by a person stays. True: that changed it."""
    paused = t.row.paused
    command = child_id(t.row.id, "follow", t.row.seq)
    if is_paused and paused is None:
        stop(t, parent.instance, "the instance above is paused", command)
        return True
    if not is_paused and paused is not None and paused.by == parent.instance:
        go_on(t, parent.instance, "the instance above goes on", command)
        return True
    return False
