"""What every store promises, checked on the one in memory, the one on disk, and a remote one.

One file, because a port has one list of promises.
"""

import asyncio
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sagabus.core.instance import Attempt, Failure, InstanceStatus, TaskStatus
from sagabus.errors import (
    InvalidRequestError,
    InvariantError,
    PartitionLostError,
    StoreUnavailableError,
    VersionConflictError,
)
from sagabus.ports import Batch, Store
from tests.support.sample_rows import START, Owner, attempt, entry, instance


async def test_first_owner_of_a_partition_gets_epoch_one(store: Store) -> None:
    claim = await store.take_partition(3)
    assert (claim.epoch, claim.batch, claim.published) == (1, 0, 0)
    assert list(claim.last_history) == []


async def test_next_owner_finds_the_last_batch_and_its_history(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance("a"), history=[entry("a", 1)])
    last = [entry("a", 2, stage="build"), entry("b", 1)]
    await owner.commit(instance("a", 2), instance("b"), history=last)
    claim = await store.take_partition(0)
    assert (claim.epoch, claim.batch, claim.published) == (2, 2, 1)
    assert list(claim.last_history) == last


async def test_history_of_an_older_batch_is_not_given_to_the_next_owner(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance("a"), history=[entry("a", 1)])
    await owner.commit()
    assert list((await store.take_partition(0)).last_history) == []


async def test_partitions_are_numbered_apart(store: Store) -> None:
    first, second = await Owner.of(store, 0), await Owner.of(store, 1)
    await first.commit(instance("a"))
    await second.commit(instance("b"))
    assert (await store.take_partition(1)).batch == 1
    await first.commit(instance("a", 2))


async def test_mark_of_a_partition_is_its_epoch_and_batch_and_reading_it_takes_nothing(
    store: Store,
) -> None:
    assert await store.read_mark(0) == (0, 0, None)
    owner = await Owner.of(store)
    await owner.commit(instance("a"))
    assert await store.read_mark(0) == await store.read_mark(0) == (1, 1, None)


async def test_owner_may_begin_beyond_an_epoch_that_the_database_has_not_seen(
    store: Store,
) -> None:
    await store.take_partition(0)
    assert (await store.take_partition(0, above=7)).epoch == 8
    assert (await store.take_partition(0, above=3)).epoch == 9


async def test_moment_of_the_newest_restore_is_told_to_every_owner_of_the_partition(
    store: Store,
) -> None:
    assert (await store.take_partition(0)).restored_at is None
    second = START + timedelta(microseconds=1)
    for at in (START, second):
        assert (await store.take_partition(0, restored_at=at)).restored_at == at
        assert (await store.take_partition(0)).restored_at == at
    owner = await Owner.of(store)
    await owner.commit(instance("a"))
    assert (await store.take_partition(0)).restored_at == second
    assert (await store.take_partition(1)).restored_at is None


async def test_owners_who_take_a_partition_at_once_get_different_epochs(store: Store) -> None:
    claims = await asyncio.gather(*[store.take_partition(0) for _ in range(6)])
    assert sorted(claim.epoch for claim in claims) == [1, 2, 3, 4, 5, 6]


async def test_committed_instance_comes_back_as_it_was(store: Store) -> None:
    owner = await Owner.of(store)
    row = instance(
        started_at=START,
        ended_at=START + timedelta(microseconds=1),
        deadline_at=START + timedelta(days=400),
        wake_at=START,
        remaining_s=1.25,
        error=Failure("denied", "no", stage="build", task="build-1-0", policies=["p1"]),
        failed_compensations=[{"task": "x", "stage": "y", "error": None}],
    )
    tries = [
        attempt(
            status=TaskStatus.FAILED,
            output=[],
            artifacts=["a", "b"],
            error=Failure("timeout", "late"),
            claim=True,
            claim_id="c1",
            agent="agent-1",
            started_at=START,
            ended_at=START,
            due_at=START,
            retry=True,
            policies=[],
        ),
        attempt(number=2),
    ]
    await owner.commit(row, attempts=[(row.id, each) for each in tries])
    state = await store.load_instance(row.id)
    assert state is not None
    assert state.row == row
    assert state.attempts == {"build-1-0": tries}
    assert type(state.row.status) is InstanceStatus
    assert state.row.created_at.utcoffset() == timedelta(0)


