"""A definition is stored after all those that it starts, and only with those it was linked to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sagabus.adapters.memory_store import MemoryStore
from sagabus.core.definition import Definition
from sagabus.errors import ConflictError, WorkflowNotFoundError
from sagabus.runtime.snapshots import Snapshots
from tests.unit.core.scene import sequence, stage


def flow(name: str, digest: str, **workflows: str) -> Definition:
    """A workflow that starts others, given by name and digest."""
    return replace(
        sequence(stage("a")),
        name=name,
        digest=digest,
        workflows=workflows,
        document={"name": name, "digest": digest},
    )


class Noting(MemoryStore):
    """Notes in which order definitions are stored."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[str] = []

    async def save_definition(self, digest: str, name: str, document: Mapping[str, Any]) -> None:
        await super().save_definition(digest, name, document)
        self.saved.append(digest)


class Loaded:
    """The definitions in force now, with the snapshots of those that instances use."""

    def __init__(self, *definitions: Definition) -> None:
        self.by_name = {each.name: each for each in definitions}
        self.store = Noting()
        self.snapshots = Snapshots(self.store, lambda name: self.by_name[name], self.compile)

    def compile(self, document: Mapping[str, Any]) -> Definition:
        return flow(document["name"], document["digest"])


TOP = flow("top", "t1", middle="m1", other="o1")
MIDDLE = flow("middle", "m1", bottom="b1")
BOTTOM, OTHER = flow("bottom", "b1"), flow("other", "o1")


async def test_what_a_workflow_starts_is_stored_before_it_all_the_way_down() -> None:
    loaded = Loaded(TOP, MIDDLE, BOTTOM, OTHER)
    assert await loaded.snapshots.newest("top") is TOP
    assert loaded.store.saved == ["b1", "m1", "o1", "t1"]
    assert await loaded.snapshots.newest("top") is TOP
    assert len(loaded.store.saved) == 4, "stored once"


async def test_another_owner_finds_all_of_it_by_digest() -> None:
    loaded = Loaded(TOP, MIDDLE, BOTTOM, OTHER)
    await loaded.snapshots.newest("top")
    elsewhere = Snapshots(loaded.store, loaded.by_name.__getitem__, loaded.compile)
    for each in (TOP, MIDDLE, BOTTOM, OTHER):
        assert (await elsewhere.of(each.digest)).name == each.name


async def test_a_sub_workflow_that_was_just_changed_lets_nothing_start_or_be_stored() -> None:
    loaded = Loaded(TOP, MIDDLE, flow("bottom", "b2"), OTHER)
    with pytest.raises(ConflictError, match="'bottom' was changed at this moment: start again"):
        await loaded.snapshots.newest("top")
    assert loaded.store.saved == []
    loaded.by_name["bottom"] = BOTTOM
    assert await loaded.snapshots.newest("top") is TOP


async def test_a_change_below_does_not_keep_what_is_stored_already_from_starting() -> None:
    loaded = Loaded(TOP, MIDDLE, BOTTOM, OTHER)
    await loaded.snapshots.newest("top")
    loaded.by_name["bottom"] = flow("bottom", "b2")
    assert await loaded.snapshots.newest("top") is TOP


async def test_a_disabled_workflow_starts_nothing_and_stores_nothing() -> None:
    loaded = Loaded(replace(BOTTOM, enabled=False))
    with pytest.raises(WorkflowNotFoundError, match="disabled"):
        await loaded.snapshots.newest("bottom")
    assert loaded.store.saved == []
