"""What every store promises about instances that ended long ago."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from sagabus.core.definition import WORKFLOW_ROLE
from sagabus.core.instance import (
    Attempt,
    Instance,
    InstanceStatus,
    ParentRef,
    TaskStatus,
    child_id,
)
from sagabus.errors import VersionConflictError
from sagabus.ports import EndedRow, Store
from tests.support.sample_rows import START, Owner, attempt, entry, instance

LATER = START + timedelta(days=1)
TERMINAL = [each for each in InstanceStatus if each.is_terminal]


def ended(name: str, version: int = 1, **more: Any) -> Instance:
    status = more.pop("status", InstanceStatus.COMPLETED)
    return instance(name, version, status=status, **more)


def child(parent: str, task: str, number: int = 1) -> Instance:
    name = child_id(parent, task, number)
    return ended(name, parent=ParentRef(parent, task, number), root=parent)


def asked_of_another(task: str, number: int = 1) -> Attempt:
    made = attempt(task, number, status=TaskStatus.SUCCEEDED)
    made.role = WORKFLOW_ROLE
    return made


async def expired(store: Store, before: datetime = LATER, limit: int = 100) -> list[EndedRow]:
    return [row async for page in store.expired(before, limit) for row in page]


async def names(store: Store, before: datetime = LATER, limit: int = 100) -> list[str]:
    return sorted(row.id for row in await expired(store, before, limit))


async def is_gone(store: Store, *instances: str) -> bool:
    left: list[Sequence[Any]] = []
    for name in instances:
        assert await store.load_instance(name) is None
        left += [await store.history(name), await store.load_attempts(name)]
        left.append(list(await store.load_items(name)))
    return not any(left)


@pytest.mark.parametrize("status", InstanceStatus)
async def test_what_has_ended_expires_and_nothing_else(
    store: Store, status: InstanceStatus
) -> None:
    owner = await Owner.of(store)
    await owner.commit(ended("a", status=status))
    assert await names(store) == (["a"] if status.is_terminal else [])


async def test_an_instance_expires_by_the_time_of_its_last_change(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(ended("a"))
    [row] = await expired(store)
    assert (row.version, row.root, row.is_over) == (1, None, True)
    assert row.changed_at == START + timedelta(seconds=1)
    assert await names(store, row.changed_at) == []
    assert await names(store, row.changed_at + timedelta(microseconds=1)) == ["a"]


async def test_an_ended_instance_with_a_late_undo_does_not_expire(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(ended("a", open_attempts=1), attempts=[("a", attempt())])
    assert await names(store) == []


async def test_pages_hold_everything_once_also_where_instants_are_equal(store: Store) -> None:
    owner = await Owner.of(store)
    at = START
    for number in range(12):
        at += timedelta(seconds=number % 3 == 0)
        status = TERMINAL[number % len(TERMINAL)]
        await owner.commit(ended(f"i{number}", status=status, created_at=at))
    await owner.commit(*(ended(f"same{number}") for number in range(7)))
    pages = [page async for page in store.expired(LATER, 3)]
    assert max(map(len, pages)) <= 3 * 2
    found = [row.id for page in pages for row in page]
    assert sorted(found) == sorted([f"i{n}" for n in range(12)] + [f"same{n}" for n in range(7)])


async def test_a_child_goes_with_its_root_and_alone_only_where_that_is_gone(store: Store) -> None:
    owner = await Owner.of(store)
    orphan = child("nobody", "build-1-0")
    await owner.commit(instance("root"), child("root", "build-1-0"), orphan)
    assert await names(store) == [orphan.id]


async def test_children_are_those_who_carried_out_attempts(store: Store) -> None:
    owner = await Owner.of(store)
    tries = [asked_of_another("build-1-0", 1), asked_of_another("build-1-0", 2)]
    tries.append(attempt("test-1-0"))
    not_one = attempt("ship-1-0", input={"role": WORKFLOW_ROLE}, status=TaskStatus.SUCCEEDED)
    first, second = child("root", "build-1-0", 1), child("root", "build-1-0", 2)
    await owner.commit(
        ended("root"),
        instance(second.id, parent=second.parent, root="root"),
        first,
        child("root", "ship-1-0"),
        attempts=[("root", each) for each in [*tries, not_one]],
    )
    found = await store.children(["root", "nobody", first.id])
    assert sorted((parent, row.id, row.is_over, row.root) for parent, row in found) == sorted(
        [("root", first.id, True, "root"), ("root", second.id, False, "root")]
    )


async def test_deleted_instances_leave_nothing_and_others_lose_nothing(store: Store) -> None:
    owner = await Owner.of(store)
    for name in ("a", "ab", "a-", "b"):
        await owner.commit(
            ended(name),
            attempts=[(name, attempt(number=n, status=TaskStatus.FAILED)) for n in (1, 2)],
            history=[entry(name, 1)],
            items=[(name, "build-1", [1, 2])],
        )
    rows = {row.id: row for row in await expired(store)}
    assert await store.delete_instances([[rows["a"]], [rows["b"]]]) == 2
    assert await is_gone(store, "a", "b")
    assert await names(store) == ["a-", "ab"]
    for name in ("a-", "ab"):
        assert len(await store.load_attempts(name)) == 2
        assert len(await store.history(name)) == 1
        assert await store.load_items(name) == {"build-1": [1, 2]}
    assert [row.id for row in (await store.list_instances()).instances] == ["ab", "a-"]
    assert (await store.load_active(0)).instances == []


async def test_an_instance_with_more_rows_than_a_slice_is_deleted_whole(store: Store) -> None:
    owner = await Owner.of(store)
    tries = [attempt(f"build-1-{n}", status=TaskStatus.SUCCEEDED) for n in range(450)]
    await owner.commit(ended("big"), attempts=[("big", each) for each in tries])
    await owner.commit(*(ended(f"i{n}") for n in range(45)))
    assert await store.delete_instances([[row] for row in await expired(store)]) == 46
    assert await is_gone(store, "big", "i7")
    assert await names(store) == []


async def test_a_tree_is_deleted_whole_or_not_at_all(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(*(ended(name) for name in "abc"), history=[entry("a", 1)])
    a, b, c = sorted(await expired(store), key=lambda row: row.id)
    await owner.commit(ended("b", 2))
    assert await store.delete_instances([[a, b], [c]]) == 1
    assert await names(store) == ["a", "b"]
    assert len(await store.history("a")) == 1


async def test_an_instance_that_awaits_something_again_is_not_deleted(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(ended("a"))
    [row] = await expired(store)
    await owner.commit(ended("a", 2, open_attempts=1))
    assert await store.delete_instances([[row]]) == 0
    newer = EndedRow("a", 2, row.changed_at, is_over=True, root=None)
    assert await store.delete_instances([[newer]]) == 0
    assert await store.load_instance("a") is not None


async def test_a_deleted_instance_cannot_be_changed_and_its_id_is_free(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(ended("a"), attempts=[("a", attempt(status=TaskStatus.FAILED))])
    await store.delete_instances([[row] for row in await expired(store)])
    with pytest.raises(VersionConflictError):
        await owner.commit(ended("a", 2))
    await owner.commit(instance("a"), history=[entry("a", 1)])
    assert len(await store.history("a")) == 1
    assert await store.load_attempts("a") == []


async def test_commits_and_deletions_at_the_same_time_do_not_disturb_each_other(
    store: Store,
) -> None:
    owner = await Owner.of(store)
    await owner.commit(*(ended(f"old{n}") for n in range(30)), instance("live"))
    rows = await expired(store)

    async def go_on() -> None:
        for version in range(2, 22):
            await owner.commit(instance("live", version), history=[entry("live", version)])

    deleting = store.delete_instances([[row] for row in rows])
    deleted, again, _ = await asyncio.gather(deleting, store.delete_instances([]), go_on())
    assert await names(store) == []
    assert deleted + again >= 30
    assert len(await store.history("live")) == 20
