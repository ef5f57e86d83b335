"""The audit trail of every store: what is stored is intact, what was falsified is named."""

import asyncio
from typing import Any

import pytest

from sagabus.adapters.audit_entry import audit_entry
from sagabus.adapters.memory_holds import MemoryHolds
from sagabus.adapters.memory_kv import MemoryKeyValues
from sagabus.adapters.memory_registry import MemoryRegistry
from sagabus.adapters.memory_store import MemoryStore
from sagabus.adapters.secret_box import SecretBox
from sagabus.adapters.surreal_holds import SurrealHolds
from sagabus.adapters.surreal_kv import SurrealKeyValues
from sagabus.adapters.surreal_registry import SurrealRegistry
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.app.audit import Audit
from sagabus.core.chain import Fault
from sagabus.core.instance import Instance, InstanceStatus, TaskStatus
from sagabus.errors import ConflictError, InstanceNotFoundError
from sagabus.ports import EndedRow, Hold, Store, WorkflowText
from sagabus.views.audit import entries_of
from tests.support.sample_rows import START, Owner, attempt, entry, instance

BOX = SecretBox(bytes(32))
#: More than one page of rows is read.
LONG = 130


def silent(instance_id: str) -> Instance:
    """An instance to which nothing has happened yet."""
    row = instance(instance_id)
    row.seq = 0
    return row


async def store_a_trail(store: Store, instance_id: str = "a") -> Owner:
    """Six versions: events, an attempt that ended in its row, one with a row of its own."""
    owner = await Owner.of(store)
    row = instance(instance_id)
    for version in range(1, 7):
        tries = []
        if version == 2:
            tries = [attempt(is_inline=True, status=TaskStatus.SUCCEEDED, output={"n": 1})]
        if version in {3, 4}:
            status = TaskStatus.DISPATCHED if version == 3 else TaskStatus.SUCCEEDED
            tries = [attempt("large-1-0", status=status, output={"n": version})]
        history = [entry(instance_id, version)] if version != 5 else []
        row.version = version
        row.seq = version if version < 5 else version - 1
        if version == 6:
            history[0].events[0]["seq"] = 5  # type: ignore[index]
            row.status = InstanceStatus.COMPLETED
        await owner.commit(row, attempts=[(instance_id, each) for each in tries], history=history)
    return owner


async def fault_of(store: Store, instance_id: str = "a", **noted: Any) -> Fault | None:
    return (await Audit(store.trail, store).verify(instance_id, **noted)).fault


async def test_what_was_stored_is_intact(store: Store) -> None:
    await store_a_trail(store)
    verdict = await Audit(store.trail, store).verify("a")
    assert (verdict.fault, verdict.rows, verdict.not_covered) == (None, 5, 0)
    row = await store.load_row("a")
    assert row is not None
    assert (verdict.head, verdict.version) == (row.chain, 6)
    assert len(row.chain) == 64
    assert await fault_of(store, noted={6: row.chain}) is None
    assert await fault_of(store, noted={6: "0" * 64}) is not None


async def test_chains_go_on_with_the_next_owner(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance("a"), history=[entry("a")])
    await owner.commit(instance("a", 2, chain="behind"), history=[])
    state = await store.load_instance("a")
    assert state is not None
    assert state.row.chain == "behind"


async def test_long_trails_and_many_instances_are_verified_in_pages(store: Store) -> None:
    owner = await Owner.of(store)
    row = instance("long")
    for version in range(1, LONG + 1):
        row.version = row.seq = version
        await owner.commit(row, history=[entry("long", version)])
    await owner.commit(*(silent(f"i{n}") for n in range(5)))
    audit = Audit(store.trail, store)
    assert (await audit.verify("long")).rows == LONG
    ids, after = [], ""
    while page := await audit.instances(after, 2):
        ids += page
        after = page[-1]
    assert ids == ["i0", "i1", "i2", "i3", "i4", "long"]
    for each in ids:
        assert (await audit.verify(each)).fault is None


async def test_a_batch_that_is_stored_again_has_the_same_links(store: Store) -> None:
    owner = await Owner.of(store)
    row = instance("a")
    batch = owner.batch(row, history=[entry("a")])
    other = await Owner.of(MemoryStore())
    await other.store.commit(batch)  # its outcome may have been unknown
    first = row.chain
    await owner.store.take_partition(0)
    again = owner.batch(instance("a"), history=[entry("a")])
    object.__setattr__(batch, "epoch", 2)
    await store.commit(batch)
    assert row.chain == first == batch.instances[0].chain
    assert again.links == {"a": ""}
    assert await fault_of(store) is None


