"""The stores that are held to their port's promises: in memory, on disk, and remote."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagabus.adapters.memory_store import MemoryStore
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.ports import Store
from tests.support.surreal_server import SurrealServer

MIGRATIONS = data_path("migrations")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SurrealServer]:
    with SurrealServer(tmp_path_factory.mktemp("surreal")) as server:
        yield server


@pytest.fixture(params=["memory", "surrealkv", "ws"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, server: SurrealServer
) -> AsyncIterator[Store]:
    opened: Store
    match request.param:
        case "memory":
            opened = MemoryStore()
        case "surrealkv":
            opened = await SurrealStore.open(f"surrealkv://{tmp_path}/db", migrations=MIGRATIONS)
        case _:
            opened = await SurrealStore.open(
                server.url,
                user=server.user,
                password=server.password,
                # A database of its own for each test.
                database=tmp_path.name[-60:].replace("[", "-").replace("]", "-"),
                migrations=MIGRATIONS,
            )
    yield opened
    await opened.close()