async def test_free_content_comes_back_exactly(store: Store) -> None:
    content = {
        "nothing": None,
        "nested": {"nothing": None, "list": [None, [], {}, [[None]]]},
        "empty": [{}, [], ""],
        "": "empty key",
        "unicode": "Grüße, 世界, 😀, \u2028, \u0301",
        "control": "a\x00b\x1e\x1f\r\n\t",
        "quotes": "'; DROP `x` -- \\ \" $batch ⟨⟩ {{ x }}",
        "integers": [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, 10**30],
        "floats": [0.1, 123456789.12345679, 1e300, 5e-324, 1.0, 2.5e-7, 1e22],
        "texts that look like something": ["2024-01-01T00:00:00Z", "NONE", "null", "a:b", "5s"],
        "truth": [True, False],
        "$key": {"a.b": 1, "a b": 2, "`": 3},
    }
    owner = await Owner.of(store)
    await owner.commit(
        instance(parameters=content),
        attempts=[("wf-1", attempt(input=content, output=[content, None]))],
        history=[entry("wf-1", 1, **content)],
    )
    await store.save_definition("digest", "flow", content)
    state = await store.load_instance("wf-1")
    assert state is not None
    assert state.row.parameters == content
    [tried] = state.attempts["build-1-0"]
    assert tried.input == content
    assert tried.output == [content, None]
    assert (await store.history("wf-1"))[0].events[0]["data"] == content
    assert await store.load_definition("digest") == content
    for sent, got in ((content, state.row.parameters), (content, tried.input)):
        assert repr(sent) == repr(got)  # 1 and 1.0 are equal, and not the same


async def test_lists_come_back_with_their_instance_when_a_run_has_one(store: Store) -> None:
    owner = await Owner.of(store)
    items = [{"n": 1.0, "none": None}, [], 2**64, "text"]
    row = instance("a")
    row.runs["build-1"].items = 4
    await owner.commit(row, instance("b"), items=[("a", "build-1", items), ("a", "other-2", [])])
    found = await store.load_items("a")
    assert found == {"build-1": items, "other-2": []}
    assert repr(found["build-1"]) == repr(items)
    state = await store.load_instance("a")
    assert state is not None
    assert state.items == found
    assert await store.load_items("b") == {}
    assert await store.load_items("nobody") == {}


async def test_lists_of_a_batch_that_is_refused_are_not_stored(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance("a"))
    with pytest.raises(VersionConflictError):
        await owner.commit(instance("a", 3), items=[("a", "build-1", [1])])
    assert await store.load_items("a") == {}
    with pytest.raises(InvariantError):
        await owner.commit(instance("a", 2), items=[("a", "build-1", [object()])])


async def test_negative_zero_keeps_its_sign(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance(parameters={"zero": -0.0}))
    state = await store.load_instance("wf-1")
    assert state is not None
    assert math.copysign(1, state.row.parameters["zero"]) == -1


