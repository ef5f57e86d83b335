"""Keys and values in SurrealDB: what they promise stands at ``ports.KeyValues``."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from sagabus.adapters.audit_entry import ADD, key_deleted, key_set
from sagabus.adapters.kv_values import check_key, check_prefix, check_secret, dump_value
from sagabus.adapters.secret_box import SecretBox
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.core.kv import Mark
from sagabus.ports import KeyPage, KeyValue

_FIELDS: Final = "[record::id(id)[0], value, is_secret, <string> updated_at]"
_GET: Final = f"""
SELECT VALUE {_FIELDS} FROM $keys.map(|$key| type::record('key_value', [$key]));
"""  # noqa: S608 - nothing but constants
_PUT: Final = f"""{{
UPSERT type::record('key_value', [$key])
  SET value = $value, is_secret = $is_secret, updated_at = time::now() RETURN NONE;
{ADD}
}};"""
_DELETE: Final = f"""{{
LET $gone = (DELETE type::record('key_value', [$key]) RETURN BEFORE);
IF $gone != [] {{ {ADD} }};
RETURN $gone != [];
}};"""
# Both ends are given: an open range is scanned whole.
_LIST: Final = f"""
SELECT VALUE {_FIELDS} FROM (
  SELECT * FROM key_value:[$begin]..[$end] ORDER BY id LIMIT $limit);
"""  # noqa: S608 - nothing but constants
#: Before and behind every character of a key.
_FIRST: Final = "\x01"
_LAST: Final = "\x7f"


class SurrealKeyValues:
    """A ``ports.KeyValues`` on a connection that its owner closes."""

    def __init__(self, connection: SurrealConnection, box: SecretBox) -> None:
        self._connection = connection
        self._box = box

    async def get_many(self, keys: Collection[str]) -> dict[str, Any]:
        """The values of those ``keys`` that exist."""
        if not keys:
            return {}
        rows = await self._rows(keys)
        return {key: Mark.SECRET if secret else orjson.loads(text) for key, text, secret, _ in rows}

    async def get(self, key: str) -> KeyValue | None:
        """What stands under ``key``."""
        rows = await self._rows([check_key(key)])
        return _entry(rows[0]) if rows else None

    async def set(self, key: str, value: Any, *, by: str = "", reason: str = "") -> None:
        """Put a JSON value under ``key``."""
        await self._put(key, dump_value(check_key(key), value), by, reason, is_secret=False)

    async def set_secret(self, key: str, secret: str, *, by: str = "", reason: str = "") -> None:
        """Put a secret under ``key``."""
        sealed = self._box.seal(check_key(key), check_secret(key, secret))
        await self._put(key, sealed, by, reason, is_secret=True)

    async def reveal(self, key: str) -> str | None:
        """The secret under ``key``."""
        rows = await self._rows([check_key(key)])
        if not rows:
            return None
        _, text, is_secret, _ = rows[0]
        return self._box.open(key, text) if is_secret else None

    async def delete(self, key: str, *, by: str = "", reason: str = "") -> bool:
        """Take ``key`` away."""
        audit = key_deleted(check_key(key), by, reason)
        [is_gone] = await self._connection.run(_DELETE, key=key, audit=audit)
        return bool(is_gone)

    async def list(
        self, prefix: str = "", *, limit: int = 100, cursor: str | None = None
    ) -> KeyPage:
        """Keys that begin with ``prefix``, in order."""
        begin = check_prefix(prefix)
        if cursor is not None:
            begin = max(begin, check_key(cursor) + _FIRST)
        [rows] = await self._connection.run(_LIST, begin=begin, end=prefix + _LAST, limit=limit + 1)
        items = [_entry(row) for row in rows[:limit]]
        return KeyPage(items, items[-1].key if len(rows) > limit else None)

    async def _rows(self, keys: Collection[str]) -> Sequence[Any]:
        [rows] = await self._connection.run(_GET, keys=[*keys])
        found: Sequence[Any] = rows
        return found

    async def _put(self, key: str, value: str, by: str, reason: str, *, is_secret: bool) -> None:
        audit = key_set(key, by, reason, is_secret=is_secret)
        await self._connection.run(_PUT, key=key, value=value, is_secret=is_secret, audit=audit)


def _entry(row: Any) -> KeyValue:
    key, text, is_secret, updated_at = row
    value = None if is_secret else orjson.loads(text)
    return KeyValue(key, value, is_secret, datetime.fromisoformat(updated_at))
