"""Resources in SurrealDB: read for people and for drift, written with the batch that changes them.

What a change makes of a row is decided here (``resource_rows``), from what is stored; the
transaction holds only while that is still so, and is tried again where another one came first.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import orjson

from sagabus.adapters.page_cursor import dump_words, load_words
from sagabus.adapters.resource_rows import (
    MAX_KEPT,
    EntryKey,
    EntryRow,
    Key,
    ResourceRow,
    applied,
    entry_key_of,
    entry_of,
    key_of,
    resource_of,
)
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_response import StatementError
from sagabus.core.transition import ResourceChange
from sagabus.errors import StoreUnavailableError
from sagabus.ports import ANY_RESOURCE, Resource, ResourceEntry, ResourceFilter, ResourcePage

#: Others change the same resources, one of them at a time: each wait lets some of them pass.
_ATTEMPTS: Final = 20
_WAIT_S: Final = 0.002
_MAX_WAIT_S: Final = 0.2
#: What the statement throws.
_MOVED: Final = "sagabus:resources"

_READ: Final = """
SELECT * FROM encoding::json::decode($keys).map(|$key| type::record('resource', $key));
SELECT * FROM encoding::json::decode($entries).map(|$key| type::record('resource_history', $key));
"""
_STORE: Final = """
LET $r = encoding::json::decode($resources);
IF (SELECT VALUE [record::id(id), changes] FROM $r.keys.map(|$k| type::record('resource', $k)))
  != $r.was { THROW 'sagabus:resources' };
INSERT INTO resource $r.rows ON DUPLICATE KEY UPDATE
  status = $input.status, spec = $input.spec, spec_version = $input.spec_version,
  changes = $input.changes, instance = $input.instance, workflow = $input.workflow,
  stage = $input.stage, task = $input.task, attempt = $input.attempt, role = $input.role,
  declared_at = $input.declared_at, gone_at = $input.gone_at RETURN NONE;
INSERT INTO resource_history $r.entries ON DUPLICATE KEY UPDATE
  number = $input.number, status = $input.status, spec = $input.spec,
  spec_version = $input.spec_version, is_void = $input.is_void, at = $input.at RETURN NONE;
FOR $old IN $r.old {
  DELETE resource_history:[$old.kind, $old.id, '']..[$old.kind, $old.id, []]
    WHERE number <= $old.number RETURN NONE };
