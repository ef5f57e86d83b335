"""The driver's embedded connection, which writes requests of texts in a tenth of the time.

The driver's encoder is general and all Python: 40 us for a commit, on the way of everybody who
waits for one. What a commit sends is a statement and a few texts, and CBOR for texts is short.

Source: RFC 8949 (major types 3, 4 and 5); the request is that of the driver, version 3.0.0b10,
which is pinned.
"""

from typing import Any

from surrealdb import AsyncEmbeddedSurrealConnection
from surrealdb.connections.utils_mixin import mapped_engine_errors
from surrealdb.data.cbor import decode

_TEXT, _LIST, _MAP = 3, 4, 5


class EmbeddedConnection(AsyncEmbeddedSurrealConnection):
    """See the module."""

    async def query_raw(
        self, query: str, vars: dict[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """As the driver's, which gets whatever is more than texts."""
        parameters = vars or {}
        if args or kwargs or not all(type(each) is str for each in parameters.values()):
            return await super().query_raw(query, parameters, *args, **kwargs)
        with mapped_engine_errors("query"):
            answer = await self._db.execute(query_request(query, parameters))
        response: dict[str, Any] = decode(answer)
        return response


def query_request(query: str, parameters: dict[str, str]) -> bytes:
    """``{"id", "method": "query", "params": [query, parameters]}`` as CBOR."""
    pieces = [_head(_MAP, 3), *_text("id"), *_text("q"), *_text("method"), *_text("query")]
    pieces += (*_text("params"), _head(_LIST, 2), *_text(query), _head(_MAP, len(parameters)))
    for name, value in parameters.items():
        pieces += (*_text(name), *_text(value))
    return b"".join(pieces)


def _text(value: str) -> tuple[bytes, bytes]:
    data = value.encode()
    return _head(_TEXT, len(data)), data


def _head(kind: int, size: int) -> bytes:
    if size < 24:
        return bytes([kind << 5 | size])
    for extra, length in ((24, 1), (25, 2), (26, 4)):
        if size < 1 << 8 * length:
            return bytes([kind << 5 | extra]) + size.to_bytes(length, "big")
    return bytes([kind << 5 | 27]) + size.to_bytes(8, "big")
