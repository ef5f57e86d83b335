"""Why an instance does not move: each cause by its name, and what to do about it.

One file, because each cause is a few lines over the same workflows.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagabus.app.why import Explained
from sagabus.core import operators
from sagabus.core.instance import child_id
from sagabus.errors import InvariantError, WorkflowNotFoundError
from sagabus_agents import wire
from tests.support.crew import Crew, Fail, Hand, Hang
from tests.support.engine import Owner, owners, running, shorten_grace
from tests.support.offered import check
from tests.support.worlds import MemoryWorld, World, open_world, until

CONFIG = """
[engine]
max_parallel_tasks = 2

[[workflows]]
name = "plain"
[[workflows.stages]]
name = "build"
agents = ["builder"]

[[workflows]]
name = "gated"
[[workflows.stages]]
name = "ship"
agents = ["builder"]
approval_required = true
approval = {prompt = "Ship it?", timeout = "1h"}
[[workflows]]
name = "asking"
[[workflows.stages]]
name = "ask"
action = "core.inquiry"
input = {prompt = "How many?"}

[[workflows]]
name = "stubborn"
[[workflows.stages]]
name = "build"
agents = ["builder"]
retry = {count = 4, delay = "1h", jitter = false}

[[workflows]]
name = "sleeping"
[[workflows.stages]]
name = "nap"
action = "core.sleep"
input = {duration = "1h"}

[[workflows]]
name = "calling"
[[workflows.stages]]
name = "call"
action = "plain"

[[workflows]]
name = "made_below"
[[workflows.stages]]
name = "make"
agents = ["builder"]
compensation_agents = ["undoer"]

[[workflows]]
name = "undoing_below"
[[workflows.stages]]
name = "sub"
action = "made_below"
[[workflows.stages]]
name = "check"
agents = ["builder"]

[[workflows]]
name = "final"
[[workflows.stages]]
name = "publish"
agents = ["builder"]
classification = "final"

[[workflows]]
name = "fanning"
[[workflows.stages]]
name = "pays"
agents = ["builder"]
classification = "final"
with_items = [1, 2]

[[workflows]]
name = "paying"
[[workflows.stages]]
name = "reserve"
agents = ["builder"]
compensation_agents = ["builder"]
[[workflows.stages]]
name = "pay"
agents = ["builder"]
classification = "final"
[[workflows.stages]]
name = "publish"
agents = ["builder"]
classification = "final"

[[workflows]]
name = "listing"
[[workflows.stages]]
name = "each"
agents = ["builder"]
with_items = [1, 2, 3]

[[workflows]]
name = "undoing"
saga = {on_failed_undo = "park"}
[[workflows.stages]]
name = "make"
agents = ["builder"]
compensation_agents = ["builder"]
compensation = {retry = {count = 0}}
[[workflows.stages]]
name = "check"
agents = ["builder"]

[[workflows]]
name = "joining"
order = "graph"
[[workflows.stages]]
name = "left"
agents = ["builder"]
[[workflows.stages]]
name = "right"
agents = ["tester"]
[[workflows.stages]]
name = "both"
agents = ["builder"]
needs = ["left", "right"]

[[workflows]]
name = "joining_below"
order = "graph"
[[workflows.stages]]
name = "left"
agents = ["builder"]
[[workflows.stages]]
name = "right"
action = "tested"
[[workflows.stages]]
name = "both"
agents = ["builder"]
needs = ["left", "right"]

[[workflows]]
name = "tested"
[[workflows.stages]]
name = "test"
agents = ["tester"]
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


async def explained(owner: Owner, id: str, cause: str) -> Explained:
    """The explanation, once its causes are of this name."""

    async def look() -> Explained | None:
        found = await owner.facade.why.explain(id)
        return found if [each.cause for each in found.causes] == [cause] else None

    try:
        found = await until(look, 5)
    except TimeoutError:
        found = await owner.facade.why.explain(id)
        raise AssertionError(f"not {cause}: {found.causes}") from None
    for each in found.causes:
        check(each.remedy_for(id))
    return found


