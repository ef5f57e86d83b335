"""Orchestrators that die at any step, agents that follow a script, and the world both live in.

One file of more than 300 lines: the worlds, the mortal owner and the crew speak of each other.
"""

import asyncio
import inspect
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, TypeVar

import nats
import nats.errors
import pytest

from sagabus.adapters.cedar import CedarPolicies
from sagabus.adapters.memory_broker import MemoryBroker
from sagabus.adapters.memory_bus import MemoryBus
from sagabus.adapters.memory_store import MemoryStore
from sagabus.adapters.nats_bus import NatsBus
from sagabus.adapters.nats_leases import NatsLeases
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.app import Orchestrator
from sagabus.core import claims, saga, tasks, timers
from sagabus.core.instance import InstanceState
from sagabus.definitions.compile import compile_snapshot
from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import BusUnavailableError
from sagabus.observe.event_log import EventLog
from sagabus.observe.metrics import Metrics
from sagabus.ports import Bus, Delivery, Leases, OutgoingEvent, OutgoingTask, Store
from sagabus.runtime.engine import Engine, Limits
from sagabus.runtime.following import Following
from sagabus.runtime.ownership import Ownership
from sagabus.runtime.presence import Presence
from sagabus.runtime.snapshots import Snapshots
from sagabus_agents import wire
from sagabus_agents.wire import (
    ClaimAnswer,
    ClaimMessage,
    ClaimVerdict,
    CommandMessage,
    CommandReply,
    TaskMessage,
)
from tests.support.nats_server import NatsServer

WAIT_S = 20.0
#: Presence lives this many times faster, so that a new owner knows who is there after 80 ms.
HURRY = 50.0
FAST = Limits(resend_after_s=0.5, idle_s=0.02, retry_s=0.01)

T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T | None]], wait_s: float = WAIT_S) -> T:
    """Wait until ``condition`` gives something true."""
    async with asyncio.timeout(wait_s):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.005)


def shorten_grace(monkeypatch: pytest.MonkeyPatch, grace_s: float) -> None:
    """Hurry two constants of the core: the time beyond a limit, and that of two presence beats."""
    for module in (tasks, claims, saga, timers):
        monkeypatch.setattr(module, "GRACE", timedelta(seconds=grace_s))
    monkeypatch.setattr(claims, "UNHEARD", claims.UNHEARD / HURRY)


# --- worlds: a store, a bus, and the agents' and the clients' way to it -----------------------


@dataclass(slots=True)
class Taken:
    """A task message in an agent's hands."""

    message: TaskMessage
    delivery: int
    ack: Callable[[], Awaitable[None]]
    give_back: Callable[[], Awaitable[None]]


class Link(Protocol):
    """The bus as those see it who are no orchestrator."""

    async def take(self, role: str) -> Taken | None:
        """The next task of a role, if one comes within a moment."""

    async def send(self, instance: str, source: str, data: bytes, msg_id: str = "") -> None:
        """Store a message in the inbox."""

    async def notify(self, subject: str, data: bytes) -> None:
        """Core publish."""

    def listen(self, subject: str, handler: Callable[[bytes], None]) -> Any:
        """Core subscription for the time of an async context."""

    async def leave(self) -> None:
        """Take nothing more."""


class MemoryLink:
    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker

    async def take(self, role: str) -> Taken | None:
        task = self.broker.take(role) if self.broker.is_up else None
        if task is None:
            await asyncio.sleep(0.002)
            return None

        async def ack() -> None:
            self.broker.ack(task)

        async def give_back() -> None:
            task.is_taken = False

        return Taken(TaskMessage.model_validate_json(task.data), task.delivery, ack, give_back)

    async def send(self, instance: str, source: str, data: bytes, msg_id: str = "") -> None:
        while not self.broker.is_up:
            await asyncio.sleep(0.005)
        subject = wire.inbox_subject(instance, source)
        self.broker.make_streams()
        self.broker.store_inbox(subject, data, msg_id or None)

    async def notify(self, subject: str, data: bytes) -> None:
        if self.broker.is_up:
            self.broker.deliver(subject, data)

    @asynccontextmanager
    async def listen(self, subject: str, handler: Callable[[bytes], None]) -> AsyncIterator[None]:
        end = self.broker.subscribe(subject, lambda _, data: handler(data))
        try:
            yield
        finally:
            end()

    async def leave(self) -> None:
        """Nothing is on its way."""


