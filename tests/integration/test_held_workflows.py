"""What a workflow's hold means to instances that need an operator, and to those that begin anew."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagabus.adapters.memory_holds import MemoryHolds
from sagabus.app import Orchestrator
from sagabus.core.instance import child_id
from tests.integration.test_holds import (
    MOMENT_S,
    assert_nothing_comes,
    killed_and_replaced,
    status_of,
)
from tests.support.crew import Hand, result_data
from tests.support.engine import Own, ended, owners
from tests.support.worlds import Taken, World, open_world, until

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
[[workflows.stages]]
name = "check"
agents = ["tester"]

[[workflows]]
name = "sale"
[[workflows.stages]]
name = "charge"
agents = ["devops"]
classification = "final"
[[workflows.stages]]
name = "mail"
agents = ["tester"]
classification = "final"

[[workflows]]
name = "shop"
[[workflows.stages]]
name = "sell"
action = "sale"

[[workflows]]
name = "above"
[[workflows.stages]]
name = "whole"
action = "line"
"""
ROLES = ("devops", "backend", "tester")


@pytest.fixture(params=["memory", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(request.param, tmp_path, partitions=2) as world:
        yield world


@pytest.fixture
async def own(world: World, tmp_path: Path) -> AsyncIterator[Own]:
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with owners(config, world) as own:
        yield own


async def charged_for_all_we_know(o: Orchestrator, hand: Hand, workflow: str, id: str) -> Taken:
    """Start an instance of whose first, final stage nobody knows whether it had its effect."""
    await o.start(workflow, id=id)
    charge = await hand.take("devops")
    await hand.run(charge)
    await hand.finish(charge, "failed", error={"type": "unknown_outcome", "message": "cut"})
    return charge


async def test_instance_that_needs_an_operator_is_held_with_its_workflow(
    world: World, own: Own
) -> None:
    book = MemoryHolds()
    owner = await own(holds=book)
    o, hand = owner.facade, Hand(await world.link())
    await charged_for_all_we_know(o, hand, "sale", "told")
    late = await charged_for_all_we_know(o, hand, "sale", "late")
    for id in ("told", "late"):
        await status_of(o, id, "needs_operator")
    await o.holds.hold("workflow", "sale", by="ann", reason="wrong amounts")
    for id in ("told", "late"):
        await is_paused(o, id)
    o = await killed_and_replaced(owner, own, book)
    result = await o.resolve("told", "charge", "succeeded", by="ann", reason="the bank")
    assert result["status"] == "paused"
    await hand.send(late, result_data("charge-1-0"))
    await status_of(o, "late", "paused")
    await assert_nothing_comes(world, "tester")
    await o.holds.let_go("workflow", "sale")
    for _ in range(2):
        mail = await hand.take("tester")
        await hand.run(mail)
        await hand.finish(mail)
    for id in ("told", "late"):
        assert (await ended(world.store, id)).row.status == "completed"


async def test_final_stage_below_waits_for_the_end_of_the_pause_above(
    world: World, own: Own
) -> None:
    o, hand = (await own()).facade, Hand(await world.link())
    await charged_for_all_we_know(o, hand, "shop", "i1")
    sale = child_id("i1", "sell-1-0", 1)
    await status_of(o, sale, "needs_operator")
    await o.pause("i1", by="ann")
    await is_paused(o, sale)
    await o.resolve(sale, "charge", "succeeded", by="ann", reason="the bank")
    await assert_nothing_comes(world, "tester")
    await o.resume("i1")
    mail = await hand.take("tester")
    await hand.run(mail)
    await hand.finish(mail)
    assert (await ended(world.store, "i1")).row.status == "completed"


async def test_ended_instances_of_a_held_workflow_begin_anew_paused(world: World, own: Own) -> None:
    o, hand = (await own()).facade, Hand(await world.link())
    await o.start("line", id="failed")
    await hand.finish(await hand.take("devops"))
    move = await hand.take("backend")
    await hand.run(move)
    await hand.fail(move)
    await ended(world.store, "failed")
    await o.start("above", id="done")
    for role in ROLES:
        task = await hand.take(role)
        if role == "backend":
            await hand.run(task)
        await hand.finish(task)
    await ended(world.store, "done")
    below = child_id("done", "whole-1-0", 1)
    await o.holds.hold("workflow", "line", by="ann", reason="the freeze")
    assert (await o.retry("failed", by="bob"))["status"] == "paused"
    await o.compensate("done", by="bob", reason="wrong")
    for id in ("failed", below):
        await is_paused(o, id)
    await assert_nothing_comes(world, "backend")
    # One of them goes on by itself, and no other hold pauses it again.
    await o.resume("failed")
    await o.holds.hold("role", "tester")
    await asyncio.sleep(MOMENT_S)
    assert (await o.get_row("failed")).paused is None
    await o.cancel("failed")
    await ended(world.store, "failed")
    await o.holds.let_go("workflow", "line")
    undo = await hand.take("backend")
    await hand.run(undo)
    await hand.finish(undo)
    assert (await ended(world.store, "done")).row.status == "rolled_back"


async def is_paused(o: Orchestrator, instance: str) -> None:
    async def look() -> bool:
        return (await o.get_row(instance)).paused is not None

    await until(look)
