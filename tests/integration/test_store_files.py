"""The store on disk: a killed writer, a second opener, rows that somebody spoiled."""

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.core.instance import InstanceStatus, TaskStatus
from sagabus.errors import SettingsError, StoreError, StoreUnavailableError
from tests.support.sample_rows import Owner, attempt, entry, instance

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = data_path("migrations")


@contextlib.contextmanager
def _writer(url: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tests.support.store_writer", url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def _lines_until_killed(writer: "subprocess.Popen[str]", count: int) -> list[str]:
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(count)]
    writer.kill()
    return [line for line in lines + writer.stdout.readlines() if line.endswith("\n")]


async def test_killed_writer_loses_no_acknowledged_batch_and_tears_none(tmp_path: Path) -> None:
    url = f"surrealkv://{tmp_path}/db"
    acknowledged: dict[int, int] = {}
    for seed in range(4):
        count = random.Random(seed).randrange(5, 60)
        with _writer(url) as writer:
            for line in _lines_until_killed(writer, count):
                epoch, version = map(int, line.split())
                acknowledged[epoch] = version
    assert len(acknowledged) == 4
    store = await SurrealStore.open(url, migrations=MIGRATIONS)
    for epoch, version in acknowledged.items():
        # One more may have been stored than its writer lived to say; the five are never apart.
        versions = set()
        for number in range(5):
            name = f"wf-{epoch}-{number}"
            state = await store.load_instance(name)
            assert state is not None
            versions.add(state.row.version)
            assert len(await store.history(name)) == state.row.version
            assert len(state.attempts["build-1-0"]) == state.row.version
        assert versions in ({version}, {version + 1})
    assert (await store.take_partition(0)).epoch == 5
    await store.close()


@pytest.mark.parametrize("settings", ["", "?sync=every"])
async def test_what_is_written_behind_a_record_that_was_cut_off_is_kept(
    tmp_path: Path, settings: str
) -> None:
    url = f"surrealkv://{tmp_path}/db{settings}"
    with _writer(url) as writer:
        assert _lines_until_killed(writer, 5)
    [log] = (tmp_path / "db" / "wal").glob("*.wal")
    os.truncate(log, log.stat().st_size - 7)
    with _writer(url) as writer:
        lines = _lines_until_killed(writer, 5)
    epoch, version = map(int, lines[-1].split())
    store = await SurrealStore.open(url, migrations=MIGRATIONS)
    for number in range(5):
        state = await store.load_instance(f"wf-{epoch}-{number}")
        assert state is not None
        assert state.row.version >= version
    await store.close()


async def test_second_process_gets_one_clear_sentence_and_the_first_is_unharmed(
    tmp_path: Path,
) -> None:
    url = f"surrealkv://{tmp_path}/db"
    with _writer(url) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(StoreError) as caught:
            await SurrealStore.open(url, migrations=MIGRATIONS)
        assert not isinstance(caught.value, StoreUnavailableError)
        assert str(caught.value) == (
            f"the database {url} is in use by another process: stop that one, or give this one"
            " another directory"
        )
        assert len(_lines_until_killed(writer, 5)) >= 5


async def test_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StoreUnavailableError) as caught:
        await SurrealStore.open(f"surrealkv://{tmp_path}/file/db", migrations=MIGRATIONS)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:8000", "postgres://x", "data/db", ""])
async def test_address_of_another_kind_is_refused_with_the_kinds_there_are(url: str) -> None:
    with pytest.raises(SettingsError, match="surrealkv://PATH"):
        await SurrealStore.open(url, migrations=MIGRATIONS)


async def test_database_name_that_is_no_name_is_refused() -> None:
    with pytest.raises(SettingsError):
        await SurrealStore.open("mem://", database="a`; REMOVE", migrations=MIGRATIONS)


async def test_databases_of_one_file_are_apart(tmp_path: Path) -> None:
    url = f"surrealkv://{tmp_path}/db"
    for name in ("one", "two"):
        store = await SurrealStore.open(url, database=name, migrations=MIGRATIONS)
        owner = await Owner.of(store)
        assert owner.epoch == 1
        await owner.commit(instance(name))
        assert [each.id for each in (await store.list_instances()).instances] == [name]
        await store.close()


async def _spoiled(tmp_path: Path, *statements: str) -> SurrealStore:
    url = f"surrealkv://{tmp_path}/db"
    store = await SurrealStore.open(url, migrations=MIGRATIONS)
    owner = await Owner.of(store)
    await owner.commit(
        instance("bad"),
        instance("good"),
        instance("half", status=InstanceStatus.FAILED),
        attempts=[(name, attempt(status=TaskStatus.RUNNING)) for name in ("bad", "good", "half")],
        history=[entry("bad", 1)],
    )
    await store.close()
    connection = await SurrealConnection.open(url)
    for statement in statements:
        await connection.run(statement)
    await connection.close()
    return await SurrealStore.open(url, migrations=MIGRATIONS)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "bad"}', "null", "\\u001e"])
async def test_row_that_cannot_be_read_is_named_and_the_rest_reloaded(
    tmp_path: Path, text: str
) -> None:
    store = await _spoiled(tmp_path, f"UPDATE workflow_instances:bad SET state = '{text}'")
    found = await store.load_active(0)
    assert {each.id for each in found.instances} == {"good", "half"}
    assert {name for name, _ in found.open_attempts} == {"good", "half"}
    [(name, reason)] = found.corrupt
    assert name == "bad"
    assert reason.startswith("instance: ")
    with pytest.raises(StoreError, match="of instance bad cannot be read"):
        await store.load_instance("bad")
    assert {each.id for each in (await store.list_instances()).instances} == {"good", "half"}
    await store.close()


async def test_instance_with_an_attempt_that_cannot_be_read_is_left_out_whole(
    tmp_path: Path,
) -> None:
    store = await _spoiled(
        tmp_path, "UPDATE task_execution:['half', 'build-1-0', 1] SET state = '{}'"
    )
    found = await store.load_active(0)
    assert {each.id for each in found.instances} == {"bad", "good"}
    assert [name for name, _ in found.corrupt] == ["half"]
    assert found.corrupt[0][1].startswith("attempt: ")
    await store.close()


async def test_history_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    store = await _spoiled(tmp_path, "UPDATE history_event:['bad', 1] SET events = '[{}]'")
    with pytest.raises(StoreError, match="of instance bad cannot be read"):
        await store.history("bad")
    await store.close()


async def test_operators_can_query_the_rows(tmp_path: Path) -> None:
    store = await _spoiled(tmp_path)
    await store.close()
    connection = await SurrealConnection.open(f"surrealkv://{tmp_path}/db")
    [rows] = await connection.run(
        "SELECT VALUE [record::id(id), template_name, type::is_datetime(created_at),"
        " encoding::json::decode(state).parameters.region]"
        " FROM workflow_instances WHERE status = 'running'"
    )
    assert rows == [
        ["bad", "deploy_pipeline", True, "eu-1"],
        ["good", "deploy_pipeline", True, "eu-1"],
    ]
    [rows] = await connection.run(
        "SELECT VALUE encoding::json::decode(state).role FROM task_execution:['bad','']..['bad',[]]"
    )
    assert rows == ["devops"]
    await connection.close()


def test_process_that_closed_its_store_ends_in_peace(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from sagabus.adapters.surreal_store import SurrealStore\n"
        "async def main():\n"
        "    store = await SurrealStore.open(sys.argv[1], migrations=Path(sys.argv[2]))\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    for _ in range(5):
        command = [sys.executable, "-c", program, f"surrealkv://{tmp_path}/db", str(MIGRATIONS)]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
