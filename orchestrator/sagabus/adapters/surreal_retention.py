"""Finds ended instances in SurrealDB and deletes them whole, a slice at a time.

What an instance leaves may be a million rows: too much for one transaction beside others. So its
row is marked first, which is atomic for a whole tree; marked instances do not exist for anyone
else, and their id is taken until the row itself goes, last of all. A deletion that was cut off is
found by the mark and finished by the next.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from sagabus.adapters.audit_entry import instances_deleted
from sagabus.adapters.store_codec import CorruptRowError, load_attempts, load_instance
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.core.definition import WORKFLOW_ROLE
from sagabus.core.instance import TERMINAL, child_id
from sagabus.ports import EndedRow

#: Rows of one table that one transaction deletes of one instance, and instances in it: some ms.
_SLICE_ROWS: Final = 100
_SLICE_INSTANCES: Final = 20
#: Instances read or marked at once.
_GROUP: Final = 200
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

# One bound and no OR, so that the index is read from there.
_EXPIRED: Final = """
SELECT VALUE [record::id(id), updated_at, open_slot = NONE, state]
  FROM (SELECT id, updated_at, open_slot, state FROM workflow_instances
    WHERE status = $status AND {bound} ORDER BY updated_at DESC, id DESC LIMIT $limit);
"""
_SAME_INSTANT: Final = "updated_at = $at AND id < type::record('workflow_instances', $id)"
_STORED: Final = """
SELECT VALUE [record::id(id), updated_at, open_slot = NONE, state]
  FROM $ids.map(|$id| type::record('workflow_instances', $id)) WHERE version > 0;
"""
# An attempt with that role has exactly this text; an input may hold it, too.
_OF_WORKFLOWS: Final = f'"role":"{WORKFLOW_ROLE}"'
_CHILD_ATTEMPTS: Final = """
RETURN array::flatten($ids.map(|$id| array::concat(
  (SELECT VALUE [record::id(id)[0], string::concat('[', state, ']')]
    FROM task_execution:[$id, '']..[$id, []] WHERE string::contains(state, $text)),
  (SELECT VALUE [record::id(id)[0], attempts] FROM history_event:[$id, 0]..[$id, []]
    WHERE attempts != NONE AND string::contains(attempts, $text)))));
