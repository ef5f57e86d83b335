"""Which ended instances a sweep deletes, on the store in memory."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from sagabus.adapters.memory_store import MemoryStore
from sagabus.app.retention import Sweeper
from sagabus.core.definition import WORKFLOW_ROLE
from sagabus.core.instance import Attempt, Instance, InstanceStatus, ParentRef, TaskStatus, child_id
from sagabus.core.transition import ResourceChange
from sagabus.observe.metrics import Metrics
from sagabus.ports import Batch
from tests.support.sample_rows import START, Owner, attempt, instance

MONTH = timedelta(days=30)
OLD = START
NEW = START + timedelta(days=40)
NOW = START + timedelta(days=50)


def ended(name: str, at: datetime = OLD, **more: Any) -> Instance:
    status = more.pop("status", InstanceStatus.COMPLETED)
    return instance(name, status=status, created_at=at, **more)


def below(parent: str, root: str, at: datetime = OLD, **more: Any) -> tuple[Instance, Attempt]:
    """A child of ``parent``, and the attempt of the parent that it carried out."""
    made = attempt(status=TaskStatus.SUCCEEDED)
    made.role = WORKFLOW_ROLE
    name = child_id(parent, made.task, made.attempt)
    ref = ParentRef(parent, made.task, made.attempt)
    return ended(name, at, parent=ref, root=root, **more), made


async def sweep(store: MemoryStore, keep: timedelta | None = MONTH, **more: Any) -> int:
    is_mine = more.pop("is_mine", lambda _: True)
    return await Sweeper(store, lambda: keep, is_mine, Metrics(), lambda: NOW).sweep()


async def left(store: MemoryStore) -> set[str]:
    return {row.id for row in (await store.list_instances(limit=500)).instances}


async def test_instances_that_ended_long_ago_go_and_no_others() -> None:
    store = MemoryStore()
    owner = await Owner.of(store)
    await owner.commit(
        ended("old"),
        ended("new", NEW),
        ended("late", open_attempts=1),
        instance("running"),
        instance("waiting", status=InstanceStatus.NEEDS_OPERATOR),
        ended("failed", status=InstanceStatus.FAILED),
    )
    assert await sweep(store) == 2
    assert await left(store) == {"new", "late", "running", "waiting"}


async def test_resources_that_are_gone_for_long_are_forgotten() -> None:
    store = MemoryStore()
    owner = await Owner.of(store)
    made = {
        "kind": "vm",
        "instance": "i1",
        "workflow": "w",
        "stage": "make",
        "attempt": 1,
        "role": "r",
    }
    changes = [
        ResourceChange(**made, id=f"vm-{n}", spec=spec, task=task, at=at)
        for n, at in enumerate([OLD, NEW, OLD])
        for task, spec in (("make-1-0", {}), ("remove-1-0", None))
    ]
    batch = Batch(0, owner.epoch, 1, 0, resources=changes[:-1])  # the last one is there
    await store.commit(batch)
    assert await sweep(store) == 0
    assert [each.id for each in (await store.resources.list()).resources] == ["vm-1", "vm-2"]


async def test_without_a_limit_everything_stays() -> None:
    store = MemoryStore()
    await (await Owner.of(store)).commit(ended("old"))
    assert await sweep(store, keep=None) == 0
    assert await left(store) == {"old"}


async def test_each_orchestrator_sweeps_what_it_serves() -> None:
    store = MemoryStore()
    await (await Owner.of(store)).commit(ended("mine"), ended("theirs"))
    assert await sweep(store, is_mine=lambda instance: instance == "mine") == 1
    assert await left(store) == {"theirs"}


async def test_a_tree_goes_as_a_whole() -> None:
    store = MemoryStore()
    owner = await Owner.of(store)
    child, asked = below("root", "root")
    grandchild, asked_below = below(child.id, "root")
    await owner.commit(
        ended("root"),
        child,
        grandchild,
        attempts=[("root", asked), (child.id, asked_below)],
    )
    assert await sweep(store, is_mine=lambda instance: instance == "root") == 3
    assert await left(store) == set()


@pytest.mark.parametrize(
    "unlike",
    [
        {"at": NEW},
        {"status": InstanceStatus.RUNNING},
        {"open_attempts": 1},
    ],
    ids=["too young", "still running", "awaiting a late undo"],
)
async def test_a_tree_stays_for_one_instance_in_it(unlike: dict[str, Any]) -> None:
    store = MemoryStore()
    owner = await Owner.of(store)
    child, asked = below("root", "root")
    grandchild, asked_below = below(child.id, "root", **unlike)
    attempts = [("root", asked), (child.id, asked_below)]
    await owner.commit(ended("root"), child, grandchild, ended("alone"), attempts=attempts)
    assert await sweep(store) == 1
    assert await left(store) == {"root", child.id, grandchild.id}


async def test_children_of_a_live_root_stay_however_old_they_are() -> None:
    store = MemoryStore()
    owner = await Owner.of(store)
    child, asked = below("root", "root")
    await owner.commit(instance("root"), child, attempts=[("root", asked)])
    assert await sweep(store) == 0
    assert await left(store) == {"root", child.id}


async def test_more_than_a_page_is_swept_and_counted() -> None:
    store = MemoryStore()
    await (await Owner.of(store)).commit(*(ended(f"i{number}") for number in range(250)))
    metrics = Metrics()
    sweeper = Sweeper(store, lambda: MONTH, lambda _: True, metrics, lambda: NOW)
    assert await sweeper.sweep() == 250
    assert (sweeper.last_at, sweeper.last_count) == (NOW, 250)
    assert b"sagabus_swept_total 250.0" in metrics.render()
    assert await sweeper.sweep() == 0
    assert sweeper.last_count == 0
