"""Resources in memory: the same promises as in the database."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sagabus.adapters.page_cursor import dump_words, load_words
from sagabus.adapters.resource_rows import (
    MAX_KEPT,
    EntryKey,
    EntryRow,
    Key,
    ResourceRow,
    applied,
    entry_of,
    resource_of,
)
from sagabus.core.transition import ResourceChange
from sagabus.ports import ANY_RESOURCE, Resource, ResourceEntry, ResourceFilter, ResourcePage


class MemoryResources:
    """A ``ports.Resources``; its store writes it."""

    def __init__(self) -> None:
        self._rows: dict[Key, ResourceRow] = {}
        self._entries: dict[EntryKey, EntryRow] = {}

    def applied(
        self, changes: Iterable[ResourceChange]
    ) -> tuple[dict[Key, ResourceRow], dict[EntryKey, EntryRow]]:
        """What ``changes`` make of the rows, for ``put``."""
        return applied(changes, self._rows, self._entries)

    def put(self, rows: dict[Key, ResourceRow], entries: dict[EntryKey, EntryRow]) -> None:
        """Store rows and entries."""
        self._rows |= rows
        self._entries |= entries
        for key, row in rows.items():
            for old in [each for each in self._entries if each[:2] == key]:
                if self._entries[old].number <= row.changes - MAX_KEPT:
                    del self._entries[old]

    async def get(self, kind: str, id: str) -> Resource | None:
        """One resource."""
        row = self._rows.get((kind, id))
        return None if row is None else resource_of((kind, id), row)

    async def history(self, kind: str, id: str) -> list[ResourceEntry]:
        """The newest changes of a resource, oldest first."""
        entries = [
            entry_of(key, row) for key, row in self._entries.items() if key[:2] == (kind, id)
        ]
        return sorted(entries, key=lambda entry: entry.number)

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete resources that are gone since before ``before``."""
        old = [
            key
            for key, row in self._rows.items()
            if row.status == "gone" and row.gone_at is not None and row.gone_at < before
        ][:limit]
        for key in old:
            del self._rows[key]
        self._entries = {key: row for key, row in self._entries.items() if key[:2] not in old}
        return len(old)

    async def kinds(self) -> Sequence[str]:
        """The kinds that there are resources of, in order."""
        return sorted({kind for kind, _ in self._rows})

    async def list(
        self,
        where: ResourceFilter = ANY_RESOURCE,
        *,
        limit: int = 100,
        cursor: str | None = None,
    ) -> ResourcePage:
        """Resources by kind and id."""
        after = load_words(cursor) if cursor is not None else None
        keys = [
            key
            for key, row in sorted(self._rows.items())
            if where.kind in {None, key[0]}
            and where.status in {None, row.status}
            and where.workflow in {None, row.workflow}
            and where.instance in {None, row.instance}
            and (after is None or key > after)
        ]
        found = [resource_of(key, self._rows[key]) for key in keys[:limit]]
        return ResourcePage(found, dump_words(*keys[limit - 1]) if len(keys) > limit else None)
