"""What must stop one instance, or nothing at all, and never the orchestrator."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sagabus.app import Orchestrator
from sagabus.errors import InvariantError

WORKFLOWS = """
[[workflows]]
name = "plain"
[[workflows.stages]]
name = "work"
agents = ["echo"]

[[workflows]]
name = "unspeakable"
[[workflows.stages]]
name = "work"
agents = ["echo"]
input = {text = "{{ '\\\\ud800' }}"}

[[workflows]]
name = "gated"
[[workflows.stages]]
name = "work"
agents = ["echo"]
compensation_agents = ["echo"]
[[workflows.stages]]
name = "more"
agents = ["echo"]
approval_required = true
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "workflows.toml"
    path.write_text(WORKFLOWS)
    return path


@asynccontextmanager
async def echo_agent(nats_url: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sagabus_agents.examples.echo"),
        env={**os.environ, "SAGABUS_NATS_URL": nats_url, "SAGABUS_LOG_LEVEL": "error"},
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_value_that_cannot_be_stored_stops_its_instance_alone(
    config: Path, tmp_path: Path
) -> None:
    async with Orchestrator.open(config=config, data=tmp_path / "data") as o:
        with pytest.raises(InvariantError, match=r"cannot be stored|failed on this instance"):
            await o.start("unspeakable", id="bad")
        async with echo_agent(o.nats_url):
            assert (await o.run("plain")).status == "completed"
        assert (await o.health()).loops.ok


async def test_instance_without_readable_definition_stops_nobody_else(
    config: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with Orchestrator.open(config=config, data=data) as o, echo_agent(o.nats_url):
        await o.start("gated", id="old")
        await until_waiting(o, "old")
        digest = (await o.get("old")).row.digest
        # As an older version would find what a newer one has written.
        await o._engine.store._connection.run(  # type: ignore[attr-defined]
            "UPDATE type::record('definition_snapshot', $digest) SET source = '{\"format\":2}'",
            digest=digest,
        )
    async with Orchestrator.open(config=config, data=data) as o, echo_agent(o.nats_url):
        with pytest.raises(InvariantError, match="definition"):
            await o.approve_stage("old", "more")
        assert (await o.run("plain")).status == "completed"
        health = await o.health()
        assert not health.loops.ok
        assert "old" in health.loops.detail


async def until_waiting(o: Orchestrator, instance: str) -> None:
    async with asyncio.timeout(20):
        async for event in o.watch(instance):
            if event["type"] == "ApprovalRequested":
                return


async def test_files_of_the_running_bus_are_deleted_and_everything_ends(
    config: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with Orchestrator.open(config=config, data=data) as o, echo_agent(o.nats_url):
        assert (await o.run("plain")).status == "completed"
        shutil.rmtree(data / "nats" / "store")
        started = [await o.start("plain", id=f"i{number}") for number in range(10)]
        ended = await asyncio.gather(*(o.wait(each.id, 75) for each in started))
        assert {each.row.status for each in ended} == {"completed"}
