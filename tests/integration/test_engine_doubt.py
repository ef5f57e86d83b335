"""Commits of unknown outcome, answers given twice, limits that ran out while nobody was there.

Over the memory adapters, and over a real server and a real database.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.errors import ConflictError, StoreUnavailableError
from sagabus.ports import Batch, Store
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Hand, command, result_data
from tests.support.engine import (
    FAST,
    Clock,
    Life,
    Own,
    Owner,
    ended,
    history_types,
    owners,
    shorten_grace,
)
from tests.support.nats_server import NatsServer
from tests.support.surreal_server import SurrealServer
from tests.support.trails import check_trails
from tests.support.worlds import RealWorld, World, open_world, until, until_nothing_is_left

CONFIG = """
[[workflows]]
name = "one"
[[workflows.stages]]
name = "make"
agents = ["devops"]
compensation_agents = ["devops"]

[[workflows]]
name = "two"
[[workflows.stages]]
name = "make"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "check"
agents = ["tester"]

[[workflows]]
name = "limited"
[[workflows.stages]]
name = "make"
agents = ["devops"]
timeout = 60
retry = {count = 1, delay = 0.01}
compensation_agents = ["devops"]
compensation = {retry = {count = 0}}

[[workflows]]
name = "start_limited"
[[workflows.stages]]
name = "look"
agents = ["tester"]
start_timeout = 60