"""
# What is marked is told in the audit trail: nobody else deletes an instance without a word.
_MARK: Final = """{
LET $gone = array::flatten(encoding::json::decode($trees).filter(|$tree|
  $tree.all(|$row|
    (SELECT VALUE true FROM type::record('workflow_instances', $row[0])
      WHERE version = $row[1] AND open_slot = NONE) != []))).map(|$row| $row[0]);
FOR $id IN $gone {
  UPDATE type::record('workflow_instances', $id)
    SET status = 'swept', version = 0, state = '' RETURN NONE };
IF $gone != [] {
  fn::audit(string::concat($before, encoding::json::encode($gone), $after)) };
};"""
_MARKED: Final = """
SELECT VALUE record::id(id) FROM workflow_instances WHERE status = 'swept' LIMIT $limit;
"""
_DELETE: Final = """{
FOR $id IN $ids {
  LET $history = (SELECT VALUE id FROM history_event:[$id, 0]..[$id, []] LIMIT $limit);
  DELETE $history RETURN NONE;
  LET $attempts = (SELECT VALUE id FROM task_execution:[$id, '']..[$id, []] LIMIT $limit);
  DELETE $attempts RETURN NONE;
  LET $items = (SELECT VALUE id FROM stage_items:[$id, '']..[$id, []] LIMIT $limit);
  DELETE $items RETURN NONE;
  IF array::max([array::len($history), array::len($attempts), array::len($items)]) < $limit {
    DELETE type::record('workflow_instances', $id) WHERE version = 0 RETURN NONE } };
};"""


async def expired(
    connection: SurrealConnection, before: datetime, limit: int
) -> AsyncIterator[list[EndedRow]]:
    """Pages of ended roots that await nothing and did not change since ``before``."""
    for status in sorted(TERMINAL):
        parameters: dict[str, Any] = {"status": status, "limit": limit, "at": before}
        rows = await _page(connection, "updated_at < $at", **parameters)
        while rows:
            yield await _roots(connection, [row for row in _ended(rows) if row.is_over])
            if len(rows) < limit:
                break
            parameters |= {"id": rows[-1][0], "at": rows[-1][1]}
            rows = await _page(connection, _SAME_INSTANT, **parameters)
            rows += await _page(connection, "updated_at < $at", **parameters)


async def children(
    connection: SurrealConnection, instance_ids: Sequence[str]
) -> list[tuple[str, EndedRow]]:
    """The instances that carried out attempts of these, each with the id of the one above it."""
    parents: dict[str, str] = {}
    unknown: list[tuple[str, EndedRow]] = []
    for group in _groups(instance_ids):
        [attempts] = await connection.run(_CHILD_ATTEMPTS, ids=group, text=_OF_WORKFLOWS)
        for instance_id, text in attempts:
            try:
                found = load_attempts(text)
            except CorruptRowError:
                unknown.append((instance_id, _unreadable(instance_id, _NEVER)))
                continue
            for attempt in found:
                if attempt.is_child:
                    parents[child_id(instance_id, attempt.task, attempt.attempt)] = instance_id
    stored = await _stored(connection, list(parents))
    return [*unknown, *((parents[row.id], row) for row in stored)]


async def delete_instances(
    connection: SurrealConnection, trees: Sequence[Sequence[EndedRow]]
) -> int:
    """Delete each tree of which no row has changed, and what earlier deletions left over."""
    for group in _groups(trees):
        versions = [[(row.id, row.version) for row in tree] for tree in group]
        before, after = instances_deleted()
        await connection.run(
            _MARK, trees=orjson.dumps(versions).decode(), before=before, after=after
        )
    deleted: set[str] = set()
    while True:
        [ids] = await connection.run(_MARKED, limit=_SLICE_INSTANCES)
        if not ids:
            return len(deleted)
        await connection.run(_DELETE, ids=ids, limit=_SLICE_ROWS)
        deleted.update(ids)


async def _page(
    connection: SurrealConnection, bound: str, **parameters: Any
) -> list[tuple[str, datetime, bool, str]]:
    [rows] = await connection.run(_EXPIRED.format(bound=bound), **parameters)
    return list(rows)


async def _roots(connection: SurrealConnection, rows: list[EndedRow]) -> list[EndedRow]:
    """Without those that go with another instance."""
    above = sorted({row.root for row in rows if row.root is not None})
    stored = {row.id for row in await _stored(connection, above)}
    return [row for row in rows if row.root not in stored]


async def _stored(connection: SurrealConnection, ids: Sequence[str]) -> list[EndedRow]:
    found: list[EndedRow] = []
    for group in _groups(ids):
        [rows] = await connection.run(_STORED, ids=group)
        found += _ended(rows)
    return found


def _ended(rows: Sequence[tuple[str, datetime, bool, str]]) -> Iterator[EndedRow]:
    for instance_id, changed_at, is_over, text in rows:
        try:
            row = load_instance(text)
        except CorruptRowError:
            yield _unreadable(instance_id, changed_at)
        else:
            is_ended = is_over and row.status.is_terminal
            root = row.root or (row.parent.instance if row.parent else None)
            yield EndedRow(instance_id, row.version, changed_at, is_over=is_ended, root=root)


def _unreadable(instance_id: str, changed_at: datetime) -> EndedRow:
    """It stays, and its tree with it: whoever repairs it may want them."""
    return EndedRow(instance_id, 0, changed_at, is_over=False, root=None)


def _groups(items: Sequence[Any]) -> Iterator[Any]:
    for at in range(0, len(items), _GROUP):
        yield items[at : at + _GROUP]
