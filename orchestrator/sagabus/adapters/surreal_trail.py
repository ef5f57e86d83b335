"""The audit trail in SurrealDB: what it promises stands at ``ports.AuditTrail``."""

from datetime import datetime
from typing import Final

from sagabus.adapters.audit_entry import ADD
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.core.chain import Entry, TrailRow, sum_of

_INSTANCES: Final = """
SELECT VALUE record::id(id) FROM workflow_instances WHERE version > 0 {bound} ORDER BY id
  LIMIT $limit;
"""
_BOUND: Final = "AND id > type::record('workflow_instances', $after)"
_ROWS: Final = """
SELECT VALUE [record::id(id), workflow, events, attempts, sums, link]
  FROM history_event:[$id, $first]..[$id, []] LIMIT $limit;
"""
_ATTEMPTS: Final = """
SELECT VALUE [record::id(id), state] FROM task_execution:[$id, $task, $first]..[$id, []]
  LIMIT $limit;
"""
# The migration that brought the links.
_SINCE: Final = "SELECT VALUE <string> applied_at FROM migration:`006_audit`;"
_ENTRIES: Final = """
SELECT VALUE [record::id(id)[0], entry, link] FROM audit:[$first]..[$last] LIMIT $limit;
"""
_LAST: Final = "RETURN [audit_head:last.number ?? 0, audit_head:last.link ?? ''];"


class SurrealTrail:
    """A ``ports.AuditTrail`` on a connection that its owner closes."""

    def __init__(self, connection: SurrealConnection) -> None:
        self._connection = connection
        self._since: datetime | None = None

    async def chained_since(self) -> datetime | None:
        """When rows began to have links."""
        if self._since is None:
            [[applied_at]] = await self._connection.run(_SINCE)
            self._since = datetime.fromisoformat(applied_at)
        return self._since

    async def instances(self, after: str, limit: int) -> list[str]:
        """Ids behind ``after``, in order."""
        sql = _INSTANCES.format(bound=_BOUND if after else "")
        [ids] = await self._connection.run(sql, after=after, limit=limit)
        return list(ids)

    async def rows(self, instance_id: str, after: int, limit: int) -> list[TrailRow]:
        """Rows beyond version ``after``, oldest first."""
        [rows] = await self._connection.run(_ROWS, id=instance_id, first=after + 1, limit=limit)
        return [TrailRow(*key, *texts) for key, *texts in rows]

    async def attempt_sums(
        self, instance_id: str, after: tuple[str, int], limit: int
    ) -> list[tuple[str, int, str]]:
        """Task, number and digest of the rows of attempts behind ``after``, in order."""
        task, number = after
        [rows] = await self._connection.run(
            _ATTEMPTS, id=instance_id, task=task, first=number + 1, limit=limit
        )
        return [(key[1], key[2], sum_of(text)) for key, text in rows]

    async def entries(self, after: int, limit: int) -> list[Entry]:
        """Entries behind number ``after``, oldest first."""
        [rows] = await self._connection.run(
            _ENTRIES, first=after + 1, last=after + limit + 1, limit=limit
        )
        return [Entry(*row) for row in rows]

    async def last_entry(self) -> tuple[int, str]:
        """Number and link of the newest entry, by the head."""
        [[number, link]] = await self._connection.run(_LAST)
        return number, link

    async def add(self, text: str) -> None:
        """Add an entry by itself."""
        await self._connection.run(f"{{ {ADD} }};", audit=text)
