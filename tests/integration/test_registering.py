"""Workflows registered with real servers: in force everywhere, kept, and gone when deleted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest

from sagabus.app import Orchestrator
from sagabus.app.registry import Draft
from sagabus.core.instance import InstanceStatus
from sagabus.errors import WorkflowNotFoundError
from sagabus.settings import Settings
from tests.support.nats_server import NatsServer
from tests.support.registry_orchestrator import MAIN
from tests.support.surreal_server import SurrealServer
from tests.support.worlds import until

WITHIN_S = 2.0
ECHO = "ref: {name}\ntasks:\n  - {{name: say, action: core.echo, input: {{word: {word}}}}}\n"


def echo(name: str, word: str) -> Draft:
    """A workflow that needs no agent."""
    return Draft(ECHO.format(name=name, word=word), "yaml")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "workflows.toml").write_text(MAIN)
    return Settings(config=tmp_path / "workflows.toml", data_dir=tmp_path / "data", partitions=2)


@pytest.fixture
async def two(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Orchestrator, ...]]:
    """Two orchestrators that share a bus and a database."""
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(NatsServer(tmp_path / "nats"))
        database = stack.enter_context(SurrealServer(tmp_path / "db"))
        shared = settings.with_changes(
            {
                "nats_url": nats.url,
                "surreal_url": database.url,
                "surreal_user": database.user,
                "surreal_password": database.password,
            }
        )
        first = await stack.enter_async_context(Orchestrator.open(shared))
        yield first, await stack.enter_async_context(Orchestrator.open(shared))


async def said(orchestrator: Orchestrator, workflow: str) -> str:
    """What the one stage of an ``echo`` gave."""
    row = await asyncio.wait_for(orchestrator.run(workflow), 10)
    assert row.status is InstanceStatus.COMPLETED
    state = await orchestrator.get(row.id)
    return str(state.attempts["say-1-0"][-1].output["word"])


async def test_a_change_made_through_one_is_in_force_in_the_other(
    two: tuple[Orchestrator, Orchestrator],
) -> None:
    first, second = two
    began = monotonic()
    await first.registry.register([echo("shop.greet", "hello")], by="ann")

    async def is_known() -> bool:
        return "shop.greet" in second.workflows()

    await until(is_known)
    assert monotonic() - began < WITHIN_S
    assert [await said(each, "shop.greet") for each in two] == ["hello", "hello"]
    await second.registry.register([echo("shop.greet", "goodbye")], by="ann", expected=1)

    async def is_newer() -> bool:
        registered = first.registry.of("shop.greet")
        return registered is not None and registered.version == 2

    await until(is_newer)
    assert await said(first, "shop.greet") == "goodbye"
    await first.registry.delete("shop.greet", by="ann")

    async def is_gone() -> bool:
        return "shop.greet" not in second.workflows()

    await until(is_gone)
    with pytest.raises(WorkflowNotFoundError):
        await second.start("shop.greet")


async def test_what_was_registered_is_in_force_before_the_first_start_after_a_restart(
    settings: Settings,
) -> None:
    async with Orchestrator.open(settings) as o:
        await o.registry.register([echo("greet", "hello")], by="ann")
    async with Orchestrator.open(settings) as o:
        assert await said(o, "greet") == "hello"
        assert [each.version for each in await o.registry.versions("greet")] == [1]


WAIT = """
ref: patient
tasks:
  - {name: hold, action: core.sleep, input: {seconds: 1}}
  - {name: say, action: core.echo, input: {word: %s}, needs: [hold]}
"""


async def test_running_instances_keep_the_definition_they_started_on(settings: Settings) -> None:
    async with Orchestrator.open(settings) as o:
        await o.registry.register([Draft(WAIT % "first", "yaml")], by="ann")
        old = await o.start("patient")
        await o.registry.register([Draft(WAIT % "second", "yaml")], by="ann")
        new = await o.start("patient")
        await o.registry.delete("patient", by="ann")
        with pytest.raises(WorkflowNotFoundError):
            await o.start("patient")
        for started, word in ((old, "first"), (new, "second")):
            state = await o.wait(started.id, 10)
            assert state.row.status is InstanceStatus.COMPLETED
            assert state.attempts["say-1-0"][-1].output == {"word": word}
