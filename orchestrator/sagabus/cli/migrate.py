"""``sagabus migrate``: applies migrations, or says what is applied."""

import asyncio
import contextlib

from sagabus.adapters.migrations import migrate, migration_status
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.cli.data_dir import locked
from sagabus.cli.output import instant, say, say_json, say_table
from sagabus.settings import Settings


def run(settings: Settings, *, is_status: bool, is_json: bool) -> None:
    """Migrate the database of ``settings``, or only look.

    Raises:
        SagabusError: the database cannot be used, or file and record disagree.
    """
    # An embedded database has one owner: say who, before its own error does.
    is_embedded = settings.surreal_url is None
    with locked(settings.data_dir) if is_embedded else contextlib.nullcontext():
        asyncio.run(_run(settings, is_status=is_status, is_json=is_json))


async def _run(settings: Settings, *, is_status: bool, is_json: bool) -> None:
    password = settings.surreal_password
    connection = await SurrealConnection.open(
        settings.store_url,
        user=settings.surreal_user,
        password=password.get_secret_value() if password else None,
        namespace=settings.surreal_namespace,
        database=settings.surreal_database,
    )
    try:
        directory = data_path("migrations")
        applied = [] if is_status else await migrate(connection, directory)
        known = await migration_status(connection, directory)
    finally:
        await connection.close()
    new = {migration.name for migration in applied}
    items = [
        {
            "name": migration.name,
            "checksum": migration.checksum,
            "applied_at": migration.applied_at.isoformat() if migration.applied_at else None,
            "is_new": migration.name in new,
        }
        for migration in known
    ]
    if is_json:
        say_json({"items": items})
        return
    say_table(
        ("MIGRATION", "CHECKSUM", "APPLIED"),
        (
            (
                item["name"],
                str(item["checksum"])[:12],
                instant(str(item["applied_at"])) if item["applied_at"] else "not yet",
            )
            for item in items
        ),
    )
    if not is_status:
        say(f"{len(new)} applied, {settings.store_url} is up to date")
