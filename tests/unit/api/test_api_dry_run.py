"""A dry run of a command for many: its verdicts are those that the command itself then gives."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagabus.api.application import create_app
from sagabus.app import Orchestrator
from sagabus.core.instance import InstanceStatus
from tests.support.crew import Crew, Fail
from tests.support.engine import Owner, owners, running
from tests.support.worlds import MemoryWorld, until

CONFIG = """
[engine.defaults]
retry = {count = 0}
compensation = {retry = {count = 0}}

[[workflows]]
name = "plain"
parameters = {size = {type = "string", default = "s"}}
[[workflows.stages]]
name = "compile"
agents = ["worker"]
input = {image = "{{ kv.get('image', default=0) }}", tag = "{{ kv.get('x-' ~ 'y', default=1) }}"}
[[workflows.stages]]
name = "broken"
agents = ["worker"]
input = {image = "{{ kv.get('im' ~ 'age', default=0) }}"}

[[workflows]]
name = "undone"
[[workflows.stages]]
name = "compile"
agents = ["worker"]
compensation_agents = ["worker"]
[[workflows.stages]]
name = "broken"
agents = ["worker"]

[[workflows]]
name = "half_undone"
[[workflows.stages]]
name = "sticky"
agents = ["worker"]
compensation_agents = ["worker"]
[[workflows.stages]]
name = "broken"
agents = ["worker"]

[[workflows]]
name = "paid"
[[workflows.stages]]
name = "reserve"
agents = ["worker"]
compensation_agents = ["worker"]
[[workflows.stages]]
name = "charge"
agents = ["worker"]
classification = "final"

[[workflows]]
name = "held"
[[workflows.stages]]
name = "charge"
agents = ["worker"]
classification = "final"
[[workflows.stages]]
name = "broken"
agents = ["worker"]
classification = "final"

[[workflows]]
name = "stuck"
[[workflows.stages]]
name = "wait"
agents = ["nobody"]

[[workflows]]
name = "caller"
[[workflows.stages]]
name = "called"
action = "paid"
"""
ENDS = {
    "plain": "failed",
    "undone": "rolled_back",
    "half_undone": "failed",
    "paid": "completed",
    "held": "needs_operator",
    "stuck": "running",
    "caller": "completed",
}
SCRIPT = {"broken-1-0#1": Fail(is_retryable=False), "sticky-1-0-undo-0#1": Fail(is_retryable=False)}


class Mixed:
    """An API over instances that stand in every way they can."""

    def __init__(self, owner: Owner, client: httpx.AsyncClient, config: Path) -> None:
        self.o: Orchestrator = owner.facade
        self.store = owner.store
        self.holder = owner.holder
        self.client = client
        self.config = config

    async def fill(self) -> None:
        for workflow, end in ENDS.items():
            await self.o.start(workflow, id=workflow)
            await self.until_status(workflow, end)
        await self.o.start("stuck", id="resting")
        await self.o.pause("resting", by="bob")

    async def until_status(self, id: str, status: str) -> None:
        async def look() -> bool:
            return (await self.o.get_row(id)).status == status

        await until(look)

    async def give(self, name: str, **document: Any) -> list[dict[str, Any]]:
        reply = await self.client.post(
            f"/api/v1/workflow-executions/bulk/{name}",
            json={"status": [str(each) for each in InstanceStatus], "by": "ann"} | document,
        )
        assert reply.status_code == 200, reply.text
        return list(reply.json()["items"])

    async def versions(self) -> dict[str, int]:
        page = await self.o.list_instances()
        return {row.id: row.version for row in page.instances}


@pytest.fixture
async def mixed(tmp_path: Path) -> AsyncIterator[Mixed]:
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    world = MemoryWorld()
    async with owners(config, world) as own:
        owner = await own()
        crew = Crew(await world.link(), ("worker",), SCRIPT)
        transport = httpx.ASGITransport(create_app(owner.facade), raise_app_exceptions=False)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as client,
            running(crew.work),
        ):
            mixed = Mixed(owner, client, config)
            await mixed.fill()
            yield mixed


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("retry", {}),
        ("retry", {"parameters": {"size": 7}}),
        ("cancel", {}),
        ("cancel", {"compensate": False}),
        ("pause", {}),
        ("resume", {}),
        ("compensate", {}),
    ],
)
async def test_dry_run_says_of_each_instance_what_the_command_then_does(
    mixed: Mixed, name: str, document: dict[str, Any]
) -> None:
    before = await mixed.versions()
    dry = await mixed.give(name, **document, dry_run=True)
    assert await mixed.versions() == before
    assert len(dry) == len(ENDS) + 2
    assert {each["ok"] for each in dry} == {True, False}
    assert await mixed.give(name, **document) == dry


async def test_dry_run_with_the_newest_definition_judges_by_it_and_stores_nothing(
    mixed: Mixed,
) -> None:
    mixed.config.write_text(CONFIG.replace('name = "broken"', 'name = "mended"'))
    assert mixed.holder.reload()
    newest = mixed.holder.current.get("plain").digest
    dry = await mixed.give("retry", definition="latest", dry_run=True)
    found = {each["id"]: each["message"] for each in dry}
    assert found["plain"] == (
        "stage 'broken' has run, and the new definition has no such stage: retry with the one"
        " that it has, or start a new instance"
    )
    assert await mixed.store.load_definition(newest) is None
    assert await mixed.give("retry", definition="latest") == dry
    assert await mixed.store.load_definition(newest) is not None
