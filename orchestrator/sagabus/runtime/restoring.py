"""A database that was restored from a backup: refused, or gone on from when an operator says so.

The bus keeps how far it saw the database. One that is behind that has a lost future: work that was
done, and that it knows nothing of. To go on from it, what the lost future has sent is taken back
first, and every unfinished instance is told (``core.restoring``) before anything is sent.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from time import monotonic
from typing import Final

import structlog

from sagabus.errors import OutdatedStoreError, StoreError, StoreUnavailableError
from sagabus.ports import Bus, Store
from sagabus.runtime.engine import Engine
from sagabus.runtime.presence import Key
from sagabus_agents.wire import CancelMessage, cancel_subject

log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.1
#: How long agents have to end what was taken back; one that does not is waited for by claims.
_END_S: Final = 10.0


async def refuse_outdated(store: Store, bus: Bus, partitions: Iterable[int]) -> None:
    """Look whether the bus has seen more of the database than there is.

    Raises:
        OutdatedStoreError: it has.
    """
    batches, seen_at, is_behind = 0, None, False
    for partition in partitions:
        # In this order: what the bus was told is stored before.
        known = await bus.read_mark(partition)
        if known is None:
            continue
        stored = await store.read_mark(partition)
        if stored.is_behind(known):
            is_behind = True
            batches += max(0, known.batch - stored.batch)
            seen_at = max(filter(None, (seen_at, known.at)), default=None)
    if is_behind:
        raise OutdatedStoreError(_what_is_wrong(batches, seen_at))


def _what_is_wrong(batches: int, seen_at: datetime | None) -> str:
    last = f", the last at {seen_at.isoformat(timespec='seconds')}" if seen_at else ""
    return (
        f"the database is older than the bus, which saw {batches} batches more of it{last}: it was"
        " restored from a backup, or belongs to another bus; put the newer database back, or start"
        " once with --after-restore to go on from this one"
    )


async def take_back(engine: Engine) -> None:
    """Empty the queues, and have agents end what a restored database does not know.

    What is queued may be of the lost future, and carry names that the restored database gives to
    other work. What it awaits itself is sent again; results that wait in the inbox stay.
    """
    await engine.bus.forget_sent()
    while not engine.knows_presence():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    unknown = await _unknown_runs(engine)
    for instance, task, attempt in unknown:
        notice = CancelMessage(task=task, attempt=attempt, reason="the database was restored")
        await engine.bus.notify(cancel_subject(instance), notice.model_dump_json().encode())
    until = monotonic() + _END_S
    while _running(engine) & unknown and monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    log.warning(
        "sent_tasks_taken_back",
        ended=len(unknown),
        still_running=len(_running(engine) & unknown),
    )


def _running(engine: Engine) -> set[Key]:
    return {
        (run.instance, run.task, run.attempt)
        for agent in engine.presence.alive()
        for run in agent.running
    }


async def _unknown_runs(engine: Engine) -> set[Key]:
    """What agents run that the database does not await."""
    return {key for key in _running(engine) if not await _is_awaited(engine.store, key)}


async def _is_awaited(store: Store, key: Key) -> bool:
    instance, task, number = key
    try:
        state = await store.load_instance(instance)
    except StoreUnavailableError:
        raise
    except StoreError:
        return True  # it cannot be read: an operator has to look first
    attempt = state.find(task, number) if state is not None else None
    return attempt is not None and attempt.is_unanswered