async def test_instants_of_other_zones_are_the_same_instants(store: Store) -> None:
    owner = await Owner.of(store)
    there = datetime(2026, 3, 1, 14, 30, 0, 5, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    await owner.commit(instance(created_at=there, wake_at=there))
    state = await store.load_instance("wf-1")
    assert state is not None
    assert state.row.created_at == there
    assert state.row.wake_at == there


@pytest.mark.parametrize("instance_id", ["7", "007", "-", "_", "A-b_9", "x" * 64, "true", "NONE"])
async def test_every_allowed_id_is_an_id(store: Store, instance_id: str) -> None:
    owner = await Owner.of(store)
    task = f"{'s' * 50}-1-10000"
    await owner.commit(
        instance(instance_id),
        attempts=[(instance_id, attempt(task))],
        history=[entry(instance_id, 1)],
    )
    await owner.commit(instance(instance_id, 2))
    state = await store.load_instance(instance_id)
    assert state is not None
    assert state.row.id == instance_id
    assert list(state.attempts) == [task]
    assert [each.instance for each in await store.history(instance_id)] == [instance_id]
    with pytest.raises(VersionConflictError) as caught:
        await owner.commit(instance(instance_id, 1))
    assert caught.value.instance_id == instance_id


async def test_unknown_instance_has_nothing(store: Store) -> None:
    assert await store.load_instance("nobody") is None
    assert await store.load_attempts("nobody") == []
    assert await store.history("nobody") == []


async def test_rows_of_an_instance_are_not_those_of_one_with_a_longer_id(store: Store) -> None:
    owner = await Owner.of(store)
    for name in ("wf", "wf-", "wf-1", "wf-10", "wf0"):
        await owner.commit(instance(name), attempts=[(name, attempt())], history=[entry(name, 1)])
    assert len(await store.load_attempts("wf-1")) == 1
    assert len(await store.history("wf")) == 1


async def _nothing_of_the_second_batch(store: Store) -> None:
    assert [each.version for each in await store.history("a")] == [1]
    state = await store.load_instance("a")
    assert state is not None
    assert state.row.version == 1
    assert [each.status for each in await store.load_attempts("a")] == [TaskStatus.DISPATCHED]
    assert await store.load_instance("new") is None
    assert await store.load_attempts("new") == []


async def _two_instances(store: Store) -> Owner:
    owner = await Owner.of(store)
    await owner.commit(
        instance("a"),
        instance("b"),
        attempts=[("a", attempt())],
        history=[entry("a", 1), entry("b", 1)],
    )
    return owner


_BEYOND = {
    "attempts": [("a", attempt(status=TaskStatus.SUCCEEDED)), ("new", attempt())],
    "history": [entry("a", 2), entry("new", 1)],
}


@pytest.mark.parametrize("version", [1, 3, 9])
async def test_version_conflict_names_the_instance_and_stores_nothing(
    store: Store, version: int
) -> None:
    owner = await _two_instances(store)
    with pytest.raises(VersionConflictError) as caught:
        await owner.commit(instance("new"), instance("a", 2), instance("b", version), **_BEYOND)
    assert caught.value.instance_id == "b"
    await _nothing_of_the_second_batch(store)
    assert not await store.is_committed(0, owner.epoch, 2)
    await owner.commit(instance("b", 2))


async def test_change_of_an_instance_that_was_never_stored_is_a_conflict(store: Store) -> None:
    owner = await _two_instances(store)
    with pytest.raises(VersionConflictError) as caught:
        await owner.commit(instance("a", 2), instance("new"), instance("ghost", 2), **_BEYOND)
    assert caught.value.instance_id == "ghost"
    await _nothing_of_the_second_batch(store)


async def test_old_owner_stores_nothing(store: Store) -> None:
    owner = await _two_instances(store)
    await store.take_partition(0)
    with pytest.raises(PartitionLostError) as caught:
        await owner.commit(instance("new"), instance("a", 2), **_BEYOND)
    assert caught.value.partition == 0
    await _nothing_of_the_second_batch(store)


async def test_old_owner_is_refused_even_a_batch_that_changes_nothing(store: Store) -> None:
    owner = await _two_instances(store)
    await store.take_partition(0)
    with pytest.raises(PartitionLostError):
        await owner.commit()


@pytest.mark.parametrize("number", [0, 1, 3, 7])
async def test_batch_out_of_turn_stores_nothing(store: Store, number: int) -> None:
    owner = await _two_instances(store)
    batch = Batch(
        partition=0,
        epoch=owner.epoch,
        number=number,
        published=0,
        instances=[instance("new"), instance("a", 2)],
        attempts=_BEYOND["attempts"],
        history=_BEYOND["history"],
    )
    with pytest.raises(PartitionLostError):
        await store.commit(batch)
    await _nothing_of_the_second_batch(store)


async def test_partition_that_nobody_took_belongs_to_nobody(store: Store) -> None:
    with pytest.raises(PartitionLostError):
        await store.commit(Batch(partition=5, epoch=0, number=1, published=0))
    with pytest.raises(PartitionLostError):
        await store.is_committed(5, 1, 1)


async def test_is_committed_tells_stored_from_not_stored_from_lost(store: Store) -> None:
    owner = await _two_instances(store)
    assert await store.is_committed(0, owner.epoch, 1)
    assert not await store.is_committed(0, owner.epoch, 2)
    for epoch, number in ((owner.epoch + 1, 1), (owner.epoch, 0 + 3), (owner.epoch - 1, 1)):
        with pytest.raises(PartitionLostError):
            await store.is_committed(0, epoch, number)
    await store.take_partition(0)
    with pytest.raises(PartitionLostError):
        await store.is_committed(0, owner.epoch, 1)


async def test_of_two_owners_at_once_only_the_newer_one_stores(store: Store) -> None:
    old = await Owner.of(store)
    await old.commit(instance("a"))
    new = await Owner.of(store)
    for version in range(2, 8):
        stored = await asyncio.gather(
            old.commit(instance("a", version, parameters={"by": "old"})),
            new.commit(instance("a", version, parameters={"by": "new"})),
            return_exceptions=True,
        )
        assert isinstance(stored[0], PartitionLostError)
        assert stored[1] is None
    state = await store.load_instance("a")
    assert state is not None
    assert (state.row.version, state.row.parameters) == (7, {"by": "new"})


async def test_one_batch_may_carry_several_transitions_of_one_instance(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(
        instance("a"),
        instance("a", 2),
        instance("a", 3, status=InstanceStatus.COMPLETED),
        attempts=[
            ("a", attempt()),
            ("a", attempt(status=TaskStatus.RUNNING)),
            ("a", attempt(status=TaskStatus.SUCCEEDED)),
        ],
        history=[entry("a", 1), entry("a", 2), entry("a", 3)],
    )
    state = await store.load_instance("a")
    assert state is not None
    assert (state.row.version, state.row.status) == (3, InstanceStatus.COMPLETED)
    assert state.attempts["build-1-0"][0].status is TaskStatus.SUCCEEDED
    found = await store.load_active(0)
    assert (found.instances, found.open_attempts) == ([], [])
    assert [each.version for each in await store.history("a")] == [1, 2, 3]


async def test_attempt_is_replaced_by_its_newer_state(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance(), attempts=[("wf-1", attempt(due_at=START))])
    await owner.commit(
        instance(version=2),
        attempts=[
            ("wf-1", attempt(status=TaskStatus.FAILED, output={"a": 1})),
            ("wf-1", attempt(number=2)),
        ],
    )
    running = attempt(number=2, status=TaskStatus.RUNNING)
    await owner.commit(instance(version=3), attempts=[("wf-1", running)])
    first, second = await store.load_attempts("wf-1")
    assert (first.status, first.output, first.due_at) == (TaskStatus.FAILED, {"a": 1}, None)
    assert second.status is TaskStatus.RUNNING


async def test_attempt_may_be_first_seen_when_it_has_already_ended(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance(), attempts=[("wf-1", attempt(status=TaskStatus.CANCELLED))])
    sent = attempt(status=TaskStatus.DISPATCHED)
    await owner.commit(instance(version=2), attempts=[("wf-1", sent)])
    [stored] = await store.load_attempts("wf-1")
    assert stored.status is TaskStatus.DISPATCHED
    assert len((await store.load_active(0)).open_attempts) == 1


async def test_the_row_alone_is_the_newest_one(store: Store) -> None:
    owner = await Owner.of(store)
    assert await store.load_row("wf-1") is None
    for version in range(1, 7):
        await owner.commit(instance(version=version), attempts=[("wf-1", attempt(number=version))])
        row = await store.load_row("wf-1")
        state = await store.load_instance("wf-1")
        assert row is not None
        assert state is not None
        assert (row.version, row) == (version, state.row)


async def test_attempts_come_by_task_then_by_number(store: Store) -> None:
    owner = await Owner.of(store)
    keys = [("b-1-0", 1), ("a-1-0", 10), ("a-1-0", 2), ("a-1-1", 1), ("a-1-0", 1)]
    await owner.commit(instance(), attempts=[("wf-1", attempt(task, n)) for task, n in keys])
    stored = await store.load_attempts("wf-1")
    assert [(each.task, each.attempt) for each in stored] == sorted(keys)


async def test_history_comes_oldest_first_with_aware_instants(store: Store) -> None:
    owner = await Owner.of(store)
    entries = [entry("wf-1", version, n=version) for version in range(1, 13)]
    for each in entries:
        await owner.commit(instance("wf-1", each.version), history=[each])
    stored = await store.history("wf-1")
    assert stored == entries
    assert stored[0].events[0]["at"].utcoffset() == timedelta(0)


async def test_owner_reloads_exactly_what_is_unfinished_in_its_partition(store: Store) -> None:
    mine, other = await Owner.of(store, 1), await Owner.of(store, 2)
    ended = InstanceStatus.COMPLETED
    await mine.commit(
        instance("running"),
        instance("waiting", status=InstanceStatus.WAITING),
        instance("parked", status=InstanceStatus.NEEDS_OPERATOR),
        instance("ended", status=ended),
        instance("ended-but-undoing", status=InstanceStatus.FAILED),
        attempts=[
            ("running", attempt(status=TaskStatus.SUCCEEDED)),
            ("running", attempt("test-1-0", status=TaskStatus.FAILED, retry=True)),
            ("waiting", attempt()),
            ("ended", attempt(status=TaskStatus.SUCCEEDED)),
            ("ended-but-undoing", attempt("build-1-0-undo", status=TaskStatus.RUNNING)),
        ],
    )
    await other.commit(instance("elsewhere"), attempts=[("elsewhere", attempt())])
    found = await store.load_active(1)
    names = {"running", "waiting", "parked", "ended-but-undoing"}
    assert {each.id for each in found.instances} == names
    assert {(name, each.task) for name, each in found.open_attempts} == {
        ("running", "test-1-0"),
        ("waiting", "build-1-0"),
        ("ended-but-undoing", "build-1-0-undo"),
    }
    assert found.corrupt == []
    await mine.commit(
        *[instance(name, 2, status=ended) for name in sorted(names)],
        attempts=[
            ("running", attempt("test-1-0", status=TaskStatus.CANCELLED)),
            ("waiting", attempt(status=TaskStatus.SUCCEEDED)),
            ("ended-but-undoing", attempt("build-1-0-undo", status=TaskStatus.SUCCEEDED)),
        ],
    )
    found = await store.load_active(1)
    assert (found.instances, found.open_attempts) == ([], [])
    assert [each.id for each in (await store.load_active(2)).instances] == ["elsewhere"]


async def test_ended_instance_that_opens_again_is_reloaded(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance("a", status=InstanceStatus.ROLLED_BACK))
    await owner.commit(instance("a", 2, status=InstanceStatus.COMPENSATING))
    assert [each.version for each in (await store.load_active(0)).instances] == [2]


async def test_reload_of_thousands_misses_none_and_repeats_none(store: Store) -> None:
    owner = await Owner.of(store)
    names = [f"wf-{number:05d}" for number in range(3500)]
    for at in range(0, len(names), 500):
        part = names[at : at + 500]
        await owner.commit(
            *[instance(name, parameters={}) for name in part],
            attempts=[(name, attempt()) for name in part],
        )
    found = await store.load_active(0)
    assert sorted(each.id for each in found.instances) == names
    assert sorted(name for name, _ in found.open_attempts) == names


async def test_callers_share_nothing_with_the_store(store: Store) -> None:
    owner = await Owner.of(store)
    row, tried, parameters = instance(), attempt(input={"a": [1]}), {"list": [1]}
    row.parameters = parameters
    await owner.commit(row, attempts=[("wf-1", tried)])
    parameters["list"].append(2)
    row.runs["build-1"].total = 99
    tried.input["a"].append(2)
    for _ in range(2):
        state = await store.load_instance("wf-1")
        assert state is not None
        assert state.row.parameters == {"list": [1]}
        assert state.row.runs["build-1"].total == 0
        assert state.attempts["build-1-0"][0].input == {"a": [1]}
        state.row.parameters["list"].append(3)
        state.attempts["build-1-0"][0].input["a"].append(3)
    found = await store.load_active(0)
    found.instances[0].runs.clear()
    assert (await store.load_active(0)).instances[0].runs


async def test_value_without_a_json_form_is_our_bug_and_stores_nothing(store: Store) -> None:
    owner = await _two_instances(store)
    with pytest.raises(InvariantError) as caught:
        await owner.commit(
            instance("new"),
            instance("a", 2),
            instance("b", 2, parameters={"x": object()}),
            **_BEYOND,
        )
    assert caught.value.instance_id == "b"
    await _nothing_of_the_second_batch(store)
    await owner.commit(instance("a", 2))


async def _pages(store: Store, size: int, **filters: str) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await store.list_instances(limit=size, cursor=cursor, **filters)
        assert len(page.instances) <= size
        found += [each.id for each in page.instances]
        cursor = page.cursor
        if cursor is None:
            return found


async def test_lists_are_newest_first_whole_and_without_repeats(store: Store) -> None:
    owner = await Owner.of(store)
    rows = [
        instance(
            f"wf-{number:02d}",
            # Five share each instant.
            created_at=START + timedelta(seconds=number // 5),
            workflow="ship" if number % 2 else "build",
            status=InstanceStatus.FAILED if number % 3 else InstanceStatus.RUNNING,
        )
        for number in range(23)
    ]
    await owner.commit(*rows[::2], *rows[1::2])
    newest_first = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    for size in (1, 2, 5, 7, 23, 50):
        assert await _pages(store, size) == [row.id for row in newest_first]
    for workflow in ("ship", "build", "unknown"):
        expected = [row.id for row in newest_first if row.workflow == workflow]
        assert await _pages(store, 3, workflow=workflow) == expected
        expected = [
            row.id for row in newest_first if (row.workflow, row.status) == (workflow, "failed")
        ]
        assert await _pages(store, 3, workflow=workflow, status="failed") == expected
    expected = [row.id for row in newest_first if row.status == "running"]
    assert await _pages(store, 3, status="running") == expected


async def test_full_last_page_has_no_cursor(store: Store) -> None:
    owner = await Owner.of(store)
    await owner.commit(instance("a"), instance("b"))
    assert (await store.list_instances(limit=2)).cursor is None
    assert (await store.list_instances(limit=1)).cursor is not None


@pytest.mark.parametrize("cursor", ["x", "", "!!", "aGVsbG8=", "\ud800", "MjAyNg=="])
async def test_cursor_of_somebody_else_is_an_invalid_request(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidRequestError):
        await store.list_instances(cursor=cursor)


async def test_instances_are_counted_by_status(store: Store) -> None:
    owner = await Owner.of(store)
    assert set((await store.count_by_status()).values()) == {0}
    await owner.commit(instance("a"), instance("b"), instance("c", status=InstanceStatus.WAITING))
    await owner.commit(instance("a", 2, status=InstanceStatus.FAILED))
    counts = await store.count_by_status()
    assert set(counts) == {status.value for status in InstanceStatus}
    assert {word: n for word, n in counts.items() if n} == {
        "running": 1,
        "waiting": 1,
        "failed": 1,
    }


async def test_definition_snapshot_never_changes(store: Store) -> None:
    assert await store.load_definition("abc") is None
    await store.save_definition("abc", "flow", {"stages": [{"name": "build", "input": None}]})
    await store.save_definition("abc", "flow", {"stages": []})
    await asyncio.gather(*[store.save_definition("def", "flow", {"n": 1}) for _ in range(5)])
    assert await store.load_definition("abc") == {"stages": [{"name": "build", "input": None}]}
    assert await store.load_definition("def") == {"n": 1}


async def test_batches_of_several_partitions_are_stored_at_once(store: Store) -> None:
    owners = [await Owner.of(store, partition) for partition in range(4)]

    async def work(owner: Owner) -> None:
        name = f"wf-{owner.partition}"
        for version in range(1, 16):
            await owner.commit(
                instance(name, version),
                attempts=[(name, attempt(number=version))],
                history=[entry(name, version)],
            )

    await asyncio.gather(*[work(owner) for owner in owners])
    for owner in owners:
        assert len(await store.history(f"wf-{owner.partition}")) == 15
        assert await store.is_committed(owner.partition, owner.epoch, 15)


async def test_large_batch_is_stored_whole(store: Store) -> None:
    owner = await Owner.of(store)
    names = [f"wf-{number}" for number in range(256)]
    text = "x" * 10_000
    await owner.commit(
        *[instance(name, parameters={"text": text}) for name in names],
        attempts=[(name, attempt(input=text)) for name in names],
        history=[entry(name, 1, text=text) for name in names],
    )
    assert len((await store.load_active(0)).instances) == 256
    assert len((await store.take_partition(0)).last_history) == 256


async def test_closed_store_is_unavailable(store: Store) -> None:
    await store.ping()
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.ping()
    with pytest.raises(StoreUnavailableError):
        await store.load_instance("a")


async def test_intents_are_final_effects_that_were_begun_and_are_not_told(store: Store) -> None:
    owner = await Owner.of(store)

    def final(task: str, status: TaskStatus = TaskStatus.RUNNING, **more: Any) -> Attempt:
        return attempt(task, status=status, **{"is_once": True, "claim_id": "c", **more})

    early, late = START + timedelta(seconds=1), START + timedelta(seconds=2)
    open_ = {"open_attempts": 3}
    await owner.commit(
        instance("a", **open_),
        instance("b", workflow="other", **open_),
        instance("c", **open_),
        attempts=[
            ("a", final("running-1-0", started_at=late)),
            ("a", final("sent-1-0", TaskStatus.DISPATCHED, claim_id=None)),
            ("a", final("done-1-0", TaskStatus.SUCCEEDED)),
            ("b", final("held-1-0", TaskStatus.UNKNOWN, is_held=True, started_at=early)),
            ("b", final("again-1-0", TaskStatus.UNKNOWN, retry=True)),
            ("c", attempt("plain-1-0", status=TaskStatus.RUNNING, claim_id="c")),
            ("c", attempt("words-1-0", status=TaskStatus.RUNNING, input='"is_once":true')),
        ],
    )
    found = [(each.instance, each.workflow, each.attempt.task) for each in await store.intents()]
    assert found == [("b", "other", "held-1-0"), ("a", "deploy_pipeline", "running-1-0")]
