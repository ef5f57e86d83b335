"""Ends what waits for events when the server is to stop, instead of cutting it off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request


class Closing:
    """Knows every wait of the application."""

    def __init__(self) -> None:
        self._waits: set[asyncio.Timeout] = set()
        self._is_closing = False

    @asynccontextmanager
    async def limit(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Bound a wait, by ``timeout_s`` and by the server's end; either is a ``TimeoutError``."""
        async with asyncio.timeout(0 if self._is_closing else timeout_s) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def close(self) -> None:
        """End every wait, now and from now on."""
        self._is_closing = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(now)


def _closing_of(request: Request) -> Closing:
    closing: Closing = request.app.state.closing
    return closing


Waits = Annotated[Closing, Depends(_closing_of)]
