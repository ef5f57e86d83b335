"""One suite over the memory bus and the real server: what ``sagabus.ports.Bus`` promises.

One file, because a port has one list of promises.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import nats
import pytest

from sagabus.adapters.memory_broker import MemoryBroker
from sagabus.adapters.memory_bus import MemoryBus
from sagabus.adapters.nats_bus import NatsBus
from sagabus.errors import BadMessageError, BusUnavailableError, PartitionLostError
from sagabus.ports import Bus, Delivery, Inbox, Mark, OutgoingEvent, OutgoingTask
from sagabus_agents import wire
from tests.support.eventually import until_queued
from tests.support.nats_server import NatsServer

WAIT_S = 10.0


class MemoryWorld:
    """The memory bus, and what agents and the server do to it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.broker = MemoryBroker()
        self._stack = stack

    async def connect(self) -> Bus:
        bus = MemoryBus(self.broker)
        self._stack.push_async_callback(bus.close)
        return bus

    async def send_inbox(self, subject: str, data: bytes) -> None:
        self.broker.store_inbox(subject, data)

    async def take(self, role: str) -> tuple[str, bytes, Callable[[], Awaitable[None]]] | None:
        task = self.broker.take(role)
        if task is None:
            return None

        async def ack() -> None:
            self.broker.ack(task)

        return task.subject, task.data, ack

    async def events(self) -> list[bytes]:
        return [event.data for event in self.broker.events]

    async def dead(self) -> list[bytes]:
        return [letter.data for letter in self.broker.dead]

    async def payload_messages(self) -> int:
        return len(self.broker.payloads)

    async def respond(self, subject: str, responder: Callable[[bytes], bytes | None]) -> None:
        self.broker.respond(subject, responder)


class NatsWorld:
    """A real server, with an agent's connection of its own."""

    def __init__(self, stack: AsyncExitStack, server: NatsServer, client: Any) -> None:
        self._stack = stack
        self._server = server
        self._client = client
        self._jetstream = client.jetstream()

    async def connect(self) -> Bus:
        bus = await NatsBus.connect(self._server.url)
        self._stack.push_async_callback(bus.close)
        return bus

    async def send_inbox(self, subject: str, data: bytes) -> None:
        await self._jetstream.publish(subject, data)

    async def take(self, role: str) -> tuple[str, bytes, Callable[[], Awaitable[None]]] | None:
        subscription = await self._jetstream.pull_subscribe_bind(
            durable=role, stream=wire.STREAM_TASKS
        )
        try:
            [message] = await subscription.fetch(1, timeout=0.3)
        except nats.errors.TimeoutError:
            return None
        finally:
            await subscription.unsubscribe()
        return message.subject, message.data, message.ack_sync

    async def _stored(self, stream: str) -> list[bytes]:
        info = await self._jetstream.stream_info(stream)
        found = range(max(1, info.state.first_seq), info.state.last_seq + 1)
        return [(await self._jetstream.get_msg(stream, seq)).data for seq in found]

    async def events(self) -> list[bytes]:
        return await self._stored(wire.STREAM_EVENTS)

    async def dead(self) -> list[bytes]:
        return await self._stored(wire.STREAM_DEAD)

    async def payload_messages(self) -> int:
        return int((await self._jetstream.stream_info(wire.STREAM_PAYLOADS)).state.messages)

    async def respond(self, subject: str, responder: Callable[[bytes], bytes | None]) -> None:
        async def answer(message: Any) -> None:
            found = responder(message.data)
            if found is not None:
                await message.respond(found)

        await self._client.subscribe(subject, cb=answer)
        # Answered behind the subscription; the driver's `flush` may overtake it.
        with suppress(nats.errors.NoRespondersError):
            await self._client.request(self._client.new_inbox())


World = MemoryWorld | NatsWorld


