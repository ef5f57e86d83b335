"""A store, a bus, and the agents' and the clients' way to it: in memory, and in earnest."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import nats
import nats.errors
from nats.js.api import ConsumerConfig

from sagabus.adapters.memory_broker import MemoryBroker
from sagabus.adapters.memory_bus import MemoryBus
from sagabus.adapters.memory_store import MemoryStore
from sagabus.adapters.nats_bus import NatsBus
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.ports import Bus, Store
from sagabus_agents import wire
from sagabus_agents.wire import TaskMessage
from tests.support.nats_server import NatsServer

#: Reached by what hangs alone: a busy machine may take long for what is quick elsewhere.
WAIT_S = 60.0

T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T | None]], wait_s: float = WAIT_S) -> T:
    """Wait until ``condition`` gives something true."""
    async with asyncio.timeout(wait_s):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.005)


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
        async def is_up() -> bool:
            return self.broker.is_up

        await until(is_up)
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
            await asyncio.sleep(0.005)  # it may fail at once, for as long as the server is away
            return None

        # While the server is away nothing is acknowledged: the task comes again.
        async def ack() -> None:
            with suppress(nats.errors.Error, TimeoutError):
                await found.ack_sync()

        async def give_back() -> None:
            with suppress(nats.errors.Error, TimeoutError):
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

    async def deliver_again_after(self, role: str, seconds: float) -> None:
        """Let tasks of ``role`` whose agent is gone be delivered again that soon."""
        jetstream = await self.observer()
        consumer = ConsumerConfig(
            durable_name=role,
            filter_subject=wire.task_filter(role),
            ack_wait=seconds,
            max_deliver=-1,
            max_ack_pending=-1,
        )
        await jetstream.add_consumer(wire.STREAM_TASKS, consumer)

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


@asynccontextmanager
async def open_world(kind: str, directory: Path, partitions: int = 1) -> AsyncIterator[World]:
    """A ``"memory"`` or a ``"real"`` world."""
    async with AsyncExitStack() as stack:
        if kind == "real":
            yield await real_world(directory, stack, partitions)
            return
        memory = MemoryWorld(partitions)
        stack.push_async_callback(memory.close)
        yield memory


async def until_nothing_is_left(world: World, but: int = 0) -> None:
    """Wait until tasks and inbox hold no message, or ``but`` so many."""

    async def look() -> bool:
        return await world.left() <= but

    await until(look)
