"""Bus and database go away, come back, and come back empty: what runs goes on, and ends."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sagabus.errors import StoreUnavailableError
from sagabus.ports import Store
from sagabus_agents import wire
from tests.support.crew import Crew, Hand, command
from tests.support.engine import Life, Own, Owner, ended, owners, running, shorten_grace
from tests.support.worlds import (
    MemoryWorld,
    RealWorld,
    World,
    open_world,
    until,
    until_nothing_is_left,
)

CONFIG = """
[[workflows]]
name = "three"
[[workflows.stages]]
name = "make"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "move"
agents = ["backend"]
compensation_agents = ["backend"]
[[workflows.stages]]
name = "check"
agents = ["tester"]

[[workflows]]
name = "gated"
[[workflows.stages]]
name = "make"
agents = ["devops"]
approval_required = true
approval = {timeout = 60}
"""
ROLES = ("devops", "backend", "tester")
INSTANCES = 20


@pytest.fixture(params=["memory", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(request.param, tmp_path, partitions=2) as world:
        yield world


@pytest.fixture
async def own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Own]:
    shorten_grace(monkeypatch, 60)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with owners(config, world) as own:
        yield own


async def go_away(world: World) -> None:
    if isinstance(world, MemoryWorld):
        world.broker.go_away()
    else:
        await asyncio.to_thread(world.server.kill)


async def come_back(world: World, *, is_empty: bool = False) -> None:
    if isinstance(world, MemoryWorld):
        if is_empty:
            world.broker.wipe()
        world.broker.come_back()
        return
    if is_empty:
        await asyncio.to_thread(world.server.wipe)
    await asyncio.to_thread(world.server.start)


async def until_disconnected(owner: Owner) -> None:
    async def look() -> bool:
        return not owner.bus.is_connected

    await until(look)


async def start_all(owner: Owner, workflow: str = "three") -> list[str]:
    names = [f"i{number}" for number in range(INSTANCES)]
    await asyncio.gather(*(owner.facade.start(workflow, id=name) for name in names))
    return names


async def until_half_done(crew: Crew) -> None:
    """Some have ended, some run, some wait: in the midst of it all."""

    async def look() -> bool:
        return sum(crew.effects.values()) >= INSTANCES

    await until(look)


async def assert_all_end(world: World, names: list[str], crew: Crew) -> None:
    states = await asyncio.gather(*(ended(world.store, name) for name in names))
    assert {state.row.status for state in states} == {"completed"}
    done = {effect.partition("#")[0] for effect in crew.effects}
    assert done == {f"{name} {task}-1-0" for name in names for task in ("make", "move", "check")}


async def test_gate_that_runs_out_while_the_bus_is_away_stops_nothing(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("gated", id="i1")

    await until_nothing_is_left(world)
    await go_away(world)
    await until_disconnected(owner)

    owner.clock.ahead = timedelta(minutes=10)
    # The loop of events goes round meanwhile: nothing else could bring the bus back.
    rounds = owner.clock.reads + 20

    async def is_overdue() -> bool:
        return owner.clock.reads > rounds

    await until(is_overdue)
    state = await world.store.load_instance("i1")
    assert state is not None
    assert state.row.status == "waiting"
    await come_back(world)
    state = await ended(world.store, "i1")
    assert state.row.error is not None
    assert state.row.error.type == "approval_timeout"


@pytest.mark.parametrize("is_empty", [False, True], ids=["as_it_was", "empty"])
async def test_all_instances_end_when_the_bus_went_away_and_came_back(
    world: World, own: Own, is_empty: bool
) -> None:
    owner = await own()
    crew = Crew(await world.link(), ROLES)
    names = await start_all(owner)
    async with running(crew.work):
        await until_half_done(crew)
        await go_away(world)
        await until_disconnected(owner)
        await come_back(world, is_empty=is_empty)
        await assert_all_end(world, names, crew)
    await owner.stop()
    assert owner.metric("sagabus_workflows_completed_total", workflow="three") == INSTANCES


async def test_all_instances_end_when_streams_are_deleted_under_them(
    world: World, own: Own
) -> None:
    owner = await own()
    crew = Crew(await world.link(), ROLES)
    names = await start_all(owner)
    async with running(crew.work):
        await until_half_done(crew)
        if isinstance(world, RealWorld):
            jetstream = await world.observer()
            for stream in (wire.STREAM_TASKS, wire.STREAM_INBOX, wire.STREAM_EVENTS):
                await jetstream.delete_stream(stream)
        else:
            world.broker.wipe()
        await assert_all_end(world, names, crew)


async def test_task_that_the_bus_lost_is_sent_again_by_the_reconciler(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("three", id="i1")
    subject = wire.task_subject("devops", "i1", "make-1-0", 1)
    hand = Hand(await world.link())
    await hand.take("devops")
    await owner.bus.purge_task(subject)
    task = await hand.take("devops")
    assert task.message.resent
    assert owner.metric("sagabus_resent_tasks_total") >= 1


class Fickle:
    """A store that is away when told so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)

        async def call(*args: Any, **options: Any) -> Any:
            if self.is_away:
                raise StoreUnavailableError("the database is away")
            return await inner(*args, **options)

        return call


async def test_all_instances_end_when_the_database_went_away_and_came_back(
    world: World, own: Own
) -> None:
    store = Fickle(world.store)
    owner = await own(store=store)
    crew = Crew(await world.link(), ROLES)
    names = await start_all(owner)
    async with running(crew.work):
        await until_half_done(crew)
        store.is_away = True
        # What is asked of it meanwhile waits, and is answered when it is stored.
        starting = asyncio.create_task(owner.facade.start("three", id="late"))

        async def is_noticed() -> bool:
            return {loop.status for loop in owner.ownership.loops.values()} == {"database_away"}

        asking = asyncio.create_task(command(crew.link, "late2", "c", "start", workflow="three"))
        await until(is_noticed)
        assert not starting.done()
        assert await world.store.load_instance("late") is None
        store.is_away = False
        assert (await starting).is_new
        assert (await asking).ok
        await assert_all_end(world, [*names, "late", "late2"], crew)


async def test_what_a_dead_owner_did_not_send_is_sent_although_messages_never_cease(
    own: Own, world: World
) -> None:
    first = await own(life=Life(lambda step: step == "publish.before"))
    starting = asyncio.create_task(first.facade.start("three", id="i1"))
    await first.life.ended.wait()
    await asyncio.gather(starting, return_exceptions=True)
    link = await world.link()
    partition = first.bus.partition_of("i1")
    noise = next(f"n{n}" for n in range(99) if first.bus.partition_of(f"n{n}") == partition)
    data = wire.CommandMessage(command="c", name="cancel").model_dump_json().encode()

    async def make_noise() -> None:
        while True:
            # More than is read at once, and never so much that nothing else is.
            if await world.left() < 300:
                send = (link.send(noise, wire.COMMAND_SOURCE, data) for _ in range(300))
                await asyncio.gather(*send)
            await asyncio.sleep(0)

    async with running(make_noise):
        await own()
        task = await Hand(link).take("devops")
    assert task.message.resent