"""
# Both ends are given: an open range is scanned whole.
_LIST: Final = """
SELECT * FROM resource:[$kind, $id]..[{end}, []] {where} ORDER BY id LIMIT $limit;
"""
_HISTORY: Final = """
SELECT * FROM resource_history:[$kind, $id, '']..[$kind, $id, []] ORDER BY number;
"""
_KINDS: Final = "RETURN array::distinct((SELECT VALUE record::id(id)[0] FROM resource));"
_FORGET: Final = """{
LET $old = (SELECT VALUE id FROM resource WHERE gone_at < $before AND status = 'gone' LIMIT $limit);
FOR $each IN $old {
  LET $key = record::id($each);
  DELETE resource_history:[$key[0], $key[1], '']..[$key[0], $key[1], []] RETURN NONE;
  DELETE $each RETURN NONE };
RETURN array::len($old);
};"""


async def run_with_resources(
    connection: SurrealConnection,
    statements: str,
    parameters: Mapping[str, Any],
    changes: Sequence[ResourceChange],
) -> None:
    """Run ``statements`` and what ``changes`` mean, often nothing, as one transaction.

    Raises:
        StatementError: the database refused; nothing is stored.
        StoreUnavailableError: no connection, or others change the same resources all the time.
    """
    for attempt in range(_ATTEMPTS):
        resources = await _resources(connection, changes) if changes else None
        if resources is None:
            await connection.run(f"{{{statements}}};", **parameters)
            return
        try:
            await connection.run(f"{{{statements}{_STORE}}};", **parameters, resources=resources)
        except StatementError as error:
            if _MOVED not in str(error):
                raise
        else:
            return
        await asyncio.sleep(min(_WAIT_S * 2**attempt, _MAX_WAIT_S))
    raise StoreUnavailableError("resources are changed by others all the time")


async def _resources(
    connection: SurrealConnection, changes: Sequence[ResourceChange]
) -> str | None:
    """What is to be stored, and what must still be stored then; None: everything is already."""
    stored = await _stored(connection, changes)
    rows, entries = applied(changes, *stored)
    return _parameter(stored[0], rows, entries) if rows else None


async def _stored(
    connection: SurrealConnection, changes: Sequence[ResourceChange]
) -> tuple[dict[Key, ResourceRow], dict[EntryKey, EntryRow]]:
    keys = list(dict.fromkeys(map(key_of, changes)))
    said = list(dict.fromkeys(map(entry_key_of, changes)))
    rows, entries = await connection.run(_READ, keys=_json(keys), entries=_json(said))
    return dict(map(_row, rows)), dict(map(_entry, entries))


def _parameter(
    before: Mapping[Key, ResourceRow],
    rows: Mapping[Key, ResourceRow],
    entries: Mapping[EntryKey, EntryRow],
) -> str:
    return _json(
        {
            "keys": list(rows),
            "was": [(key, before[key].changes) for key in rows if key in before],
            "rows": [{"id": key, **_columns(row)} for key, row in rows.items()],
            "entries": [{"id": key, **_columns(row)} for key, row in entries.items()],
            "old": [
                {"kind": kind, "id": id, "number": row.changes - MAX_KEPT}
                for (kind, id), row in rows.items()
                if row.changes > MAX_KEPT
            ],
        }
    )


def _columns(row: ResourceRow | EntryRow) -> dict[str, Any]:
    # Absent, not null: the columns are options.
    return {name: value for name, value in asdict(row).items() if value is not None}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


class SurrealResources:
    """A ``ports.Resources`` on a connection that its owner closes."""

    def __init__(self, connection: SurrealConnection) -> None:
        self._connection = connection

    async def get(self, kind: str, id: str) -> Resource | None:
        """One resource."""
        [rows] = await self._connection.run(
            "SELECT * FROM type::record('resource', [$kind, $id])", kind=kind, id=id
        )
        return resource_of(*_row(rows[0])) if rows else None

    async def history(self, kind: str, id: str) -> list[ResourceEntry]:
        """The newest changes of a resource, oldest first."""
        [rows] = await self._connection.run(_HISTORY, kind=kind, id=id)
        return [entry_of(*_entry(row)) for row in rows]

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete resources that are gone since before ``before``."""
        [count] = await self._connection.run(_FORGET, before=before, limit=limit)
        return int(count)

    async def kinds(self) -> Sequence[str]:
        """The kinds that there are resources of, in order."""
        [found] = await self._connection.run(_KINDS)
        return sorted(found)

    async def list(
        self,
        where: ResourceFilter = ANY_RESOURCE,
        *,
        limit: int = 100,
        cursor: str | None = None,
    ) -> ResourcePage:
        """Resources by kind and id."""
        after = ("", "") if cursor is None else load_words(cursor)
        parameters: dict[str, Any] = {"limit": limit + 1, "kind": after[0], "id": after[1]}
        conditions = [] if cursor is None else ["id != type::record('resource', [$kind, $id])"]
        end = "[]"
        if where.kind is not None:
            parameters["kind"], end = where.kind, "$kind"
        for column in ("status", "workflow", "instance"):
            value = getattr(where, column)
            if value is not None:
                conditions.append(f"{column} = ${column}")
                parameters[column] = value
        sql = _LIST.format(end=end, where=f"WHERE {' AND '.join(conditions)}" if conditions else "")
        [rows] = await self._connection.run(sql, **parameters)
        found = [resource_of(*_row(row)) for row in rows[:limit]]
        last_one = found[-1] if len(rows) > limit else None
        return ResourcePage(found, dump_words(last_one.kind, last_one.id) if last_one else None)


def _row(found: Mapping[str, Any]) -> tuple[Key, ResourceRow]:
    row = _plain(found)
    kind, id = row.pop("id").id
    return (kind, id), ResourceRow(**row)


def _entry(found: Mapping[str, Any]) -> tuple[EntryKey, EntryRow]:
    row = _plain(found)
    kind, id, instance, task, attempt = row.pop("id").id
    return (kind, id, instance, task, attempt), EntryRow(**{"spec": None, **row})


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """A row with instants of Python's own class: the driver's one is not written as JSON."""
    return {
        name: datetime.fromisoformat(value.isoformat()) if isinstance(value, datetime) else value
        for name, value in found.items()
    }
