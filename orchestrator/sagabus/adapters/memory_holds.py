"""Holds in memory: the same promises as in the database, for tests."""

from sagabus.adapters.audit_entry import hold_changed
from sagabus.adapters.memory_entries import MemoryEntries
from sagabus.ports import Hold


class MemoryHolds:
    """A ``ports.HoldBook`` that ends with the process."""

    def __init__(self, entries: MemoryEntries | None = None) -> None:
        self._entries = entries or MemoryEntries()
        self._words: dict[tuple[str, str], Hold] = {}

    async def all(self) -> list[Hold]:
        """The newest word about everything that ever was on hold."""
        return list(self._words.values())

    async def write(self, hold: Hold) -> None:
        """Store the newest word."""
        self._entries.add(hold_changed(hold))
        self._words[(hold.kind, hold.name)] = hold
