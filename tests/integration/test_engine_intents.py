"""Final effects that nobody tells of: held, listed, never sent again, and ended by late news.

Over the memory adapters, and over a real server and a real database.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagabus.core import claims, tasks, timers
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Hand
from tests.support.engine import Own, Owner, ended, owners, shorten_grace
from tests.support.worlds import World, open_world, until

CONFIG = """
[[workflows]]
name = "sale"
[[workflows.stages]]
name = "reserve"
agents = ["tester"]
compensation_agents = ["tester"]
[[workflows.stages]]
name = "charge"
agents = ["devops"]
classification = "final"
retry = {count = 3, delay = 0.01}

[[workflows]]
name = "pair"
[[workflows.stages]]
name = "both"
type = "parallel"
[[workflows.stages.stages]]
name = "look"
agents = ["tester"]
compensation_agents = ["tester"]
[[workflows.stages.stages]]
name = "charge"
agents = ["devops"]
classification = "final"
"""


@pytest.fixture(params=["memory", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(request.param, tmp_path) as world:
        yield world


@pytest.fixture
async def own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Own]:
    shorten_grace(monkeypatch, 0.3)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with owners(config, world) as own:
        yield own


def watch_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tasks, claims, timers):
        monkeypatch.setattr(module, "INTENT_WATCH", timedelta(seconds=0.3), raising=False)


async def status(owner: Owner, instance: str) -> str:
    return (await owner.facade.get_row(instance)).status.value


async def charged(owner: Owner, hand: Hand) -> object:
    """A sale whose charge was claimed by an agent that then is silent; its task."""
    await owner.facade.start("sale", id="i1")
    reserve = await hand.take("tester")
    await hand.run(reserve)
    await hand.finish(reserve)
    charge = await hand.take("devops")
    await hand.run(charge)
    return charge


async def test_final_task_that_was_claimed_is_not_sent_again(world: World, own: Own) -> None:
    owner = await own()
    hand = Hand(await world.link())
    await owner.facade.start("pair", id="i1")
    for role in ("tester", "devops"):
        task = await hand.take(role)
        await hand.run(task)
        await task.ack()  # the bus has lost it
    for _ in range(2):
        again = await hand.take("tester")
        assert again.message.resent
        await again.ack()
    assert await hand.link.take("devops") is None
    [intent] = await owner.facade.intents()
    assert (intent.instance, intent.workflow, intent.attempt.stage) == ("i1", "pair", "charge")
    assert not intent.attempt.is_held


async def test_final_task_of_an_agent_that_is_gone_is_held_until_late_news_come(
    world: World, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_closely(monkeypatch)
    owner = await own()
    hand = Hand(await world.link())
    charge = await charged(owner, hand)
    await until(lambda: _is(owner, "needs_operator"))
    [intent] = await owner.facade.intents()
    assert intent.attempt.is_held
    assert await hand.claim(charge) is ClaimVerdict.HOLD
    await hand.finish(charge)
    state = await ended(world.store, "i1")
    assert (state.row.status, state.row.parked) == ("completed", [])
    assert await owner.facade.intents() == []


async def test_outcome_that_an_agent_cannot_tell_is_held_until_a_person_says(
    world: World, own: Own
) -> None:
    owner = await own()
    hand = Hand(await world.link())
    charge = await charged(owner, hand)
    error = {"type": "unknown_outcome", "message": "the line broke", "retryable": True}
    await hand.finish(charge, "failed", error=error)
    await until(lambda: _is(owner, "needs_operator"))
    told = await owner.facade.resolve("i1", "charge", "failed", by="ann", reason="I asked")
    assert (told["stage"], told["outcome"]) == ("charge", "failed")
    undo = await hand.take("tester")
    await hand.run(undo)
    await hand.finish(undo)
    state = await ended(world.store, "i1")
    assert (state.row.status, state.row.effects_left) == ("rolled_back", [])
    assert len(state.attempts["charge-1-0"]) == 1


async def _is(owner: Owner, wanted: str) -> bool:
    return await status(owner, "i1") == wanted
