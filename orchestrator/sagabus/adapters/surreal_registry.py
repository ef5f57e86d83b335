"""The registry on SurrealDB: what it promises stands at ``ports.Registry``.

Every change writes the one row ``registry:changes``, so of two at once the engine refuses one,
which is then tried again: no change is decided on a version that another one has replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from sagabus.adapters.audit_entry import workflow_changed
from sagabus.adapters.store_errors import stale_workflow
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_response import StatementError
from sagabus.ports import Registered, WorkflowText

#: What the statements throw.
_STALE: Final = "sagabus:stale:"

_COLUMNS: Final = (
    "[record::id(id), pack, format, text, digest, registered_by, registered_at, is_deleted]"
)
_CHANGES: Final = "RETURN registry:changes.changes ?? 0;"
_CURRENT: Final = """{
RETURN [registry:changes.changes ?? 0, (SELECT VALUE COLUMNS
  FROM (SELECT VALUE type::record('registered_workflow', [record::id(id), version])
    FROM registered_name)
  WHERE is_deleted = false)];
};""".replace("COLUMNS", _COLUMNS)
_FIND: Final = """
SELECT VALUE COLUMNS FROM type::record('registered_workflow',
  [$name, $version ?? type::record('registered_name', $name).version]);
""".replace("COLUMNS", _COLUMNS)
_VERSIONS: Final = """
SELECT VALUE COLUMNS FROM registered_workflow:[$name, 0]..[$name, []];
""".replace("COLUMNS", _COLUMNS)
# A deleted version counts as none for whoever expects one, and the numbers go on after it.
_STORE: Final = """{
LET $rows = encoding::json::decode($changes);
FOR $row IN $rows {
  LET $at = type::record('registered_name', $row.name).version ?? 0;
  LET $held = type::record('registered_workflow', [$row.name, $at]).*;
  LET $seen = IF $at = 0 OR $held.is_deleted { 0 } ELSE { $at };
  IF $row.expected != NULL AND $row.expected != $seen
    { THROW 'sagabus:stale:' + <string> $seen + ':' + $row.name };
  LET $is_same = $seen > 0 AND $held.text = $row.columns.text
    AND $held.format = $row.columns.format AND $held.pack = $row.columns.pack
    AND $held.digest = $row.columns.digest;
  IF !$is_same AND !($row.columns.is_deleted AND $seen = 0) {
    CREATE type::record('registered_workflow', [$row.name, $at + 1])
      CONTENT $row.columns RETURN NONE;
    UPSERT type::record('registered_name', $row.name) SET version = $at + 1 RETURN NONE;
    fn::audit($row.audit) } };
UPSERT registry:changes SET changes = (changes ?? 0) + 1 RETURN NONE;
RETURN SELECT VALUE COLUMNS FROM $rows.map(|$row| type::record('registered_workflow',
  [$row.name, type::record('registered_name', $row.name).version]));
};""".replace("COLUMNS", _COLUMNS)


class SurrealRegistry:
    """A ``ports.Registry``."""

    def __init__(self, connection: SurrealConnection) -> None:
        self._connection = connection

    async def changes(self) -> int:
        """How many changes there were."""
        [changes] = await self._connection.run(_CHANGES)
        return int(changes)

    async def current(self) -> tuple[int, list[Registered]]:
        """``changes``, and the newest versions of all that are not deleted, by name."""
        [[changes, rows]] = await self._connection.run(_CURRENT)
        return changes, sorted(map(_registered, rows), key=lambda each: each.workflow.name)

    async def find(self, name: str, version: int | None = None) -> Registered | None:
        """One version, or the newest."""
        [rows] = await self._connection.run(_FIND, name=name, version=version)
        return _registered(rows[0]) if rows else None

    async def versions(self, name: str) -> list[Registered]:
        """Every version of a name, newest first."""
        [rows] = await self._connection.run(_VERSIONS, name=name)
        return [_registered(row) for row in reversed(rows)]

    async def register(
        self,
        workflows: Sequence[WorkflowText],
        *,
        by: str,
        at: datetime,
        expected: Mapping[str, int],
        reason: str = "",
    ) -> list[Registered]:
        """Store all, or none."""
        who = _Who(by, at, reason)
        return await self._store(
            [
                _change(workflow, who, expected=expected.get(workflow.name), is_deleted=False)
                for workflow in workflows
            ]
        )

    async def delete(
        self, name: str, *, by: str, at: datetime, expected: int | None = None, reason: str = ""
    ) -> Registered | None:
        """Take a workflow out of force."""
        held = await self.find(name)
        if held is None or held.is_deleted:
            return None
        gone = WorkflowText(name, held.workflow.pack, held.workflow.format, "", "")
        change = _change(gone, _Who(by, at, reason), expected=expected, is_deleted=True)
        [deleted] = await self._store([change])
        return deleted

    async def _store(self, changes: Sequence[Mapping[str, Any]]) -> list[Registered]:
        try:
            [rows] = await self._connection.run(_STORE, changes=orjson.dumps(changes).decode())
        except StatementError as error:
            found, _, name = str(error).partition(_STALE)[2].partition(":")
            if not name:
                raise
            raise stale_workflow(name, int(found)) from error
        return [_registered(row) for row in rows]


class _Who(NamedTuple):
    by: str
    at: datetime
    reason: str


def _change(
    workflow: WorkflowText, who: _Who, *, expected: int | None, is_deleted: bool
) -> dict[str, Any]:
    columns = {
        **asdict(workflow),
        "registered_by": who.by,
        "registered_at": who.at,
        "is_deleted": is_deleted,
    }
    audit = workflow_changed(workflow, *who, is_deleted=is_deleted)
    name = columns.pop("name")
    return {"name": name, "expected": expected, "columns": columns, "audit": audit}


def _registered(row: Sequence[Any]) -> Registered:
    (name, version), pack, form, text, digest, by, at, is_deleted = row
    return Registered(WorkflowText(name, pack, form, text, digest), version, by, at, is_deleted)
