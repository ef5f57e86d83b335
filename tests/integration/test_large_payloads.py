"""Inputs and outputs too large for a message, from end to end: nothing is lost, nothing is left."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from sagabus.core.instance import InstanceState, TaskStatus
from sagabus.ports import Bus
from sagabus.runtime import messages, payloads
from sagabus_agents import Agent, PermanentError, Task, wire
from sagabus_agents.wire import PayloadRef, ResultMessage, ResultStatus
from tests.support.agents import make_agent, serving
from tests.support.crew import Hand, result_data
from tests.support.engine import Life, Own, Owner, ended, owners, shorten_grace
from tests.support.raw_agent import raw_agent
from tests.support.worlds import (
    MemoryWorld,
    RealWorld,
    Taken,
    World,
    open_world,
    until,
    until_nothing_is_left,
)

CONFIG = """
[[workflows]]
name = "copying"
[[workflows.stages]]
name = "make"
agents = ["devops"]
compensation_agents = ["devops"]
compensation = {retry = {count = 0}}
[[workflows.stages]]
name = "use"
agents = ["tester"]
"""
#: About 5 MB as JSON.
LARGE = [{"number": number, "text": "x" * 1_000} for number in range(5_000)]


@dataclass
class Scene:
    """An owner, and agents played by hand that reach the object store."""

    world: World
    own: Own
    owner: Owner
    hand: Hand
    objects: Bus

    async def body(self, taken: Taken) -> dict[str, Any]:
        """What stands beside a task's message."""
        message = taken.message
        assert message.payload is not None
        assert (message.input, message.original_context) == (None, None)
        data = await self.objects.get_payload(message.payload)
        assert data is not None
        return dict(orjson.loads(data))

    async def store_output(self, taken: Taken, output: Any) -> PayloadRef:
        """An output beside its result."""
        message = taken.message
        name = wire.result_payload_name(message.workflow_id, message.task, message.attempt)
        return await self.objects.put_payload(name, orjson.dumps(output))

    async def make(self, output: Any = LARGE) -> None:
        """Do the first stage."""
        make = await self.hand.take("devops")
        await self.hand.run(make)
        await self.hand.finish(make, payload=await self.store_output(make, output))

    async def stored(self) -> int:
        """Messages that make up the objects of the bucket."""
        if isinstance(self.world, MemoryWorld):
            return len(self.world.broker.payloads)
        info = await (await self.world.observer()).stream_info(wire.STREAM_PAYLOADS)
        return int(info.state.messages)

    async def wipe(self) -> None:
        """Lose every object, and nothing else."""
        if isinstance(self.world, MemoryWorld):
            self.world.broker.payloads.clear()
        else:
            await (await self.world.observer()).purge_stream(wire.STREAM_PAYLOADS)

    async def nothing_is_left(self) -> None:
        async def look() -> bool:
            return not await self.stored()

        await until(look)

    async def buried(self) -> list[str]:
        async def look() -> list[str]:
            return [letter.reason for letter in await self.world.dead()]

        return await until(look)

    async def attempt(self, task: str, status: TaskStatus) -> InstanceState:
        async def look() -> InstanceState | None:
            state = await self.world.store.load_instance("i1")
            attempt = state.current(task) if state is not None else None
            return state if attempt is not None and attempt.status is status else None

        return await until(look)


