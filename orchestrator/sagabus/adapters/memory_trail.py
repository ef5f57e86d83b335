"""The audit trail in memory: the same promises as in the database, for tests."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sagabus.adapters.memory_entries import MemoryEntries
from sagabus.adapters.store_codec import load_attempt
from sagabus.adapters.transition_rows import trail_row
from sagabus.core.chain import Entry, TrailRow, sum_of


class MemoryTrail:
    """A ``ports.AuditTrail`` over what a store holds in memory."""

    def __init__(
        self,
        instances: Collection[str],
        transitions: Mapping[str, Mapping[int, dict[str, Any]]],
        attempts: Mapping[str, Mapping[tuple[str, int], str]],
    ) -> None:
        """``transitions``: rows by instance and version; ``attempts``: texts by instance."""
        self._instances = instances
        self._transitions = transitions
        self._attempts = attempts
        #: What people did beside instances.
        self.entries_here = MemoryEntries()

    async def chained_since(self) -> datetime | None:
        """Rows always had links."""
        return None

    async def instances(self, after: str, limit: int) -> list[str]:
        """Ids behind ``after``, in order."""
        return sorted(each for each in self._instances if each > after)[:limit]

    async def rows(self, instance_id: str, after: int, limit: int) -> list[TrailRow]:
        """Rows beyond version ``after``, oldest first."""
        rows = sorted(self._transitions.get(instance_id, {}).items())
        return [trail_row(row) for version, row in rows if version > after][:limit]

    async def attempt_sums(
        self, instance_id: str, after: tuple[str, int], limit: int
    ) -> list[tuple[str, int, str]]:
        """Task, number and digest of the rows of attempts behind ``after``, in order."""
        found = []
        for key, text in sorted(self._attempts.get(instance_id, {}).items()):
            attempt = load_attempt(text)
            # In the database the others have no row of their own.
            if key > after and (attempt.is_open or not attempt.is_inline):
                found.append((*key, sum_of(text)))
        return found[:limit]

    async def entries(self, after: int, limit: int) -> list[Entry]:
        """Entries behind number ``after``, oldest first."""
        return self.entries_here.entries[after : after + limit]

    async def last_entry(self) -> tuple[int, str]:
        """Number and link of the newest entry."""
        return self.entries_here.last

    async def add(self, text: str) -> None:
        """Add an entry."""
        self.entries_here.add(text)
