"""Migrates a database and ends: ``python -m tests.support.migrate_once URL USER PASSWORD DIR``."""

import asyncio
import sys
from pathlib import Path

from sagabus.adapters.migrations import migrate
from sagabus.adapters.surreal_connection import SurrealConnection


async def main(url: str, user: str, password: str, directory: str) -> None:
    connection = await SurrealConnection.open(url, user=user, password=password)
    print("ready", flush=True)
    sys.stdin.readline()
    for applied in await migrate(connection, Path(directory)):
        print(applied.name, flush=True)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
