"""Dead letters: what they are about, and which of them may be put back.

Over the memory adapters, and over a real server and a real database.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sagabus.app.dead_letters import Letter
from sagabus.errors import ConflictError, LetterNotFoundError
from sagabus_agents import wire
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Hand, result_data
from tests.support.engine import FAST, Owner, ended, owners, shorten_grace
from tests.support.worlds import MemoryWorld, World, open_world, until

CONFIG = """
[[workflows]]
name = "one"
[[workflows.stages]]
name = "make"
agents = ["devops"]
retry = {count = 1, delay = 0.01}
compensation_agents = ["devops"]
"""


@dataclass
class Scene:
    """An instance ``i1`` whose one task is queued."""

    world: World
    owner: Owner
    hand: Hand

    async def letters(self, count: int = 1) -> list[Letter]:
        """At least so many letters, newest first."""

        async def look() -> list[Letter]:
            found = list((await self.owner.facade.dead_letters.list()).items)
            return found if len(found) >= count else []

        return await until(look)

    async def bury(self, payload: bytes, **about: object) -> int:
        """Keep a message as a dead letter; its number."""
        partition = self.owner.bus.partition_of("i1")
        letter = wire.DeadLetter(
            reason="engine_failed: bug",
            subject=f"sagabus.inbox.{partition}.i1.devops",
            at=datetime.now(UTC),
            payload=payload.decode(),
            is_whole=True,
        ).model_copy(update=about)
        subject = wire.dead_subject("devops", "i1")
        await self.owner.bus.dead_letter(subject, letter.model_dump_json().encode())
        return (await self.letters())[0].seq

    async def refusal(self, number: int) -> str:
        """Why a letter is not put back; it stays."""
        with pytest.raises(ConflictError) as caught:
            await self.owner.facade.dead_letters.requeue(number)
        assert (await self.owner.facade.dead_letters.get(number)).seq == number
        return str(caught.value)


@pytest.fixture(params=["memory", "real"])
async def scene(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    shorten_grace(monkeypatch, 0.1)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with open_world(request.param, tmp_path) as world, owners(config, world) as own:
        owner = await own(limits=replace(FAST, resend_after_s=30.0))
        await owner.facade.start("one", id="i1")
        yield Scene(world, owner, Hand(await world.link()))


async def test_message_that_cannot_be_read_is_kept_whole_and_not_put_back(scene: Scene) -> None:
    garbage = json.dumps({"kind": "wish", "task": "make-1-0", "attempt": 1}).encode()
    await scene.hand.link.send("i1", "devops", garbage)
    [letter] = await scene.letters()
    content = letter.content
    assert (content.instance, content.role, content.stage) == ("i1", "devops", "make")
    assert (content.task, content.attempt, content.delivery) == ("make-1-0", 1, 1)
    assert (content.payload.encode(), content.size, content.is_whole) == (garbage, 50, True)
    with pytest.raises(ConflictError, match=r"not understood.*: it would only come back"):
        await scene.owner.facade.dead_letters.requeue(letter.seq)
    assert [each.seq for each in await scene.letters()] == [letter.seq]


async def test_result_that_was_lost_on_the_way_ends_its_task_when_it_is_put_back(
    scene: Scene,
) -> None:
    task = await scene.hand.take("devops")
    await scene.hand.run(task)
    number = await scene.bury(result_data("make-1-0", output={"made": 1}))
    assert await scene.owner.facade.dead_letters.requeue(number) == "message"
    state = await ended(scene.world.store, "i1")
    assert state.attempts["make-1-0"][0].output == {"made": 1}
    assert (await scene.owner.facade.dead_letters.list()).total == 0


async def test_what_would_do_harm_or_nothing_is_not_put_back(scene: Scene) -> None:
    claim = {"kind": "claim", "claim": "c", "agent": "a", "delivery": 1, "reply": "_INBOX.x"}
    about = {"task": "make-1-0", "attempt": 1}
    cases = [
        (await scene.bury(json.dumps(claim | about).encode()), "is a claim"),
        (await scene.bury(result_data("bake-1-0")), "no attempt 1 of task bake-1-0"),
        (await scene.bury(b"{", is_whole=False, size=999_999), "only the beginning of its 999999"),
        (await scene.bury(b"", subject="sagabus.inbox.0.i%2.devops"), "names no instance"),
        (
            await scene.bury(result_data("make-1-0"), subject="sagabus.inbox.0.i2.devops"),
            "no instance 'i2'",
        ),
        (
            await scene.bury(result_data("make-1-0"), subject="sagabus.inbox.0.i1.tester"),
            "of role devops, not of tester",
        ),
    ]
    for number, words in cases:
        assert words in await scene.refusal(number)
    task = await scene.hand.take("devops")
    await scene.hand.run(task)
    await scene.hand.finish(task)
    await ended(scene.world.store, "i1")
    assert "has succeeded" in await scene.refusal(await scene.bury(result_data("make-1-0")))


@pytest.mark.parametrize("scene", ["memory"], indirect=True)
async def test_task_that_was_delivered_too_often_is_a_letter_and_leaves_again_while_awaited(
    scene: Scene,
) -> None:
    assert isinstance(scene.world, MemoryWorld)
    task = await scene.hand.take("devops")
    task.delivery = 11
    assert await scene.hand.claim(task) is ClaimVerdict.SKIP
    await task.ack()
    [letter] = await scene.letters()
    content = letter.content
    assert content.reason.startswith("agent_lost: delivered 11 times")
    assert (content.instance, content.stage, content.task) == ("i1", "make", "make-1-0")
    assert (content.attempt, content.delivery) == (1, 11)

    second = await scene.hand.take("devops")  # its retry, which the bus then loses
    assert second.message.attempt == 2
    await second.ack()
    assert await scene.owner.facade.dead_letters.requeue(letter.seq) == "task"
    again = await scene.hand.take("devops")
    assert (again.message.attempt, again.message.resent) == (2, True)
    await scene.hand.run(again)
    await scene.hand.finish(again)
    await ended(scene.world.store, "i1")
    subject = wire.task_subject("devops", "i1", "make-1-0", 1)
    number = await scene.bury(b"", subject=subject, instance="i1", task="make-1-0", attempt=1)
    assert "nothing of the task is awaited any more" in await scene.refusal(number)


async def test_letter_that_is_gone_is_not_found(scene: Scene) -> None:
    number = await scene.bury(b"{}")
    await scene.owner.facade.dead_letters.drop(number)
    for ask in (
        scene.owner.facade.dead_letters.get,
        scene.owner.facade.dead_letters.drop,
        scene.owner.facade.dead_letters.requeue,
    ):
        with pytest.raises(LetterNotFoundError, match=f"no dead letter {number}"):
            await ask(number)