class NatsLink:
    def __init__(self, client: Any) -> None:
        self._client = client
        self._jetstream = client.jetstream()
        self._pulls: dict[str, Any] = {}

    async def take(self, role: str) -> Taken | None:
        try:
            if role not in self._pulls:
                self._pulls[role] = await self._jetstream.pull_subscribe_bind(
                    durable=role, stream=wire.STREAM_TASKS
                )
            [found] = await self._pulls[role].fetch(1, timeout=0.2)
        except (nats.errors.Error, TimeoutError):
            return None

        async def ack() -> None:
            await found.ack_sync()

        async def give_back() -> None:
            await found.nak(delay=0.01)

        message = TaskMessage.model_validate_json(found.data)
        return Taken(message, found.metadata.num_delivered, ack, give_back)

    async def send(self, instance: str, source: str, data: bytes, msg_id: str = "") -> None:
        headers = {"Nats-Msg-Id": msg_id or uuid.uuid4().hex}
        subject = wire.inbox_subject(instance, source)
        while True:
            try:
                await self._jetstream.publish(subject, data, headers=headers, timeout=1)
                return
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(0.05)

    async def notify(self, subject: str, data: bytes) -> None:
        await self._client.publish(subject, data)

    @asynccontextmanager
    async def listen(self, subject: str, handler: Callable[[bytes], None]) -> AsyncIterator[None]:
        async def on_message(message: Any) -> None:
            handler(message.data)

        subscription = await self._client.subscribe(subject, cb=on_message)
        await self._client.flush()
        try:
            yield
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def leave(self) -> None:
        """End the pulls: one that nobody reads would swallow the next task."""
        for pull in self._pulls.values():
            with suppress(nats.errors.Error):
                await pull.unsubscribe()
        self._pulls.clear()


class MemoryWorld:
    """Everything in this process."""

    def __init__(self, partitions: int = 1) -> None:
        self.broker = MemoryBroker(partitions=partitions)
        self.store: Store = MemoryStore()

    async def connect(self) -> Bus:
        return MemoryBus(self.broker)

    async def link(self) -> MemoryLink:
        return MemoryLink(self.broker)

    async def events(self, instance: str) -> list[bytes]:
        subject = wire.event_subject(instance, "")
        return [event.data for event in self.broker.events if event.subject.startswith(subject)]

    async def dead(self) -> list[wire.DeadLetter]:
        return [wire.DeadLetter.model_validate_json(each.data) for each in self.broker.dead]

    async def left(self) -> int:
        broker = self.broker
        queues = [broker.queued_tasks(role) + broker.taken_tasks(role) for role in broker.roles]
        inbox = [broker.undelivered(number, IDLE) for number in range(broker.partitions)]
        return sum(map(len, queues + inbox))

    async def close(self) -> None:
        await self.store.close()


class _NobodyReads:
    pending: frozenset[int] = frozenset()


#: A consumer that was given nothing: it sees all that is stored.
IDLE: Any = _NobodyReads()


class RealWorld:
    """A nats-server of its own, and any store."""

    def __init__(self, server: NatsServer, store: Store, partitions: int = 1) -> None:
        self.server = server
        self.store = store
        self._partitions = partitions
        self._stack = AsyncExitStack()
        self._observer: Any = None

    async def connect(self) -> NatsBus:
        bus = await NatsBus.connect(self.server.url, partitions=self._partitions)
        self._stack.push_async_callback(bus.close)
        return bus

    async def link(self) -> NatsLink:
        return NatsLink(await self.client())

    async def client(self) -> Any:
        async def ignore(_: Exception) -> None:
            """Lost connections are part of the tests."""

        client = await nats.connect(
            self.server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=ignore
        )
        self._stack.push_async_callback(client.close)
        return client

    async def observer(self) -> Any:
        """JetStream, as somebody who only looks."""
        if self._observer is None:
            self._observer = (await self.client()).jetstream()
        return self._observer

    async def _stored(self, stream: str, subject: str) -> list[bytes]:
        jetstream = await self.observer()
        info = await jetstream.stream_info(stream, subjects_filter=subject)
        count = sum((info.state.subjects or {}).values())
        if not count:
            return []
        reading = await jetstream.pull_subscribe(subject, stream=stream)
        try:
            return [message.data for message in await reading.fetch(count, timeout=5)]
        finally:
            await reading.unsubscribe()

    async def events(self, instance: str) -> list[bytes]:
        return await self._stored(wire.STREAM_EVENTS, wire.event_subject(instance, "*"))

    async def dead(self) -> list[wire.DeadLetter]:
        found = await self._stored(wire.STREAM_DEAD, ">")
        return [wire.DeadLetter.model_validate_json(each) for each in found]

    async def left(self) -> int:
        jetstream = await self.observer()
        streams = (wire.STREAM_TASKS, wire.STREAM_INBOX)
        infos = [await jetstream.stream_info(stream) for stream in streams]
        return sum(info.state.messages for info in infos)

    async def close(self) -> None:
        await self._stack.aclose()
        await self.store.close()


World = MemoryWorld | RealWorld


