"""The fourth seed's tests (Symbiont's saga), each under its name, on a real bus and database.

What the seed does where the outcome of a final step is unknown, doing it again, happens here only
where the step says that this is harmless; otherwise a person decides.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagabus.core.instance import Attempt, InstanceState
from sagabus.core.intents import intents_of
from sagabus_agents.wire import ClaimVerdict
from tests.support.crew import Crew, Fail, Hand
from tests.support.engine import Own, Owner, ended, history_types, owners, running, shorten_grace
from tests.support.workflow_files import definitions_in, problems_in
from tests.support.worlds import RealWorld, Taken, open_world, until

ROLE = "tools"


def read_step(name: str) -> str:
    return _step(name, 'classification = "read_only"')


def write_step(name: str) -> str:
    return _step(name, f'classification = "compensatable"\ncompensation_agents = ["{ROLE}"]')


def final_step(name: str, *, idempotent: bool = False) -> str:
    return _step(name, 'classification = "final"' + ("\nidempotent = true" if idempotent else ""))


def _step(name: str, keys: str = "") -> str:
    return f'\n[[workflows.stages]]\nname = "{name}"\nagents = ["{ROLE}"]\n{keys}\n'


def saga(*steps: str, name: str = "saga") -> str:
    """A workflow of ``steps``, one after another."""
    return f'\n[[workflows]]\nname = "{name}"\n' + "".join(steps)


CONFIG = "".join(
    [
        saga(read_step("check"), write_step("create"), write_step("update"), name="reversible"),
        saga(
            *(read_step("check"), write_step("create"), write_step("update")),
            *(write_step("finalize"), final_step("publish")),
            name="publishing",
        ),
        saga(read_step("check"), name="reading"),
        saga(write_step("prepare"), final_step("deploy"), name="deploying"),
        saga(write_step("prepare"), final_step("deploy", idempotent=True), name="repeatable"),
        saga(_step("create"), _step("publish"), name="plain"),
    ]
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with open_world("real", tmp_path) as world:
        assert isinstance(world, RealWorld)
        yield world


@pytest.fixture
async def owner(
    world: RealWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Owner]:
    shorten_grace(monkeypatch, 0.3)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    own: Own
    async with owners(config, world) as own:
        yield await own()


async def run(owner: Owner, world: RealWorld, workflow: str, **script: Fail) -> InstanceState:
    """Run an instance to its end; ``script`` says which stages fail."""
    outcomes = {f"{stage}-1-0#1": outcome for stage, outcome in script.items()}
    crew = Crew(await world.link(), [ROLE], outcomes)
    async with running(crew.work):
        await owner.facade.start(workflow, id="saga-1")
        return await ended(world.store, "saga-1")


def sent(state: InstanceState) -> list[str]:
    """Its tasks in the order in which they were sent."""
    attempts = (attempt for tries in state.attempts.values() for attempt in tries)
    return [each.task for each in sorted(attempts, key=lambda each: each.created_at)]


async def crashed_in_deploy(owner: Owner, world: RealWorld, workflow: str) -> Taken:
    """An agent takes the final step, is told to run it, and is never heard of again.

    What it had taken is delivered again, to the agent that is given back.
    """
    hand = Hand(await world.link())
    await owner.facade.start(workflow, id="saga-1")
    task = await hand.take(ROLE)
    await hand.run(task)
    await hand.finish(task)
    await world.deliver_again_after(ROLE, 0.5)
    task = await hand.take(ROLE)
    assert task.message.stage_name == "deploy"
    await hand.run(task)
    return await Hand(await world.link(), "another").take(ROLE)


async def intents(world: RealWorld) -> list[Attempt]:
    """Final steps that were begun and have no outcome."""
    state = await world.store.load_instance("saga-1")
    assert state is not None
    return intents_of(state)


async def until_held(world: RealWorld) -> None:
    async def look() -> bool:
        state = await world.store.load_instance("saga-1")
        return state is not None and state.row.status == "needs_operator"

    await until(look)


def test_valid_saga_creation(tmp_path: Path) -> None:
    steps = read_step("check"), write_step("create"), write_step("update"), final_step("publish")
    assert len(definitions_in(tmp_path, saga(*steps))["saga"].stages) == 4


def test_invalid_order_non_final_after_final(tmp_path: Path) -> None:
    steps = write_step("create"), final_step("publish"), read_step("check")
    [problem] = problems_in(tmp_path, saga(*steps))
    assert '"check"' in problem
    assert "final" in problem


def test_missing_compensation(tmp_path: Path) -> None:
    step = _step("bad", 'classification = "compensatable"')
    [problem] = problems_in(tmp_path, saga(step))
    assert '"bad"' in problem
    assert "compensation" in problem


async def test_saga_all_succeed(owner: Owner, world: RealWorld) -> None:
    state = await run(owner, world, "reversible")
    assert state.row.status == "completed"
    assert sent(state) == ["check-1-0", "create-1-0", "update-1-0"]


async def test_saga_fail_at_step_3_compensates_2_and_1(owner: Owner, world: RealWorld) -> None:
    refused = Fail("ConnectionRefused", "Connection refused", is_retryable=False)
    state = await run(owner, world, "publishing", finalize=refused)
    assert (state.row.status, state.row.rollback) == ("rolled_back", "full")
    assert state.row.error is not None
    assert (state.row.error.stage, state.row.error.message) == ("finalize", "Connection refused")
    assert sent(state) == [
        *("check-1-0", "create-1-0", "update-1-0", "finalize-1-0"),
        *("update-1-0-undo-0", "create-1-0-undo-0"),
    ]


async def test_saga_fail_at_readonly_no_compensation(owner: Owner, world: RealWorld) -> None:
    state = await run(owner, world, "reading", check=Fail(is_retryable=False))
    assert (state.row.status, state.row.rollback) == ("failed", "none")
    assert "CompensationScheduled" not in await history_types(world.store, "saga-1")


def test_steps_by_classification(tmp_path: Path) -> None:
    steps = read_step("r1"), write_step("w1"), write_step("w2"), final_step("f1")
    definition = definitions_in(tmp_path, saga(*steps))["saga"]
    assert definition.effect_classes == {"read_only": 1, "compensatable": 2, "final": 1}


async def test_final_step_with_checkpoint_records_intent_and_outcome(
    owner: Owner, world: RealWorld
) -> None:
    hand = Hand(await world.link())
    await owner.facade.start("deploying", id="saga-1")
    task = await hand.take(ROLE)
    await hand.run(task)
    await hand.finish(task)
    final = await hand.take(ROLE)
    assert await intents(world) == []
    await hand.run(final)
    [intent] = await intents(world)
    assert (intent.stage, intent.agent) == ("deploy", hand.id)
    await hand.finish(final, output="done")
    state = await ended(world.store, "saga-1")
    assert state.row.status == "completed"
    assert state.attempts["deploy-1-0"][-1].output == "done"
    assert await intents(world) == []


async def test_simulated_crash_leaves_pending_intent(owner: Owner, world: RealWorld) -> None:
    again = await crashed_in_deploy(owner, world, "deploying")
    [intent] = await intents(world)
    assert intent.stage == "deploy"
    # The one who gets it next is not told to run it: nobody knows whether it was done.
    assert await Hand(await world.link(), "another").claim(again) is ClaimVerdict.HOLD
    await until_held(world)
    assert [each.task for each in await intents(world)] == ["deploy-1-0"]


async def test_recovery_re_executes_pending_final_step(owner: Owner, world: RealWorld) -> None:
    again = await crashed_in_deploy(owner, world, "repeatable")
    hand = Hand(await world.link(), "another")
    assert again.message.idempotency_key == "saga-1:deploy-1-0"
    await hand.run(again)
    await hand.finish(again, output="recovered")
    state = await ended(world.store, "saga-1")
    assert state.attempts["deploy-1-0"][-1].output == "recovered"
    assert await intents(world) == []


async def test_recovery_re_executes_pending_final_step_that_a_person_says_to_try_again(
    owner: Owner, world: RealWorld
) -> None:
    held = await crashed_in_deploy(owner, world, "deploying")
    hand = Hand(await world.link(), "another")
    assert await hand.claim(held) is ClaimVerdict.HOLD
    await held.ack()
    await until_held(world)
    await owner.facade.resolve("saga-1", "deploy", "retry", by="ann", reason="not deployed")
    again = await hand.take(ROLE)
    assert (again.message.attempt, again.message.idempotency_key) == (2, "saga-1:deploy-1-0")
    await hand.run(again)
    await hand.finish(again, output="recovered")
    state = await ended(world.store, "saga-1")
    assert (state.row.status, state.attempts["deploy-1-0"][-1].output) == ("completed", "recovered")
    assert await intents(world) == []


async def test_idempotency_key_prevents_double_execution(owner: Owner, world: RealWorld) -> None:
    hand = Hand(await world.link())
    await owner.facade.start("repeatable", id="saga-1")
    await world.deliver_again_after(ROLE, 0.5)
    for _ in range(2):
        task = await hand.take(ROLE)
        await hand.run(task)
        await hand.finish(task)
    await ended(world.store, "saga-1")
    # A copy of the message under the same key, long after its outcome was recorded.
    assert task.message.idempotency_key == "saga-1:deploy-1-0"
    assert await hand.claim(task) is ClaimVerdict.SKIP


async def test_execute_without_checkpoint_backward_compat(owner: Owner, world: RealWorld) -> None:
    state = await run(owner, world, "plain")
    assert state.row.status == "completed"
    assert sent(state) == ["create-1-0", "publish-1-0"]
    # Nothing was claimed, so nothing was stored before it ran.
    assert "TaskStarted" not in await history_types(world.store, "saga-1")
