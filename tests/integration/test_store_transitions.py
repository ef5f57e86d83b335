"""States that stand in the rows of transitions: found again, checked, and never mixed up."""

from pathlib import Path

import pytest

from sagabus.adapters.package_data import data_path
from sagabus.adapters.store_codec import dump_attempt
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.core.instance import InstanceStatus, TaskStatus
from sagabus.errors import InvariantError, VersionConflictError
from tests.support.sample_rows import START, Owner, attempt, entry, instance

MIGRATIONS = data_path("migrations")
ROW_VERSION = "SELECT VALUE version FROM workflow_instances:a"


async def _open(tmp_path: Path) -> SurrealStore:
    return await SurrealStore.open(f"surrealkv://{tmp_path}/db", migrations=MIGRATIONS)


async def _row_version(tmp_path: Path) -> int:
    connection = await SurrealConnection.open(f"surrealkv://{tmp_path}/db")
    [[version]] = await connection.run(ROW_VERSION)
    await connection.close()
    return int(version)


@pytest.mark.parametrize(("newest", "row"), [(2, 1), (4, 1), (5, 5), (8, 5), (9, 9)])
async def test_newest_state_is_found_wherever_it_stands(
    tmp_path: Path, newest: int, row: int
) -> None:
    store = await _open(tmp_path)
    owner = await Owner.of(store)
    expected = instance("a")
    for version in range(1, newest + 1):
        expected = instance("a", version, parameters={"n": version}, chain=expected.chain)
        await owner.commit(expected, history=[entry("a", version)])
    await store.close()
    assert await _row_version(tmp_path) == row
    store = await _open(tmp_path)
    state = await store.load_instance("a")
    assert state is not None
    assert state.row == expected
    assert (await store.list_instances()).instances == [expected]
    assert (await store.load_active(0)).instances == [expected]
    assert [each.version for each in await store.history("a")] == list(range(1, newest + 1))
    await store.close()


@pytest.mark.parametrize("newest", range(1, 7))
async def test_next_owner_goes_on_from_the_newest_state_and_from_no_other(
    tmp_path: Path, newest: int
) -> None:
    store = await _open(tmp_path)
    owner = await Owner.of(store)
    for version in range(1, newest + 1):
        await owner.commit(instance("a", version))
    for wrong in {newest - 1, newest, newest + 2, newest + 7} - {0, 1}:
        successor = await Owner.of(store)
        with pytest.raises(VersionConflictError) as caught:
            await successor.commit(instance("a", wrong))
        assert caught.value.instance_id == "a"
    successor = await Owner.of(store)
    await successor.commit(instance("a", newest + 1, parameters={"by": "successor"}))
    state = await store.load_instance("a")
    assert state is not None
    assert (state.row.version, state.row.parameters) == (newest + 1, {"by": "successor"})
    await store.close()


async def test_columns_that_lists_and_timers_use_are_never_behind(tmp_path: Path) -> None:
    store = await _open(tmp_path)
    owner = await Owner.of(store)
    await owner.commit(instance("a"))
    await owner.commit(instance("a", 2))
    await owner.commit(instance("a", 3, status=InstanceStatus.WAITING))
    assert await store.count_by_status() == {
        **{each.value: 0 for each in InstanceStatus},
        "waiting": 1,
    }
    await owner.commit(instance("a", 4, status=InstanceStatus.WAITING, wake_at=START))
    await store.close()
    assert await _row_version(tmp_path) == 4


async def test_large_states_are_not_kept_in_the_history(tmp_path: Path) -> None:
    store = await _open(tmp_path)
    owner = await Owner.of(store)
    await owner.commit(instance("a"))
    await owner.commit(instance("a", 2, parameters={"pad": "x" * 5000}))
    await store.close()
    assert await _row_version(tmp_path) == 2


async def test_commit_that_was_refused_leaves_the_next_one_right(tmp_path: Path) -> None:
    store = await _open(tmp_path)
    owner = await Owner.of(store)
    await owner.commit(instance("a"), instance("b"))
    with pytest.raises(VersionConflictError):
        await owner.commit(instance("a", 2), instance("b", 7))
    await owner.commit(instance("a", 2), instance("b", 2))
    state = await store.load_instance("a")
    assert state is not None
    assert state.row.version == 2
    await store.close()


async def test_ended_attempts_of_small_stages_come_from_the_transitions(tmp_path: Path) -> None:
    store = await _open(tmp_path)
    owner = await Owner.of(store)
    done = attempt(is_inline=True, status=TaskStatus.UNKNOWN, output={"n": None})
    late = attempt(is_inline=True, status=TaskStatus.SUCCEEDED, output=[1])
    large = attempt("large-1-0")
    await owner.commit(instance("a"))
    await owner.commit(instance("a", 2), attempts=[("a", done), ("a", large)])
    assert await store.load_attempts("a") == [done, large]
    await owner.commit(instance("a", 3), attempts=[("a", late)], history=[entry("a", 3)])
    assert await store.load_attempts("a") == [late, large]
    state = await store.load_instance("a")
    assert state is not None
    assert state.attempts == {"build-1-0": [late], "large-1-0": [large]}
    assert [each.version for each in await store.history("a")] == [3]
    with pytest.raises(InvariantError):
        await owner.commit(attempts=[("a", done)])
    await store.close()


async def test_database_from_before_the_transitions_is_read_and_gone_on_with(
    tmp_path: Path,
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    first = min(MIGRATIONS.glob("*.surql"))
    (old / first.name).write_bytes(first.read_bytes())
    url = f"surrealkv://{tmp_path}/db"
    store = await SurrealStore.open(url, migrations=old)
    owner = await Owner.of(store)
    # As it was stored then: an ended attempt of a small stage in a row of its own.
    await owner.commit(instance("a"))
    failed = attempt(status=TaskStatus.FAILED)
    await store.connection.run(
        "CREATE task_execution:['a', 'build-1-0', 1] SET status = 'failed', state = $state",
        state=dump_attempt(failed, "a"),
    )
    await store.close()
    store = await _open(tmp_path)
    owner = await Owner.of(store)
    late = attempt(is_inline=True, status=TaskStatus.SUCCEEDED)
    assert [each.status for each in await store.load_attempts("a")] == [TaskStatus.FAILED]
    await owner.commit(instance("a", 2), attempts=[("a", late)])
    assert await store.load_attempts("a") == [late]
    await store.close()
