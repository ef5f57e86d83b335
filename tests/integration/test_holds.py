"""Workflows, roles and everything on hold: what is kept back stays, over any death, and leaves."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sagabus.adapters.memory_holds import MemoryHolds
from sagabus.app import Orchestrator
from sagabus.errors import ConflictError, InvalidRequestError
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Crew, Hand
from tests.support.engine import (
    Dynasty,
    Own,
    Owner,
    ended,
    history_types,
    owners,
    running,
    shorten_grace,
)
from tests.support.worlds import MemoryWorld, Taken, World, open_world, until

CONFIG = """
[[workflows]]
name = "line"
[[workflows.stages]]
name = "make"
agents = ["devops"]
[[workflows.stages]]
name = "move"
agents = ["backend"]
compensation_agents = ["backend"]
timeout = 0.4
[[workflows.stages]]
name = "check"
agents = ["tester"]

[[workflows]]
name = "hurried"
[[workflows.stages]]
name = "work"
agents = ["backend"]
start_timeout = 0.3

[[workflows]]
name = "gated"
[[workflows.stages]]
name = "make"
agents = ["devops"]
approval_required = true
approval = {timeout = 0.2}
"""
ROLES = ("devops", "backend", "tester")
#: A moment in which something would have happened.
MOMENT_S = 0.4


@pytest.fixture(params=["memory", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(request.param, tmp_path, partitions=2) as world:
        yield world


@pytest.fixture
async def own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Own]:
    shorten_grace(monkeypatch, 0.1)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with owners(config, world) as own:
        yield own


async def status_of(o: Orchestrator, instance: str, wanted: str) -> None:
    async def look() -> bool:
        return (await o.get_row(instance)).status == wanted

    await until(look)


async def until_scheduled(o: Orchestrator, instance: str, stage: str) -> None:
    async def look() -> bool:
        entries = await o.history(instance)
        events = [event for entry in entries for event in entry.events]
        return any(x["type"] == "TaskScheduled" and x["data"]["stage"] == stage for x in events)

    await until(look)


async def assert_nothing_comes(world: World, *roles: str) -> None:
    link = await world.link()
    async with asyncio.timeout(MOMENT_S * 10):
        for _ in range(3):
            for role in roles:
                assert await link.take(role) is None
    await link.leave()


async def taken(world: World, role: str) -> Taken:
    return await Hand(await world.link()).take(role)


async def test_tasks_of_a_held_role_wait_and_leave_as_new_ones_when_it_goes_on(
    world: World, own: Own
) -> None:
    o = (await own()).facade
    await o.holds.hold("role", "backend", by="ann", reason="the disk is full")
    crew = Crew(await world.link(), ROLES)
    async with running(crew.work):
        for number in range(5):
            await o.start("line", id=f"i{number}")
        for number in range(5):
            await until_scheduled(o, f"i{number}", "move")
        await asyncio.sleep(MOMENT_S)  # longer than the time limit of what is kept back
        assert {message.role for message in crew.ran} == {"devops"}
        await o.holds.let_go("role", "backend", by="bob")
        for number in range(5):
            assert (await ended(world.store, f"i{number}")).row.status == "completed"
    assert set(crew.effects.values()) == {1}
    assert not any(message.resent for message in crew.ran)


async def test_queued_task_is_taken_off_the_bus_and_sent_once_more(world: World, own: Own) -> None:
    o = (await own()).facade
    await o.start("line", id="i1")
    await until_scheduled(o, "i1", "make")
    await o.holds.hold("role", "devops")
    await assert_nothing_comes(world, "devops")
    await o.holds.let_go("role", "devops")
    message = (await taken(world, "devops")).message
    assert (message.task, message.attempt, message.resent) == ("make-1-0", 1, True)


async def test_agent_that_has_a_task_of_a_held_role_does_not_begin(world: World, own: Own) -> None:
    o = (await own()).facade
    hand = Hand(await world.link())
    await o.start("line", id="i1")
    await hand.finish(await hand.take("devops"))
    move = await hand.take("backend")
    await o.holds.hold("all")
    assert await hand.claim(move, claim="c1") is ClaimVerdict.LATER
    await move.give_back()
    await assert_nothing_comes(world, "backend")
    await o.holds.let_go("all")
    move = await hand.take("backend")
    assert await hand.claim(move, claim="c2") is ClaimVerdict.RUN
    # What was told to run is told so again, whatever is on hold since.
    await o.holds.hold("role", "backend")
    assert await hand.claim(move, claim="c2") is ClaimVerdict.RUN
    await hand.finish(move)
    await hand.finish(await hand.take("tester"))
    assert (await ended(world.store, "i1")).row.status == "completed"


async def test_limits_of_what_is_kept_back_begin_when_it_leaves(world: World, own: Own) -> None:
    o = (await own()).facade
    await o.start("hurried", id="before")
    await o.holds.hold("role", "backend")
    await o.start("hurried", id="after")
    await asyncio.sleep(2 * MOMENT_S)
    assert {(await o.get_row(id)).status for id in ("before", "after")} == {"running"}
    await o.holds.let_go("role", "backend")
    # Nobody takes them now either: their time is over, once.
    for id in ("before", "after"):
        row = (await ended(world.store, id)).row
        assert (row.status, row.error.type if row.error else "") == ("failed", "start_timeout")


async def test_limit_of_what_runs_does_not_stand_still(world: World, own: Own) -> None:
    o = (await own()).facade
    hand = Hand(await world.link())
    await o.start("line", id="i1")
    await hand.finish(await hand.take("devops"))
    await hand.run(await hand.take("backend"))
    await o.holds.hold("role", "backend")

    async def look() -> bool:
        return "TaskFailed" in await history_types(world.store, "i1")

    await until(look)
    await o.holds.let_go("role", "backend")


async def test_nothing_leaves_and_no_time_runs_out_while_everything_is_held(
    world: World, own: Own
) -> None:
    owner = await own()
    o = owner.facade
    hand = Hand(await world.link())
    await o.start("line", id="running")
    make = await hand.take("devops")
    await o.holds.hold("all", by="ann")
    await o.start("line", id="new")
    await o.start("gated", id="gated")
    await hand.finish(make)  # a result is taken all the same
    await until_scheduled(o, "running", "move")
    await asyncio.sleep(MOMENT_S)
    await assert_nothing_comes(world, *ROLES)
    assert "ApprovalTimedOut" not in await history_types(world.store, "gated")
    await o.holds.let_go("all")
    crew = Crew(await world.link(), ROLES)
    async with running(crew.work):
        for id in ("running", "new"):
            assert (await ended(world.store, id)).row.status == "completed"
        assert (await ended(world.store, "gated")).row.error is not None


async def test_instances_of_a_held_workflow_pause_and_new_ones_start_paused(
    world: World, own: Own
) -> None:
    o = (await own()).facade
    crew = Crew(await world.link(), ROLES)
    for id in ("alone", "before"):
        await o.start("line", id=id)
    await o.pause("alone", by="zoe")
    await o.holds.hold("workflow", "line", by="ann", reason="the freeze")
    await o.start("line", id="after")
    await o.start("hurried", id="other")
    for id in ("before", "after"):
        paused = (await o.get_row(id)).paused
        assert paused is not None
        assert (paused.by, paused.reason, paused.is_of_workflow) == ("ann", "the freeze", True)
    async with running(crew.work):
        assert (await ended(world.store, "other")).row.status == "completed"
        await asyncio.sleep(MOMENT_S)
        assert {message.stage_name for message in crew.ran} == {"make", "work"}
        await o.holds.let_go("workflow", "line", by="bob", reason="over")
        for id in ("before", "after"):
            assert (await ended(world.store, id)).row.status == "completed"
            entries = await world.store.history(id)
            [resumed] = [
                event["data"]
                for entry in entries
                for event in entry.events
                if event["type"] == "WorkflowResumed"
            ]
            assert resumed == {"by": "bob", "reason": "over"}
        # Who paused one for itself lets it go on.
        assert (await o.get_row("alone")).status == "paused"
        await o.resume("alone")
        assert (await ended(world.store, "alone")).row.status == "completed"


async def killed_and_replaced(owner: Owner, own: Own, book: MemoryHolds) -> Orchestrator:
    await owner.kill()
    return (await own(holds=book)).facade


async def test_hold_outlives_its_orchestrator(world: World, own: Own) -> None:
    book = MemoryHolds()
    owner = await own(holds=book)
    await owner.facade.start("hurried", id="sent")
    await owner.facade.holds.hold("role", "backend")
    await owner.facade.start("hurried", id="kept")
    o = await killed_and_replaced(owner, own, book)
    await asyncio.sleep(MOMENT_S)
    await assert_nothing_comes(world, "backend")
    assert {(await o.get_row(id)).status for id in ("sent", "kept")} == {"running"}
    crew = Crew(await world.link(), ROLES)
    async with running(crew.work):
        await o.holds.let_go("role", "backend")
        for id in ("sent", "kept"):
            assert (await ended(world.store, id)).row.status == "completed"
    assert set(crew.effects.values()) == {1}


async def test_end_of_a_hold_that_its_orchestrator_did_not_live_to_tell_is_told(
    world: World, own: Own
) -> None:
    book = MemoryHolds()
    owner = await own(holds=book)
    o = owner.facade
    await o.start("line", id="paused")
    await o.holds.hold("workflow", "line")
    await o.holds.hold("role", "backend")
    await o.start("hurried", id="kept")
    await asyncio.sleep(MOMENT_S)  # longer than its limit
    await owner.kill()
    for word in await book.all():
        await book.write(replace(word, at=datetime.now(UTC), is_held=False))
    crew = Crew(await world.link(), ROLES)
    async with running(crew.work):
        await own(holds=book)
        assert (await ended(world.store, "kept")).row.status == "completed"
        assert (await ended(world.store, "paused")).row.status == "completed"


async def test_what_cannot_be_held_is_refused_with_the_reason(world: World, own: Own) -> None:
    desk = (await own()).facade.holds
    with pytest.raises(InvalidRequestError, match="no workflow in force names the role 'nobody'"):
        await desk.hold("role", "nobody")
    with pytest.raises(InvalidRequestError, match="no workflow 'none' is loaded"):
        await desk.hold("workflow", "none")
    with pytest.raises(ConflictError, match="role 'backend' is not paused"):
        await desk.let_go("role", "backend")
    first = await desk.hold("role", "backend", by="ann", reason="disk")
    assert await desk.hold("role", "backend", by="ann", reason="disk") == first
    with pytest.raises(ConflictError, match=r"paused already, by ann since .*Z: disk"):
        await desk.hold("role", "backend", by="bob")
    assert desk.current == [first]


@pytest.mark.parametrize("seed", range(5))
async def test_no_death_lets_a_held_role_begin_nor_loses_what_waits(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_grace(monkeypatch, 30)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG.replace("timeout = 0.4", ""))
    world, rng = MemoryWorld(partitions=2), random.Random(seed)
    dynasty = Dynasty(config, world, lambda _: rng.random() < 0.01, MemoryHolds())
    crew = Crew(await world.link(), ROLES)

    def moved() -> int:
        return sum(count for name, count in crew.effects.items() if " move-" in name)

    async with running(dynasty.reign, crew.work):
        for number in range(10):
            await dynasty.ask(lambda o, id=f"i{number}": o.start("line", id=id))
            if number % 3 != 1:
                continue
            await dynasty.ask(lambda o: o.holds.hold("role", "backend", by="ann"))
            await asyncio.sleep(0.03)  # who was told to begin does
            before = moved()
            await asyncio.sleep(0.06)
            assert moved() == before
            with suppress(ConflictError):  # the one who did it died before it said so
                await dynasty.ask(lambda o: o.holds.let_go("role", "backend"))
        for number in range(10):
            assert (await ended(world.store, f"i{number}")).row.status == "completed"
    assert dynasty.deaths > 0
    # What is claimed is done once, however often it was sent.
    assert moved() == 10
    await world.close()