[[workflows]]
name = "gated"
[[workflows.stages]]
name = "make"
agents = ["devops"]
approval_required = true
approval = {timeout = 60}
"""
#: By so much is the clock of the next owner ahead: beyond every limit in CONFIG, with all grace.
OUTAGE = timedelta(minutes=10)
#: Of the owner after it: nothing but the order of what it reads may keep a limit from ending what
#: was answered, neither what is read together nor the wait for who is there.
AFTER: dict[str, Any] = {"clock": Clock(OUTAGE), "limits": replace(FAST, batch=1), "hurry": 1e9}


@pytest.fixture(params=["memory", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(request.param, tmp_path) as world:
        yield world


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shorten_grace(monkeypatch, 60)  # without an outage no limit runs out
    path = tmp_path / "workflows.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
async def own(world: World, config: Path) -> AsyncIterator[Own]:
    async with owners(config, world) as own:
        yield own


class Doubtful:
    """A store whose next commit, once armed, ends in a lost connection."""

    def __init__(self, store: Store, *, is_stored: bool) -> None:
        self._store = store
        self._is_stored = is_stored
        self.is_armed = False
        self.cuts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> None:
        if not self.is_armed:
            return await self._store.commit(batch)
        self.is_armed = False
        self.cuts += 1
        if self._is_stored:
            await self._store.commit(batch)
        raise StoreUnavailableError("the connection was cut")


@pytest.mark.parametrize("is_stored", [True, False])
async def test_commit_whose_outcome_is_unknown_is_stored_once_and_published_once(
    world: World, own: Own, is_stored: bool
) -> None:
    store = Doubtful(world.store, is_stored=is_stored)
    owner = await own(store=store)
    store.is_armed = True
    assert (await owner.facade.start("two", id="i1")).is_new
    hand = Hand(await world.link())
    task = await hand.take("devops")
    store.is_armed = True
    await hand.run(task)
    store.is_armed = True
    await hand.finish(task)
    await hand.finish(await hand.take("tester"))
    await ended(world.store, "i1")
    await until_nothing_is_left(world)
    assert store.cuts == 3
    assert max(Counter(owner.sent).values()) == 1
    types = await history_types(world.store, "i1")
    assert Counter(types)["TaskScheduled"] == 2
    assert len(await world.events("i1")) == len(types)
    await check_trails(world.store)


async def test_commit_cut_off_by_a_remote_database_is_stored_once_and_published_once(
    tmp_path: Path, config: Path
) -> None:
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(NatsServer(tmp_path / "nats"))
        database = stack.enter_context(SurrealServer(tmp_path / "db"))
        store = await SurrealStore.open(
            database.url,
            user=database.user,
            password=database.password,
            migrations=data_path("migrations"),
        )
        world = RealWorld(nats, store)
        stack.push_async_callback(world.close)
        owner = await Owner(config, store, await world.connect()).begin()
        stack.push_async_callback(owner.stop)
        await owner.until_serving()
        hand = Hand(await world.link())
        # The first stores the definition as well: what is cut off shall be a commit. So nobody
        # else may ask the database anything meanwhile.
        for number in range(3):
            if number:
                await asyncio.to_thread(database.cut_after_next_query)
            assert (await owner.facade.start("one")).is_new
            task = await hand.take("devops")
            await hand.run(task)
            if number:
                await asyncio.to_thread(database.cut_after_next_query)
            await hand.finish(task)
            await until_completed(owner, number + 1)
        await until_nothing_is_left(world)
        await owner.stop()
        assert max(Counter(owner.sent).values()) == 1
        assert owner.metric("sagabus_workflows_completed_total", workflow="one") == 3


async def until_completed(owner: Owner, count: int) -> None:
    async def look() -> bool:
        return owner.metric("sagabus_workflows_completed_total", workflow="one") == count

    await until(look)


async def test_redelivered_approval_does_nothing_twice_and_is_answered_as_before(
    world: World, own: Own
) -> None:
    steps: list[str] = []

    def dies(step: str) -> bool:
        steps.append(step)
        return step == "ack.before" and "notify.after" in steps  # it has answered

    life = Life(dies)
    first = await own(life=life)
    await first.facade.start("gated", id="i1")
    link = await world.link()
    approving = asyncio.create_task(command(link, "i1", "yes", "approve", stage="make"))
    await life.ended.wait()
    answer = await approving
    second = await own()
    await until_nothing_is_left(world, but=1)
    again = await command(link, "i1", "yes", "approve", stage="make")
    assert again == answer
    assert answer.result["decision"] == "approved"
    with pytest.raises(ConflictError, match="approved by ann"):
        await second.facade.approve_stage("i1", "make", by="bob")
    with pytest.raises(ConflictError, match="approved by ann"):
        await second.facade.reject_stage("i1", "make", by="bob")
    hand = Hand(link)
    await hand.finish(await hand.take("devops"))
    await ended(world.store, "i1")
    types = Counter(await history_types(world.store, "i1"))
    assert (types["ApprovalGranted"], types["TaskScheduled"]) == (1, 1)
    await until_nothing_is_left(world)


async def test_result_stored_during_an_outage_beats_the_time_limit_that_ran_out_meanwhile(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("limited", id="i1")
    hand = Hand(await world.link())
    task = await hand.take("devops")
    await hand.run(task)
    await owner.kill()
    await hand.send(task, result_data("other-1-0"))
    await hand.finish(task)
    await own(**AFTER)
    state = await ended(world.store, "i1")
    assert state.row.status == "completed"
    assert "TaskFailed" not in await history_types(world.store, "i1")
    await until_nothing_is_left(world)


async def test_approval_stored_during_an_outage_beats_the_gate_that_ran_out_meanwhile(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("gated", id="i1")
    await owner.kill()
    link = await world.link()
    await link.send("i1", "devops", result_data("other-1-0"))
    before = await world.left()
    approving = asyncio.create_task(command(link, "i1", "yes", "approve", stage="make"))

    async def is_stored() -> bool:
        return await world.left() > before

    await until(is_stored)
    await own(**AFTER)
    assert (await approving).ok
    hand = Hand(link)
    await hand.finish(await hand.take("devops"))
    assert (await ended(world.store, "i1")).row.status == "completed"


async def test_result_stored_during_an_outage_beats_the_limit_of_its_start(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("start_limited", id="i1")
    hand = Hand(await world.link())
    task = await hand.take("tester")
    await owner.kill()
    await hand.send(task, result_data("other-1-0"))
    await hand.finish(task)
    await own(**AFTER)
    assert (await ended(world.store, "i1")).row.status == "completed"


async def test_limits_run_out_during_an_outage_without_a_result_end_the_attempt_after_it(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("limited", id="i1")
    hand = Hand(await world.link())
    await hand.run(await hand.take("devops"))
    # A claim that comes again was not answered, and would begin the attempt's time anew.
    await until_nothing_is_left(world, but=1)
    await owner.kill()
    await own(clock=Clock(OUTAGE))
    second = await hand.take("devops")
    while second.message.attempt == 1:  # sent again before its limit was looked at
        second = await hand.take("devops")
    assert second.message.attempt == 2
    await hand.run(second)
    await hand.finish(second)
    assert (await ended(world.store, "i1")).row.status == "completed"
    await until_nothing_is_left(world)


@pytest.mark.parametrize("workflow", ["one", "limited"])
async def test_task_whose_delivery_limit_was_reached_fails_its_attempt_and_is_never_silent(
    world: World, own: Own, workflow: str
) -> None:
    owner = await own(limits=replace(FAST, max_deliver=2))
    await owner.facade.start(workflow, id="i1")
    hand = Hand(await world.link())
    task = await hand.take("devops")
    for delivery in (1, 2):  # agents that die before they ask
        assert task.delivery == delivery
        await task.give_back()
        task = await hand.take("devops")
    assert await hand.claim(task) is ClaimVerdict.SKIP
    await task.ack()
    state = await world.store.load_instance("i1")
    assert state is not None
    error = state.attempts["make-1-0"][0].error
    assert error is not None
    assert (error.type, "delivered 3 times" in error.message) == ("agent_lost", True)
    if workflow == "limited":
        second = await hand.take("devops")
        assert second.message.attempt == 2
        await hand.run(second)
        await hand.finish(second)
        assert (await ended(world.store, "i1")).row.status == "completed"
    else:
        state = await ended(world.store, "i1")
        assert state.row.status == "failed"
        assert state.row.error is not None
        assert state.row.error.type == "agent_lost"
    await until_nothing_is_left(world)
