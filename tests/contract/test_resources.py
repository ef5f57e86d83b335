"""What every store promises of resources, checked on the one in memory and the real ones."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sagabus.adapters.resource_rows import MAX_KEPT
from sagabus.core.transition import ResourceChange
from sagabus.errors import InvalidRequestError, InvariantError, PartitionLostError
from sagabus.ports import ANY_RESOURCE, Batch, ResourceFilter, Store
from tests.support.sample_rows import START, Owner, instance

SPEC = {"size": "s", "n": [1, 2.5, None], "tags": {"b": True, "a": "ü"}}


def change(
    id: str = "vm-1", spec: dict[str, Any] | None = SPEC, by: str = "a", **more: Any
) -> ResourceChange:
    fields = {
        "kind": "vm",
        "id": id,
        "spec": spec,
        "instance": by,
        "workflow": "deploy",
        "stage": "make",
        "task": "make-1-0",
        "attempt": 1,
        "role": "devops",
        "at": START,
    }
    return ResourceChange(**fields | more)


def undo(id: str = "vm-1", by: str = "a", **more: Any) -> ResourceChange:
    more = {"task": "make-1-0-undo-0", "is_undo": True} | more
    return change(id, None, by, **more)


class Writer:
    """Commits resources, one batch after another."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    @classmethod
    async def of(cls, store: Store, partition: int = 0) -> "Writer":
        return cls(await Owner.of(store, partition))

    async def declare(self, *changes: ResourceChange) -> None:
        owner = self.owner
        batch = Batch(
            owner.partition, owner.epoch, owner.number + 1, owner.number, resources=changes
        )
        await owner.store.commit(batch)
        owner.number += 1


async def told(store: Store, id: str = "vm-1") -> list[tuple[str, int, str, bool]]:
    return [
        (entry.status, entry.spec_version, entry.instance, entry.is_void)
        for entry in await store.resources.history("vm", id)
    ]


async def test_a_declared_resource_comes_back_as_it_was(store: Store) -> None:
    writer = await Writer.of(store)
    await writer.declare(change())
    found = await store.resources.get("vm", "vm-1")
    assert found is not None
    assert found.spec == SPEC
    assert (found.status, found.spec_version, found.role) == ("present", 1, "devops")
    assert (found.instance, found.workflow, found.stage) == ("a", "deploy", "make")
    assert (found.task, found.attempt) == ("make-1-0", 1)
    assert found.created_at == found.declared_at == START
    assert found.created_at.utcoffset() == timedelta(0)
    assert found.gone_at is None
    [entry] = await store.resources.history("vm", "vm-1")
    assert (entry.number, entry.spec, entry.at, entry.is_void) == (1, SPEC, START, False)
    assert await store.resources.get("vm", "vm-2") is None
    assert await store.resources.history("dns", "vm-1") == []


async def test_the_version_rises_only_when_the_spec_changed(store: Store) -> None:
    writer = await Writer.of(store)
    later = START + timedelta(hours=1)
    await writer.declare(change(spec={"a": 1, "b": 2}))
    await writer.declare(change(spec={"b": 2, "a": 1}, by="b", at=later))
    found = await store.resources.get("vm", "vm-1")
    assert found is not None
    assert (found.spec_version, found.instance, found.created_at) == (1, "b", START)
    assert found.declared_at == later
    await writer.declare(change(spec={"a": 1}, by="c"))
    await writer.declare(change(spec={"a": 1.5}, by="d"))
    assert await told(store) == [
        ("present", 1, "a", False),
        ("present", 1, "b", False),
        ("present", 2, "c", False),
        ("present", 3, "d", False),
    ]


