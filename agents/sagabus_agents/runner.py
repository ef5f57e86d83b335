"""An agent at work on the bus, and how it leaves in good order."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from sagabus_agents.attempt import AttemptKey, HeldAttempt
from sagabus_agents.beats import HEARTBEAT_S, Beats
from sagabus_agents.connection import Connection
from sagabus_agents.handlers import Handlers
from sagabus_agents.observing import Observations
from sagabus_agents.pull import RolePull
from sagabus_agents.wire import cancel_subject
from sagabus_agents.worker import Worker

TICK_S = 0.25
#: How long handlers may take to end once they were cancelled because the agent leaves.
GIVE_UP_WITHIN_S = 1.0
FLUSH_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How an agent runs."""

    url: str
    #: Tasks of each role that run at once.
    concurrency: int
    #: How long running tasks may take to end once the agent is told to stop.
    drain_s: float
    #: Further arguments of ``nats.connect``.
    connect: Mapping[str, Any] = field(default_factory=dict)
    heartbeat_s: float = HEARTBEAT_S
    #: Called when a handler does not end although it was cancelled and the agent has left.
    on_stuck: Callable[[], None] | None = None


class Runner:
    """One agent process on the bus."""

    def __init__(
        self, agent: str, version: str, roles: Sequence[str], handlers: Handlers, opt: RunnerOptions
    ) -> None:
        self._options = opt
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._wake = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents").bind(agent=agent)
        held: dict[AttemptKey, HeldAttempt] = {}
        self._held = held
        self._connection = Connection(opt.url, name=agent, options=opt.connect)
        self._pulls = [RolePull(role, opt.concurrency, self._connection) for role in roles]
        self._beats = Beats(
            self._connection,
            agent,
            self._pulls,
            held.values(),
            version=version,
            heartbeat_s=opt.heartbeat_s,
        )
        self._worker = Worker(agent, handlers, self._connection, self._group, held, self._beats)
        self._observations = Observations(agent, roles, handlers, self._connection, self._group)
        self._connection.subscribe(lambda: cancel_subject("*"), self._worker.on_cancel)
        self._connection.on_up(self._worker.reconnected)
        self._connection.on_up(self._beats.reconnected)
        for pull in self._pulls:
            pull.on_task = self._worker.on_task
            self._connection.on_up(pull.reconnected)
        self._connection.on_up(self._wake.set)

    def stop(self, *, now: bool = False) -> None:
        """Pull no more, let what runs end, leave; ``now``: give up what runs. Any thread may."""
        with suppress(RuntimeError):  # the loop is closed: it has stopped
            self._loop.call_soon_threadsafe(self._stop, now)

    def _stop(self, now: bool) -> None:
        self._stopping.set()
        if now:
            self._hurry.set()

    async def serve(self) -> None:
        """Work until ``stop``, or until cancelled."""
        try:
            async with self._group:
                loops = [
                    self._group.create_task(self._connection.keep()),
                    self._group.create_task(self._tick()),
                ]
                await self._stopping.wait()
                await self._drain()
                for loop in loops:
                    loop.cancel()
                await self._connection.close()
        finally:
            await self._connection.close()

    async def _tick(self) -> None:
        while True:
            self._wake.clear()
            timer = self._loop.call_later(TICK_S, self._wake.set)
            now = self._loop.time()
            # Heartbeats first: they must not wait for anything.
            await self._beats.tick(now)
            for pull in self._pulls:
                await pull.tick(now)
            await self._worker.tick(now)
            await self._wake.wait()
            timer.cancel()

    async def _drain(self) -> None:
        self._log.info("agent_draining", running=len(self._held))
        self._worker.leave()
        for pull in self._pulls:
            await pull.stop()
        await self._observations.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_s):
                await self._first_of(self._worker.idle, self._hurry)
        if self._held:
            self._log.warning("tasks_given_up", tasks=["/".join(map(str, k)) for k in self._held])
        # Before the tasks are given back: who claims them next must not be told "later".
        await self._beats.announce(leaving=True)
        await self._give_up()
        await self._connection.flush(FLUSH_WITHIN_S)
        self._log.info("agent_left")

    async def _give_up(self) -> None:
        deadline = self._loop.time() + GIVE_UP_WITHIN_S
        # A single cancellation is easily lost inside a handler (asyncio.wait_for before 3.12).
        while self._held and self._loop.time() < deadline:
            self._worker.end_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(GIVE_UP_WITHIN_S / 10):
                    await self._worker.idle.wait()
        self._worker.abandon_threads()
        await asyncio.sleep(0)
        stuck = [attempt for attempt in self._held.values() if not attempt.is_over]
        if stuck and self._options.on_stuck is not None:
            self._log.error("handlers_ignore_cancellation", count=len(stuck))
            await self._connection.flush(FLUSH_WITHIN_S)
            self._options.on_stuck()

    async def _first_of(self, *events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
