"""A world whose database is put back from a backup: over the memory adapters, with no server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path

import pytest

from sagabus.errors import OutdatedStoreError
from sagabus.ports import Store
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Hand
from tests.support.engine import Life, Owner
from tests.support.worlds import MemoryWorld, Taken, until


class RestoreScene:
    """Owners of one database, one after another, and the copy that was made of it."""

    def __init__(self, config: Path, workflows: str) -> None:
        config.write_text(workflows)
        self.config = config
        self.world = MemoryWorld()
        self.backup: Store = self.world.store

    def back_up(self) -> None:
        self.backup = deepcopy(self.world.store)

    def restore(self) -> None:
        self.world.store = deepcopy(self.backup)

    @asynccontextmanager
    async def owner(
        self, *, is_after_restore: bool = False, life: Life | None = None
    ) -> AsyncIterator[Owner]:
        owner = Owner(self.config, self.world.store, await self.world.connect(), life=life)
        if is_after_restore:
            owner.engine.restoring.add(0)
        await owner.begin()
        if life is None:
            await owner.until_serving()
        yield owner
        if not owner.life.is_over:
            await owner.stop()

    async def hand(self) -> Hand:
        return Hand(await self.world.link())

    async def refused(self) -> bool:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with self.owner():
                pass
        return caught.value.subgroup(OutdatedStoreError) is not None


async def run(hand: Hand, task: Taken) -> None:
    """Claim a task; before it is known who is there, nobody is answered."""

    async def is_told() -> bool:
        return await hand.claim(task, claim="c1", wait_s=0.1) is ClaimVerdict.RUN

    await until(is_told)
