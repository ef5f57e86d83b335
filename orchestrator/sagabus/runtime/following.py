"""Waiting for an instance's end and following its history, wherever it is served."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final

from sagabus.core.instance import InstanceState
from sagabus.errors import InstanceNotFoundError
from sagabus.ports import HistoryEntry, Store

#: Where another orchestrator serves the instance, its row is looked at this often.
_LOOK_S: Final = 1.0
#: Where this one does, every so many looks: the partition may have moved away and back.
_RARELY: Final = 15


class Following:
    """Tells those who wait; ``on_commit`` is an engine listener."""

    def __init__(self, store: Store, is_served_here: Callable[[str], bool]) -> None:
        self._store = store
        self._is_served_here = is_served_here
        self._ends: dict[str, set[asyncio.Future[InstanceState]]] = {}
        self._changes: dict[str, set[asyncio.Event]] = {}
        #: Who awaits which end, and the task that looks for them in the store while there are any.
        self._awaited: dict[asyncio.Future[InstanceState], str] = {}
        self._looker: asyncio.Task[None] | None = None

    def on_commit(self, states: Sequence[InstanceState], _: Sequence[HistoryEntry]) -> None:
        """Tell whoever follows one of these instances."""
        for state in states:
            for change in self._changes.get(state.row.id, ()):
                change.set()
            if state.row.status.is_terminal:
                for end in self._ends.get(state.row.id, ()):
                    if not end.done():
                        end.set_result(state)

    @contextmanager
    def expecting(self, instance: str) -> Iterator[asyncio.Future[InstanceState]]:
        """A future for the end of an instance that may not exist yet; only ``until`` awaits it."""
        end: asyncio.Future[InstanceState] = asyncio.get_running_loop().create_future()
        self._ends.setdefault(instance, set()).add(end)
        try:
            yield end
        finally:
            followers = self._ends[instance]
            followers.discard(end)
            if not followers:
                del self._ends[instance]

    async def until(self, end: asyncio.Future[InstanceState], instance: str) -> InstanceState:
        """The instance when it has ended, told by ``end`` or found in the store."""
        self._awaited[end] = instance
        if self._looker is None:
            self._looker = asyncio.create_task(self._look_for_ends(), name="look-for-ends")
        try:
            return await end
        finally:
            self._awaited.pop(end, None)

    async def _look_for_ends(self) -> None:
        """One task looks for all who wait: a timer for each would cost more than its instance."""
        looks = count(1)
        seen: dict[asyncio.Future[InstanceState], str] = {}
        try:
            while self._awaited:
                await asyncio.sleep(_LOOK_S)
                look = next(looks)
                # Who came since the last look has waited for less than one.
                for end, instance in [each for each in seen.items() if each[0] in self._awaited]:
                    if look % _RARELY and self._is_served_here(instance):
                        continue
                    await self._look_for_end(end, instance)
                seen = dict(self._awaited)
        finally:
            self._looker = None

    async def _look_for_end(self, end: asyncio.Future[InstanceState], instance: str) -> None:
        try:
            state = await self._load(instance)
        except Exception as error:
            if not end.done():
                end.set_exception(error)
            return
        if state.row.status.is_terminal and not end.done():
            end.set_result(state)

    async def wait(self, instance: str, timeout_s: float | None) -> InstanceState:
        """The instance when it has ended.

        Raises:
            InstanceNotFoundError: there is none.
            TimeoutError: it has not ended in time.
        """
        async with asyncio.timeout(timeout_s):
            with self.expecting(instance) as end:
                state = await self._load(instance)
                return state if state.row.status.is_terminal else await self.until(end, instance)

    async def watch(self, instance: str) -> AsyncIterator[dict[str, Any]]:
        """History entries from the first, as they are stored, until the instance has ended.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        seen = version = 0
        async for _ in self._looks(instance):
            row = await self._store.load_row(instance)
            if row is None:
                raise InstanceNotFoundError(f"there is no instance {instance!r}")
            for entry in await self._store.history(instance, version):
                version = entry.version
                for event in entry.events:
                    seen = event["seq"]
                    yield dict(event)
            if row.status.is_terminal and seen >= row.seq:
                return

    async def _load(self, instance: str) -> InstanceState:
        state = await self._store.load_instance(instance)
        if state is None:
            raise InstanceNotFoundError(f"there is no instance {instance!r}")
        return state

    async def _looks(self, instance: str) -> AsyncIterator[None]:
        """Yield now, and after every change, for ever."""
        change = asyncio.Event()
        self._changes.setdefault(instance, set()).add(change)
        try:
            while True:
                change.clear()
                yield None
                # Not ``wait_for``: before Python 3.12 it now and then swallows a cancellation.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await change.wait()
        finally:
            followers = self._changes[instance]
            followers.discard(change)
            if not followers:
                del self._changes[instance]