async def test_what_is_made_again_keeps_its_version_unless_its_spec_changed(store: Store) -> None:
    writer = await Writer.of(store)
    gone = START + timedelta(hours=1)
    await writer.declare(change(), undo(at=gone))
    found = await store.resources.get("vm", "vm-1")
    assert found is not None
    assert (found.status, found.gone_at, found.spec) == ("gone", gone, SPEC)
    await writer.declare(change(by="b"))
    found = await store.resources.get("vm", "vm-1")
    assert found is not None
    assert (found.status, found.gone_at, found.spec_version) == ("present", None, 1)
    await writer.declare(undo(by="b"))
    await writer.declare(change(by="c", spec={}))
    assert [version for _, version, _, _ in await told(store)] == [1, 1, 1, 1, 2]


async def test_the_last_of_two_instances_wins_and_the_history_shows_both(store: Store) -> None:
    writer = await Writer.of(store)
    await writer.declare(change(spec={"by": "a"}), change(spec={"by": "b"}, by="b"))
    await writer.declare(undo(by="a"))
    found = await store.resources.get("vm", "vm-1")
    assert found is not None
    assert (found.status, found.spec, found.instance) == ("present", {"by": "b"}, "b")
    assert await told(store) == [
        ("present", 1, "a", False),
        ("present", 2, "b", False),
        ("gone", 2, "a", True),
    ]
    await writer.declare(undo(by="b"))
    assert (await told(store))[-1] == ("gone", 2, "b", False)


async def test_what_is_stored_already_changes_nothing(store: Store) -> None:
    writer = await Writer.of(store)
    story = [change(), change(by="b"), undo(by="a"), undo(by="b"), change(by="c", spec={})]
    await writer.declare(*story)
    before = await told(store), await store.resources.get("vm", "vm-1")
    for each in story:
        await writer.declare(each)
    await writer.declare(*story)
    assert (await told(store), await store.resources.get("vm", "vm-1")) == before


async def test_a_late_success_may_say_more_than_what_its_attempt_said_before(store: Store) -> None:
    writer = await Writer.of(store)
    await writer.declare(change(spec={"half": True}))
    await writer.declare(change(spec={"half": False}))
    assert await told(store) == [("present", 2, "a", False)]


async def test_only_what_is_there_can_go(store: Store) -> None:
    writer = await Writer.of(store)
    await writer.declare(undo("vm-0"), change(spec=None, by="b"))
    assert (await store.resources.list()).resources == []
    await writer.declare(change(), undo(), change(spec=None, by="b"))
    assert [entry[0] for entry in await told(store)] == ["present", "gone"]


async def test_any_instance_may_say_that_a_resource_is_no_more(store: Store) -> None:
    writer = await Writer.of(store)
    await writer.declare(change(), change(spec=None, by="b"))
    found = await store.resources.get("vm", "vm-1")
    assert found is not None
    assert (found.status, found.instance) == ("gone", "a")
    assert await told(store) == [("present", 1, "a", False), ("gone", 1, "b", False)]


async def test_a_batch_that_is_refused_leaves_no_resource(store: Store) -> None:
    stale = await Writer.of(store)
    await Writer.of(store)
    with pytest.raises(PartitionLostError):
        await stale.declare(change())
    writer = await Writer.of(store)
    with pytest.raises(InvariantError, match="instance a declares a spec that cannot be stored"):
        await writer.declare(change("vm-2"), change(spec={"n": 2**70}))
    assert (await store.resources.list()).resources == []
    await writer.declare(change())


async def test_resources_are_stored_with_the_rest_of_their_batch(store: Store) -> None:
    owner = await Owner.of(store)
    batch = owner.batch(instance("a"))
    await store.commit(Batch(0, owner.epoch, 1, 0, instances=batch.instances, resources=[change()]))
    assert await store.load_row("a") is not None
    assert await store.resources.get("vm", "vm-1") is not None


async def test_owners_who_declare_the_same_at_once_lose_nothing(store: Store) -> None:
    writers = [await Writer.of(store, number) for number in range(4)]

    async def declare(writer: Writer) -> None:
        for turn in range(5):
            name = f"{writer.owner.partition}-{turn}"
            await writer.declare(change(by=name, spec={"by": name}))

    await asyncio.gather(*map(declare, writers))
    entries = await store.resources.history("vm", "vm-1")
    assert [entry.number for entry in entries] == list(range(1, 21))
    assert [entry.spec_version for entry in entries] == list(range(1, 21))
    found = await store.resources.get("vm", "vm-1")
    assert found is not None
    assert (found.spec_version, found.spec) == (20, entries[-1].spec)


