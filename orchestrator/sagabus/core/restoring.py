"""Going on after the database was restored from a backup.

What an instance did after the backup is not known any more, and its effects may be there. So from
now on all its tasks are sent as if they had been sent before: flagged, and asked for by a claim. A
final effect is never repeated on that chance: it is held for an operator instead of being sent.
"""

from itertools import chain
from typing import Final

from sagabus.core.events import DatabaseRestored
from sagabus.core.instance import Attempt, Instance
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


def may_be_done(row: Instance, attempt: Attempt) -> bool:
    """Whether a final task that is to leave may have been carried out in what is not known.

    A second attempt is sent after a failure that is known, or on an operator's word.
    """
    return row.restored_at is not None and attempt.is_once and attempt.attempt == 1
