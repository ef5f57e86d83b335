"""Keys and values in memory: the same promises as in the database."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from sagabus.adapters.audit_entry import key_deleted, key_set
from sagabus.adapters.kv_values import check_key, check_prefix, check_secret, dump_value
from sagabus.adapters.memory_entries import MemoryEntries
from sagabus.adapters.secret_box import SecretBox
from sagabus.core.kv import Mark
from sagabus.ports import KeyPage, KeyValue


@dataclass(frozen=True, slots=True)
class _Row:
    #: JSON, or what encryption has made of a secret.
    text: str
    is_secret: bool
    updated_at: datetime


class MemoryKeyValues:
    """A ``ports.KeyValues``."""

    def __init__(self, box: SecretBox, entries: MemoryEntries | None = None) -> None:
        self._box = box
        self._entries = entries or MemoryEntries()
        self._rows: dict[str, _Row] = {}

    async def get_many(self, keys: Collection[str]) -> dict[str, Any]:
        """The values of those ``keys`` that exist."""
        found = {key: self._rows[key] for key in keys if key in self._rows}
        return {key: _value(row, Mark.SECRET) for key, row in found.items()}

    async def get(self, key: str) -> KeyValue | None:
        """What stands under ``key``."""
        row = self._rows.get(check_key(key))
        return None if row is None else _entry(key, row)

    async def set(self, key: str, value: Any, *, by: str = "", reason: str = "") -> None:
        """Put a JSON value under ``key``."""
        self._put(key, dump_value(check_key(key), value), by, reason, is_secret=False)

    async def set_secret(self, key: str, secret: str, *, by: str = "", reason: str = "") -> None:
        """Put a secret under ``key``."""
        sealed = self._box.seal(check_key(key), check_secret(key, secret))
        self._put(key, sealed, by, reason, is_secret=True)

    async def reveal(self, key: str) -> str | None:
        """The secret under ``key``."""
        row = self._rows.get(check_key(key))
        return self._box.open(key, row.text) if row is not None and row.is_secret else None

    async def delete(self, key: str, *, by: str = "", reason: str = "") -> bool:
        """Take ``key`` away."""
        if self._rows.pop(check_key(key), None) is None:
            return False
        self._entries.add(key_deleted(key, by, reason))
        return True

    async def list(
        self, prefix: str = "", *, limit: int = 100, cursor: str | None = None
    ) -> KeyPage:
        """Keys that begin with ``prefix``, in order."""
        check_prefix(prefix)
        after = "" if cursor is None else check_key(cursor)
        keys = sorted(key for key in self._rows if key.startswith(prefix) and key > after)
        items = [_entry(key, self._rows[key]) for key in keys[:limit]]
        return KeyPage(items, items[-1].key if len(keys) > limit else None)

    def _put(self, key: str, text: str, by: str, reason: str, *, is_secret: bool) -> None:
        self._entries.add(key_set(key, by, reason, is_secret=is_secret))
        self._rows[key] = _Row(text, is_secret, datetime.now(UTC))


def _entry(key: str, row: _Row) -> KeyValue:
    return KeyValue(key, _value(row, None), row.is_secret, row.updated_at)


def _value(row: _Row, of_a_secret: Any) -> Any:
    return of_a_secret if row.is_secret else orjson.loads(row.text)
