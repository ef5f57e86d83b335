"""What an orchestrator does beside its loops: follow the files, and measure."""

import asyncio
from typing import Final

import structlog

from sagabus.adapters.file_watch import watch_files
from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import BusError
from sagabus.runtime.engine import Engine
from sagabus.runtime.ownership import Ownership

log = structlog.get_logger(__name__)

_MEASURE_S: Final = 2.0


async def follow_files(engine: Engine, holder: CatalogHolder) -> None:
    """Put changed definitions and policies in force; faulty ones are counted."""
    async for _ in watch_files(holder.watched):
        reloads, refused = holder.reloads, holder.refused
        await asyncio.to_thread(holder.reload)
        if holder.refused > refused:
            engine.metrics.config_reload(is_ok=False)
        if holder.reloads > reloads:
            engine.metrics.config_reload(is_ok=True)
            await ensure_roles(engine, holder)


async def ensure_roles(engine: Engine, holder: CatalogHolder) -> None:
    """Make the queues of new roles."""
    try:
        await engine.bus.ensure(sorted(holder.current.roles))
    except BusError as error:
        log.warning("roles_not_ensured", error=str(error))  # agents make their own as well


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
        except BusError as error:
            log.debug("bus_not_measured", error=str(error))
