"""Notices: told once of what needs a person or stands still for too long, and told until taken."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sagabus.app.notices import Notices
from sagabus_agents.wire import NoticeMessage
from tests.support.crew import Hand
from tests.support.engine import Owner, owners, running, shorten_grace
from tests.support.web_hook import WebHook
from tests.support.worlds import World, open_world, until

CONFIG = """
[[workflows]]
name = "plain"
[[workflows.stages]]
name = "build"
agents = ["builder"]

[[workflows]]
name = "final"
[[workflows.stages]]
name = "publish"
agents = ["builder"]
classification = "final"
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world("memory", tmp_path) as world:
        yield world


@pytest.fixture
async def owner(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Owner]:
    shorten_grace(monkeypatch, 0.1)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with owners(config, world) as own:
        yield await own(hurry=1.0)


@pytest.fixture
def hook() -> Iterator[WebHook]:
    with WebHook() as hook:
        yield hook


@asynccontextmanager
async def told(
    owner: Owner, world: World, after_s: float, url: str | None = None
) -> AsyncIterator[list[NoticeMessage]]:
    """What is told on the bus while instances are looked at."""
    heard: list[NoticeMessage] = []
    notices = Notices(
        owner.engine, owner.ownership, owner.facade.why, after_s=after_s, url=url, look_s=0.01
    )
    link = await world.link()

    def hear(data: bytes) -> None:
        heard.append(NoticeMessage.model_validate_json(data))

    async with link.listen("sagabus.notice.*", hear), running(notices.run):
        yield heard


async def test_instance_that_stands_still_is_told_of_once_and_anew_when_it_has_moved(
    owner: Owner, world: World
) -> None:
    async with told(owner, world, after_s=0.05) as heard:
        await owner.facade.start("plain", id="i1")

        async def count(number: int) -> bool:
            return len(heard) >= number

        await until(lambda: count(1))
        [notice] = heard
        assert (notice.instance, notice.cause) == ("i1", "no_agent")
        assert "start an agent of role builder" in notice.next
        await asyncio.sleep(0.1)
        assert len(heard) == 1
        await owner.facade.pause("i1", by="ann")
        await until(lambda: count(2))
    assert heard[1].cause == "paused"
    assert heard[0].id != heard[1].id


async def test_instance_that_needs_an_operator_is_told_of_at_once(
    owner: Owner, world: World
) -> None:
    async with told(owner, world, after_s=3600) as heard:
        await owner.facade.start("plain", id="i1")
        await owner.facade.start("final", id="i2")
        hand = Hand(await world.link())
        for _ in range(2):
            task = await hand.take("builder")
            await hand.run(task) if task.message.claim else None
            if task.message.stage_name == "publish":
                lost = {"type": "unknown_outcome", "message": "the line was cut"}
                await hand.finish(task, "failed", error=lost)

        async def look() -> bool:
            return bool(heard)

        await until(look)
    [notice] = heard
    assert (notice.instance, notice.status, notice.cause) == (
        *("i2", "needs_operator"),
        "intent_unknown",
    )


async def test_notice_is_posted_under_one_id_until_it_is_taken(
    owner: Owner, world: World, hook: WebHook
) -> None:
    hook.statuses = [503, 500, 204]
    async with told(owner, world, 0.05, hook.url):
        await owner.facade.start("plain", id="i1")

        async def look() -> bool:
            return len(hook.taken) >= 3

        await until(look)
        await asyncio.sleep(0.1)
    assert len(hook.taken) == 3
    [key] = {key for key, _ in hook.taken}
    document = json.loads(hook.taken[0][1])
    assert document["id"] == key
    assert (document["instance"], document["cause"]) == ("i1", "no_agent")
