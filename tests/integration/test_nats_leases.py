"""Leases on a real server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagabus.adapters.nats_bus import NatsBus
from sagabus.adapters.nats_leases import STREAM_LEASES, NatsLeases
from tests.support.nats_server import NatsServer

#: Never reached here, and soon.
LONG_S = 60.0
SHORT_S = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[NatsBus]:
    bus = await NatsBus.connect(server.url)
    yield bus
    await bus.close()


async def until_acquired(leases: NatsLeases, partition: int) -> None:
    started = time.monotonic()
    while not await leases.acquire(partition):
        assert time.monotonic() < started + 10 * SHORT_S
        await asyncio.sleep(0.02)


async def test_lease_has_one_holder_who_may_renew_and_release_it(bus: NatsBus) -> None:
    first = NatsLeases(bus, "first", LONG_S)
    second = NatsLeases(bus, "second", LONG_S)
    assert await first.acquire(0)
    assert not await second.acquire(0)
    assert await first.acquire(0)
    assert await second.acquire(1)
    assert await first.holders() == {0: "first", 1: "second"}
    await second.release(0)
    assert not await second.acquire(0)
    await first.release(0)
    assert await second.acquire(0)
    assert not await first.acquire(0)
    assert await first.holders() == {0: "second", 1: "second"}


async def test_lease_that_is_not_renewed_expires_and_a_renewed_one_does_not(
    bus: NatsBus,
) -> None:
    first = NatsLeases(bus, "first", SHORT_S)
    second = NatsLeases(bus, "second", SHORT_S)
    assert await first.acquire(0)
    assert await first.acquire(1)
    deadline = time.monotonic() + 2 * SHORT_S
    while time.monotonic() < deadline:
        renewed = time.monotonic()
        assert await first.acquire(1)
        assert not await second.acquire(1)
        await asyncio.sleep(0.1)
    assert await second.acquire(0)
    assert not await first.acquire(0)
    # A renewed lease still has a time limit.
    await until_acquired(second, 1)
    assert time.monotonic() - renewed > SHORT_S / 2


async def test_two_owners_of_one_name_do_not_share_a_lease(bus: NatsBus) -> None:
    first = NatsLeases(bus, "same", LONG_S)
    second = NatsLeases(bus, "same", LONG_S)
    assert await first.acquire(0)
    assert not await second.acquire(0)


async def test_renewal_whose_answer_was_lost_is_found_again(bus: NatsBus) -> None:
    leases = NatsLeases(bus, "first", LONG_S)
    assert await leases.acquire(0)
    stored = await bus.connection.jetstream.get_last_msg(STREAM_LEASES, "$KV.SAGABUS_LEASES.0")
    # The same message once more, behind the back of the object.
    await bus.connection.jetstream.publish("$KV.SAGABUS_LEASES.0", stored.data)
    assert await leases.acquire(0)
    assert await leases.holders() == {0: "first"}


async def test_leases_work_on_after_the_store_was_wiped(server: NatsServer, bus: NatsBus) -> None:
    leases = NatsLeases(bus, "first", LONG_S)
    assert await leases.holders() == {}
    assert await leases.acquire(0)
    server.kill()
    server.wipe()
    server.start()
    deadline = time.monotonic() + 10
    while not bus.generation:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await leases.acquire(0)
    assert await leases.holders() == {0: "first"}
