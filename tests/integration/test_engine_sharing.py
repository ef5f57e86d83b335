"""Two orchestrators on one bus and one remote database: shared by leases, fenced by epochs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest

from sagabus.adapters.nats_leases import NatsLeases
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.app import Orchestrator
from sagabus.errors import ConflictError
from sagabus.settings import Settings
from tests.support.crew import Crew, Hand, command
from tests.support.engine import Owner, ended, history_types, running, shorten_grace
from tests.support.nats_server import NatsServer
from tests.support.slowness import slowness
from tests.support.surreal_server import SurrealServer
from tests.support.worlds import RealWorld, until

CONFIG = """
[[workflows]]
name = "gated"
[[workflows.stages]]
name = "make"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "ship"
agents = ["devops"]
compensation_agents = ["devops"]
approval_required = true
"""
PARTITIONS = 4
TAKE_OVER_S = 5.0


class Cluster:
    """A bus, a database, and orchestrators that share both."""

    def __init__(self, directory: Path, world: RealWorld, database: SurrealServer) -> None:
        self.world = world
        self.database = database
        self.config = directory / "workflows.toml"
        self.config.write_text(CONFIG)
        self.stack = AsyncExitStack()

    async def join(self, name: str, lease_s: float = 2.0) -> Owner:
        """One more orchestrator, with connections of its own."""
        store = await open_store(self.database)
        self.stack.push_async_callback(store.close)
        bus = await self.world.connect()
        owner = Owner(self.config, store, bus, leases=NatsLeases(bus, name, lease_s))
        self.stack.push_async_callback(owner.stop)
        return await owner.begin()


async def open_store(database: SurrealServer) -> SurrealStore:
    return await SurrealStore.open(
        database.url,
        user=database.user,
        password=database.password,
        migrations=data_path("migrations"),
    )


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    shorten_grace(monkeypatch, 60)
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(NatsServer(tmp_path / "nats"))
        database = stack.enter_context(SurrealServer(tmp_path / "db"))
        world = RealWorld(nats, await open_store(database), PARTITIONS)
        stack.push_async_callback(world.close)
        cluster = Cluster(tmp_path, world, database)
        await stack.enter_async_context(cluster.stack)
        yield cluster


def served(owner: Owner) -> set[int]:
    loops = owner.ownership.loops
    return {number for number, loop in loops.items() if loop.is_serving}


async def until_shared(first: Owner, second: Owner) -> None:
    async def look() -> bool:
        return len(served(first)) == len(served(second)) == PARTITIONS // 2

    await until(look)


async def test_two_share_the_partitions_and_the_other_goes_on_when_one_is_killed(
    cluster: Cluster,
) -> None:
    first, second = await cluster.join("first"), await cluster.join("second")
    await until_shared(first, second)
    assert served(first) | served(second) == set(range(PARTITIONS))
    names = [f"i{number}" for number in range(24)]
    askers = [first.facade, second.facade]
    await asyncio.gather(*(askers[n % 2].start("gated", id=name) for n, name in enumerate(names)))
    crew = Crew(await cluster.world.link(), ["devops"])
    async with running(crew.work):
        # Whoever is asked, the owner answers.
        await until_all_wait(cluster, names)
        await asyncio.gather(
            *(
                askers[(n + 1) % 2].approve_stage(name, "ship", by="ann")
                for n, name in enumerate(names[:12])
            )
        )
        await first.kill()
        began = monotonic()

        async def is_taken_over() -> bool:
            return served(second) == set(range(PARTITIONS))

        await until(is_taken_over)
        assert monotonic() - began < TAKE_OVER_S * slowness()
        await asyncio.gather(
            *(second.facade.approve_stage(name, "ship", by="ann") for name in names[12:])
        )
        states = await asyncio.gather(*(ended(cluster.world.store, name) for name in names))
    assert {state.row.status for state in states} == {"completed"}
    assert set(crew.effects.values()) == {1}
    assert len(crew.effects) == 2 * len(names)
    for name in names:
        types = await history_types(cluster.world.store, name)
        assert types.count("ApprovalGranted") == 1
        assert types.count("WorkflowCompleted") == 1


async def until_all_wait(cluster: Cluster, names: list[str]) -> None:
    async def look() -> bool:
        counts = await cluster.world.store.count_by_status()
        return counts["waiting"] == len(names)

    await until(look)


async def test_one_that_ends_in_good_order_hands_over_at_once(cluster: Cluster) -> None:
    # Nobody could wait for the end of these leases.
    first, second = await cluster.join("first", 600), await cluster.join("second", 600)
    await until_shared(first, second)
    await first.facade.start("gated", id="i1")
    await first.stop()

    async def is_taken_over() -> bool:
        return len(served(second)) == PARTITIONS

    await until(is_taken_over)
    hand = Hand(await cluster.world.link())
    task = await hand.take("devops")
    await hand.run(task)
    await hand.finish(task)
    await until_all_wait(cluster, ["i1"])


async def test_one_id_started_by_two_clients_at_once_through_two_orchestrators_is_one_instance(
    cluster: Cluster,
) -> None:
    first, second = await cluster.join("first"), await cluster.join("second")
    await until_shared(first, second)
    for number in range(8):  # some partitions are the first's, some the second's
        name = f"same-{number}"
        started = await asyncio.gather(
            *(owner.facade.start("gated", {"n": 1}, id=name) for owner in (first, second) * 2)
        )
        assert {each.id for each in started} == {name}
        assert [each.is_new for each in started].count(True) == 1
        for owner in (first, second):
            with pytest.raises(ConflictError, match="with other parameters"):
                await owner.facade.start("gated", {"n": 2}, id=name)
        types = await history_types(cluster.world.store, name)
        assert types == ["WorkflowStarted", "TaskScheduled"]
        row = (await first.facade.get(name)).row
        assert row.parameters == {"n": 1}


async def test_start_is_answered_only_when_it_is_stored(cluster: Cluster) -> None:
    owner = await cluster.join("only")

    async def is_serving() -> bool:
        return len(served(owner)) == PARTITIONS

    await until(is_serving)
    await owner.facade.start("gated")
    cluster.database.stall()
    here = asyncio.create_task(owner.facade.start("gated", id="here"))
    link = await cluster.world.link()
    elsewhere = asyncio.create_task(command(link, "there", "c", "start", workflow="gated"))
    await asyncio.wait([here, elsewhere], timeout=0.5)
    assert not here.done()
    assert not elsewhere.done()
    cluster.database.resume()
    assert (await here).is_new
    assert (await elsewhere).result["created"]
    for name in ("here", "there"):
        assert await cluster.world.store.load_instance(name) is not None


async def test_one_more_than_there_are_partitions_stands_by_and_takes_over(
    cluster: Cluster, tmp_path: Path
) -> None:
    def settings(name: str) -> Settings:
        return Settings(
            config=cluster.config,
            data_dir=tmp_path / name,
            nats_url=cluster.world.server.url,
            surreal_url=cluster.database.url,
            surreal_user=cluster.database.user,
            surreal_password=cluster.database.password,
            partitions=1,
        )

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Orchestrator.open(settings("first")))
        async with Orchestrator.open(settings("second")) as second:
            # It serves nothing, and is of use all the same.
            started = await second.start("gated", id="i1")
            assert started.is_new
            assert (await first.get("i1")).row.status == "running"
            await stack.aclose()
            await second.cancel("i1", by="ann")
            state = await second.wait("i1", 10)
            assert state.row.status == "cancelled"
