"""Putting workflows, roles and everything on hold, and letting them go on.

What is on hold stands in the database, and so holds over restarts and in every orchestrator on it.
"""

import asyncio
import contextlib
from collections.abc import Collection
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Literal

import structlog

from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import BusError, ConflictError, InvalidRequestError, StoreError
from sagabus.ports import Hold, HoldBook
from sagabus.runtime.engine import Engine
from sagabus.runtime.holds import EVERYTHING
from sagabus.runtime.ownership import Ownership

log = structlog.get_logger(__name__)

HoldKind = Literal["workflow", "role", "all"]

#: Core NATS, best effort: something was put on hold, or let go.
NOTICE: Final = "sagabus.holds"
_LOOK_S: Final = 1.0
#: How long whoever asked waits until all partitions of this process have heard of it.
_HEED_S: Final = 2.0


class HoldDesk:
    """What is on hold here, and open to changes."""

    def __init__(
        self, book: HoldBook, engine: Engine, ownership: Ownership, holder: CatalogHolder
    ) -> None:
        self._book = book
        self._engine = engine
        self._ownership = ownership
        self._holder = holder
        self._hint = asyncio.Event()

    @property
    def current(self) -> list[Hold]:
        """What is on hold, oldest first."""
        return self._engine.holds.current

    async def refresh(self) -> None:
        """Keep to what the database says is on hold.

        Raises:
            StoreError: it is away, or refuses.
        """
        if not self._engine.holds.know(await self._book.all()):
            return
        log.info("holds_read", holds=[f"{each.kind} {each.name}" for each in self.current])
        for loop in self._ownership.loops.values():
            loop.wake()

    async def follow(self) -> None:
        """Keep to what others put on hold, for ever."""
        async with await self._engine.bus.subscribe(NOTICE, lambda *_: self._hint.set()):
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._hint.wait()
                self._hint.clear()
                try:
                    await self.refresh()
                except StoreError as error:
                    log.debug("holds_not_read", error=str(error))

    async def hold(
        self, kind: HoldKind, name: str = EVERYTHING, *, by: str = "", reason: str = ""
    ) -> Hold:
        """Put a workflow, a role or everything on hold; the same again changes nothing.

        Raises:
            InvalidRequestError: there is no such workflow or role.
            ConflictError: somebody else has, or for another reason.
        """
        await self.refresh()
        held = self._engine.holds.find(kind, name)
        if held is not None and (held.by, held.reason) == (by, reason):
            return held
        if held is not None:
            raise ConflictError(f"{title(kind, name)} is paused already{_by(held)}")
        await self._check(kind, name)
        return await self._write(Hold(kind, name, by, reason, datetime.now(UTC)))

    async def let_go(
        self, kind: HoldKind, name: str = EVERYTHING, *, by: str = "", reason: str = ""
    ) -> Hold:
        """Let a workflow, a role or everything go on: what was kept back leaves.

        Raises:
            ConflictError: it is not on hold.
        """
        await self.refresh()
        if self._engine.holds.find(kind, name) is None:
            what = "not everything is" if kind == "all" else f"{title(kind, name)} is not"
            raise ConflictError(f"{what} paused")
        return await self._write(Hold(kind, name, by, reason, datetime.now(UTC), is_held=False))

    async def begin_held(self, by: str) -> None:
        """Put everything on hold before anything is served, unless it is."""
        if self._engine.holds.find("all", EVERYTHING) is None:
            reason = "started with --paused"
            await self._write(Hold("all", EVERYTHING, by, reason, datetime.now(UTC)))

    async def _write(self, word: Hold) -> Hold:
        await self._book.write(word)
        await self.refresh()
        try:
            await self._engine.bus.notify(NOTICE, b"")
        except BusError as error:
            log.debug("holds_notice_not_sent", error=str(error))  # the others look by themselves
        began = monotonic()
        while not self._is_heeded() and monotonic() - began < _HEED_S:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return word

    def _is_heeded(self) -> bool:
        loops = self._ownership.loops.values()
        return all(loop.has_heeded_holds for loop in loops if loop.status == "serving")

    async def _check(self, kind: HoldKind, name: str) -> None:
        if kind == "workflow" and name not in self._holder.current.definitions:
            found = await self._engine.store.list_instances(workflow=name, limit=1)
            if not found.instances:
                raise InvalidRequestError(f"no workflow {name!r} is loaded, and none has instances")
        if kind == "role" and name not in self._roles():
            raise InvalidRequestError(
                f"no workflow in force names the role {name!r}, and no agent that is alive has it"
            )

    def _roles(self) -> Collection[str]:
        alive = {role for agent in self._engine.presence.alive() for role in agent.roles}
        return alive | set(self._holder.current.roles)


def title(kind: str, name: str) -> str:
    """What is on hold, in words."""
    return "everything" if kind == "all" else f"{kind} {name!r}"


def _by(hold: Hold) -> str:
    why = f": {hold.reason}" if hold.reason else ""
    return f", by {hold.by or 'somebody'} since {hold.at:%Y-%m-%d %H:%M:%S}Z{why}"