@pytest.fixture(params=["memory", "real"])
async def scene(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    shorten_grace(monkeypatch, 60)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with open_world(request.param, tmp_path) as world, owners(config, world) as own:
        owner = await own()
        await owner.facade.start("copying", id="i1", parameters={"why": "test"})
        yield Scene(world, own, owner, Hand(await world.link()), await world.connect())


async def test_large_output_is_input_of_the_next_stage_and_context_of_the_undo(
    scene: Scene,
) -> None:
    await scene.make()
    use = await scene.hand.take("tester")
    assert await scene.body(use) == {"input": {"why": "test", "previous": {"make": LARGE}}}
    await scene.hand.fail(use)
    undo = await scene.hand.take("devops")
    await scene.hand.run(undo)
    assert (await scene.body(undo))["original_context"]["output"] == LARGE
    await scene.hand.finish(undo)
    state = await ended(scene.world.store, "i1")
    assert (state.row.status, state.row.rollback) == ("rolled_back", "full")
    assert state.attempts["make-1-0"][0].output == LARGE
    assert await scene.world.dead() == []
    await scene.nothing_is_left()


async def test_body_that_the_bus_has_lost_is_stored_again(scene: Scene) -> None:
    await scene.make()
    use = await scene.hand.take("tester")
    assert use.message.payload is not None
    await scene.wipe()

    async def is_back() -> bool:
        assert use.message.payload is not None
        return await scene.objects.get_payload(use.message.payload) is not None

    await until(is_back)
    assert (await scene.body(use))["input"]["previous"] == {"make": LARGE}


async def test_bus_that_comes_back_empty_has_lost_nothing(scene: Scene) -> None:
    await scene.make()
    await (await scene.hand.take("tester")).give_back()
    if isinstance(scene.world, MemoryWorld):
        scene.world.broker.go_away()
        scene.world.broker.wipe()
        scene.world.broker.come_back()
    else:
        scene.world.server.kill()
        scene.world.server.wipe()
        scene.world.server.start()
    use = await scene.hand.take("tester")
    while not use.message.resent:  # of a connection that has not noticed
        use = await scene.hand.take("tester")
    assert (await scene.body(use))["input"]["previous"] == {"make": LARGE}
    await scene.hand.finish(use, payload=await scene.store_output(use, LARGE))
    state = await ended(scene.world.store, "i1")
    assert state.row.status == "completed"
    assert state.attempts["use-1-0"][0].output == LARGE
    await scene.nothing_is_left()


@pytest.mark.parametrize("kind", ["missing", "other", "foreign"])
async def test_result_whose_output_is_lost_is_a_dead_letter_and_the_task_comes_again(
    scene: Scene, kind: str
) -> None:
    make = await scene.hand.take("devops")
    await scene.hand.run(make)
    ref = await scene.store_output(make, LARGE)
    if kind == "missing":
        await scene.objects.delete_payloads([ref.name])
    elif kind == "other":
        await scene.objects.put_payload(ref.name, b'"of another run"')
    else:
        ref = await scene.objects.put_payload("i2.make-1-0.1.result", b"[]")
    await scene.hand.finish(make, payload=ref)
    [reason] = await scene.buried()
    assert reason.startswith("payload_lost: ")
    again = await scene.hand.take("devops")
    assert (again.message.task, again.message.resent) == ("make-1-0", True)
    await scene.hand.run(again)
    await scene.hand.finish(again, payload=await scene.store_output(again, LARGE))
    state = await scene.attempt("make-1-0", TaskStatus.SUCCEEDED)
    assert state.attempts["make-1-0"][0].output == LARGE


async def test_result_that_comes_twice_is_taken_once_and_no_dead_letter(scene: Scene) -> None:
    make = await scene.hand.take("devops")
    await scene.hand.run(make)
    ref = await scene.store_output(make, LARGE)
    data = result_data("make-1-0", payload=ref)
    await scene.hand.send(make, data)
    await scene.attempt("make-1-0", TaskStatus.SUCCEEDED)
    await scene.hand.send(make, data)
    await scene.hand.finish(await scene.hand.take("tester"))
    assert (await ended(scene.world.store, "i1")).row.status == "completed"
    assert await scene.world.dead() == []


@pytest.mark.parametrize(
    ("data", "size", "says"),
    [
        (b"[1, 2", 5, "not JSON"),
        (b"[1, 2]", wire.MAX_PAYLOAD_BYTES + 1, f"at most {wire.MAX_PAYLOAD_BYTES}"),
    ],
)
async def test_output_that_cannot_be_taken_is_bad_result_and_undone(
    scene: Scene, data: bytes, size: int, says: str
) -> None:
    make = await scene.hand.take("devops")
    await scene.hand.run(make)
    name = wire.result_payload_name("i1", "make-1-0", 1)
    ref = await scene.objects.put_payload(name, data)
    await scene.hand.finish(make, payload=ref.model_copy(update={"size": size}))
    state = await scene.attempt("make-1-0", TaskStatus.FAILED)
    assert state.row.error is not None
    assert state.row.error.type == "bad_result"
    assert says in state.row.error.message
    # It was done, whatever came of its output.
    undo = await scene.hand.take("devops")
    assert undo.message.type == "compensation"
    await scene.nothing_is_left()


async def test_input_beyond_the_limit_fails_the_task_and_names_the_limit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_PAYLOAD_BYTES", 1_000_000)
    await scene.make()
    undo = await scene.hand.take("devops")
    assert (await scene.body(undo))["original_context"]["output"] == LARGE  # never refused
    await scene.hand.run(undo)
    await scene.hand.finish(undo)
    state = await ended(scene.world.store, "i1")
    assert state.row.error is not None
    assert state.row.error.type == "bad_input"
    assert "'use'" in state.row.error.message
    assert "1000000" in state.row.error.message


async def test_cancelled_instance_leaves_neither_body_nor_output_that_nobody_told_of(
    scene: Scene,
) -> None:
    await scene.make()
    use = await scene.hand.take("tester")
    assert (await scene.body(use))["input"]
    await scene.store_output(use, LARGE)  # its agent dies before it says so
    await scene.owner.facade.cancel("i1")
    undo = await scene.hand.take("devops")
    await scene.hand.run(undo)
    await scene.hand.finish(undo)
    assert (await ended(scene.world.store, "i1")).row.status == "cancelled"
    await scene.nothing_is_left()


async def test_ended_task_leaves_no_copy_that_would_ask_for_its_body(scene: Scene) -> None:
    await scene.make()
    use = await scene.hand.take("tester")
    await scene.hand.send(use, result_data("use-1-0"))  # and never acknowledges
    await ended(scene.world.store, "i1")
    await until_nothing_is_left(scene.world)


@pytest.mark.parametrize(
    "last", ["put_payload.before", "put_payload.after", "publish.middle", "get_payload.after"]
)
async def test_owner_that_dies_on_the_way_has_lost_nothing(scene: Scene, last: str) -> None:
    await scene.owner.stop()
    mortal = await scene.own(life=Life(lambda step: step == last))
    make = await scene.hand.take("devops")
    await scene.hand.run(make)
    await scene.hand.finish(make, payload=await scene.store_output(make, LARGE))
    await mortal.life.ended.wait()
    await mortal.bury()
    await scene.own()
    use = await scene.hand.take("tester")
    assert (await scene.body(use))["input"]["previous"] == {"make": LARGE}
    await scene.hand.finish(use)
    assert (await ended(scene.world.store, "i1")).row.status == "completed"


@pytest.mark.parametrize("scene", ["real"], indirect=True)
async def test_agents_of_both_kinds_see_nothing_of_it(scene: Scene) -> None:
    assert isinstance(scene.world, RealWorld)
    agent: Agent = make_agent(scene.world.server)
    undone: list[Any] = []

    @agent.task("make")
    async def make(task: Task) -> Any:
        assert task.input["why"] == "test"
        return LARGE

    @agent.compensation("make")
    async def unmake(task: Task) -> None:
        undone.append(task.original_context["output"])

    async def use(task: dict[str, Any]) -> tuple[Any, list[str]]:
        if task["workflow_id"] == "i1":
            raise PermanentError("no")
        return task["input"]["previous"]["make"], []

    async with (
        serving(agent),
        raw_agent(scene.world.server.url, "tester", use),
    ):
        await scene.owner.facade.start("copying", id="i2", parameters={"why": "test"})
        first = await ended(scene.world.store, "i1")
        second = await ended(scene.world.store, "i2")
    assert (first.row.status, undone) == ("rolled_back", [LARGE])
    assert second.row.status == "completed"
    assert second.attempts["use-1-0"][0].output == LARGE
    assert await scene.world.dead() == []
    await scene.nothing_is_left()


async def test_large_output_of_another_instance_stands_beside_its_result(scene: Scene) -> None:
    result = ResultMessage(
        task="make-1-0", attempt=1, status=ResultStatus.SUCCEEDED, agent="c", output=LARGE
    )
    partition = scene.objects.partition_of("p1")
    inbox = await scene.objects.open_inbox(partition, 99)  # before the owner reads it, too
    await payloads.send_result(scene.objects, "p1", result, "r1")
    [found] = await inbox.next(10, 5)
    sent = ResultMessage.model_validate_json(found.data)
    assert sent.payload is not None
    assert (sent.output, sent.payload.name) == (None, "p1.make-1-0.1.result")
    data = await scene.objects.get_payload(sent.payload)
    assert data is not None
    assert orjson.loads(data) == LARGE
