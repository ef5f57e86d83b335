"""Going on after the database was restored from a backup.

What an instance did after the backup is not known any more, and its effects may be there. So from
now on all its tasks are sent as if they had been sent before: flagged, and asked for by a claim. A
final effect is never repeated on that chance: it is held for an operator instead of being sent.
What had ended by then may have been continued after the backup as well, and is told when it is
asked for something.
"""

from datetime import datetime
from itertools import chain
from typing import Final

from sagabus.core.events import DatabaseRestored
from sagabus.core.instance import Attempt, Instance, InstanceState
from sagabus.core.parking import hold
from sagabus.core.transition import Transition

#: Why a final task is held.
MAY_BE_DONE: Final = (
    "the database was restored from a backup, and it may have been done after that was made"
)


def begin_again(t: Transition, event: DatabaseRestored) -> None:
    """Note that the instance may have gone further than is known, and hold what is final."""
    t.row.restored_at = event.at
    t.record("WorkflowRestored", {})
    for attempt in chain.from_iterable(t.state.attempts.values()):
        if attempt.is_once and attempt.is_unanswered:
            hold(t, attempt, MAY_BE_DONE)


def is_untold(row: Instance, restored_at: datetime | None) -> bool:
    """Whether an instance was there when the database was restored, and was not told: it had ended.

    ``restored_at``: when that was last; None: never.
    """
    if restored_at is None or row.created_at >= restored_at:
        return False
    return row.restored_at is None or row.restored_at < restored_at


def may_be_done(state: InstanceState, attempt: Attempt) -> bool:
    """Whether a final task that is to leave may have been carried out in what is not known.

    Not where the attempt before it ended after that: then a failure that was heard since, or an
    operator, has settled it.
    """
    restored_at = state.row.restored_at
    if restored_at is None or not attempt.is_once:
        return False
    last = state.find(attempt.task, attempt.attempt - 1)
    return last is None or last.ended_at is None or last.ended_at <= restored_at
