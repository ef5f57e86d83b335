"""What the last owner may not have said any more before it died: said again by the next one.

Nothing is kept for this. What was to be said can be read from what is stored, and saying it twice
does no harm: events have their numbers, and a task is withdrawn once.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import chain

from sagabus.core.commands import WithdrawTask
from sagabus.core.instance import InstanceState, TaskStatus
from sagabus.ports import Bus, HistoryEntry, PartitionClaim
from sagabus.runtime.outward import event_messages, tell

#: How an attempt stands that was given up without its agent's word.
_GIVEN_UP = frozenset({TaskStatus.CANCELLED, TaskStatus.TIMED_OUT, TaskStatus.UNKNOWN})

LoadInstance = Callable[[str], Awaitable[InstanceState | None]]


async def tell_again(
    bus: Bus, claim: PartitionClaim, states: Iterable[InstanceState], load: LoadInstance
) -> None:
    """Say what the last batch had to say, where it is not known to be said.

    Args:
        bus: where to.
        claim: what the partition's row tells of the last batch.
        states: every unfinished instance, with its open attempts.
        load: an instance with all its attempts.
    """
    for state in states:
        for withdrawal in _unanswered_cancellations(state):
            await tell(bus, state.row.id, withdrawal)
    if claim.published == claim.batch or not claim.last_history:
        return
    await bus.publish(event_messages(claim.last_history), [])
    for entry in claim.last_history:
        for withdrawal in _withdrawals(entry, await load(entry.instance)):
            await tell(bus, entry.instance, withdrawal)


def _unanswered_cancellations(state: InstanceState) -> Iterator[WithdrawTask]:
    """What still runs of a cancelled instance; a compensation is never cancelled."""
    if not state.row.cancel_requested:
        return
    for attempt in chain.from_iterable(state.attempts.values()):
        if attempt.is_child:
            continue  # it is asked again for its end, and cancelled with that
        is_running = attempt.status is TaskStatus.RUNNING and not attempt.is_once
        if attempt.kind == "task" and is_running:
            yield WithdrawTask(attempt, "cancelled", is_purged=False)


def _withdrawals(entry: HistoryEntry, state: InstanceState | None) -> Iterator[WithdrawTask]:
    """What the transition gave up: a batch has one time for all that it does."""
    at = entry.events[-1]["at"]
    for attempt in chain.from_iterable(state.attempts.values() if state is not None else ()):
        if attempt.is_child or attempt.is_local:
            continue
        if attempt.ended_at == at and attempt.status in _GIVEN_UP:
            yield WithdrawTask(attempt, attempt.error.type if attempt.error else "cancelled")
