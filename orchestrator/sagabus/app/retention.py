"""Deletes instances that ended long ago, a page at a time: each with all that it had done for it.

A root goes with the whole tree of instances below it, when all of them have ended, await nothing,
and have not changed for as long as ``engine.retention.completed`` says. Whatever changes between
the look and the deletion stays. Resources that are gone since then are forgotten.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from sagabus.errors import StoreError
from sagabus.observe.metrics import Metrics
from sagabus.ports import EndedRow, Store

log = structlog.get_logger(__name__)

#: Roots looked at together.
_PAGE: Final = 100
#: Between two pages others have the database to themselves.
_BREATH_S: Final = 0.05
_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0


class Sweeper:
    """Sweeps what this orchestrator serves, now and then."""

    def __init__(
        self,
        store: Store,
        keep: Callable[[], timedelta | None],
        is_mine: Callable[[str], bool],
        metrics: Metrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``keep``: for how long ended instances stay; None: for ever, asked anew each time."""
        self._store = store
        self._keep = keep
        self._is_mine = is_mine
        self._metrics = metrics
        self._clock = clock
        #: When the last sweep ended, and how many instances it deleted.
        self.last_at: datetime | None = None
        self.last_count = 0

    async def run(self) -> None:
        """Sweep for ever; what fails is tried again."""
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("sweep_failed", error=str(error))
            await asyncio.sleep(self._pause_s())

    async def sweep(self) -> int:
        """Delete what is too old now; the number of instances.

        Raises:
            StoreError: the database is away, or refuses; what is half deleted is finished next.
        """
        deleted = await self._store.delete_instances([])
        keep = self._keep()
        if keep is not None:
            before = self._clock() - keep
            async for page in self._store.expired(before, _PAGE):
                trees = await self._trees([row for row in page if self._is_mine(row.id)], before)
                deleted += await self._store.delete_instances(trees)
                await asyncio.sleep(_BREATH_S)
            await self._forget_resources(before)
        self._metrics.swept(deleted)
        self.last_at, self.last_count = self._clock(), deleted
        if deleted:
            log.info("instances_swept", count=deleted)
        return deleted

    async def _forget_resources(self, before: datetime) -> None:
        forgotten = _PAGE
        while forgotten == _PAGE:
            forgotten = await self._store.resources.forget(before, _PAGE)
            await asyncio.sleep(_BREATH_S)

    def _pause_s(self) -> float:
        keep = self._keep()
        wanted = _LONGEST_PAUSE_S if keep is None else keep.total_seconds() / 10
        return min(max(wanted, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)

    async def _trees(self, roots: Sequence[EndedRow], before: datetime) -> list[list[EndedRow]]:
        """The roots whose whole tree may go, each with that tree."""
        trees = {root.id: [root] for root in roots}
        root_of = {root.id: root.id for root in roots}
        level = list(trees)
        while level:
            below = await self._store.children(level)
            level = []
            for parent, row in below:
                root_of[row.id] = root_of[parent]
                trees[root_of[parent]].append(row)
                level.append(row.id)
        return [
            tree
            for tree in trees.values()
            if all(row.is_over and row.changed_at < before for row in tree)
        ]