async def test_no_agent_names_the_role_and_its_queue(owner: Owner) -> None:
    await owner.facade.start("plain", id="i1")
    await owner.facade.start("plain", id="i2")
    found = await explained(owner, "i1", "no_agent")
    [cause] = found.causes
    assert found.is_standing
    assert cause.title == "no agent of role 'builder' is alive"
    assert "tasks in its queue: 2" in cause.message
    assert "start an agent of role builder" in cause.remedy
    look = await owner.facade.why.look()
    [group] = look.standstills
    assert sorted(group.instances) == ["i1", "i2"]
    assert (group.cause.title, look.looked_at, look.is_complete) == (cause.title, 2, True)


async def test_agent_that_left_is_named_with_the_time(owner: Owner, world: World) -> None:
    link = await world.link()
    for is_leaving in (False, True):
        beat = wire.PresenceMessage(
            agent="a1", roles=["builder"], slots=1, free=1, leaving=is_leaving
        )
        await link.notify(wire.presence_subject("a1"), beat.model_dump_json().encode())
    await owner.facade.start("plain", id="i1")
    [cause] = (await explained(owner, "i1", "no_agent")).causes
    assert "is alive since 2" in cause.message


async def test_agents_at_their_limit_are_named_with_whom_they_work_for(
    owner: Owner, world: World
) -> None:
    runs = wire.RunningAttempt(
        instance="other", task="build-1-0", attempt=1, started_at="2026-01-01T00:00:00Z"
    )
    beat = wire.PresenceMessage(agent="a1", roles=["builder"], slots=1, free=0, running=[runs])
    link = await world.link()
    await link.notify(wire.presence_subject("a1"), beat.model_dump_json().encode())
    await owner.facade.start("plain", id="i1")
    [cause] = (await explained(owner, "i1", "agents_busy")).causes
    assert "with tasks of other" in cause.message
    assert list(cause.others) == ["other"]


async def test_task_that_an_agent_runs_does_not_stand_still(owner: Owner, world: World) -> None:
    crew = Crew(await world.link(), ["builder"], {"publish-1-0#1": Hang()})
    async with running(crew.work):
        await owner.facade.start("final", id="i1")
        found = await explained(owner, "i1", "running")
        assert not found.is_standing
        assert crew.id in found.causes[0].message
        assert (await owner.facade.why.look()).standstills == []


async def test_approval_says_until_when_and_how(owner: Owner) -> None:
    await owner.facade.start("gated", id="i1")
    [cause] = (await explained(owner, "i1", "approval")).causes
    assert "stage 'ship' of 'gated' waits for approval" in cause.message
    assert "(Ship it?), until 2" in cause.message
    assert cause.remedy_for("i1").startswith("sagabus approve i1 ship")
    assert cause.until is not None


async def test_question_says_how_it_is_answered(owner: Owner) -> None:
    await owner.facade.start("asking", id="i1")
    [cause] = (await explained(owner, "i1", "question")).causes
    assert cause.remedy_for("i1") == "sagabus answer i1 ask --data JSON"


async def test_retry_says_which_attempt_begins_when_and_why(owner: Owner, world: World) -> None:
    crew = Crew(await world.link(), ["builder"], {"build-1-0#1": Fail("Broken", "no disk")})
    async with running(crew.work):
        await owner.facade.start("stubborn", id="i1")
        [cause] = (await explained(owner, "i1", "retry")).causes
    assert "attempt 2 of 5, begins at 2" in cause.message
    assert "no disk" in cause.message


async def test_pause_says_who_and_why(owner: Owner) -> None:
    await owner.facade.start("gated", id="i1")
    await owner.facade.pause("i1", by="ann", reason="audit")
    found = await owner.facade.why.explain("i1")
    assert [each.cause for each in found.causes] == ["paused", "approval"]
    assert found.causes[0].message == "it is paused by ann: audit"
    assert found.causes[0].remedy_for("i1") == "sagabus resume i1"


async def test_role_on_hold_says_who_and_why(owner: Owner) -> None:
    await owner.facade.holds.hold("role", "builder", by="ann", reason="upgrade")
    await owner.facade.start("plain", id="i1")
    [cause] = (await explained(owner, "i1", "on_hold")).causes
    assert cause.message == "role 'builder' is paused by ann: upgrade"
    assert cause.remedy == "sagabus resume --role builder"


async def test_task_is_not_said_to_be_queued_while_everything_is_paused(
    owner: Owner, world: World
) -> None:
    beat = wire.PresenceMessage(agent="a1", roles=["builder"], slots=1, free=1)
    link = await world.link()
    await link.notify(wire.presence_subject("a1"), beat.model_dump_json().encode())
    await owner.facade.holds.hold("all", by="ann", reason="incident")
    await owner.facade.start("plain", id="i1")
    found = await explained(owner, "i1", "on_hold")
    assert found.is_standing
    assert found.causes[0].message == "everything is paused by ann: incident"


