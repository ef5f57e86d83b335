"""What a restored database goes on with, and what a start that was cut off leaves.

Over the memory adapters: nothing here depends on a server.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sagabus.core.instance import InstanceStatus, TaskStatus, child_id
from sagabus.runtime.restoring import take_back
from sagabus_agents import wire
from tests.support.engine import Life, ended, history_types, running, shorten_grace
from tests.support.restore_scene import RestoreScene, run
from tests.support.worlds import until

CONFIG = """
[[workflows]]
name = "two"
[[workflows.stages]]
name = "look"
agents = ["devops"]
[[workflows.stages]]
name = "check"
agents = ["tester"]

[[workflows]]
name = "order"
[[workflows.stages]]
name = "look"
agents = ["devops"]
[[workflows.stages]]
name = "charge"
agents = ["billing"]
classification = "final"

[[workflows]]
name = "idempotent"
[[workflows.stages]]
name = "charge"
agents = ["billing"]
classification = "final"
idempotent = true

[[workflows]]
name = "above"
[[workflows.stages]]
name = "look"
agents = ["devops"]
[[workflows.stages]]
name = "below"
action = "order"
"""


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RestoreScene:
    shorten_grace(monkeypatch, 0.1)
    return RestoreScene(tmp_path / "workflows.toml", CONFIG)


async def run_on(scene: RestoreScene, workflow: str = "two") -> None:
    """Start ``i1`` before the backup is made, and have its first task done after it."""
    async with scene.owner() as owner:
        await owner.facade.start(workflow, id="i1")
        scene.back_up()
        hand = await scene.hand()
        await hand.finish(await hand.take("billing" if workflow == "idempotent" else "devops"))

        async def has_gone_on() -> bool:
            return "TaskCompleted" in await history_types(scene.world.store, "i1")

        await until(has_gone_on)


async def test_database_whose_bus_was_lost_starts_as_it_is(scene: RestoreScene) -> None:
    await run_on(scene)
    scene.restore()
    scene.world.broker.wipe()
    async with scene.owner() as owner:
        assert (await owner.facade.get("i1")).row.restored_at is None


async def test_every_task_is_flagged_and_claimed_from_the_restore_on(scene: RestoreScene) -> None:
    await run_on(scene)
    scene.restore()
    assert await scene.refused()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True) as owner:
        hand = await scene.hand()
        for role in ("devops", "tester"):
            task = await hand.take(role)
            assert task.message.resent
            await run(hand, task)
            await hand.finish(task)
        state = await ended(scene.world.store, "i1")
        assert "WorkflowRestored" in await history_types(scene.world.store, "i1")
        assert state.row.status is InstanceStatus.COMPLETED
        await owner.facade.start("two", id="i2")
        assert not (await hand.take("devops")).message.resent
    async with scene.owner():  # and from now on it is a database like any other
        pass


async def test_final_task_that_may_be_done_is_held_until_an_operator_wants_it_sent(
    scene: RestoreScene,
) -> None:
    await run_on(scene, "order")
    scene.restore()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True) as owner:
        hand = await scene.hand()
        task = await hand.take("devops")
        await run(hand, task)
        await hand.finish(task)

        async def is_parked() -> bool:
            row = (await owner.facade.get("i1")).row
            return row.status is InstanceStatus.NEEDS_OPERATOR

        await until(is_parked)
        state = await owner.facade.get("i1")
        [parked] = state.row.parked
        assert (parked.cause, parked.stage) == ("intent_unknown", "charge")
        assert "restored from a backup" in parked.message
        assert state.attempts["charge-1-0"][0].status is TaskStatus.UNKNOWN
        assert scene.world.broker.queued_tasks("billing") == []
        await owner.facade.resolve("i1", "charge", outcome="retry", by="ann", reason="not there")
        task = await hand.take("billing")
        assert (task.message.attempt, task.message.resent) == (2, True)
        await run(hand, task)
        await hand.finish(task)
        assert (await ended(scene.world.store, "i1")).row.status is InstanceStatus.COMPLETED


async def test_sub_workflow_of_a_restored_instance_may_have_been_carried_out_too(
    scene: RestoreScene,
) -> None:
    await run_on(scene, "above")
    scene.restore()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True) as owner:
        hand = await scene.hand()
        for _ in ("above", "below"):
            task = await hand.take("devops")
            assert task.message.resent
            await run(hand, task)
            await hand.finish(task)
        child = child_id("i1", "below-1-0", 1)

        async def is_parked() -> bool:
            row = (await owner.facade.get(child)).row
            return row.status is InstanceStatus.NEEDS_OPERATOR

        await until(is_parked)
        assert scene.world.broker.queued_tasks("billing") == []


async def test_idempotent_final_task_is_sent_again_as_any_other(scene: RestoreScene) -> None:
    await run_on(scene, "idempotent")
    scene.restore()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True):
        hand = await scene.hand()
        task = await hand.take("billing")
        assert task.message.resent
        await run(hand, task)
        await hand.finish(task)
        assert (await ended(scene.world.store, "i1")).row.status is InstanceStatus.COMPLETED


@pytest.mark.parametrize("step", ["commit.before", "commit.after", "write_mark.before"])
async def test_restore_that_was_cut_off_is_refused_until_it_is_finished(
    scene: RestoreScene, step: str
) -> None:
    await run_on(scene)
    scene.restore()
    life = Life(lambda name: name == step)
    async with scene.owner(is_after_restore=True, life=life) as owner:
        await life.ended.wait()
        await owner.bury()
    assert await scene.refused()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True) as owner:
        assert (await owner.facade.get("i1")).row.restored_at is not None


async def test_agents_are_asked_to_end_what_the_database_does_not_await(
    scene: RestoreScene,
) -> None:
    async with scene.owner() as owner:
        await owner.facade.start("two", id="i1")
        told: list[str] = []
        at_work = ["look-1-0", "check-1-0"]

        async def beat() -> None:
            while True:
                owner.presence.on_message("", presence(at_work))
                await asyncio.sleep(0.01)

        def on_cancel(data: bytes) -> None:
            task = wire.CancelMessage.model_validate_json(data).task
            told.append(task)
            at_work.remove(task)

        hand = await scene.hand()
        async with hand.link.listen(wire.cancel_subject("i1"), on_cancel), running(beat):
            await take_back(owner.engine)
        assert told == ["check-1-0"]


def presence(tasks: list[str]) -> bytes:
    """The word of an agent that runs ``tasks`` of ``i1``."""
    now = datetime.now(UTC)
    runs = [
        wire.RunningAttempt(instance="i1", task=task, attempt=1, started_at=now) for task in tasks
    ]
    message = wire.PresenceMessage(agent="a1", roles=["devops"], slots=4, free=0, running=runs)
    return message.model_dump_json().encode()
