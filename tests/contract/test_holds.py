"""What every book of holds promises, checked on the one in memory and those in the database."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sagabus.adapters.memory_holds import MemoryHolds
from sagabus.adapters.migrations import migrate
from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_holds import SurrealHolds
from sagabus.errors import StoreUnavailableError
from sagabus.ports import Hold, HoldBook
from tests.support.sample_rows import START
from tests.support.surreal_server import SurrealServer

DEVOPS = Hold("role", "devops", "ann", 'the "freeze", ⟨Grüße⟩', START)


@pytest.fixture(params=["memory", "surrealkv", "ws"])
async def book(
    request: pytest.FixtureRequest, tmp_path: Path, server: SurrealServer
) -> AsyncIterator[HoldBook]:
    if request.param == "memory":
        yield MemoryHolds()
        return
    url = server.url if request.param == "ws" else f"surrealkv://{tmp_path}/db"
    name = tmp_path.name[-60:].replace("[", "-").replace("]", "-")
    connection = await SurrealConnection.open(
        url, user=server.user, password=server.password, database=name
    )
    await migrate(connection, data_path("migrations"))
    yield SurrealHolds(connection)
    await connection.close()


async def test_a_new_book_holds_nothing(book: HoldBook) -> None:
    assert await book.all() == []


async def test_a_hold_is_read_as_it_was_written(book: HoldBook) -> None:
    await book.write(DEVOPS)
    assert await book.all() == [DEVOPS]


async def test_the_newest_word_takes_the_place_of_the_older(book: HoldBook) -> None:
    await book.write(DEVOPS)
    gone = replace(DEVOPS, by="bob", at=START + timedelta(microseconds=1), is_held=False)
    await book.write(gone)
    assert await book.all() == [gone]


async def test_a_workflow_and_a_role_of_one_name_are_two(book: HoldBook) -> None:
    both = [DEVOPS, replace(DEVOPS, kind="workflow")]
    for each in both:
        await book.write(each)
    assert sorted(await book.all(), key=lambda each: each.kind) == both


async def test_what_was_written_outlives_the_connection(tmp_path: Path) -> None:
    for _ in range(2):
        connection = await SurrealConnection.open(f"surrealkv://{tmp_path}/db")
        await migrate(connection, data_path("migrations"))
        held = await SurrealHolds(connection).all()
        await SurrealHolds(connection).write(DEVOPS)
        await connection.close()
    assert held == [DEVOPS]


async def test_a_database_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    connection = await SurrealConnection.open("mem://")
    await connection.close()
    with pytest.raises(StoreUnavailableError):
        await SurrealHolds(connection).write(DEVOPS)
