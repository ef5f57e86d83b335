"""Requests of texts: as the driver would have written them."""

import pytest
from surrealdb.data.cbor import decode

from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_embedded import query_request
from sagabus.adapters.surreal_response import StatementError


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536, 1 << 20])
def test_request_says_what_it_is_to_say(size: int) -> None:
    parameters = {f"p{n}": "ä" * size for n in range(size % 30)}
    assert decode(query_request("x" * size, parameters)) == {
        "id": "q",
        "method": "query",
        "params": ["x" * size, parameters],
    }


async def test_texts_and_all_else_arrive_as_they_are() -> None:
    connection = await SurrealConnection.open("mem://")
    text = "a\x00b\n'`\"; DROP 世界 😀"
    assert await connection.run("RETURN $text;", text=text) == [text]
    assert await connection.run("RETURN [$text, $n, $none];", text=text, n=2**62, none=[1.5]) == [
        [text, 2**62, [1.5]]
    ]
    assert await connection.run("RETURN 1; RETURN 2;") == [1, 2]
    for bad in ("RETURN (;", "THROW 'no';"):
        with pytest.raises(StatementError):
            await connection.run(bad, text=text)
    await connection.close()
