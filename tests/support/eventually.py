"""Waiting for a condition that nobody announces."""

import asyncio
from collections.abc import Awaitable, Callable

WAIT_S = 15.0
LOOK_EVERY_S = 0.02


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Return once ``condition`` gives something true; fail after 15 s."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(LOOK_EVERY_S)
