"""Holds in SurrealDB: what they promise stands at ``ports.HoldBook``."""

from datetime import datetime
from typing import Final

from sagabus.adapters.audit_entry import ADD, hold_changed
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.ports import Hold

_ALL: Final = "SELECT VALUE [record::id(id), said_by, reason, <string> said_at, is_held] FROM hold;"
_WRITE: Final = f"""{{
UPSERT type::record('hold', [$kind, $name])
  SET said_by = $by, reason = $reason, said_at = $at, is_held = $is_held RETURN NONE;
{ADD}
}};"""


class SurrealHolds:
    """A ``ports.HoldBook`` on a connection that its owner closes."""

    def __init__(self, connection: SurrealConnection) -> None:
        self._connection = connection

    async def all(self) -> list[Hold]:
        """The newest word about everything that ever was on hold."""
        [rows] = await self._connection.run(_ALL)
        return [
            Hold(kind, name, by, reason, datetime.fromisoformat(at), is_held)
            for (kind, name), by, reason, at, is_held in rows
        ]

    async def write(self, hold: Hold) -> None:
        """Store the newest word."""
        await self._connection.run(
            _WRITE,
            kind=hold.kind,
            name=hold.name,
            by=hold.by,
            reason=hold.reason,
            at=hold.at.isoformat(),
            is_held=hold.is_held,
            audit=hold_changed(hold),
        )
