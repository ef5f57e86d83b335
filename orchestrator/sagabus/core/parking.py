"""Parking: nothing more is sent until an operator, or news that came late, has settled it.

What was sent runs to its end and is recorded, as while the instance is paused. When nothing is left
to be settled, it goes on from where it was (``pausing.go_on_unparked``).
"""

from typing import Final

from sagabus.core.commands import WithdrawTask
from sagabus.core.gates import stop_clock
from sagabus.core.instance import (
    Attempt,
    Failure,
    InstanceStatus,
    ParkCause,
    Parked,
    TaskStatus,
)
from sagabus.core.transition import Transition

_GIVEN_UP: Final[tuple[ParkCause, ...]] = ("invariant", "compensation_failed", "after_final")


def park(
    t: Transition,
    cause: ParkCause,
    message: str,
    *,
    stage: str | None = None,
    attempt: Attempt | None = None,
) -> None:
    """Leave it to an operator how to go on; said once of the same thing."""
    row = t.row
    if attempt is None:
        parked = Parked(cause, message, t.at, stage)
    else:
        parked = Parked(cause, message, t.at, attempt.stage, attempt.task, attempt.attempt)
    known = {(each.cause, each.stage, each.task, each.attempt) for each in row.parked}
    if (cause, parked.stage, parked.task, parked.attempt) in known:
        return
    if not row.parked:
        row.parked_in, row.status = row.status, InstanceStatus.NEEDS_OPERATOR
        stop_clock(t)
    row.parked.append(parked)
    t.record("WorkflowParked", {**_names(parked), "message": message})


def unpark(
    t: Transition,
    cause: ParkCause | None = None,
    *,
    stage: str | None = None,
    task: str | None = None,
) -> bool:
    """Take back what matches, None matching all; True when the instance goes on."""
    row = t.row
    settled = [
        each
        for each in row.parked
        if cause in {None, each.cause} and stage in {None, each.stage} and task in {None, each.task}
    ]
    for each in settled:
        row.parked.remove(each)
        t.record("WorkflowUnparked", _names(each))
    if row.parked or row.parked_in is None:
        return False
    row.status, row.parked_in = row.parked_in, None
    return True


def give_up(t: Transition) -> None:
    """It is to be undone: that settles all but what nobody knows, which comes first."""
    for cause in _GIVEN_UP:
        unpark(t, cause)


def _names(parked: Parked) -> dict[str, str | int | None]:
    return {
        "cause": parked.cause,
        "stage": parked.stage,
        "task": parked.task,
        "attempt": parked.attempt,
    }


def settle(t: Transition, attempt: Attempt) -> None:
    """The outcome of a held attempt is told: what it is, is for who closes it to say."""
    attempt.acted = False
    unpark(t, "intent_unknown", task=attempt.task)


def hold(t: Transition, attempt: Attempt, why: str) -> None:
    """Nobody knows whether a final effect is there: it is not tried again, and not given up."""
    attempt.status = TaskStatus.UNKNOWN
    attempt.is_held = True
    attempt.acted = True
    attempt.due_at = None
    attempt.error = Failure("unknown_outcome", why, attempt.stage, attempt.task)
    t.change(attempt)
    # Who is at it all the same had better end it than be stopped half-way.
    t.do(WithdrawTask(attempt, "unknown_outcome", is_told=False))
    message = (
        f"whether {attempt.task} of stage {attempt.stage!r} had its effect is not known: {why}"
    )
    park(t, "intent_unknown", message, attempt=attempt)