@pytest.fixture(params=["memory", "nats"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryWorld(stack)
            return
        server = stack.enter_context(NatsServer(tmp_path / "nats"))
        client = await nats.connect(server.url)
        stack.push_async_callback(client.close)
        yield NatsWorld(stack, server, client)


@pytest.fixture
async def bus(world: World) -> Bus:
    return await world.connect()


def task(subject: str, data: bytes = b"{}", msg_id: str | None = None) -> OutgoingTask:
    return OutgoingTask(subject, subject.split(".")[2], data, msg_id or uuid.uuid4().hex)


def event(instance: str, seq: int) -> OutgoingEvent:
    subject = wire.event_subject(instance, "TaskScheduled")
    return OutgoingEvent(subject, f"{instance}:{seq}".encode(), f"{instance}:{seq}")


def instance_in(bus: Bus, partition: int) -> str:
    candidates = (f"i{number}" for number in range(1000))
    return next(name for name in candidates if bus.partition_of(name) == partition)


async def receive(inbox: Inbox, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    deadline = time.monotonic() + WAIT_S
    while len(found) < count and time.monotonic() < deadline:
        found += await inbox.next(count - len(found), 0.5)
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_partition_is_the_one_that_the_server_computes(world: World, bus: Bus) -> None:
    inboxes = [await bus.open_inbox(partition, 1) for partition in range(bus.partitions)]
    instances = [f"wf-{number}_{'x' * (number % 40)}" for number in range(100)]
    for instance in instances:
        await world.send_inbox(wire.inbox_subject(instance, "devops"), instance.encode())
    expected = {
        partition: [name for name in instances if bus.partition_of(name) == partition]
        for partition in range(bus.partitions)
    }
    for partition, inbox in enumerate(inboxes):
        found = await receive(inbox, len(expected[partition]))
        assert [delivery.data.decode() for delivery in found] == expected[partition]
        assert all(
            delivery.subject == f"sagabus.inbox.{partition}.{delivery.data.decode()}.devops"
            for delivery in found
        )
        assert [delivery.seq for delivery in found] == sorted(d.seq for d in found)
    assert sum(map(len, expected.values())) == len(instances)


async def test_second_copy_of_a_task_is_refused_until_the_first_is_acknowledged(
    world: World, bus: Bus
) -> None:
    await bus.ensure(["devops"])
    subject = wire.task_subject("devops", "i1", "build-0-0", 1)
    await bus.publish([], [task(subject, b"first")])
    await bus.publish([], [task(subject, b"second")])
    taken = await world.take("devops")
    assert taken is not None
    assert taken[:2] == (subject, b"first")
    await bus.publish([], [task(subject, b"third")])
    await taken[2]()
    assert await world.take("devops") is None
    await bus.publish([], [task(subject, b"fourth")])
    again = await world.take("devops")
    assert again is not None
    assert again[1] == b"fourth"


async def test_same_message_id_is_stored_once_even_after_the_first_was_done(
    world: World, bus: Bus
) -> None:
    await bus.ensure(["devops"])
    message = task(wire.task_subject("devops", "i1", "build-0-0", 1), msg_id="one")
    await bus.publish([], [message])
    taken = await world.take("devops")
    assert taken is not None
    await taken[2]()
    await bus.publish([], [message])
    assert await world.take("devops") is None


async def test_publish_stores_everything_in_order_and_events_once(world: World, bus: Bus) -> None:
    await bus.ensure(["devops", "backend"])
    events = [event("i1", seq) for seq in range(300)]
    tasks = [
        task(wire.task_subject(("devops", "backend")[number % 2], "i1", f"t-0-{number}", 1))
        for number in range(100)
    ]
    await bus.publish(events, tasks)
    await bus.publish(events, tasks)
    assert await world.events() == [message.data for message in events]
    queues = await until_queued(bus, devops=50, backend=50)
    assert all(queue.running == 0 and queue.oldest_age_s >= 0 for queue in queues.values())


async def test_publish_of_nothing_and_of_events_alone_returns(world: World, bus: Bus) -> None:
    await bus.publish([], [])
    await bus.publish([event("i1", 1)], [])
    assert await world.events() == [b"i1:1"]


async def test_taken_subject_at_the_end_of_a_batch_fails_nothing(world: World, bus: Bus) -> None:
    await bus.ensure(["devops"])
    taken = task(wire.task_subject("devops", "i1", "a-0-0", 1))
    await bus.publish([], [taken])
    fresh = task(wire.task_subject("devops", "i1", "b-0-0", 1))
    again = task(taken.subject)
    await bus.publish([event("i1", 1)], [fresh, again])
    await until_queued(bus, devops=2)


async def test_purged_task_is_gone_and_its_subject_free(world: World, bus: Bus) -> None:
    await bus.ensure(["devops"])
    subject = wire.task_subject("devops", "i1", "build-0-0", 1)
    await bus.publish([], [task(subject, b"first")])
    await bus.purge_task(subject)
    assert await world.take("devops") is None
    await bus.publish([], [task(subject, b"second")])
    taken = await world.take("devops")
    assert taken is not None
    assert taken[1] == b"second"


async def test_purged_role_has_no_tasks_and_the_others_keep_theirs(world: World, bus: Bus) -> None:
    roles = ["devops", "dev", "backend"]
    await bus.ensure(roles)
    subjects = {role: wire.task_subject(role, "i1", f"{role}-0-0", 1) for role in roles}
    await bus.publish([], [task(each) for each in subjects.values()])
    await bus.purge_role("dev")
    assert await world.take("dev") is None
    assert await world.take("devops") is not None
    # What is worked on loses its message, too: nobody else is given it.
    await bus.purge_role("*")
    assert [await world.take(role) for role in roles] == [None, None, None]
    assert {queue.running for queue in await bus.role_queues()} == {0}


async def test_role_queue_tells_queued_from_running(world: World, bus: Bus) -> None:
    await bus.ensure(["devops"])
    await bus.ensure(["devops", "backend"])
    subjects = [wire.task_subject("devops", "i1", f"t-0-{number}", 1) for number in range(3)]
    await bus.publish([], [task(subject) for subject in subjects])
    await world.take("devops")
    queues = await until_queued(bus, devops=2, backend=0)
    assert (queues["devops"].running, queues["backend"].running) == (1, 0)
    assert queues["backend"].oldest_age_s == 0


async def test_message_too_large_is_refused_before_anything_is_sent(world: World, bus: Bus) -> None:
    await bus.ensure(["devops"])
    large = b"x" * (wire.MAX_MESSAGE_BYTES + 1)
    with pytest.raises(BadMessageError, match="921,6"):
        await bus.publish(
            [event("i1", 1)], [task(wire.task_subject("devops", "i1", "t-0-0", 1), large)]
        )
    assert await world.events() == []
    with pytest.raises(BadMessageError):
        await bus.send_command("i1", large, "c1")
    with pytest.raises(BadMessageError):
        await bus.notify("some.reply", large)
    await bus.publish([event("i1", 1)], [])
    assert await world.events() == [b"i1:1"]


async def test_many_large_messages_are_all_stored(world: World, bus: Bus) -> None:
    await bus.ensure(["devops"])
    large = b"x" * 800_000
    subjects = [wire.task_subject("devops", "i1", f"t-0-{number}", 1) for number in range(40)]
    await bus.publish([], [task(subject, large) for subject in subjects])
    await until_queued(bus, devops=40)


async def test_inbox_gives_what_is_there_at_once_and_waits_otherwise(
    world: World, bus: Bus
) -> None:
    instance = instance_in(bus, 3)
    inbox = await bus.open_inbox(3, 1)
    started = time.monotonic()
    assert await inbox.next(10, 0.1) == []
    assert 0.09 < time.monotonic() - started < 2
    assert await inbox.next(10, 0) == []
    waiting = asyncio.create_task(inbox.next(10, WAIT_S))
    await world.send_inbox(wire.inbox_subject(instance, "devops"), b"one")
    [delivery] = await waiting
    assert delivery.data == b"one"
    assert delivery.delivery == 1
    assert delivery.stored_at.tzinfo is not None
    assert abs(delivery.stored_at.timestamp() - time.time()) < WAIT_S


async def test_inbox_obeys_the_limit_and_the_order(world: World, bus: Bus) -> None:
    instance = instance_in(bus, 0)
    for number in range(25):
        await world.send_inbox(wire.inbox_subject(instance, "devops"), str(number).encode())
    inbox = await bus.open_inbox(0, 1)
    found = []
    while len(found) < 25:
        batch = await inbox.next(10, WAIT_S)
        assert 0 < len(batch) <= 10
        found += [int(delivery.data) for delivery in batch]
    assert found == list(range(25))


async def test_wake_ends_a_wait_and_is_not_lost_before_one(world: World, bus: Bus) -> None:
    inbox = await bus.open_inbox(0, 1)
    waiting = asyncio.create_task(inbox.next(10, WAIT_S))
    await asyncio.sleep(0)
    inbox.wake()
    assert await waiting == []
    inbox.wake()
    started = time.monotonic()
    assert await inbox.next(10, WAIT_S) == []
    assert time.monotonic() - started < WAIT_S / 2


async def test_inbox_is_drained_only_when_everything_was_given_out(world: World, bus: Bus) -> None:
    instance = instance_in(bus, 5)
    for number in range(5):
        await world.send_inbox(wire.inbox_subject(instance, "devops"), str(number).encode())
    inbox = await bus.open_inbox(5, 1)
    assert not await inbox.is_drained()
    held = await receive(inbox, 4)
    assert not await inbox.is_drained()
    assert await inbox.lag() == 1
    held += await receive(inbox, 1)
    assert await inbox.is_drained()
    await inbox.ack(held[:2])
    await until(inbox.is_drained)
    await world.send_inbox(wire.inbox_subject(instance, "devops"), b"late")
    assert not await inbox.is_drained()


async def test_new_epoch_gets_the_unacknowledged_first_and_the_old_owners_ack_is_void(
    world: World, bus: Bus
) -> None:
    instance = instance_in(bus, 2)
    subject = wire.inbox_subject(instance, "devops")
    for number in range(3):
        await world.send_inbox(subject, str(number).encode())
    old = await bus.open_inbox(2, 1)
    first, second, third = await receive(old, 3)
    await old.ack([first])
    await until(old.is_drained)
    second_bus = await world.connect()
    new = await second_bus.open_inbox(2, 2)
    await old.ack([second, third])
    with pytest.raises(BusUnavailableError):
        await receive(old, 1)
    await world.send_inbox(subject, b"3")
    found = await receive(new, 3)
    assert [delivery.data for delivery in found] == [b"1", b"2", b"3"]
    await new.ack(found)
    third_bus = await world.connect()
    newest = await third_bus.open_inbox(2, 3)
    await until(newest.is_drained)
    assert await newest.next(10, 0.1) == []


async def test_older_epoch_cannot_take_a_partition_back(world: World, bus: Bus) -> None:
    new = await bus.open_inbox(2, 7)
    with pytest.raises(PartitionLostError):
        await bus.open_inbox(2, 6)
    instance = instance_in(bus, 2)
    await world.send_inbox(wire.inbox_subject(instance, "devops"), b"x")
    assert len(await receive(new, 1)) == 1


async def test_opening_the_same_epoch_again_delivers_again(world: World, bus: Bus) -> None:
    instance = instance_in(bus, 2)
    await world.send_inbox(wire.inbox_subject(instance, "devops"), b"x")
    first = await bus.open_inbox(2, 7)
    assert len(await receive(first, 1)) == 1
    await first.close()
    again = await bus.open_inbox(2, 7)
    [delivery] = await receive(again, 1)
    assert delivery.data == b"x"


async def test_closed_inbox_raises_and_leaves_its_messages(world: World, bus: Bus) -> None:
    instance = instance_in(bus, 2)
    await world.send_inbox(wire.inbox_subject(instance, "devops"), b"x")
    inbox = await bus.open_inbox(2, 1)
    waiting = asyncio.create_task(receive(inbox, 2))
    await asyncio.sleep(0)
    await inbox.close()
    with pytest.raises(BusUnavailableError):
        await waiting
    assert len(await receive(await bus.open_inbox(2, 2), 1)) == 1


async def test_command_arrives_once_in_the_partition_of_its_instance(
    world: World, bus: Bus
) -> None:
    instance = instance_in(bus, 4)
    inbox = await bus.open_inbox(4, 1)
    await bus.send_command(instance, b"start", "command-1")
    await bus.send_command(instance, b"start", "command-1")
    await bus.send_command(instance, b"cancel", "command-2")
    found = await receive(inbox, 2)
    assert [delivery.data for delivery in found] == [b"start", b"cancel"]
    assert found[0].subject == f"sagabus.inbox.4.{instance}.{wire.COMMAND_SOURCE}"
    assert await inbox.is_drained()


async def test_result_of_another_instance_arrives_once_from_its_own_source(
    world: World, bus: Bus
) -> None:
    instance = instance_in(bus, 4)
    inbox = await bus.open_inbox(4, 1)
    await bus.send_result(instance, b"ended", "result-1")
    await bus.send_result(instance, b"ended", "result-1")
    [found] = await receive(inbox, 1)
    assert found.subject == f"sagabus.inbox.4.{instance}.{wire.WORKFLOW_SOURCE}"
    assert await inbox.is_drained()


@pytest.mark.parametrize("size", [0, 1_000, 5_000_000])
async def test_payload_comes_back_whole(world: World, bus: Bus, size: int) -> None:
    data = random.Random(size).randbytes(size)
    ref = await bus.put_payload("i1.build-1-0.1", data)
    assert (ref.name, ref.size) == ("i1.build-1-0.1", size)
    assert ref.digest == wire.payload_digest(data)
    other = await world.connect()
    assert await other.get_payload(ref) == data


async def test_payload_is_given_only_as_what_it_is(world: World, bus: Bus) -> None:
    first = await bus.put_payload("i1.build-1-0.1", b"one")
    messages = await world.payload_messages()
    assert await bus.put_payload("i1.build-1-0.1", b"one") == first
    second = await bus.put_payload("i1.build-1-0.1", b"two")
    assert await bus.get_payload(first) is None
    assert await bus.get_payload(second) == b"two"
    assert await bus.get_payload(second.model_copy(update={"name": "i2.build-1-0.1"})) is None
    assert await world.payload_messages() == messages


async def test_deleted_payload_leaves_nothing(world: World, bus: Bus) -> None:
    refs = [await bus.put_payload(f"i1.build-1-{number}.1", b"x" * 300_000) for number in range(3)]
    await bus.delete_payloads([refs[0].name, "never.stored.1", refs[1].name])
    assert await bus.get_payload(refs[0]) is None
    assert await bus.get_payload(refs[2]) == b"x" * 300_000
    await bus.delete_payloads([refs[2].name])
    assert await world.payload_messages() == 0


async def test_batch_ends_where_its_payloads_become_too_many(world: World, bus: Bus) -> None:
    half = wire.MAX_PAYLOAD_BYTES // 2
    sizes = [0, half, half, 1, 0, wire.MAX_PAYLOAD_BYTES, wire.MAX_PAYLOAD_BYTES, 0]
    instance = instance_in(bus, 4)
    inbox = await bus.open_inbox(4, 1)
    for size in sizes:
        ref = wire.PayloadRef(name="n", size=size, digest="d")
        result = wire.ResultMessage(
            task="t", attempt=1, status=wire.ResultStatus.SUCCEEDED, agent="a", payload=ref
        )
        plain = b'"payload" of no kind'
        data = result.model_dump_json().encode() if size else plain
        await world.send_inbox(wire.inbox_subject(instance, "devops"), data)
    await until(lambda: _is_all_there(inbox, len(sizes)))
    left = list(sizes)
    while left:
        assert not await inbox.is_drained()
        count = len(await inbox.next(100, WAIT_S))
        assert 0 < sum(left[:count]) + count <= wire.MAX_PAYLOAD_BYTES + count
        del left[:count]


async def _is_all_there(inbox: Inbox, count: int) -> bool:
    return await inbox.lag() == count


async def test_notice_reaches_subscribers_until_they_leave(world: World, bus: Bus) -> None:
    other = await world.connect()
    heard: list[tuple[str, bytes]] = []
    arrived = asyncio.Event()

    def hear(subject: str, data: bytes) -> None:
        heard.append((subject, data))
        arrived.set()

    async with await bus.subscribe("sagabus.presence.*", hear):
        await other.notify("sagabus.cancel.a1", b"not for us")
        await other.notify(wire.presence_subject("a1"), b"here")
        await asyncio.wait_for(arrived.wait(), WAIT_S)
    assert heard == [("sagabus.presence.a1", b"here")]
    arrived.clear()
    async with await bus.subscribe("sagabus.cancel.>", hear):
        await other.notify(wire.presence_subject("a1"), b"nobody listens any more")
        await other.notify("sagabus.cancel.a1", b"marker")
        await asyncio.wait_for(arrived.wait(), WAIT_S)
    assert heard[1:] == [("sagabus.cancel.a1", b"marker")]


async def test_request_is_answered_or_known_to_have_nobody_or_late(world: World, bus: Bus) -> None:
    await world.respond("some.service", lambda data: data.upper())
    await world.respond("silent.service", lambda data: None)
    assert await bus.request("some.service", b"hello", WAIT_S) == b"HELLO"
    assert await bus.request("nobody.there", b"hello", WAIT_S) is None
    with pytest.raises(TimeoutError):
        await bus.request("silent.service", b"hello", 0.1)
    with pytest.raises(BadMessageError):
        await bus.request("some.service", bytes(wire.MAX_MESSAGE_BYTES + 1), WAIT_S)
    await bus.close()
    with pytest.raises(BusUnavailableError):
        await bus.request("some.service", b"hello", WAIT_S)


async def test_dead_letter_is_kept(world: World, bus: Bus) -> None:
    await bus.dead_letter(wire.dead_subject("devops", "i1"), b"why")
    assert await world.dead() == [b"why"]


async def test_closed_bus_is_unavailable(world: World, bus: Bus) -> None:
    assert bus.is_connected
    await bus.close()
    assert not bus.is_connected
    with pytest.raises(BusUnavailableError):
        await bus.open_inbox(0, 1)
    with pytest.raises(BusUnavailableError):
        await bus.send_command("i1", b"x", "c")
    with pytest.raises(BusUnavailableError):
        await bus.put_payload("i1.t.1", b"x")
    with pytest.raises(BusUnavailableError):
        await bus.get_payload(wire.PayloadRef(name="i1.t.1", size=1, digest="d"))


async def test_mark_is_what_was_told_last_and_is_known_to_the_next_owner(bus: Bus) -> None:
    assert await bus.read_mark(1) is None
    await bus.write_mark(1, Mark(3, 10))
    await bus.write_mark(1, Mark(3, 11))
    await bus.write_mark(2, Mark(1, 1))
    found = await bus.read_mark(1)
    assert found is not None
    assert (found.epoch, found.batch) == (3, 11)
    assert found.at is not None


async def test_owner_that_was_replaced_cannot_put_its_mark_over_its_successors(
    world: World, bus: Bus
) -> None:
    successor = await world.connect()
    await bus.write_mark(0, Mark(3, 10))
    await successor.read_mark(0)
    await successor.write_mark(0, Mark(4, 12))
    await bus.write_mark(0, Mark(3, 11))
    found = await successor.read_mark(0)
    assert found is not None
    assert (found.epoch, found.batch) == (4, 12)


async def test_mark_of_a_newer_epoch_may_stand_at_a_lower_batch(world: World, bus: Bus) -> None:
    await bus.write_mark(0, Mark(3, 100))
    restored = await world.connect()
    await restored.write_mark(0, Mark(4, 12))
    found = await bus.read_mark(0)
    assert found is not None
    assert (found.epoch, found.batch) == (4, 12)


async def test_what_was_forgotten_may_be_sent_again_under_the_same_ids(
    world: World, bus: Bus
) -> None:
    await bus.ensure(["devops"])
    subject = wire.task_subject("devops", "i1", "build-0-0", 1)
    await bus.publish([event("i1", 1)], [task(subject, b"lost", "i1:build-0-0:1")])
    await bus.forget_sent()
    assert await world.events() == []
    again = OutgoingEvent(wire.event_subject("i1", "TaskScheduled"), b"again", "i1:1")
    await bus.publish([again], [task(subject, b"again", "i1:build-0-0:1")])
    assert await world.events() == [b"again"]
    taken = await world.take("devops")
    assert taken is not None
    assert taken[:2] == (subject, b"again")
    assert await world.take("devops") is None


async def test_dead_letters_are_given_newest_first_in_pages_and_by_what_they_are_about(
    bus: Bus,
) -> None:
    assert await bus.dead_letters() == []
    for number in range(130):
        subject = wire.dead_subject("devops" if number % 2 else "tester", f"i{number // 100}")
        await bus.dead_letter(subject, str(number).encode())
    assert await bus.count_dead_letters() == 130
    page = await bus.dead_letters(limit=3)
    assert [each.data for each in page] == [b"129", b"128", b"127"]
    following = await bus.dead_letters(before=page[-1].seq, limit=2)
    assert [each.data for each in following] == [b"126", b"125"]
    old = await bus.dead_letters(instance="i0", role="tester", limit=2)
    assert [each.data for each in old] == [b"98", b"96"]
    assert old[0].subject == wire.dead_subject("tester", "i0")
    assert len(await bus.dead_letters(instance="i1", limit=500)) == 30


async def test_dropped_dead_letter_is_gone_and_the_others_keep_their_numbers(bus: Bus) -> None:
    for number in range(3):
        await bus.dead_letter(wire.dead_subject("devops", "i1"), str(number).encode())
    first, second, third = reversed(await bus.dead_letters())
    await bus.drop_dead_letter(second.seq)
    await bus.drop_dead_letter(second.seq)
    assert await bus.dead_letter_at(second.seq) is None
    assert await bus.dead_letter_at(third.seq) == third
    assert await bus.dead_letters() == [third, first]
    assert await bus.count_dead_letters() == 2


async def test_message_is_put_back_as_its_source_sent_it(bus: Bus) -> None:
    inbox = await bus.open_inbox(bus.partition_of("i1"), 1)
    await bus.put_back("i1", "devops", b"again", "dead-1")
    await bus.put_back("i1", "devops", b"again", "dead-1")
    [found] = await receive(inbox, 1)
    assert found.subject.endswith(".i1.devops")
    assert found.data == b"again"
    assert await inbox.next(1, 0.1) == []
