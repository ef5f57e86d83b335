"""Entries of the audit trail in memory, chained as in the database."""

from sagabus.core.chain import Entry, entry_link


class MemoryEntries:
    """What people did beside instances; shared by all that change something of the kind."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @property
    def last(self) -> tuple[int, str]:
        """Number and link of the newest entry."""
        return (self.entries[-1].number, self.entries[-1].link) if self.entries else (0, "")

    def add(self, text: str) -> None:
        """Add an entry."""
        number, link = self.last
        self.entries.append(Entry(number + 1, text, entry_link(link, number + 1, text)))