async def test_sleep_says_until_when(owner: Owner) -> None:
    await owner.facade.start("sleeping", id="i1")
    [cause] = (await explained(owner, "i1", "sleeping")).causes
    assert "sleeps until 2" in cause.message


async def test_instance_that_waits_for_another_one_stands_still_with_it(owner: Owner) -> None:
    await owner.facade.start("calling", id="i1")

    async def look() -> Explained | None:
        found = await owner.facade.why.explain("i1")
        return found if found.below and found.is_standing else None

    found = await until(look)
    [below] = found.below
    assert [each.cause for each in found.causes] == ["sub_workflow"]
    assert [each.cause for each in below.causes] == ["no_agent"]
    assert below.row.id in found.causes[0].remedy
    check(found.causes[0].remedy)
    # Of the two only the one that can be done something about is listed.
    [group] = (await owner.facade.why.look()).standstills
    assert group.instances == [below.row.id]


async def test_instance_whose_undo_another_one_carries_out_stands_still_with_it(
    owner: Owner, world: World
) -> None:
    crew = Crew(await world.link(), ["builder"], {"check-1-0#1": Fail(is_retryable=False)})
    async with running(crew.work):
        await owner.facade.start("undoing_below", id="i1")

        async def look() -> Explained | None:
            found = await owner.facade.why.explain("i1")
            is_undoing = found.row.status == "compensating"
            return found if is_undoing and found.is_standing else None

        found = await until(look)
    [below], [cause] = found.below, found.causes
    assert below.row.id == child_id("i1", "sub-1-0", 1)
    assert cause.message == (
        f"the undo of stage 'sub' is carried out by another instance, {below.row.id}"
    )
    assert cause.remedy == f"sagabus why {below.row.id}"
    assert [each.title for each in below.causes] == ["no agent of role 'undoer' is alive"]
    assert found.is_standing
    [group] = (await owner.facade.why.look()).standstills
    assert group.instances == [below.row.id]


async def test_unknown_intent_says_how_it_is_resolved(owner: Owner, world: World) -> None:
    hand = Hand(await world.link())
    await owner.facade.start("final", id="i1")
    task = await hand.take("builder")
    await hand.run(task)
    lost = {"type": "unknown_outcome", "message": "the line was cut"}
    await hand.finish(task, "failed", error=lost)
    [cause] = (await explained(owner, "i1", "intent_unknown")).causes
    assert cause.message == (
        "whether final stage 'publish' had its effect is not known (publish-1-0): "
        "hand says unknown_outcome: the line was cut"
    )
    assert "sagabus resolve i1 publish" in cause.remedy_for("i1")
    assert "--retry" in cause.remedy


async def test_what_needs_an_operator_and_is_paused_says_both(owner: Owner, world: World) -> None:
    await hold(owner, Hand(await world.link()), "final", "i1")
    await owner.facade.pause("i1", by="ann", reason="audit")
    found = await owner.facade.why.explain("i1")
    assert [each.cause for each in found.causes] == ["intent_unknown", "paused"]
    assert found.causes[1].message == "it is paused by ann: audit"
    assert found.causes[1].remedy_for("i1") == "sagabus resume i1"


async def test_unknown_intent_of_a_cancelled_instance_is_not_to_be_tried_again(
    owner: Owner, world: World
) -> None:
    hand = Hand(await world.link())
    await owner.facade.start("final", id="i1")
    task = await hand.take("builder")
    await hand.run(task)
    lost = {"type": "unknown_outcome", "message": "the line was cut"}
    await hand.finish(task, "failed", error=lost)
    await explained(owner, "i1", "intent_unknown")
    await owner.facade.cancel("i1", by="ann")
    [cause] = (await explained(owner, "i1", "intent_unknown")).causes
    assert "--failed" in cause.remedy
    assert "--retry" not in cause.remedy


