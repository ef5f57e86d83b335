"""How an orchestrator is, part by part."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from time import monotonic
from typing import Final, Literal

from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import StoreError
from sagabus.ports import Hold, Store
from sagabus.runtime.engine import Engine
from sagabus.runtime.ownership import Ownership

VERSION: Final = version("sagabus")
#: Who asks how it is waits a few seconds at most; a stalled database would answer much later.
_STORE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """How one part of the orchestrator is."""

    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """How the orchestrator is; ``degraded`` when any part is not ok."""

    status: Literal["ok", "degraded"]
    store: ComponentHealth
    bus: ComponentHealth
    loops: ComponentHealth
    config: ComponentHealth
    agents: int
    version: str = VERSION
    #: What is paused beyond single instances, oldest first.
    holds: Sequence[Hold] = ()


async def assess(
    engine: Engine, ownership: Ownership, holder: CatalogHolder, agents: int
) -> Health:
    """Look at every part."""
    store = await assess_store(engine.store)
    bus = assess_bus(engine, ownership)
    loops = _loops(ownership, engine.bus.partitions)
    config = _config(holder)
    is_ok = all(part.ok for part in (store, bus, loops, config))
    return Health(
        "ok" if is_ok else "degraded",
        store,
        bus,
        loops,
        config,
        agents,
        holds=engine.holds.current,
    )


def assess_bus(engine: Engine, ownership: Ownership) -> ComponentHealth:
    """Look at the bus."""
    if not engine.bus.is_connected:
        return ComponentHealth(False, "away")
    if any(loop.is_bus_stuck for loop in ownership.loops.values()):
        return ComponentHealth(
            False, "connected, but it stores nothing: look at its disk, and restart it"
        )
    return ComponentHealth(True, "connected")


async def assess_store(store: Store) -> ComponentHealth:
    """Look at the database."""
    began = monotonic()
    try:
        async with asyncio.timeout(_STORE_S):
            await store.ping()
    except StoreError as error:
        return ComponentHealth(False, str(error))
    except TimeoutError:
        return ComponentHealth(False, f"no answer within {_STORE_S:g} s")
    return ComponentHealth(True, f"answers in {(monotonic() - began) * 1e3:.1f} ms")


def _loops(ownership: Ownership, partitions: int) -> ComponentHealth:
    loops = ownership.loops
    bad = [f"{n}: {loop.status}" for n, loop in sorted(loops.items()) if not loop.is_serving]
    bad += [
        f"instance {instance} cannot be read: {reason}"
        for loop in loops.values()
        for instance, reason in loop.corrupt
    ]
    if bad:
        return ComponentHealth(False, "; ".join(bad))
    unfinished = sum(loop.unfinished for loop in loops.values())
    return ComponentHealth(
        True, f"{len(loops)} of {partitions} partitions served, {unfinished} instances unfinished"
    )


def _config(holder: CatalogHolder) -> ComponentHealth:
    error = holder.last_error
    if error is None:
        return ComponentHealth(True, f"loaded {holder.loaded_at.isoformat(timespec='seconds')}")
    return ComponentHealth(
        False, f"the files were changed and refused, the old ones are in force: {error}"
    )
