"""After a restore: what was to be tried again at the backup, and what had ended by then.

Over the memory adapters: nothing here depends on a server.
"""

from pathlib import Path
from typing import Literal

import pytest

from sagabus.core.instance import InstanceStatus, child_id
from tests.support.engine import Owner, ended, history_types, shorten_grace
from tests.support.restore_scene import RestoreScene, run
from tests.support.worlds import until

CONFIG = """
[[workflows]]
name = "pay"
[[workflows.stages]]
name = "charge"
agents = ["billing"]
classification = "final"
retry = { count = 3, delay = 0.2, jitter = false }

[[workflows]]
name = "pay_below"
[[workflows.stages]]
name = "below"
action = "pay"

[[workflows]]
name = "make"
[[workflows.stages]]
name = "build"
agents = ["devops"]
compensation_agents = ["devops"]

[[workflows]]
name = "make_below"
[[workflows.stages]]
name = "below"
action = "make"
"""


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RestoreScene:
    shorten_grace(monkeypatch, 0.1)
    return RestoreScene(tmp_path / "workflows.toml", CONFIG)


async def parked_for(owner: Owner, id: str) -> str:
    """The attempt that an instance is held for."""

    async def look() -> str | None:
        state = await owner.facade.get(id)
        return next((f"{each.task}/{each.attempt}" for each in state.row.parked), None)

    return await until(look)


async def resolve(owner: Owner, id: str, outcome: Literal["failed", "retry"]) -> None:
    await owner.facade.resolve(id, "charge", outcome=outcome, by="ann", reason="I looked")


@pytest.mark.parametrize("workflow", ["pay", "pay_below"])
async def test_final_task_whose_retry_was_planned_at_the_backup_is_held(
    scene: RestoreScene, workflow: str
) -> None:
    paying = "i1" if workflow == "pay" else child_id("i1", "below-1-0", 1)
    async with scene.owner() as owner:
        await owner.facade.start(workflow, id="i1")
        hand = await scene.hand()
        task = await hand.take("billing")
        await run(hand, task)
        await hand.fail(task, is_retryable=True)

        async def is_planned() -> bool:
            return "TaskRetryScheduled" in await history_types(scene.world.store, paying)

        await until(is_planned)
        scene.back_up()
        task = await hand.take("billing")
        await run(hand, task)
        await hand.finish(task)
        await ended(scene.world.store, "i1")
    scene.restore()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True) as owner:
        assert await parked_for(owner, paying) == "charge-1-0/2"
        assert scene.world.broker.queued_tasks("billing") == []
        await resolve(owner, paying, "retry")
        for number in (3, 4):  # what is tried again after a failure heard now is sent
            task = await hand.take("billing")
            assert (task.message.attempt, task.message.resent) == (number, True)
            await run(hand, task)
            await (hand.fail(task, is_retryable=True) if number == 3 else hand.finish(task))
        assert (await ended(scene.world.store, "i1")).row.status is InstanceStatus.COMPLETED


async def fail_and_retry(scene: RestoreScene) -> None:
    """``i1`` has failed when the backup is made, and is retried and done after it."""
    async with scene.owner() as owner:
        await owner.facade.start("pay", id="i1")
        hand = await scene.hand()
        task = await hand.take("billing")
        await run(hand, task)
        await hand.fail(task)
        await ended(scene.world.store, "i1")
        scene.back_up()
        await owner.facade.retry("i1")
        task = await hand.take("billing")
        await run(hand, task)
        await hand.finish(task)
        await ended(scene.world.store, "i1")
    scene.restore()
    scene.world.broker.forget_sent()


@pytest.mark.parametrize("is_started_anew", [False, True])
async def test_final_task_of_an_instance_that_had_ended_is_held_when_it_is_retried_again(
    scene: RestoreScene, is_started_anew: bool
) -> None:
    await fail_and_retry(scene)
    if is_started_anew:  # what it was told stays known
        async with scene.owner(is_after_restore=True):
            pass
    async with scene.owner(is_after_restore=not is_started_anew) as owner:
        before = (await owner.facade.get("i1")).row
        assert (before.status, before.restored_at) == (InstanceStatus.FAILED, None)
        await owner.facade.retry("i1")
        assert await parked_for(owner, "i1") == "charge-2-0/1"
        assert scene.world.broker.queued_tasks("billing") == []
        assert (await owner.facade.get("i1")).row.restored_at is not None
        types = await history_types(scene.world.store, "i1")
        assert types.index("WorkflowRestored") < types.index("WorkflowRetried")
        await resolve(owner, "i1", "retry")
        hand = await scene.hand()
        task = await hand.take("billing")
        assert (task.message.task, task.message.resent) == ("charge-2-0", True)
        await run(hand, task)
        await hand.finish(task)
        assert (await ended(scene.world.store, "i1")).row.status is InstanceStatus.COMPLETED
        assert (await history_types(scene.world.store, "i1")).count("WorkflowRestored") == 1


async def test_instance_that_ended_after_the_restore_is_retried_as_any_other(
    scene: RestoreScene,
) -> None:
    await fail_and_retry(scene)
    async with scene.owner(is_after_restore=True) as owner:
        await owner.facade.start("pay", id="i2")
        hand = await scene.hand()
        task = await hand.take("billing")
        await hand.run(task)
        await hand.fail(task)
        await ended(scene.world.store, "i2")
        await owner.facade.retry("i2")
        assert not (await hand.take("billing")).message.resent
        assert "WorkflowRestored" not in await history_types(scene.world.store, "i2")


async def test_what_had_ended_and_was_restored_before_is_held_once_more(
    scene: RestoreScene,
) -> None:
    await fail_and_retry(scene)
    async with scene.owner(is_after_restore=True) as owner:
        await owner.facade.retry("i1")
        await parked_for(owner, "i1")
        await resolve(owner, "i1", "failed")
        await ended(scene.world.store, "i1")
        scene.back_up()
        await owner.facade.retry("i1")
    scene.restore()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True) as owner:
        await owner.facade.retry("i1")
        assert await parked_for(owner, "i1") == "charge-3-0/1"
        assert (await history_types(scene.world.store, "i1")).count("WorkflowRestored") == 2


@pytest.mark.parametrize("workflow", ["make", "make_below"])
async def test_undo_of_what_had_ended_before_the_restore_is_flagged(
    scene: RestoreScene, workflow: str
) -> None:
    async with scene.owner() as owner:
        await owner.facade.start(workflow, id="i1")
        hand = await scene.hand()
        task = await hand.take("devops")
        await run(hand, task)
        await hand.finish(task)
        await ended(scene.world.store, "i1")
        scene.back_up()
        await owner.facade.compensate("i1")
        task = await hand.take("devops")
        assert (task.message.type, task.message.resent) == ("compensation", False)
        await run(hand, task)
        await hand.finish(task)
        await ended(scene.world.store, "i1")
    scene.restore()
    scene.world.broker.forget_sent()
    async with scene.owner(is_after_restore=True) as owner:
        await owner.facade.compensate("i1")
        task = await hand.take("devops")
        assert (task.message.type, task.message.resent) == ("compensation", True)
        await run(hand, task)
        await hand.finish(task)
        assert (await ended(scene.world.store, "i1")).row.status is InstanceStatus.ROLLED_BACK
