"""What every registry promises, checked on the one in memory and the one in the database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sagabus.adapters.memory_registry import MemoryRegistry
from sagabus.adapters.migrations import migrate
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_registry import SurrealRegistry
from sagabus.errors import ConflictError
from sagabus.ports import Registered, Registry, WorkflowText
from tests.support.sample_rows import START

DEPLOY = WorkflowText("shop.deploy", "shop", "yaml", 'ref: shop.deploy # "quoted", ⟨Grüße⟩\n', "d1")


@pytest.fixture(params=["memory", "surrealkv"])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Registry]:
    if request.param == "memory":
        yield MemoryRegistry()
        return
    connection = await SurrealConnection.open(f"surrealkv://{tmp_path}/db")
    await migrate(connection, data_path("migrations"))
    yield SurrealRegistry(connection)
    await connection.close()


async def put(registry: Registry, *workflows: WorkflowText, **expected: int) -> list[Registered]:
    names = {name.replace("__", "."): version for name, version in expected.items()}
    return await registry.register(workflows, by="ann", at=START, expected=names)


async def test_an_empty_registry_has_nothing(registry: Registry) -> None:
    assert await registry.changes() == 0
    assert await registry.current() == (0, [])
    assert await registry.find("shop.deploy") is None
    assert await registry.versions("shop.deploy") == []
    assert await registry.delete("shop.deploy", by="ann", at=START) is None


async def test_a_registered_workflow_is_found_as_it_was_given(registry: Registry) -> None:
    [stored] = await put(registry, DEPLOY)
    assert stored == Registered(DEPLOY, 1, "ann", START)
    assert await registry.find("shop.deploy") == stored
    assert await registry.find("shop.deploy", 1) == stored
    assert await registry.find("shop.deploy", 2) is None
    assert await registry.current() == (1, [stored])
    assert await registry.changes() == 1


async def test_every_version_is_kept_and_the_newest_is_in_force(registry: Registry) -> None:
    await put(registry, DEPLOY)
    newer = replace(DEPLOY, text="ref: shop.deploy\nversion: 2\n", digest="d2", format="json")
    [stored] = await put(registry, newer)
    assert (stored.version, stored.workflow) == (2, newer)
    assert [each.version for each in await registry.versions("shop.deploy")] == [2, 1]
    assert (await registry.current())[1] == [stored]
    first = await registry.find("shop.deploy", 1)
    assert first is not None
    assert first.workflow == DEPLOY


async def test_the_same_document_again_makes_no_version(registry: Registry) -> None:
    [first] = await put(registry, DEPLOY)
    [again] = await registry.register(
        [DEPLOY], by="bob", at=START + timedelta(days=1), expected={DEPLOY.name: 1}
    )
    assert again == first


async def test_workflows_are_stored_together_or_not_at_all(registry: Registry) -> None:
    await put(registry, DEPLOY)
    other = replace(DEPLOY, name="shop.build")
    with pytest.raises(ConflictError, match=r"'shop.deploy' is registered in version 1 now"):
        await put(registry, other, replace(DEPLOY, text="new"), shop__deploy=0)
    assert await registry.find("shop.build") is None
    assert await registry.changes() == 1
    stored = await put(registry, other, replace(DEPLOY, text="new"), shop__deploy=1)
    assert [(each.workflow.name, each.version) for each in stored] == [
        ("shop.build", 1),
        ("shop.deploy", 2),
    ]
    assert [each.workflow.name for each in (await registry.current())[1]] == [
        "shop.build",
        "shop.deploy",
    ]


async def test_a_change_that_expects_another_version_changes_nothing(registry: Registry) -> None:
    with pytest.raises(ConflictError, match="not registered"):
        await put(registry, DEPLOY, shop__deploy=1)
    await put(registry, DEPLOY, shop__deploy=0)
    for expected in (0, 2):
        with pytest.raises(ConflictError, match="in version 1 now"):
            await put(registry, replace(DEPLOY, text="x"), shop__deploy=expected)
        with pytest.raises(ConflictError, match="in version 1 now"):
            await registry.delete("shop.deploy", by="ann", at=START, expected=expected)
    assert len(await registry.versions("shop.deploy")) == 1
    assert await registry.changes() == 1


async def test_a_deleted_workflow_is_a_version_and_counting_goes_on(registry: Registry) -> None:
    await put(registry, DEPLOY)
    deleted = await registry.delete("shop.deploy", by="bob", at=START, expected=1)
    assert deleted is not None
    assert (deleted.version, deleted.by, deleted.is_deleted) == (2, "bob", True)
    assert deleted.workflow == replace(DEPLOY, text="", digest="")
    assert await registry.current() == (2, [])
    assert await registry.find("shop.deploy") == deleted
    assert await registry.delete("shop.deploy", by="bob", at=START) is None
    [again] = await put(registry, DEPLOY, shop__deploy=0)
    assert (again.version, again.is_deleted) == (3, False)
    assert [each.version for each in await registry.versions("shop.deploy")] == [3, 2, 1]


async def test_names_that_begin_alike_are_different_names(registry: Registry) -> None:
    for name in ("shop", "shop.deploy", "shop.deploy_all", "shop.deploy.x"):
        await put(registry, replace(DEPLOY, name=name))
    assert [each.version for each in await registry.versions("shop.deploy")] == [1]
    assert len((await registry.current())[1]) == 4


async def test_of_changes_at_once_each_makes_its_version(registry: Registry) -> None:
    texts = [replace(DEPLOY, text=f"text {n}") for n in range(5)]
    stored = await asyncio.gather(*(put(registry, each) for each in texts))
    assert sorted(found.version for [found] in stored) == [1, 2, 3, 4, 5]
    assert await registry.changes() == 5
    creations = [put(registry, replace(each, name="new"), new=0) for each in texts]
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert sum(isinstance(each, ConflictError) for each in outcomes) == 4
