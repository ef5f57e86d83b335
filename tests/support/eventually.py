"""Waiting for a condition that nobody announces."""

import asyncio
from collections.abc import Awaitable, Callable

from sagabus.ports import Bus, RoleQueue

WAIT_S = 15.0
LOOK_EVERY_S = 0.02


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Return once ``condition`` gives something true; fail after 15 s."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(LOOK_EVERY_S)


async def until_queued(bus: Bus, **numbers: int) -> dict[str, RoleQueue]:
    """The queues by role, once they hold ``numbers``.

    A consumer counts what its stream has stored, a moment later.
    """
    queues: dict[str, RoleQueue] = {}

    async def are_there() -> bool:
        queues.update({queue.role: queue for queue in await bus.role_queues()})
        return {role: queue.queued for role, queue in queues.items()} == numbers

    await eventually(are_there)
    return queues
