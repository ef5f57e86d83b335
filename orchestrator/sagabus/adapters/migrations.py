"""Applies ``migrations/*.surql`` in order, each once, and refuses what was changed afterwards."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_response import StatementError
from sagabus.errors import MigrationError

_FILE_NAME: Final = re.compile(r"(\d{3})_[a-z0-9_]+\.surql")
_BOOTSTRAP: Final = """
DEFINE TABLE IF NOT EXISTS migration SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS checksum ON migration TYPE string;
DEFINE FIELD IF NOT EXISTS applied_at ON migration TYPE datetime;
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration file: ``name`` without suffix, ``checksum`` the SHA-256 of its bytes."""

    name: str
    path: Path
    checksum: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that the database records."""

    name: str
    checksum: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration file and when it was applied; None: not yet."""

    name: str
    checksum: str
    applied_at: datetime | None


async def migrate(connection: SurrealConnection, directory: Path) -> list[Applied]:
    """Apply what is missing, each file in one transaction with its record; says what it applied.

    Safe when several do it at once: all but one find the record there and go on.

    Raises:
        MigrationError: file and record disagree, or a file fails.
    """
    files = _read_files(directory)
    await connection.run(_BOOTSTRAP)
    recorded = await _recorded(connection)
    _check(files, recorded, directory)
    mine = [
        migration.name
        for migration in files
        if migration.name not in recorded and await _apply(connection, migration)
    ]
    # Again: another process may have applied other files meanwhile.
    recorded = await _recorded(connection)
    _check(files, recorded, directory)
    return [recorded[name] for name in mine]


async def migration_status(connection: SurrealConnection, directory: Path) -> list[MigrationStatus]:
    """Every migration file and whether it was applied; changes no table of the workflows.

    Raises:
        MigrationError: file and record disagree.
    """
    files = _read_files(directory)
    await connection.run(_BOOTSTRAP)
    recorded = await _recorded(connection)
    _check(files, recorded, directory)
    return [
        MigrationStatus(
            name=migration.name,
            checksum=migration.checksum,
            applied_at=recorded[migration.name].applied_at if migration.name in recorded else None,
        )
        for migration in files
    ]


def _read_files(directory: Path) -> list[Migration]:
    paths = sorted(directory.glob("*.surql"))
    if not paths:
        raise MigrationError(f"{directory} holds no migrations (*.surql): name the right directory")
    numbers: dict[str, Path] = {}
    for path in paths:
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: rename it to NNN_words_like_this.surql")
        if match[1] in numbers:
            raise MigrationError(f"{path} and {numbers[match[1]].name} have the same number")
        numbers[match[1]] = path
    return [
        Migration(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths
    ]


async def _recorded(connection: SurrealConnection) -> dict[str, Applied]:
    [rows] = await connection.run(
        "SELECT VALUE [record::id(id), checksum, <string> applied_at] FROM migration"
    )
    return {
        name: Applied(name, checksum, datetime.fromisoformat(applied_at))
        for name, checksum, applied_at in rows
    }


def _check(files: list[Migration], recorded: dict[str, Applied], directory: Path) -> None:
    names = {migration.name for migration in files}
    unknown = sorted(recorded.keys() - names)
    if unknown:
        raise MigrationError(
            f"the database has migration {unknown[-1]}, which {directory} lacks: this program is"
            " older than the database; run the newer one"
        )
    newest = max(recorded, default="")
    for migration in files:
        applied = recorded.get(migration.name)
        if applied is not None and applied.checksum != migration.checksum:
            raise MigrationError(
                f"{migration.path} was changed after it had been applied: restore it as it was, and"
                " put the change into a new file with the next number"
            )
        if applied is None and migration.name < newest:
            raise MigrationError(
                f"{migration.path} was added before {newest}, which is applied already: give it the"
                " next number"
            )


async def _apply(connection: SurrealConnection, migration: Migration) -> bool:
    """False when another process was quicker."""
    try:
        await connection.run(
            "BEGIN; CREATE type::record('migration', $name)"
            " SET checksum = $checksum, applied_at = time::now() RETURN NONE;\n"
            f"{migration.path.read_text(encoding='utf-8')}\n;COMMIT;",
            name=migration.name,
            checksum=migration.checksum,
        )
    except StatementError as error:
        if error.kind == "AlreadyExists" and error.record.startswith("migration:"):
            return False
        raise MigrationError(f"{migration.path} cannot be applied: {error}") from error
    return True