async def test_the_newest_changes_are_kept(store: Store) -> None:
    writer = await Writer.of(store)
    count = MAX_KEPT + 20
    await writer.declare(*[change(by=f"i{n}") for n in range(MAX_KEPT)], change("vm-10"))
    await writer.declare(*[change(by=f"j{n}") for n in range(20)])
    entries = await store.resources.history("vm", "vm-1")
    assert [entry.number for entry in entries] == list(range(count - MAX_KEPT + 1, count + 1))
    assert len(await store.resources.history("vm", "vm-10")) == 1


async def test_many_resources_change_in_one_batch(store: Store) -> None:
    writer = await Writer.of(store)
    names = [f"vm-{n}" for n in range(300)]
    await writer.declare(*[change(name) for name in names[::2]])
    await writer.declare(*[change(name, {}, by="b") for name in reversed(names)])
    page = await store.resources.list(limit=500)
    versions = {each.id: each.spec_version for each in page.resources}
    assert versions == {name: 2 if n % 2 == 0 else 1 for n, name in enumerate(names)}


async def test_lists_are_filtered_and_paged_by_kind_and_id(store: Store) -> None:
    writer = await Writer.of(store)
    await writer.declare(
        *[change(f"{n:02}", kind=kind, by=f"i{n % 2}") for kind in ("vm", "dns") for n in range(5)],
        change("a b\N{SNOWMAN}/..", kind="vm", by="i9", workflow="other"),
        undo("03", by="i1"),
    )
    resources = store.resources

    async def ids(where: ResourceFilter = ANY_RESOURCE, limit: int = 100) -> list[str]:
        found: list[str] = []
        page = await resources.list(where, limit=limit)
        while True:
            assert len(page.resources) <= limit
            found += [f"{each.kind}:{each.id}" for each in page.resources]
            if page.cursor is None:
                return found
            page = await resources.list(where, limit=limit, cursor=page.cursor)

    everything = [f"dns:0{n}" for n in range(5)] + [f"vm:0{n}" for n in range(5)] + ["vm:a b☃/.."]
    for limit in (1, 2, 3, 11, 12):
        assert await ids(limit=limit) == everything
    assert await ids(ResourceFilter(kind="dns"), 2) == everything[:5]
    assert await ids(ResourceFilter(kind="vm"), 2) == everything[5:]
    assert await ids(ResourceFilter(status="gone")) == ["vm:03"]
    assert await ids(ResourceFilter(kind="vm", status="present", instance="i1"), 1) == ["vm:01"]
    assert await ids(ResourceFilter(workflow="other")) == ["vm:a b☃/.."]
    assert await ids(ResourceFilter(kind="nothing")) == []
    assert await resources.kinds() == ["dns", "vm"]
    with pytest.raises(InvalidRequestError, match="is no cursor"):
        await resources.list(cursor="ä")


async def test_what_is_gone_for_long_is_forgotten_with_its_history(store: Store) -> None:
    writer = await Writer.of(store)
    day = timedelta(days=1)
    await writer.declare(
        *[change(f"vm-{n}") for n in range(5)],
        *[undo(f"vm-{n}", at=START + n * day) for n in range(4)],
        change("vm-0", by="b", at=START + day),
    )
    resources = store.resources
    assert await resources.forget(START + 3 * day, 1) == 1
    assert await resources.forget(START + 3 * day, 10) == 1
    assert await resources.forget(START + 3 * day, 10) == 0
    page = await resources.list()
    assert await resources.kinds() == ["vm"]
    assert [(each.id, each.status) for each in page.resources] == [
        ("vm-0", "present"),
        ("vm-3", "gone"),
        ("vm-4", "present"),
    ]
    assert await told(store, "vm-1") == []
    assert len(await told(store, "vm-0")) == 3
