"""A deletion that is cut off in the middle, in the database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from sagabus.adapters import surreal_retention
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.core.instance import InstanceStatus, TaskStatus
from sagabus.errors import StoreError, VersionConflictError
from tests.support.sample_rows import START, Owner, attempt, entry, instance

LATER = START + timedelta(days=1)


@pytest.fixture
async def store() -> AsyncIterator[SurrealStore]:
    opened = await SurrealStore.open("mem://", migrations=data_path("migrations"))
    yield opened
    await opened.close()


async def test_what_is_half_deleted_is_gone_for_everyone_and_finished_next(
    store: SurrealStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await Owner.of(store)
    rows = [instance(name, status=InstanceStatus.COMPLETED) for name in ("a", "b")]
    tried = attempt(status=TaskStatus.SUCCEEDED)
    await owner.commit(*rows, attempts=[("a", tried)], history=[entry("a", 1)])
    found = [row async for page in store.expired(LATER, 10) for row in page]
    with monkeypatch.context() as patch:
        patch.setattr(surreal_retention, "_DELETE", "{ THROW 'cut off' };")
        with pytest.raises(StoreError, match="cut off"):
            await store.delete_instances([[row] for row in found if row.id == "a"])
    assert await store.load_instance("a") is None
    assert [row.id for row in (await store.list_instances()).instances] == ["b"]
    assert (await store.count_by_status())["completed"] == 1
    assert [row.id async for page in store.expired(LATER, 10) for row in page] == ["b"]
    for version in (1, 2):  # neither a new instance of that id nor an old owner's news of it
        with pytest.raises(VersionConflictError):
            await owner.commit(instance("a", version))
    assert len(await store.history("a")) == 1
    assert await store.delete_instances([]) == 1
    assert await store.history("a") == []
    assert await store.load_attempts("a") == []
    await owner.commit(instance("a"))


async def marked(store: SurrealStore, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Begin to delete some instances, and be cut off."""
    found = [row async for page in store.expired(LATER, 10) for row in page if row.id in names]
    assert len(found) == len(names)
    with monkeypatch.context() as patch:
        patch.setattr(surreal_retention, "_DELETE", "{ THROW 'cut off' };")
        with pytest.raises(StoreError, match="cut off"):
            await store.delete_instances([[row] for row in found])


async def pages(
    store: SurrealStore, size: int, between: Callable[[], Awaitable[object]] | None = None
) -> list[list[str]]:
    """All pages; ``between`` the first and the second, something happens."""
    page = await store.list_instances(limit=size)
    found = [[row.id for row in page.instances]]
    if between is not None:
        await between()
    while page.cursor is not None:
        page = await store.list_instances(limit=size, cursor=page.cursor)
        found.append([row.id for row in page.instances])
    return found


async def six(store: SurrealStore) -> None:
    """Instances from ``a``, the oldest, to ``f``; two share each instant."""
    owner = await Owner.of(store)
    rows = [
        instance(
            name,
            status=InstanceStatus.COMPLETED,
            created_at=START + timedelta(seconds=number // 2),
        )
        for number, name in enumerate("abcdef")
    ]
    await owner.commit(*rows)


async def test_pages_lead_on_over_what_is_being_deleted(
    store: SurrealStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await six(store)
    await marked(store, monkeypatch, "c", "d", "f")
    assert await pages(store, 1) == [[], ["e"], [], [], ["b"], ["a"]]
    assert await pages(store, 2) == [["e"], [], ["b", "a"]]
    assert [each for page in await pages(store, 4) for each in page] == ["e", "b", "a"]
    completed = await store.list_instances(status="completed", limit=3)
    assert ([row.id for row in completed.instances], completed.cursor) == (["e", "b", "a"], None)


@pytest.mark.parametrize("gone", ["e", "d", "ed", "fe", "dcba"])
async def test_what_is_deleted_between_two_pages_hides_and_repeats_nothing_else(
    store: SurrealStore, gone: str
) -> None:
    await six(store)

    async def delete() -> None:
        found = [row async for page in store.expired(LATER, 10) for row in page]
        trees = [[row] for row in found if row.id in gone]
        assert await store.delete_instances(trees) == len(gone)

    first, *others = await pages(store, 2, delete)
    assert first == ["f", "e"]
    assert [each for page in others for each in page] == [x for x in "dcba" if x not in gone]


async def test_instances_that_cannot_be_read_stay_with_all_above_them(store: SurrealStore) -> None:
    owner = await Owner.of(store)
    await owner.commit(*(instance(name, status=InstanceStatus.FAILED) for name in ("a", "b")))
    connection = store._connection
    await connection.run("UPDATE workflow_instances:a SET state = '{'")
    assert [row.id async for page in store.expired(LATER, 10) for row in page] == ["b"]
    await connection.run(
        "CREATE task_execution:['b', 'build-1-0', 1]"
        """ SET status = 'x', state = '{"role":"_workflow"'"""
    )
    [(parent, row)] = await store.children(["b"])
    assert (parent, row.is_over) == ("b", False)
