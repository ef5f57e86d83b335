"""What a restored database goes on with, and what a start that was cut off leaves.

Over the memory adapters: nothing here depends on a server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from sagabus.core.instance import InstanceStatus, TaskStatus, child_id
from sagabus.errors import OutdatedStoreError
from sagabus.ports import Store
from sagabus.runtime.restoring import take_back
from sagabus_agents import wire
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Hand
from tests.support.engine import Life, Owner, ended, history_types, running, shorten_grace
from tests.support.worlds import MemoryWorld, Taken, until

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


class Scene:
    """A world whose database is put back from a copy."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.world = MemoryWorld()
        self.backup: Store = self.world.store

    def back_up(self) -> None:
        self.backup = deepcopy(self.world.store)

    def restore(self) -> None:
        self.world.store = deepcopy(self.backup)

    @asynccontextmanager
    async def owner(
        self, *, is_after_restore: bool = False, life: Life | None = None
    ) -> AsyncIterator[Owner]:
        owner = Owner(self.config, self.world.store, await self.world.connect(), life=life)
        if is_after_restore:
            owner.engine.restoring.add(0)
        await owner.begin()
        if life is None:
            await owner.until_serving()
        yield owner
        if not owner.life.is_over:
            await owner.stop()

    async def hand(self) -> Hand:
        return Hand(await self.world.link())

    async def refused(self) -> bool:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with self.owner():
                pass
        return caught.value.subgroup(OutdatedStoreError) is not None


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    shorten_grace(monkeypatch, 0.1)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    return Scene(config)


async def run(hand: Hand, task: Taken) -> None:
    """Claim a task; before it is known who is there, nobody is answered."""

    async def is_told() -> bool:
        return await hand.claim(task, claim="c1", wait_s=0.1) is ClaimVerdict.RUN

    await until(is_told)


async def run_on(scene: Scene, workflow: str = "two") -> None:
    """Start ``i1`` before the backup is made, and have its first task done after it."""
    async with scene.owner() as owner:
        await owner.facade.start(workflow, id="i1")
        scene.back_up()
        hand = await scene.hand()
        await hand.finish(await hand.take("billing" if workflow == "idempotent" else "devops"))

        async def has_gone_on() -> bool:
            return "TaskCompleted" in await history_types(scene.world.store, "i1")

        await until(has_gone_on)


async def test_database_whose_bus_was_lost_starts_as_it_is(scene: Scene) -> None:
    await run_on(scene)
    scene.restore()
    scene.world.broker.wipe()
    async with scene.owner() as owner:
        assert (await owner.facade.get("i1")).row.restored_at is None


async def test_every_task_is_flagged_and_claimed_from_the_restore_on(scene: Scene) -> None:
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
    scene: Scene,
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
    scene: Scene,
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
    scene: Scene, workflow: str
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


async def fail_and_retry(scene: Scene) -> None:
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
    scene: Scene, is_started_anew: bool
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
    scene: Scene,
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


async def test_what_had_ended_and_was_restored_before_is_held_once_more(scene: Scene) -> None:
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
    scene: Scene, workflow: str
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


async def test_idempotent_final_task_is_sent_again_as_any_other(scene: Scene) -> None:
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
    scene: Scene, step: str
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


async def test_agents_are_asked_to_end_what_the_database_does_not_await(scene: Scene) -> None:
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
