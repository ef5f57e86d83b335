"""Orchestrators over any store and bus that die at any step, and what came of it.

One file, because an owner and all that is around it are wired as one.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pytest

from sagabus.adapters.cedar import CedarPolicies
from sagabus.adapters.memory_holds import MemoryHolds
from sagabus.adapters.memory_kv import MemoryKeyValues
from sagabus.adapters.memory_registry import MemoryRegistry
from sagabus.adapters.secret_box import SecretBox
from sagabus.app import Orchestrator
from sagabus.core import claims, saga, tasks, timers
from sagabus.core.instance import InstanceState
from sagabus.definitions.compile import compile_snapshot
from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import BusUnavailableError
from sagabus.observe.event_log import EventLog
from sagabus.observe.metrics import Metrics
from sagabus.ports import (
    Bus,
    Delivery,
    HoldBook,
    KeyValues,
    Leases,
    OutgoingEvent,
    OutgoingTask,
    Store,
)
from sagabus.runtime.engine import Engine, Limits, utc_now
from sagabus.runtime.following import Following
from sagabus.runtime.ownership import Ownership
from sagabus.runtime.presence import Presence
from sagabus.runtime.snapshots import Snapshots
from tests.support.worlds import WAIT_S, World, until

#: Presence lives this many times faster, so that a new owner knows who is there after 80 ms.
HURRY = 50.0
UNHEARD = tasks.UNHEARD
FAST = Limits(resend_after_s=0.5, idle_s=0.02, retry_s=0.01)

T = TypeVar("T")


def shorten_grace(monkeypatch: pytest.MonkeyPatch, grace_s: float) -> None:
    """Hurry two constants of the core: the time beyond a limit, and that of two presence beats."""
    for module in (tasks, claims, saga, timers):
        for name, value in (("GRACE", timedelta(seconds=grace_s)), ("UNHEARD", UNHEARD / HURRY)):
            monkeypatch.setattr(module, name, value, raising=False)


class Killed(BaseException):
    """The process is gone. No handler of errors may see this, as none sees a kill -9."""


class Life:
    """Every call of an owner to the outside passes ``step``, and may be its last."""

    def __init__(self, dies: Callable[[str], bool] = lambda _: False) -> None:
        self._dies = dies
        self.is_over = False
        self.ended = asyncio.Event()

    def step(self, name: str) -> None:
        """Die here if so decided; the dead have no effect."""
        if not self.is_over and self._dies(name):
            self.end()
        if self.is_over:
            raise Killed(name)

    def end(self) -> None:
        self.is_over = True
        self.ended.set()


class Mortal:
    """Whatever an owner uses, with a ``step`` before and after each call."""

    def __init__(self, inner: Any, life: Life) -> None:
        self.inner = inner
        self.life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **options: Any) -> Any:
            self.life.step(f"{name}.before")
            result = await found(*args, **options)
            self.life.step(f"{name}.after")
            return result

        return call


class MortalInbox(Mortal):
    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.life.step("ack.before")
        middle = len(deliveries) // 2
        await self.inner.ack(deliveries[:middle])
        self.life.step("ack.middle")
        await self.inner.ack(deliveries[middle:])
        self.life.step("ack.after")


class MortalBus(Mortal):
    def __init__(self, inner: Any, life: Life) -> None:
        super().__init__(inner, life)
        #: Message ids of what was handed over, in order.
        self.sent: list[str] = []

    async def open_inbox(self, partition: int, epoch: int) -> MortalInbox:
        self.life.step("open_inbox.before")
        inbox = await self.inner.open_inbox(partition, epoch)
        self.life.step("open_inbox.after")
        return MortalInbox(inbox, self.life)

    async def publish(self, events: Sequence[OutgoingEvent], tasks: Sequence[OutgoingTask]) -> None:
        self.life.step("publish.before")
        self.sent += [event.msg_id for event in events] + [task.msg_id for task in tasks]
        await self.inner.publish([], tasks)
        self.life.step("publish.middle")
        await self.inner.publish(events, [])
        self.life.step("publish.after")


class Owner:
    """One orchestrator that can be killed: then it neither does nor cleans up anything more."""

    def __init__(
        self,
        config: Path,
        store: Store,
        bus: Bus,
        *,
        life: Life | None = None,
        leases: Leases | None = None,
        limits: Limits = FAST,
        hurry: float = HURRY,
        kv: KeyValues | None = None,
        holds: HoldBook | None = None,
        holder: CatalogHolder | None = None,
        seconds: Callable[[], float] = monotonic,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.life = life or Life()
        self.bus = bus
        self.store: Any = Mortal(store, self.life)
        mortal_bus: Any = MortalBus(bus, self.life)
        self.sent: list[str] = mortal_bus.sent
        mortal_leases: Any = Mortal(leases, self.life) if leases is not None else None
        mortal_holds: Any = Mortal(holds or MemoryHolds(), self.life)
        self.holder = holder or CatalogHolder(config, CedarPolicies.load)
        self.metrics = Metrics()
        self.presence = Presence(lambda: seconds() * hurry)
        self.engine = Engine(
            store=self.store,
            kv=Mortal(kv or MemoryKeyValues(SecretBox(None)), self.life),
            bus=mortal_bus,
            snapshots=Snapshots(
                self.store, lambda name: self.holder.current.get(name), compile_snapshot
            ),
            policies=lambda: self.holder.last_policies,
            presence=self.presence,
            metrics=self.metrics,
            event_log=EventLog("critical"),
            limits=limits,
            clock=clock,
        )
        self.ownership = Ownership(self.engine, mortal_leases)
        following = Following(
            self.store, lambda instance: self.ownership.loop_of(instance) is not None
        )
        self.engine.listeners.append(following.on_commit)
        self.facade = Orchestrator(
            self.engine, self.ownership, self.holder, following, MemoryRegistry(), mortal_holds, ""
        )
        self._work: asyncio.Task[None] | None = None

    async def begin(self) -> "Owner":
        """Serve from now on."""
        self._work = asyncio.create_task(self._serve())
        return self

    async def _serve(self) -> None:
        await self.facade.holds.refresh()
        await self.engine.bus.ensure(sorted(self.holder.current.roles))
        async with await self.engine.bus.subscribe("sagabus.presence.*", self.presence.on_message):
            await self.ownership.run()

    async def until_serving(self) -> "Owner":
        async def is_serving() -> bool:
            self.check()
            loops = self.ownership.loops.values()
            return bool(loops) and all(loop.is_serving for loop in loops)

        await until(is_serving)
        return self

    def check(self) -> None:
        """Raise what ended the owner, unless it was killed."""
        if self._work is not None and self._work.done() and not self.life.is_over:
            self._work.result()

    async def kill(self) -> None:
        """End it between two steps; what it was waiting for never comes back to it."""
        self.life.end()
        await self.bury()

    async def bury(self) -> None:
        """After its death: nothing of it is left running."""
        assert self._work is not None
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)

    async def stop(self) -> None:
        """End in good order, or raise what ended it before."""
        assert self._work is not None
        self.ownership.stop()
        await asyncio.gather(self._work, return_exceptions=True)
        self.check()

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


Own = Callable[..., Awaitable[Owner]]


@asynccontextmanager
async def owners(config: Path, world: World) -> AsyncIterator[Own]:
    """Makes owners that serve; those alive at the end are stopped in good order."""
    made: list[Owner] = []

    async def make(*, store: Any = None, **options: Any) -> Owner:
        owner = Owner(config, store or world.store, await world.connect(), **options)
        made.append(owner)
        await owner.begin()
        return await owner.until_serving()

    yield make
    for owner in made:
        await owner.stop()


class Dynasty:
    """One owner after another: when one dies, the next takes over at once."""

    def __init__(
        self,
        config: Path,
        world: World,
        dies: Callable[[str], bool],
        holds: HoldBook | None = None,
        **options: Any,
    ) -> None:
        #: What every owner is made with besides.
        self._options = {"holds": holds, **options}
        self._config = config
        self._world = world
        self._dies = dies
        self.owner: Owner | None = None
        self.deaths = 0

    async def reign(self) -> None:
        """Until cancelled."""
        while True:
            bus = await self._world.connect()
            life = Life(self._dies)
            owner = Owner(self._config, self._world.store, bus, life=life, **self._options)
            self.owner = await owner.begin()
            try:
                while not owner.life.is_over:
                    owner.check()
                    # Not ``wait_for``, which swallows a cancellation now and then before 3.12.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await owner.life.ended.wait()
                self.deaths += 1
            finally:
                if owner.life.is_over:
                    await owner.bury()
                    await bus.close()  # the kernel closes the sockets of a dead process
                else:
                    await owner.stop()

    async def ask(self, call: Callable[[Orchestrator], Awaitable[T]]) -> T:
        """Ask whoever reigns, and the next one where the answer died with the first."""
        async with asyncio.timeout(WAIT_S):
            while True:
                owner = self.owner
                if owner is not None and not owner.life.is_over:
                    asking = asyncio.ensure_future(call(owner.facade))
                    death = asyncio.ensure_future(owner.life.ended.wait())
                    try:
                        await asyncio.wait({asking, death}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        death.cancel()
                        if not asking.done():
                            asking.cancel()
                    with suppress(asyncio.CancelledError, BusUnavailableError, Killed):
                        return await asking
                await asyncio.sleep(0.002)


@asynccontextmanager
async def running(*works: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run things that end by being cancelled; what fails in them fails here."""
    jobs = [asyncio.ensure_future(work()) for work in works]
    body = asyncio.current_task()
    assert body is not None

    def on_end(job: "asyncio.Future[None]") -> None:
        if not job.cancelled() and job.exception() is not None:
            body.cancel()

    for job in jobs:
        job.add_done_callback(on_end)
    try:
        yield
    finally:
        for job in jobs:
            job.remove_done_callback(on_end)
        pending = set(jobs)
        while pending:  # before Python 3.12 a request to the server may swallow a cancellation
            for job in pending:
                job.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.2)
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise AssertionError("what the test ran beside itself failed") from result


async def ended(store: Store, instance: str, wait_s: float = WAIT_S) -> InstanceState:
    """The instance when nothing of it is open any more."""

    async def look() -> InstanceState | None:
        state = await store.load_instance(instance)
        is_over = state is not None and state.row.status.is_terminal
        return state if is_over and state is not None and not state.row.open_attempts else None

    return await until(look, wait_s)


async def history_types(store: Store, instance: str) -> list[str]:
    """What happened, by name."""
    return [event["type"] for entry in await store.history(instance) for event in entry.events]
