"""Waiting for an instance's end and following its history, wherever it is served."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sagabus.core.instance import InstanceState
from sagabus.errors import InstanceNotFoundError
from sagabus.ports import HistoryEntry, Store

#: Where another orchestrator serves the instance, its row is looked at this often.
_LOOK_S: Final = 1.0


class Following:
    """Tells those who wait; ``on_commit`` is an engine listener."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: dict[str, set[asyncio.Event]] = {}

    def on_commit(self, states: Sequence[InstanceState], _: Sequence[HistoryEntry]) -> None:
        """Wake whoever follows one of these instances."""
        if not self._changed:
            return
        for state in states:
            for event in self._changed.get(state.row.id, ()):
                event.set()

    async def wait(self, instance: str, timeout_s: float | None) -> InstanceState:
        """The instance when it has ended.

        Raises:
            InstanceNotFoundError: there is none.
            TimeoutError: it has not ended in time.
        """
        async with asyncio.timeout(timeout_s):
            async for _ in self._looks(instance):
                state = await self._store.load_instance(instance)
                if state is None:
                    raise InstanceNotFoundError(f"there is no instance {instance!r}")
                if state.row.status.is_terminal:
                    return state
        raise AssertionError  # unreachable: looks never end

    async def watch(self, instance: str) -> AsyncIterator[dict[str, Any]]:
        """History entries from the first, as they are stored, until the instance has ended.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        seen = 0
        async for _ in self._looks(instance):
            state = await self._store.load_instance(instance)
            if state is None:
                raise InstanceNotFoundError(f"there is no instance {instance!r}")
            for entry in await self._store.history(instance):
                for event in entry.events:
                    if event["seq"] > seen:
                        seen = event["seq"]
                        yield dict(event)
            if state.row.status.is_terminal and seen >= state.row.seq:
                return

    async def _looks(self, instance: str) -> AsyncIterator[None]:
        """Yield now, and after every change, for ever."""
        changed = asyncio.Event()
        self._changed.setdefault(instance, set()).add(changed)
        try:
            while True:
                changed.clear()
                yield None
                try:
                    await asyncio.wait_for(changed.wait(), _LOOK_S)
                except TimeoutError:
                    continue
        finally:
            followers = self._changed[instance]
            followers.discard(changed)
            if not followers:
                del self._changed[instance]
