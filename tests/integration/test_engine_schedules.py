"""The schedules that a courier may not be trusted to avoid, each by name: late, twice, or never.

Over the memory adapters, and over a real server and a real database. One file: one list.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sagabus.core.instance import InstanceState
from sagabus.errors import PartitionLostError
from sagabus.ports import Batch, OutgoingTask, Store
from sagabus.runtime.partition import PartitionLoop
from sagabus_agents import wire
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Crew, Hand, command, result_data
from tests.support.engine import (
    Life,
    Own,
    Owner,
    ended,
    history_types,
    owners,
    running,
    shorten_grace,
)
from tests.support.worlds import World, open_world, until, until_nothing_is_left

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
name = "plain"
[[workflows.stages]]
name = "look"
agents = ["tester"]

[[workflows]]
name = "limited"
[[workflows.stages]]
name = "make"
agents = ["devops"]
timeout = 0.1
retry = {count = 1, delay = 0.01}
compensation_agents = ["devops"]
compensation = {retry = {count = 0}}
"""


@pytest.fixture(params=["memory", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(request.param, tmp_path) as world:
        yield world


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shorten_grace(monkeypatch, 0.3)
    path = tmp_path / "workflows.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
async def own(world: World, config: Path) -> AsyncIterator[Own]:
    async with owners(config, world) as own:
        yield own


async def until_stored(
    world: World, instance: str, is_so: Callable[[InstanceState], bool]
) -> InstanceState:
    async def look() -> InstanceState | None:
        state = await world.store.load_instance(instance)
        return state if state is not None and is_so(state) else None

    return await until(look)


def dying(step: str) -> tuple[Life, Callable[[], None]]:
    """A life that ends at the next ``step`` once it is armed."""
    armed = False

    def arm() -> None:
        nonlocal armed
        armed = True

    return Life(lambda name: armed and name == step), arm


async def test_owner_killed_between_pull_and_commit_and_a_claim_of_the_resent_task_is_there_first(
    world: World, own: Own
) -> None:
    life, arm = dying("commit.before")
    first = await own(life=life)
    await first.facade.start("one", id="i1")
    hand = Hand(await world.link())
    task = await hand.take("devops")
    await hand.run(task)
    arm()
    await hand.finish(task, output={"n": 1})
    await life.ended.wait()
    # Another agent has the task that recovery sends, and asks before any owner is there.
    asking = asyncio.create_task(Hand(await world.link(), "other").claim(task))
    await own()
    assert await asking is ClaimVerdict.SKIP
    state = await ended(world.store, "i1")
    assert state.row.status == "completed"
    assert (await history_types(world.store, "i1")).count("TaskCompleted") == 1
    assert [a.output for a in state.attempts["make-1-0"]] == [{"n": 1}]
    await until_nothing_is_left(world)


class Stalling:
    """A store whose next commit, once armed, waits: a process that is stopped and goes on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_armed = False
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> None:
        if self.is_armed:
            self.reached.set()
            await self.goes_on.wait()
        await self._store.commit(batch)


async def test_old_owner_that_wakes_up_after_a_new_one_took_over_tells_nobody_anything(
    world: World, own: Own, config: Path
) -> None:
    steps: list[str] = []

    def is_noted(step: str) -> bool:
        steps.append(step)
        return False

    stalling = Stalling(world.store)
    old = Owner(
        config,
        stalling,
        await world.connect(),
        life=Life(is_noted),
    )
    await old.engine.bus.ensure(["devops"])
    loop = PartitionLoop(0, old.engine)
    serving = asyncio.create_task(loop.run())
    link = await world.link()
    assert (await command(link, "i1", "start-1", "start", workflow="one")).ok
    hand = Hand(link)
    task = await hand.take("devops")
    stalling.is_armed = True
    asking = asyncio.create_task(hand.claim(task))
    starting = asyncio.create_task(command(link, "i2", "start-2", "start", workflow="one"))
    await stalling.reached.wait()
    steps.clear()
    new = await own()
    assert await asking is ClaimVerdict.RUN
    assert (await starting).ok
    stalling.goes_on.set()
    with pytest.raises(PartitionLostError):
        await serving
    assert not {step for step in steps if step.startswith(("publish", "notify", "ack", "purge"))}
    await hand.finish(task)
    await ended(world.store, "i1")
    other = await hand.take("devops")
    await hand.run(other)
    await hand.finish(other)
    await ended(world.store, "i2")
    await until_nothing_is_left(world)
    assert max(Counter(new.sent).values()) == 1


async def test_late_send_of_a_dead_owner_does_not_make_a_finished_task_run_again(
    world: World, own: Own
) -> None:
    life, arm = dying("publish.before")
    first = await own(life=life)
    arm()
    starting = asyncio.create_task(first.facade.start("one", id="i1"))
    await life.ended.wait()
    await asyncio.gather(starting, return_exceptions=True)
    await own()
    hand = Hand(await world.link())
    task = await hand.take("devops")
    assert task.message.resent
    await hand.run(task)
    await hand.finish(task)
    await ended(world.store, "i1")
    # What the first had handed to its socket arrives now.
    late = task.message.model_copy(update={"resent": False}).model_dump_json().encode()
    subject = wire.task_subject("devops", "i1", "make-1-0", 1)
    bus = await world.connect()
    await bus.publish([], [OutgoingTask(subject, "devops", late, "i1:make-1-0:1")])
    again = await hand.take("devops")
    assert await hand.claim(again) is ClaimVerdict.SKIP
    await again.ack()
    await until_nothing_is_left(world)


async def test_result_stored_twice_by_a_reconnecting_agent_counts_once(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("two", id="i1")
    hand = Hand(await world.link())
    task = await hand.take("devops")
    await hand.run(task)
    await hand.send(task, result_data("make-1-0", output=1))
    await hand.finish(task, output=2)
    check = await hand.take("tester")
    await hand.send(task, result_data("make-1-0", output=3))
    await hand.finish(check)
    state = await ended(world.store, "i1")
    assert state.attempts["make-1-0"][0].output == 1
    types = Counter(await history_types(world.store, "i1"))
    assert (types["TaskScheduled"], types["TaskCompleted"]) == (2, 2)
    await until_nothing_is_left(world)
    await owner.stop()
    assert owner.metric("sagabus_ignored_events_total", reason="duplicate_result") == 2


async def test_start_stored_twice_by_a_reconnecting_client_makes_one_instance(
    world: World, own: Own
) -> None:
    link = await world.link()
    bus = await world.connect()
    await bus.ensure(["devops"])
    # Both copies wait together, then one more comes alone.
    asking = [
        asyncio.create_task(command(link, "i1", "start-1", "start", workflow="one"))
        for _ in range(2)
    ]
    await asyncio.sleep(0)
    owner = await own()
    answers = [*await asyncio.gather(*asking)]
    answers.append(await command(link, "i1", "start-1", "start", workflow="one"))
    assert [(answer.ok, answer.result) for answer in answers] == [
        (True, {"id": "i1", "created": True})
    ] * 3
    hand = Hand(link)
    task = await hand.take("devops")
    await hand.run(task)
    await hand.finish(task)
    await ended(world.store, "i1")
    await until_nothing_is_left(world)
    await owner.stop()
    assert owner.metric("sagabus_workflows_started_total", workflow="one") == 1


@pytest.mark.parametrize(("workflow", "role"), [("plain", "tester"), ("one", "devops")])
async def test_task_cancelled_while_no_agent_lives_is_not_run_by_one_that_appears(
    world: World, own: Own, workflow: str, role: str
) -> None:
    owner = await own()
    await owner.facade.start(workflow, id="i1")
    await owner.facade.cancel("i1", by="ann")
    state = await ended(world.store, "i1")
    assert (state.row.status, state.row.rollback) == ("cancelled", "none")
    crew = Crew(await world.link(), [role])
    async with running(crew.work):
        # Something to do, to know that it has looked.
        await owner.facade.start(workflow, id="i2")
        await ended(world.store, "i2")
    assert [effect.split()[0] for effect in crew.effects] == ["i2"]
    await until_nothing_is_left(world)


async def test_late_success_of_the_first_attempt_after_the_second_failed_is_undone(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("limited", id="i1")
    hand = Hand(await world.link())
    first = await hand.take("devops")
    await hand.run(first)
    second = await hand.take("devops")  # the first has timed out
    assert second.message.attempt == 2
    await hand.run(second)
    await hand.fail(second)
    undo = await hand.take("devops")  # the first may have acted
    assert undo.message.type == "compensation"
    await hand.run(undo)
    await hand.finish(undo)
    state = await ended(world.store, "i1")
    assert (state.row.status, state.row.rollback) == ("rolled_back", "full")

    await hand.send(first, result_data("make-1-0", 1, output={"made": 1}, artifacts=["a"]))
    late = await hand.take("devops")
    assert late.message.type == "compensation"
    assert late.message.task != undo.message.task
    assert late.message.artifacts_to_undo == ["a"]
    assert late.message.original_context is not None
    assert late.message.original_context["output"] == {"made": 1}
    await hand.run(late)
    await hand.finish(late)
    state = await ended(world.store, "i1")
    assert (state.row.status, state.row.rollback) == ("rolled_back", "full")
    assert "TaskCompletedLate" in await history_types(world.store, "i1")
    await until_nothing_is_left(world)


async def test_late_success_whose_undo_fails_takes_back_that_all_was_rolled_back(
    world: World, own: Own
) -> None:
    owner = await own()
    await owner.facade.start("limited", id="i1")
    hand = Hand(await world.link())
    first = await hand.take("devops")
    await hand.run(first)
    second = await hand.take("devops")
    await hand.run(second)
    await hand.fail(second)
    undo = await hand.take("devops")
    await hand.run(undo)
    await hand.finish(undo)
    await ended(world.store, "i1")
    await hand.send(first, result_data("make-1-0", 1))
    late = await hand.take("devops")
    # It survives a change of owners after the end of its instance.
    await owner.kill()
    await own()
    await hand.run(late)
    await hand.fail(late)
    state = await until_stored(world, "i1", lambda state: not state.row.open_attempts)
    assert (state.row.status, state.row.rollback) == ("failed", "partial")
    assert [each["task"] for each in state.row.failed_compensations] == [late.message.task]
    await until_nothing_is_left(world)