async def hold(owner: Owner, hand: Hand, workflow: str, id: str, tasks: int = 1) -> None:
    """Start an instance of whose final stage nobody knows whether it had its effect."""
    await owner.facade.start(workflow, id=id)
    for _ in range(tasks):
        task = await hand.take("builder")
        await hand.run(task)
        await hand.finish(task, "failed", error={"type": "unknown_outcome", "message": "cut"})

    async def look() -> bool:
        return len((await owner.facade.why.explain(id)).row.parked) == tasks

    await until(look)


async def test_of_instances_that_one_cause_holds_up_only_what_helps_each_is_offered(
    owner: Owner, world: World
) -> None:
    hand = Hand(await world.link())
    for id in ("i1", "i2"):
        await hold(owner, hand, "final", id)
    await owner.facade.cancel("i2", by="ann")
    [group] = (await owner.facade.why.look()).standstills
    assert sorted(group.instances) == ["i1", "i2"]
    assert group.cause.remedy == (
        "sagabus resolve ID publish --reason TEXT --succeeded "
        "(you found out that it had its effect), "
        "or sagabus resolve ID publish --reason TEXT --failed (that it had none)"
    )
    check(group.cause.remedy)


async def test_of_a_final_fan_out_one_word_settles_all_that_is_unknown(
    owner: Owner, world: World
) -> None:
    await hold(owner, Hand(await world.link()), "fanning", "i1", tasks=2)
    [cause] = (await owner.facade.why.explain("i1")).causes
    assert "(pays-1-0/1, pays-1-1/1)" in cause.message
    assert cause.ways_for("i1")[0].startswith("sagabus resolve i1 pays --all --reason TEXT")
    check(cause.remedy_for("i1"))
    [group] = (await owner.facade.why.look()).standstills
    assert (group.instances, group.cause.ways) == (["i1"], cause.ways)
    told = await owner.facade.resolve(
        "i1", "pays", "succeeded", is_all=True, by="ann", reason="seen"
    )
    assert told["attempts"] == ["pays-1-0/1", "pays-1-1/1"]
    assert (await owner.facade.wait("i1", 5)).row.status == "completed"


async def test_failed_compensation_says_what_can_be_done(owner: Owner, world: World) -> None:
    script = {
        "check-1-0#1": Fail(is_retryable=False),
        "make-1-0-undo-0#1": Fail("Broken", "it is locked"),
    }
    crew = Crew(await world.link(), ["builder"], script)
    async with running(crew.work):
        await owner.facade.start("undoing", id="i1")
        [cause] = (await explained(owner, "i1", "compensation_failed")).causes
    assert cause.message == "a compensation of stage 'make' failed: it is locked"
    for way in ("retry i1 --from make", "skip i1 make", "set-result i1 make"):
        assert way in cause.remedy_for("i1")


async def test_join_names_what_it_waits_for_beside_the_cause(owner: Owner, world: World) -> None:
    crew = Crew(await world.link(), ["builder"])
    async with running(crew.work):
        await owner.facade.start("joining", id="i1")

        async def look() -> Explained | None:
            found = await owner.facade.why.explain("i1")
            names = [each.cause for each in found.causes]
            return found if names == ["no_agent", "join"] else None

        found = await until(look)
    assert found.causes[1].message == "stage 'both' waits for right; left arrived"
    assert found.is_standing
    [group] = (await owner.facade.why.look()).standstills
    assert group.cause.role == "tester"


async def test_instance_where_only_another_one_is_missing_at_a_join_stands_still_with_it(
    owner: Owner, world: World
) -> None:
    crew = Crew(await world.link(), ["builder"])
    async with running(crew.work):
        await owner.facade.start("joining_below", id="i1")

        async def look() -> Explained | None:
            found = await owner.facade.why.explain("i1")
            names = [each.cause for each in found.causes]
            return found if names == ["sub_workflow", "join"] and found.is_standing else None

        found = await until(look)
    assert [each.cause for each in found.below[0].causes] == ["no_agent"]


async def test_ended_instance_says_how_it_goes_on(owner: Owner, world: World) -> None:
    crew = Crew(await world.link(), ["builder"], {"build-1-0#1": Fail(is_retryable=False)})
    async with running(crew.work):
        await owner.facade.start("plain", id="i1")
        await owner.facade.wait("i1", 5)
    found = await owner.facade.why.explain("i1")
    assert not found.is_standing
    assert found.causes[0].message == "failed, rollback none: stage build: no"
    assert "sagabus retry i1" in found.causes[0].remedy_for("i1")


