"""Migrations: each once, in order, never silently changed, also when two begin at once."""

import asyncio
import contextlib
import hashlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagabus.adapters.migrations import migrate, migration_status
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.errors import MigrationError, SettingsError
from tests.support.surreal_server import SurrealServer

ROOT = Path(__file__).resolve().parents[2]
FIRST = "001_workflow_state"


@pytest.fixture
async def connection() -> AsyncIterator[SurrealConnection]:
    connection = await SurrealConnection.open("mem://")
    yield connection
    await connection.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    copy = tmp_path / "migrations"
    shutil.copytree(data_path("migrations"), copy)
    (copy / "900_first_addition.surql").write_text("DEFINE TABLE addition SCHEMAFULL;\n")
    return copy


def _names(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("*.surql"))


async def test_files_are_applied_in_order_and_recorded_with_their_checksum(
    connection: SurrealConnection, directory: Path
) -> None:
    assert all(each.applied_at is None for each in await migration_status(connection, directory))
    applied = await migrate(connection, directory)
    assert [each.name for each in applied] == sorted(each.name for each in applied)
    assert [applied[0].name, applied[-1].name] == [FIRST, "900_first_addition"]
    for each in await migration_status(connection, directory):
        content = (directory / f"{each.name}.surql").read_bytes()
        assert each.checksum == hashlib.sha256(content).hexdigest()
        assert each.applied_at is not None


async def test_second_run_applies_nothing_and_a_new_file_alone_is_applied(
    connection: SurrealConnection, directory: Path
) -> None:
    await migrate(connection, directory)
    assert await migrate(connection, directory) == []
    (directory / "901_second.surql").write_text("DEFINE TABLE second SCHEMAFULL")
    assert [each.name for each in await migrate(connection, directory)] == ["901_second"]


async def test_changed_applied_file_is_refused_by_name_with_the_remedy(
    connection: SurrealConnection, directory: Path
) -> None:
    await migrate(connection, directory)
    path = directory / f"{FIRST}.surql"
    path.write_text(path.read_text() + "\n-- one comment more\n")
    for refused in (migrate(connection, directory), migration_status(connection, directory)):
        with pytest.raises(MigrationError) as caught:
            await refused
        assert str(path) in str(caught.value)
        assert "new file with the next number" in str(caught.value)


async def test_older_program_refuses_a_newer_database(
    connection: SurrealConnection, directory: Path
) -> None:
    await migrate(connection, directory)
    (directory / "900_first_addition.surql").unlink()
    with pytest.raises(MigrationError, match=r"900_first_addition.*older than the database"):
        await migrate(connection, directory)


async def test_file_slipped_in_before_an_applied_one_is_refused(
    connection: SurrealConnection, directory: Path
) -> None:
    await migrate(connection, directory)
    (directory / "500_late.surql").write_text("DEFINE TABLE late SCHEMAFULL;")
    with pytest.raises(MigrationError, match="500_late"):
        await migrate(connection, directory)


async def test_failing_file_leaves_nothing_and_can_be_repaired(
    connection: SurrealConnection, directory: Path
) -> None:
    path = directory / "901_broken.surql"
    path.write_text(
        "DEFINE TABLE broken SCHEMAFULL; CREATE workflow_instances:x SET version = 'a';"
    )
    with pytest.raises(MigrationError, match=r"901_broken\.surql cannot be applied"):
        await migrate(connection, directory)
    assert (await migration_status(connection, directory))[-1].applied_at is None
    [info] = await connection.run("INFO FOR DB")
    assert "broken" not in info["tables"]
    path.write_text("DEFINE TABLE broken SCHEMAFULL;")
    assert [each.name for each in await migrate(connection, directory)] == ["901_broken"]


async def test_syntax_error_names_file_and_place(
    connection: SurrealConnection, directory: Path
) -> None:
    (directory / "901_broken.surql").write_text("DEFINE TABLO x;")
    with pytest.raises(MigrationError, match=r"(?s)901_broken\.surql cannot be applied.*TABLO"):
        await migrate(connection, directory)


@pytest.mark.parametrize("name", ["1_x.surql", "002-x.surql", "002_X.surql", "900_twin.surql"])
async def test_file_name_out_of_order_is_refused(
    connection: SurrealConnection, directory: Path, name: str
) -> None:
    (directory / name).write_text("")
    with pytest.raises(MigrationError, match=name):
        await migrate(connection, directory)


async def test_directory_without_migrations_is_refused(
    connection: SurrealConnection, tmp_path: Path
) -> None:
    with pytest.raises(MigrationError, match="holds no migrations"):
        await migrate(connection, tmp_path / "nowhere")


async def test_tables_are_schemafull_and_have_their_indexes(
    connection: SurrealConnection,
) -> None:
    await migrate(connection, data_path("migrations"))
    [database] = await connection.run("INFO FOR DB")
    tables = {
        "audit",
        "audit_head",
        "hold",
        "resource",
        "resource_history",
        "workflow_instances",
        "task_execution",
        "history_event",
        "partition",
        "definition_snapshot",
        "migration",
        "key_value",
        "stage_items",
        "registered_workflow",
        "registered_name",
        "registry",
    }
    assert set(database["tables"]) == tables
    assert all("SCHEMAFULL" in text for text in database["tables"].values())
    [table] = await connection.run("INFO FOR TABLE workflow_instances")
    indexes = " ".join(table["indexes"].values())
    for fields in ("template_name", "created_at", "status, updated_at", "wake_at"):
        assert f"FIELDS {fields}" in indexes


async def test_file_imported_by_hand_before_is_no_obstacle(connection: SurrealConnection) -> None:
    directory = data_path("migrations")
    for path in sorted(directory.glob("*.surql")):
        await connection.run(path.read_text())
    assert (await migrate(connection, directory))[0].name == FIRST


async def test_connections_that_migrate_at_once_apply_each_file_once(
    tmp_path: Path, directory: Path
) -> None:
    with SurrealServer(tmp_path / "server") as server:
        connections = [
            await SurrealConnection.open(server.url, user=server.user, password=server.password)
            for _ in range(4)
        ]
        applied = await asyncio.gather(*[migrate(each, directory) for each in connections])
        names = [each.name for mine in applied for each in mine]
        assert sorted(names) == _names(directory)
        for connection in connections:
            await connection.close()


def test_processes_that_migrate_at_once_apply_each_file_once(
    tmp_path: Path, directory: Path
) -> None:
    with SurrealServer(tmp_path / "server") as server, contextlib.ExitStack() as stack:
        options = (server.url, server.user, server.password, str(directory))
        processes = [stack.enter_context(_migrating(*options)) for _ in range(3)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate()[0].split() for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert sorted(name for names in said for name in names) == _names(directory)


@contextlib.contextmanager
def _migrating(*options: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tests.support.migrate_once", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_data_that_the_installation_lacks_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="reinstall"):
        data_path("no-such-data")
