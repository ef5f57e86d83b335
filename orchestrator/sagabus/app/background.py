"""What an orchestrator does beside its loops: follow the files, measure, tend its NATS server."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from time import monotonic
from typing import Final

import structlog

from sagabus.adapters.file_watch import watch_files
from sagabus.adapters.nats_child import NatsChild
from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import BusError
from sagabus.runtime.engine import Engine
from sagabus.runtime.ownership import Ownership

log = structlog.get_logger(__name__)

_MEASURE_S: Final = 2.0
#: How long a restarted server has before it may be found stuck again.
_RESTART_S: Final = 20.0
_CANCEL_AGAIN_S: Final = 0.2


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all have ended.

    Before Python 3.12 a request to a server now and then swallows a cancellation.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)


async def follow_files(engine: Engine, holder: CatalogHolder) -> None:
    """Put changed definitions and policies in force; faulty ones are counted."""
    reloads, refused = holder.reloads, holder.refused
    async with aclosing(holder.follow(watch_files(holder.watched))) as looks:
        async for _ in looks:
            if holder.refused > refused:
                engine.metrics.config_reload(is_ok=False)
            if holder.reloads > reloads:
                engine.metrics.config_reload(is_ok=True)
                await ensure_roles(engine, holder)
            reloads, refused = holder.reloads, holder.refused


async def ensure_roles(engine: Engine, holder: CatalogHolder) -> None:
    """Make the queues of new roles."""
    try:
        await engine.bus.ensure(sorted(holder.current.roles))
    except BusError as error:
        log.warning("roles_not_ensured", error=str(error))  # agents make their own as well


async def tend_child(child: NatsChild, ownership: Ownership) -> None:
    """Restart a server of ours that answers and stores nothing, or whose files were deleted."""
    restarted_at = -_RESTART_S
    while True:
        await asyncio.sleep(_MEASURE_S)
        is_stuck = any(loop.is_bus_stuck for loop in ownership.loops.values())
        is_broken = is_stuck or not child.has_files
        if is_broken and monotonic() - restarted_at > _RESTART_S:
            child.restart()
            restarted_at = monotonic()


async def measure(engine: Engine, ownership: Ownership, holder: CatalogHolder) -> None:
    """Set the gauges that have to be asked for; make roles anew on a new connection."""
    bus = engine.bus
    generation = bus.generation
    served: set[int] = set()
    while True:
        await asyncio.sleep(_MEASURE_S)
        if bus.generation != generation:
            generation = bus.generation
            await ensure_roles(engine, holder)
        loops = dict(ownership.loops)
        for number in served - loops.keys():
            engine.metrics.drop_partition(number)
        served = set(loops)
        try:
            for queue in await bus.role_queues():
                engine.metrics.set_queue(queue.role, queue.queued, queue.oldest_age_s)
            for number, loop in loops.items():
                engine.metrics.set_inbox_lag(number, await loop.lag())
            engine.metrics.set_dead_letters(await bus.count_dead_letters())
        except BusError as error:
            log.debug("bus_not_measured", error=str(error))