async def real_world(directory: Path, stack: AsyncExitStack, partitions: int = 1) -> RealWorld:
    """A server and an embedded database in ``directory``, for as long as ``stack``."""
    server = stack.enter_context(NatsServer(directory / "nats"))
    store = await SurrealStore.open(
        f"surrealkv://{directory / 'db'}", migrations=data_path("migrations")
    )
    world = RealWorld(server, store, partitions)
    stack.push_async_callback(world.close)
    return world


# --- an owner that dies -----------------------------------------------------------------------


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
    async def open_inbox(self, partition: int, epoch: int) -> MortalInbox:
        self.life.step("open_inbox.before")
        inbox = await self.inner.open_inbox(partition, epoch)
        self.life.step("open_inbox.after")
        return MortalInbox(inbox, self.life)

    async def publish(self, events: Sequence[OutgoingEvent], tasks: Sequence[OutgoingTask]) -> None:
        self.life.step("publish.before")
        await self.inner.publish(events, [])
        self.life.step("publish.middle")
        await self.inner.publish([], tasks)
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
    ) -> None:
        self.life = life or Life()
        self.bus = bus
        self.store: Any = Mortal(store, self.life)
        mortal_bus: Any = MortalBus(bus, self.life)
        mortal_leases: Any = Mortal(leases, self.life) if leases is not None else None
        self.holder = CatalogHolder(config, CedarPolicies.load)
        self.metrics = Metrics()
        self.presence = Presence(lambda: monotonic() * hurry)
        self.engine = Engine(
            store=self.store,
            bus=mortal_bus,
            snapshots=Snapshots(
                self.store, lambda name: self.holder.current.get(name), compile_snapshot
            ),
            policies=lambda: self.holder.current.policies,
            presence=self.presence,
            metrics=self.metrics,
            event_log=EventLog("critical"),
            limits=limits,
        )
        self.ownership = Ownership(self.engine, mortal_leases)
        following = Following(
            self.store, lambda instance: self.ownership.loop_of(instance) is not None
        )
        self.engine.listeners.append(following.on_commit)
        self.facade = Orchestrator(self.engine, self.ownership, self.holder, following, "")
        self._work: asyncio.Task[None] | None = None

    async def begin(self) -> "Owner":
        """Serve from now on."""
        self._work = asyncio.create_task(self._serve())
        return self

    async def _serve(self) -> None:
        await self.engine.bus.ensure(sorted(self.holder.current.roles))
        async with await self.engine.bus.subscribe(
            "sagabus.presence.*", self.presence.on_message
        ):
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


class Dynasty:
    """One owner after another: when one dies, the next takes over at once."""

    def __init__(self, config: Path, world: World, dies: Callable[[str], bool]) -> None:
        self._config = config
        self._world = world
        self._dies = dies
        self.owner: Owner | None = None
        self.deaths = 0

    async def reign(self) -> None:
        """Until cancelled."""
        while True:
            bus = await self._world.connect()
            owner = Owner(self._config, self._world.store, bus, life=Life(self._dies))
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
                    await asyncio.wait({asking, death}, return_when=asyncio.FIRST_COMPLETED)
                    death.cancel()
                    if not asking.done():
                        asking.cancel()
                    with suppress(asyncio.CancelledError, BusUnavailableError, Killed):
                        return await asking
                await asyncio.sleep(0.002)


# --- agents and clients -----------------------------------------------------------------------


@dataclass(slots=True)
class Fail:
    """The attempt fails."""

    type: str = "Broken"
    message: str = "no"
    is_retryable: bool = True


@dataclass(slots=True)
class Hang:
    """The attempt runs until it is cancelled, or for ever where ``is_deaf``."""

    is_deaf: bool = False


Outcome = Fail | Hang | Any


