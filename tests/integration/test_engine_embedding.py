"""An orchestrator inside a program of one's own: opened, asked, closed, opened again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sagabus.app import Orchestrator
from sagabus.errors import ConflictError, InstanceNotFoundError, WorkflowNotFoundError
from sagabus.settings import Settings
from sagabus_agents import Agent, Task
from tests.support.worlds import until

RELEASE = """
[[workflows]]
name = "release"
[[workflows.stages]]
name = "build"
agents = ["backend"]
classification = "read_only"
[[workflows.stages]]
name = "ship"
action = "{action}"
agents = ["devops"]
compensation_agents = ["devops"]
approval_required = true
"""
OTHER = """
[[workflows]]
name = "other"
[[workflows.stages]]
name = "look"
agents = ["backend"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "workflows.toml"
    config.write_text(RELEASE.format(action="ship"))
    return Settings(config=config, data_dir=tmp_path / "data", log_level="warning")


@asynccontextmanager
async def agent(orchestrator: Orchestrator) -> AsyncIterator[list[str]]:
    """An agent in the same program; what it did."""
    done: list[str] = []
    worker = Agent("backend", "devops", nats_url=orchestrator.nats_url)

    @worker.task()
    async def anything(task: Task) -> dict[str, str]:
        done.append(f"{task.action} {task.workflow_id}")
        return {"artifact": task.workflow_id}

    @worker.compensation()
    async def undo(task: Task) -> None:
        done.append(f"undo {task.action} {task.workflow_id}")

    serving = asyncio.create_task(worker.serve())
    try:
        yield done
    finally:
        worker.stop()
        await serving


async def until_waiting(orchestrator: Orchestrator, *instances: str) -> None:
    async def look() -> bool:
        states = [await orchestrator.get(instance) for instance in instances]
        return all(state.row.status == "waiting" for state in states)

    await until(look)


async def test_a_program_starts_approves_and_waits(settings: Settings) -> None:
    opening = Orchestrator.open(config=settings.config, data=settings.data_dir)
    async with opening as o, agent(o) as done:
        started = await o.start("release", {"version": "1.2.3"}, by="ann")
        assert started.is_new
        with pytest.raises(ConflictError, match="asks for no approval"):
            await o.approve_stage(started.id, "build", by="ann")
        await until_waiting(o, started.id)
        with pytest.raises(TimeoutError):
            await o.wait(started.id, timeout_s=0.05)
        await o.approve_stage(started.id, "ship", by="ann", reason="looks good")
        state = await o.wait(started.id, timeout_s=10)
        assert state.row.status == "completed"
        assert done == [f"build {started.id}", f"ship {started.id}"]
        gate = state.row.runs["ship-1"].gate
        assert gate is not None
        assert (gate.decision, gate.by, gate.reason) == ("approved", "ann", "looks good")
        types = [event["type"] async for event in o.watch(started.id)]
        assert (types[0], types[-1]) == ("WorkflowStarted", "WorkflowCompleted")
        with pytest.raises(WorkflowNotFoundError, match="release"):
            await o.start("releese")
        with pytest.raises(InstanceNotFoundError):
            await o.approve_stage("nobody", "ship")
        health = await o.health()
        assert health.status == "ok"
        assert health.agents == 1


async def test_what_was_unfinished_is_loaded_when_it_is_opened_again(settings: Settings) -> None:
    names = [f"i{number}" for number in range(12)]
    async with Orchestrator.open(settings) as o, agent(o):
        await asyncio.gather(*(o.start("release", id=name) for name in names))
        await until_waiting(o, *names)
    async with Orchestrator.open(settings) as o:
        # Before anybody asks for one of them.
        assert "12 instances unfinished" in (await o.health()).loops.detail
        again = await o.start("release", id="i0")
        assert not again.is_new
        async with agent(o) as done:
            await asyncio.gather(*(o.approve_stage(name, "ship") for name in names[:6]))
            await asyncio.gather(*(o.reject_stage(name, "ship", by="ann") for name in names[6:]))
            states = await asyncio.gather(*(o.wait(name, 10) for name in names))
        assert [state.row.status for state in states] == ["completed"] * 6 + ["failed"] * 6
        assert sorted(done) == sorted(f"ship {name}" for name in names[:6])
        assert "0 instances unfinished" in (await o.health()).loops.detail


async def test_running_instances_keep_their_definition_when_the_file_changes(
    settings: Settings,
) -> None:
    async with Orchestrator.open(settings) as o, agent(o) as done:
        await o.start("release", id="old")
        await until_waiting(o, "old")
        before = o.workflows()["release"].digest
        settings.config.write_text(RELEASE.format(action="ship_by_air"))

        async def is_in_force() -> bool:
            return o.workflows()["release"].digest != before

        await until(is_in_force)
        await o.start("release", id="new")
        await until_waiting(o, "new")
        for name in ("old", "new"):
            await o.approve_stage(name, "ship")
            assert (await o.wait(name, 10)).row.status == "completed"
        assert {"ship old", "ship_by_air new"} < set(done)


async def test_faulty_file_changes_nothing_and_is_told(settings: Settings) -> None:
    async with Orchestrator.open(settings) as o, agent(o):
        settings.config.write_text(RELEASE.format(action="ship") + "agent = 1\n")

        async def is_told() -> bool:
            return not (await o.health()).config.ok

        await until(is_told)
        health = await o.health()
        assert (health.status, "agent" in health.config.detail) == ("degraded", True)
        await o.start("release", id="i1")
        await until_waiting(o, "i1")
        await o.cancel("i1")
        assert (await o.wait("i1", 10)).row.status == "cancelled"


async def test_instance_ends_after_a_restart_that_its_workflow_did_not_survive(
    settings: Settings,
) -> None:
    async with Orchestrator.open(settings) as o, agent(o):
        await o.start("release", id="i1")
        await o.start("release", id="i2")
        await until_waiting(o, "i1", "i2")
    settings.config.write_text(OTHER)
    async with Orchestrator.open(settings) as o, agent(o) as done:
        with pytest.raises(WorkflowNotFoundError):
            await o.start("release")
        await o.approve_stage("i1", "ship")
        await o.cancel("i2")
        assert (await o.wait("i1", 10)).row.status == "completed"
        assert (await o.wait("i2", 10)).row.status == "cancelled"
        assert done == ["ship i1"]