async def test_bus_that_is_away_is_named_before_all_else(owner: Owner, world: MemoryWorld) -> None:
    await owner.facade.start("plain", id="i1")
    await explained(owner, "i1", "no_agent")
    world.broker.go_away()

    async def look() -> Explained | None:
        found = await owner.facade.why.explain("i1")
        return found if found.causes[0].cause == "bus_away" else None

    found = await until(look)
    assert [each.cause for each in found.causes] == ["bus_away", "no_agent"]
    assert "start NATS" in found.causes[0].remedy
    [trouble] = (await owner.facade.why.look()).troubles
    assert trouble.cause == "bus_away"
    world.broker.come_back()


async def test_failure_after_a_final_stage_says_how_it_goes_on(owner: Owner, world: World) -> None:
    crew = Crew(await world.link(), ["builder"], {"publish-1-0#1": Fail("Broken", "no line")})
    async with running(crew.work):
        await owner.facade.start("paying", id="i1")
        [cause] = (await explained(owner, "i1", "after_final")).causes
    assert cause.message == "it failed after a final stage had succeeded: stage publish: no line"
    ways = [
        "sagabus retry i1 (goes on from here)",
        "sagabus set-result i1 publish --output JSON --reason TEXT (goes on as if it gave it)",
        "sagabus skip i1 publish --reason TEXT (goes on without it)",
        "sagabus cancel i1 --no-compensate (ends it, and leaves everything as it is)",
        "sagabus compensate i1 (undoes the rest)",
        "sagabus cancel i1 (undoes the rest, and ends it cancelled)",
    ]
    assert cause.ways_for("i1") == ways
    [group] = (await owner.facade.why.look()).standstills
    assert group.cause.ways_for("i1") == ways


async def test_mistake_of_the_engine_says_that_it_can_be_tried_once_more(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise InvariantError("a counter is wrong")

    await owner.facade.start("gated", id="i1")
    with monkeypatch.context() as patch:
        patch.setattr(operators, "pause", break_down)
        with pytest.raises(InvariantError):
            await owner.facade.pause("i1")
    [cause] = (await explained(owner, "i1", "engine_failed")).causes
    assert "a counter is wrong" in cause.message
    assert "sagabus resume i1" in cause.remedy_for("i1")
    await owner.facade.resume("i1")
    await explained(owner, "i1", "approval")


async def test_limit_of_tasks_in_flight_is_named_beside_the_cause(owner: Owner) -> None:
    await owner.facade.start("listing", id="i1")

    async def look() -> Explained | None:
        found = await owner.facade.why.explain("i1")
        names = [each.cause for each in found.causes]
        return found if names == ["no_agent", "task_limit"] else None

    found = await until(look)
    assert found.causes[1].message == (
        "2 of its tasks are in flight, all that engine.max_parallel_tasks allows"
    )
    [group] = (await owner.facade.why.look()).standstills
    assert group.cause.cause == "no_agent"


async def test_what_needs_an_operator_comes_before_what_holds_up_more(
    owner: Owner, world: World
) -> None:
    hand = Hand(await world.link())
    await owner.facade.start("final", id="i1")
    task = await hand.take("builder")
    await hand.run(task)
    await hand.finish(task, "failed", error={"type": "unknown_outcome", "message": "cut"})
    await explained(owner, "i1", "intent_unknown")
    for number in (2, 3):
        await owner.facade.start("gated", id=f"i{number}")
        await explained(owner, f"i{number}", "approval")
    groups = (await owner.facade.why.look()).standstills
    counts = [(each.cause.cause, len(each.instances)) for each in groups]
    assert counts == [("intent_unknown", 1), ("approval", 2)]


async def test_database_that_is_away_is_named_before_all_else(
    owner: Owner, world: MemoryWorld
) -> None:
    await owner.facade.start("gated", id="i1")
    await explained(owner, "i1", "approval")
    await world.store.close()
    found = await owner.facade.why.explain("i1")
    assert [each.cause for each in found.causes] == ["store_away", "approval"]
    assert found.causes[0].message == "the database is away: the store was closed"
    assert "start the database" in found.causes[0].remedy


async def test_workflow_that_nobody_knows_is_named_as_such(owner: Owner) -> None:
    with pytest.raises(WorkflowNotFoundError, match='there is no workflow "palin"'):
        await owner.facade.why.look("palin")
    assert (await owner.facade.why.look("plain")).looked_at == 0
