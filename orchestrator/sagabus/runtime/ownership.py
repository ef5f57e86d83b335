"""Which partitions this orchestrator serves: all of them alone, its share beside others.

Several orchestrators on one bus count each other by a beat and hold a lease per partition. Both
only spread the work: what keeps two owners apart is the epoch in the partition's row.
"""

import asyncio
import math
import uuid
from contextlib import suppress
from time import monotonic
from typing import Final

import structlog

from sagabus.errors import BusError, PartitionLostError
from sagabus.ports import Leases, Mark
from sagabus.runtime.engine import Engine
from sagabus.runtime.partition import PartitionLoop

log = structlog.get_logger(__name__)

_BEAT_SUBJECT: Final = "sagabus.orchestrator"
_BEAT_S: Final = 0.5
_MEMBER_TTL_S: Final = 2.0
#: A lease lives two seconds.
_RENEW_S: Final = 0.5


class Ownership:
    """Takes partitions and serves them until ``stop``."""

    def __init__(self, engine: Engine, leases: Leases | None) -> None:
        """Serve on ``engine``; without ``leases`` every partition is taken at once."""
        self._engine = engine
        self._leases = leases
        self._stopping = asyncio.Event()
        self._id = uuid.uuid4().hex
        self._members: dict[str, float] = {}
        #: The partitions served now, by number.
        self.loops: dict[int, PartitionLoop] = {}

    def stop(self) -> None:
        """End every loop after the batch at hand."""
        self._stopping.set()
        for loop in self.loops.values():
            loop.stop()

    def loop_of(self, instance_id: str) -> PartitionLoop | None:
        """The loop that serves an instance, where it is one of this process."""
        loop = self.loops.get(self._engine.bus.partition_of(instance_id))
        return loop if loop is not None and loop.is_serving else None

    async def run(self) -> None:
        """Serve until ``stop``."""
        numbers = range(self._engine.bus.partitions)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_marks())
            if self._leases is None:
                for number in numbers:
                    group.create_task(self._serve_alone(number))
                return
            listening = await self._engine.bus.subscribe(_BEAT_SUBJECT, self._on_beat)
            async with listening:
                group.create_task(self._beat())
                for number in numbers:
                    group.create_task(self._serve_shared(number, self._leases))
                await self._stopping.wait()

    async def _serve_alone(self, number: int) -> None:
        while not self._stopping.is_set():
            try:
                await self._serve(number)
            except PartitionLostError:
                log.error(
                    "database_shared",
                    partition=number,
                    hint="another orchestrator uses this database: run both with --nats on one bus",
                )
                await self._pause()

    async def _keep_marks(self) -> None:
        """Tell the bus how far the database is: beside the loops, never in their way."""
        bus, told = self._engine.bus, dict[int, Mark]()
        while not self._stopping.is_set():
            await self._pause()
            for number, loop in list(self.loops.items()):
                mark = loop.mark
                if mark is None or told.get(number) == mark:
                    continue
                try:
                    await bus.write_mark(number, mark)
                except BusError as error:
                    log.debug("mark_not_written", partition=number, error=str(error))
                else:
                    told[number] = mark

    async def _serve(self, number: int) -> None:
        loop = PartitionLoop(number, self._engine)
        self.loops[number] = loop
        try:
            await loop.run()
        finally:
            self.loops.pop(number, None)

    # --- beside others ------------------------------------------------------------------------

    async def _serve_shared(self, number: int, leases: Leases) -> None:
        while not self._stopping.is_set():
            if not self._has_room() or not await self._acquire(number, leases):
                await self._pause()
                continue
            keeper = asyncio.create_task(self._keep(number, leases))
            try:
                await self._serve(number)
            except PartitionLostError:
                await self._pause()
            finally:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
                await self._release(number, leases)

    def _has_room(self) -> bool:
        return len(self.loops) < self._share()

    def _share(self) -> int:
        """How many partitions each member may hold."""
        limit = monotonic() - _MEMBER_TTL_S
        alive = sum(heard >= limit for heard in self._members.values())
        return math.ceil(self._engine.bus.partitions / max(1, alive))

    async def _acquire(self, number: int, leases: Leases) -> bool:
        try:
            return await leases.acquire(number)
        except BusError:
            return False

    async def _release(self, number: int, leases: Leases) -> None:
        try:
            await leases.release(number)
        except BusError:
            log.debug("lease_not_released", partition=number)  # it runs out by itself

    async def _keep(self, number: int, leases: Leases) -> None:
        """Renew the lease; end the loop when it is lost, or when others should have a share."""
        while True:
            await asyncio.sleep(_RENEW_S)
            loop = self.loops.get(number)
            if loop is None:
                return
            try:
                is_held = await leases.acquire(number)
            except BusError:
                continue  # nobody else can take it either; the epoch decides in the end
            is_surplus = len(self.loops) > self._share() and number == max(self.loops)
            if not is_held or is_surplus:
                log.info("partition_given_up", partition=number, lease_held=is_held)
                loop.stop()
                return

    def _on_beat(self, _: str, data: bytes) -> None:
        self._members[data.decode(errors="replace")] = monotonic()

    async def _beat(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._engine.bus.notify(_BEAT_SUBJECT, self._id.encode())
            except BusError:
                log.debug("beat_not_sent")
            await self._pause()

    async def _pause(self) -> None:
        # Not ``wait_for``: before Python 3.12 it now and then swallows a cancellation.
        with suppress(TimeoutError):
            async with asyncio.timeout(_BEAT_S):
                await self._stopping.wait()