async def test_instances_that_were_deleted_are_not_missed(store: Store) -> None:
    owner = await store_a_trail(store)
    await owner.commit(silent("b"))
    row = await store.load_row("a")
    assert row is not None
    gone = EndedRow("a", row.version, row.updated_at, is_over=True, root=None)
    assert await store.delete_instances([[gone]]) == 1
    assert await store.trail.instances("", 10) == ["b"]
    with pytest.raises(InstanceNotFoundError):
        await Audit(store.trail, store).verify("a")
    assert await _told(store) == [("InstancesDeleted", "", "retention", {"instances": ["a"]})]
    assert (await Audit(store.trail, store).verify_entries()).fault is None
    again = EndedRow("b", 7, row.updated_at, is_over=True, root=None)
    assert await store.delete_instances([[again]]) == 0
    assert len(await _told(store)) == 1


# --- what people did beside instances ---------------------------------------------------------


def _beside(store: Store) -> tuple[Any, Any, Any]:
    if isinstance(store, MemoryStore):
        entries = store.trail.entries_here
        return MemoryKeyValues(BOX, entries), MemoryRegistry(entries), MemoryHolds(entries)
    assert isinstance(store, SurrealStore)
    connection = store.connection
    return SurrealKeyValues(connection, BOX), SurrealRegistry(connection), SurrealHolds(connection)


async def _told(store: Store) -> list[tuple[str, str, str, dict[str, Any]]]:
    found = entries_of(await store.trail.entries(0, 100))
    return [(each.type, each.by, each.reason, each.data) for each in found]


async def test_changes_beside_instances_are_told_with_who_and_why(store: Store) -> None:
    kv, registry, holds = _beside(store)
    flow = WorkflowText("shop.deploy", "shop", "json", "{}", "d1")
    await kv.set("a", {"secret": "value"}, by="ann", reason="new limit")
    await kv.set_secret("token", "s3cret", by="bob")
    assert await kv.delete("a", by="ann", reason="done")
    await registry.register([flow], by="ann", at=START, expected={}, reason="first")
    await registry.register([flow], by="ann", at=START, expected={})  # changes nothing
    await registry.delete("shop.deploy", by="bob", at=START, reason="old")
    await holds.write(Hold("role", "devops", "ann", "night", START))
    await holds.write(Hold("role", "devops", "bob", "", START, is_held=False))
    assert await _told(store) == [
        ("KeySet", "ann", "new limit", {"key": "a", "is_secret": False}),
        ("KeySet", "bob", "", {"key": "token", "is_secret": True}),
        ("KeyDeleted", "ann", "done", {"key": "a"}),
        ("WorkflowRegistered", "ann", "first", {"workflow": "shop.deploy", "digest": "d1"}),
        ("WorkflowDeleted", "bob", "old", {"workflow": "shop.deploy", "digest": ""}),
        ("HoldSet", "ann", "night", {"kind": "role", "name": "devops"}),
        ("HoldReleased", "bob", "", {"kind": "role", "name": "devops"}),
    ]
    verdict = await Audit(store.trail, store).verify_entries()
    assert (verdict.fault, verdict.rows) == (None, 7)
    assert await store.trail.last_entry() == (7, verdict.head)


async def test_what_was_refused_is_no_entry(store: Store) -> None:
    kv, registry, _ = _beside(store)
    assert not await kv.delete("nothing", by="ann")
    flow = WorkflowText("shop.deploy", "shop", "json", "{}", "d1")
    with pytest.raises(ConflictError):
        await registry.register([flow], by="ann", at=START, expected={"shop.deploy": 3})
    assert await _told(store) == []
    assert (await Audit(store.trail, store).verify_entries()).fault is None


async def test_entries_that_are_added_at_once_are_all_there(store: Store) -> None:
    kv, _, _ = _beside(store)
    audit = Audit(store.trail, store)
    await asyncio.gather(
        *(kv.set(f"k{n}", n, by="ann") for n in range(5)),
        *(store.trail.add(audit_entry("Told", by="ann", data={"n": n})) for n in range(3)),
    )
    verdict = await audit.verify_entries()
    assert (verdict.fault, verdict.rows) == (None, 8)
