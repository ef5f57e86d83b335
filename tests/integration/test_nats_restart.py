"""The bus over a server that is killed, started again, and robbed of its store."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import nats
import pytest

from sagabus.adapters.nats_bus import NatsBus
from sagabus.errors import BusUnavailableError
from sagabus.ports import Inbox, OutgoingEvent, OutgoingTask
from sagabus_agents import wire
from tests.support.eventually import until_queued
from tests.support.nats_server import NatsServer

WAIT_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[NatsBus]:
    bus = await NatsBus.connect(server.url, partitions=1)
    yield bus
    await bus.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def receive(inbox: Inbox, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            batch = await inbox.next(256, 1.0)
            found += [delivery.data for delivery in batch]
            await inbox.ack(batch)
    return found


async def send(bus: NatsBus, *commands: str) -> None:
    for command in commands:
        await bus.send_command("i1", command.encode(), command)


def task(number: int) -> OutgoingTask:
    subject = wire.task_subject("devops", "i1", f"t-0-{number}", 1)
    return OutgoingTask(subject, "devops", b"{}", f"task-{number}")


async def stored(bus: NatsBus, stream: str) -> int:
    return int((await bus.connection.jetstream.stream_info(stream)).state.messages)


async def test_inbox_goes_on_after_the_server_was_killed_and_started_again(
    server: NatsServer, bus: NatsBus
) -> None:
    inbox = await bus.open_inbox(0, 1)
    for round_ in range(3):
        generation = bus.generation
        await send(bus, f"before-{round_}")
        assert await receive(inbox, 1) == [f"before-{round_}".encode()]
        server.kill()
        await until(lambda: not bus.is_connected)
        assert await inbox.next(10, 0.05) == []
        server.start()
        await until(lambda: bus.generation > generation)  # noqa: B023
        assert bus.is_connected
        await send(bus, f"after-{round_}")
        started = time.monotonic()
        assert await receive(inbox, 1) == [f"after-{round_}".encode()]
        assert time.monotonic() - started < 3
    await until_drained(inbox)


async def until_drained(inbox: Inbox) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await inbox.is_drained():
            assert await inbox.next(10, 0.02) == []


async def test_held_messages_are_not_given_out_again_and_can_be_acknowledged_after_a_restart(
    server: NatsServer, bus: NatsBus
) -> None:
    inbox = await bus.open_inbox(0, 1)
    await send(bus, "a", "b", "c")
    async with asyncio.timeout(WAIT_S):
        held = await inbox.next(1, 5)
    # "b" and "c" were delivered to this process, but not given out.
    generation = bus.generation
    server.restart()
    await until(lambda: bus.generation > generation)
    started = time.monotonic()
    assert await receive(inbox, 2) == [b"b", b"c"]
    assert time.monotonic() - started < 3, "not only after ack_wait"
    await until_drained(inbox)
    await inbox.ack(held)
    async with asyncio.timeout(WAIT_S):
        while await stored(bus, wire.STREAM_INBOX):
            assert await inbox.next(10, 0.02) == []


async def test_acknowledgement_given_while_the_server_is_down_is_not_lost(
    server: NatsServer, bus: NatsBus
) -> None:
    inbox = await bus.open_inbox(0, 1)
    await send(bus, "a")
    held = await inbox.next(1, 5)
    assert len(held) == 1
    server.kill()
    await until(lambda: not bus.is_connected)
    await inbox.ack(held)
    server.start()
    async with asyncio.timeout(WAIT_S):
        await until(lambda: bus.is_connected)
        while await stored(bus, wire.STREAM_INBOX):
            assert await inbox.next(10, 0.02) == []


async def test_inbox_of_a_wiped_server_is_gone_and_can_be_opened_again(
    server: NatsServer, bus: NatsBus
) -> None:
    await bus.ensure(["devops"])
    inbox = await bus.open_inbox(0, 4)
    await send(bus, "lost")
    await receive(inbox, 1)
    generation = bus.generation
    server.kill()
    server.wipe()
    server.start()
    with pytest.raises(BusUnavailableError, match="gone"):
        await receive(inbox, 1)
    await until(lambda: bus.generation > generation)
    again = await bus.open_inbox(0, 5)
    await send(bus, "found")
    assert await receive(again, 1) == [b"found"]
    assert [queue.role for queue in await bus.role_queues()] == ["devops"]


async def test_wiped_bus_keeps_the_partition_count_it_had(server: NatsServer) -> None:
    first = await NatsBus.connect(server.url, partitions=3)
    second = await NatsBus.connect(server.url, partitions=8)
    try:
        assert second.partitions == 3
        assert [second.partition_of(name) for name in "abcdef"] == [
            first.partition_of(name) for name in "abcdef"
        ]
        await first.close()
        server.kill()
        server.wipe()
        server.start()
        await until(lambda: second.generation > 0)
        third = await NatsBus.connect(server.url, partitions=5)
        assert third.partitions == 3
        await third.close()
    finally:
        await second.close()


async def test_publisher_and_inbox_survive_kills_in_the_middle(
    server: NatsServer, bus: NatsBus
) -> None:
    """Everything whose publish returned is there: the server itself lost none of it."""
    await bus.ensure(["devops"])
    inbox = await bus.open_inbox(0, 1)
    is_over = False
    published: list[int] = []
    commands: list[bytes] = []

    async def publish() -> None:
        batch = 0
        while not is_over:
            numbers = range(batch * 60, batch * 60 + 60)
            events = [
                OutgoingEvent(wire.event_subject("i1", "X"), b"{}", f"i1:{number}")
                for number in numbers
            ]
            try:
                await bus.publish(events, [task(number) for number in numbers])
                await bus.send_command("i1", str(batch).encode(), f"c{batch}")
            except BusUnavailableError:
                continue  # the same again, under the same ids
            published.extend(numbers)
            batch += 1
            await asyncio.sleep(0.002)

    async def read() -> None:
        while not is_over:
            batch = await inbox.next(64, 0.05)
            commands.extend(delivery.data for delivery in batch)
            await inbox.ack(batch)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        tasks.create_task(read())
        for round_ in range(4):
            goal = len(published) + 600
            await until(lambda: len(published) > goal)  # noqa: B023
            server.kill()
            if round_ % 2:
                await until(lambda: not bus.is_connected)
            server.start()
        goal = len(published) + 600
        await until(lambda: len(published) > goal)
        is_over = True
    sent = len(published) // 60
    commands += await receive(inbox, sent - len(commands)) if len(commands) < sent else []
    assert set(commands) >= {str(batch).encode() for batch in range(sent)}
    await until_queued(bus, devops=len(published))
    # Events have no refusal by subject: a repeat across the dedupe state of a killed server may
    # store one twice, none may be missing.
    assert await stored(bus, wire.STREAM_EVENTS) >= len(published)


async def test_publish_into_a_missing_stream_makes_it_again(bus: NatsBus) -> None:
    await bus.ensure(["devops"])
    generation = bus.generation
    await bus.connection.jetstream.delete_stream(wire.STREAM_TASKS)
    await bus.publish([], [task(1), task(2)])
    await until_queued(bus, devops=2)
    assert bus.generation > generation


async def test_command_into_a_missing_stream_makes_it_again_and_the_inbox_tells(
    bus: NatsBus,
) -> None:
    inbox = await bus.open_inbox(0, 1)
    await bus.connection.jetstream.delete_stream(wire.STREAM_INBOX)
    await send(bus, "a")
    with pytest.raises(BusUnavailableError, match="gone"):
        await receive(inbox, 1)
    assert await receive(await bus.open_inbox(0, 2), 1) == [b"a"]


async def test_publish_waits_for_the_server_to_come_back(server: NatsServer, bus: NatsBus) -> None:
    await bus.ensure(["devops"])
    server.kill()
    await until(lambda: not bus.is_connected)
    publishing = asyncio.create_task(bus.publish([], [task(1)]))
    await asyncio.sleep(0)
    server.start()
    await publishing
    await until_queued(bus, devops=1)


async def test_publish_gives_up_when_the_server_stays_away(
    server: NatsServer, bus: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagabus.adapters.nats_publisher._PATIENCE_S", 0.3)
    server.kill()
    await until(lambda: not bus.is_connected)
    with pytest.raises(BusUnavailableError, match="1 messages could not be published"):
        await bus.publish([], [task(1)])
    with pytest.raises(BusUnavailableError):
        await bus.send_command("i1", b"x", "c1")
    await bus.notify("some.subject", b"dropped or late, no error")


async def test_acknowledgement_of_the_last_message_covers_all_before_it(bus: NatsBus) -> None:
    """What one round trip per batch rests on: a stream takes in messages in order."""
    client = bus.connection.client
    for batch in range(20):
        for number in range(500):
            subject = wire.event_subject(f"i{batch}", "X")
            await client.publish(subject, b"x" * 300, headers={"Nats-Msg-Id": f"{batch}:{number}"})
        ack = await bus.connection.jetstream.publish(wire.event_subject("last", "X"), b"")
        assert ack.seq == (batch + 1) * 501
        assert await stored(bus, wire.STREAM_EVENTS) == ack.seq


async def test_client_closed_by_the_server_for_good_is_replaced(
    server: NatsServer, bus: NatsBus
) -> None:
    heard = asyncio.Event()
    inbox = await bus.open_inbox(0, 1)
    async with await bus.subscribe("some.subject", lambda _subject, _data: heard.set()):
        # Within the driver's limit for payloads, beyond the server's with the headers.
        await bus.connection.client.publish(
            "too.large", b"x" * (1024 * 1024), headers={"more": "than allowed"}
        )
        await until(lambda: bus.generation == 1)
        await bus.notify("some.subject", b"")
        await asyncio.wait_for(heard.wait(), WAIT_S)
    await send(bus, "a")
    assert await receive(inbox, 1) == [b"a"]
    await bus.publish([], [])


async def test_no_server_is_one_clear_error(server: NatsServer) -> None:
    server.stop()
    with pytest.raises(
        BusUnavailableError, match=r"no NATS server answers at 127\.0\.0\.1"
    ) as caught:
        await NatsBus.connect(f"nats://user:secret@127.0.0.1:{server.port}", timeout_s=0.3)
    assert "secret" not in str(caught.value)


async def test_two_buses_connecting_at_once_agree(server: NatsServer) -> None:
    buses = await asyncio.gather(
        *(NatsBus.connect(server.url, partitions=count) for count in (2, 4, 8, 16))
    )
    try:
        assert len({bus.partitions for bus in buses}) == 1
    finally:
        await asyncio.gather(*(bus.close() for bus in buses))


async def test_foreign_client_cannot_be_mistaken_for_a_stored_partition(
    server: NatsServer, bus: NatsBus
) -> None:
    """What is published in the form of a stored subject is not stored."""
    client = await nats.connect(server.url)
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await client.jetstream().publish("sagabus.inbox.0.i1.devops", b"x")
    await client.close()