@dataclass(slots=True)
class Crew:
    """Agents of several roles that do what ``script`` says by ``"task#attempt"``, else succeed."""

    link: Link
    roles: Sequence[str]
    script: Mapping[str, Outcome] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"crew-{uuid.uuid4().hex[:8]}")
    #: What was done to the world, by ``"<instance> <task>#<attempt>"``.
    effects: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    #: Messages of what was run.
    ran: list[TaskMessage] = field(default_factory=list)
    _held: dict[tuple[str, str, int], Taken] = field(default_factory=dict)
    _started: dict[tuple[str, str, int], datetime] = field(default_factory=dict)
    _answers: dict[str, asyncio.Future[ClaimVerdict]] = field(default_factory=dict)
    _cancelled: dict[tuple[str, int], asyncio.Event] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        return not self._held

    async def work(self) -> None:
        """Until cancelled."""
        reply = f"_INBOX.{self.id}"
        async with (
            self.link.listen(reply, self._on_answer),
            self.link.listen("sagabus.cancel.*", self._on_cancel),
            asyncio.TaskGroup() as group,
        ):
            for role in self.roles:
                group.create_task(self._pull(role, reply, group))
            group.create_task(self._leave_at_end())

    async def _leave_at_end(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.link.leave()

    async def _pull(self, role: str, reply: str, group: asyncio.TaskGroup) -> None:
        while True:
            taken = await self.link.take(role)
            if taken is None:
                continue
            message = taken.message
            key = (message.workflow_id, message.task, message.attempt)
            is_held = key in self._held
            self._held[key] = taken
            if not is_held:
                group.create_task(self._handle(key, reply))

    async def _handle(self, key: tuple[str, str, int], reply: str) -> None:
        taken = self._held[key]
        message = taken.message
        needs_claim = message.claim or message.resent or taken.delivery > 1
        verdict = await self._claim(taken, reply) if needs_claim else ClaimVerdict.RUN
        if verdict is ClaimVerdict.LATER:
            await self._held.pop(key).give_back()
            return
        if verdict is ClaimVerdict.RUN:
            self.effects[f"{key[0]} {key[1]}#{key[2]}"] += 1
            self.ran.append(message)
            self._started[key] = datetime.now(UTC)
            await self.announce()
            result = await self._run(key)
            del self._started[key]
            if result is None:
                return
            await self.link.send(key[0], message.role, result)
            await self.announce()
        else:
            self.refused[f"{key[0]} {key[1]}#{key[2]}"] += 1
        await self._held[key].ack()
        del self._held[key]

    async def _claim(self, taken: Taken, reply: str) -> ClaimVerdict:
        message = taken.message
        claim = ClaimMessage(
            claim=uuid.uuid4().hex,
            task=message.task,
            attempt=message.attempt,
            agent=self.id,
            delivery=taken.delivery,
            reply=reply,
        )
        answer = self._answers[claim.claim] = asyncio.get_running_loop().create_future()
        while not answer.done():
            await self.link.send(
                message.workflow_id, message.role, claim.model_dump_json().encode()
            )
            await asyncio.wait([answer], timeout=0.1)
        return answer.result()

    async def _run(self, key: tuple[str, str, int]) -> bytes | None:
        """The result; None where it never comes."""
        instance, task, attempt = key
        outcome = self.script.get(f"{task}#{attempt}", {"made": task})
        result: dict[str, Any] = {"output": outcome, "artifacts": [f"{task}-artifact"]}
        status = "succeeded"
        match outcome:
            case Fail():
                status = "failed"
                result = {
                    "error": {
                        "type": outcome.type,
                        "message": outcome.message,
                        "retryable": outcome.is_retryable,
                    }
                }
            case Hang():
                if outcome.is_deaf:
                    return None
                await self._cancelled.setdefault((task, attempt), asyncio.Event()).wait()
                status, result = "cancelled", {}
        return result_data(task, attempt, status, agent=self.id, **result)

    async def announce(self) -> None:
        """Tell what runs here."""
        running = [
            wire.RunningAttempt(instance=i, task=t, attempt=a, started_at=at)
            for (i, t, a), at in self._started.items()
        ]
        message = wire.PresenceMessage(
            agent=self.id, roles=list(self.roles), slots=9, free=9, running=running
        )
        await self.link.notify(wire.presence_subject(self.id), message.model_dump_json().encode())

    def _on_answer(self, data: bytes) -> None:
        answer = ClaimAnswer.model_validate_json(data)
        waiting = self._answers.get(answer.claim)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.answer)

    def _on_cancel(self, data: bytes) -> None:
        cancel = wire.CancelMessage.model_validate_json(data)
        self._cancelled.setdefault((cancel.task, cancel.attempt), asyncio.Event()).set()


def result_data(
    task: str, attempt: int = 1, status: str = "succeeded", agent: str = "hand", **fields: Any
) -> bytes:
    """A result message."""
    values = {"task": task, "attempt": attempt, "status": status, "agent": agent, **fields}
    return wire.ResultMessage.model_validate(values).model_dump_json().encode()


async def command(
    link: Link, instance: str, id: str, name: Any, **arguments: Any
) -> CommandReply:
    """Give a command as another process does, again with the same id until it is answered."""
    reply = f"_INBOX.{uuid.uuid4().hex}"
    message = CommandMessage(command=id, name=name, arguments=arguments, by="ann", reply=reply)
    answer: asyncio.Future[CommandReply] = asyncio.get_running_loop().create_future()

    def on_reply(data: bytes) -> None:
        if not answer.done():
            answer.set_result(CommandReply.model_validate_json(data))

    async with link.listen(reply, on_reply), asyncio.timeout(WAIT_S):
        while not answer.done():
            await link.send(instance, wire.COMMAND_SOURCE, message.model_dump_json().encode())
            await asyncio.wait([answer], timeout=0.2)
    return answer.result()


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
            job.cancel()
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(
                result, asyncio.CancelledError
            ):
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
