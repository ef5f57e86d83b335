"""The chain of an audit trail: each row's link is a digest of the row and of the link before it.

Who changes, removes, moves or adds rows without computing every later link anew is found by
computing them again. Text goes in, digests and findings come out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

import orjson

#: Digests of rows that stand elsewhere are cut to this many characters: 128 bits.
_SUM_CHARS: Final = 32

FaultKind = Literal["changed", "missing", "moved", "added", "cut_off", "not_chained", "unreadable"]


class TrailRow(NamedTuple):
    """What one transition left in the trail of an instance, as the very text that is stored."""

    instance: str
    version: int
    workflow: str
    #: JSON array of events; ``[]`` where there were none.
    events: str
    #: JSON array of the attempts that ended, where there are any.
    attempts: str | None = None
    #: JSON object: digests of the attempts that were written to rows of their own.
    sums: str | None = None
    link: str | None = None

    @property
    def is_empty(self) -> bool:
        """True where the row holds a state and nothing of the trail."""
        return self.events == "[]" and self.attempts is None and self.sums is None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the trail that belongs to no instance, as the very text that is stored."""

    #: From 1.
    number: int
    text: str
    link: str


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place at which a trail does not fit."""

    kind: FaultKind
    #: Version of the row, or number of the entry.
    version: int
    #: Number of the first event concerned; None: it concerns none, or it cannot be told.
    seq: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Head:
    """How far a trail goes, by what its instance itself says."""

    version: int
    #: Number of the last event.
    seq: int
    #: Link of the last row; empty where no row has one.
    link: str


def row_link(previous: str, row: TrailRow) -> str:
    """Link of ``row`` behind ``previous``, which is empty before the first."""
    # None of the parts holds a line break, so no two rows have the same text.
    parts = (
        previous,
        row.instance,
        str(row.version),
        row.workflow,
        row.events,
        row.attempts or "",
        row.sums or "",
    )
    return sha256("\n".join(parts).encode()).hexdigest()


def entry_link(previous: str, number: int, text: str) -> str:
    """Link of the ``number``-th entry of a trail that belongs to no instance."""
    return sha256(f"{previous}\n{number}\n{text}".encode()).hexdigest()


def sum_of(text: str) -> str:
    """Digest of a row that stands elsewhere."""
    return sha256(text.encode()).hexdigest()[:_SUM_CHARS]


@dataclass(slots=True)
class TrailCheck:
    """Follows the trail of one instance, row by row, to the first fault."""

    #: Rows without a link are older than this; None: there are none.
    chained_since: datetime | None = None
    #: By version: links that somebody noted elsewhere.
    noted: dict[int, str] = field(default_factory=dict)
    #: The attempts' own rows are those of this version, or of a later one.
    attempts_from: int = 0
    rows: int = 0
    #: Rows from before there were links.
    not_covered: int = 0
    #: Link and version of the last row.
    link: str = ""
    version: int = 0
    fault: Fault | None = None
    #: By ``task/attempt``: digests that its own row may have; and those that must have one.
    _sums: dict[str, set[str]] = field(default_factory=dict)
    _required: set[str] = field(default_factory=set)
    #: The event that tells with what the instance was begun, or gone on with last.
    _begun: Mapping[str, Any] | None = None
    _seq: int = 0

    def add(self, row: TrailRow) -> None:
        """Take the next row."""
        if self.fault is not None:
            self._look_on(row)
            return
        if row.is_empty:
            return
        self.rows += 1
        events = _read(row.events)
        first = _seq_of(events, 0)
        if row.link is None:
            self.fault = self._without_link(row, events)
            self.not_covered += self.fault is None
        else:
            self.fault = self._misfit(row, first)
        if self.fault is None:
            self._keep(row, events)

    def end(self, head: Head) -> None:
        """There are no more rows: is that where the instance stands?"""
        if self.fault is not None:
            return
        if head.seq != self._seq:
            self.fault = Fault(
                "cut_off",
                head.version,
                self._seq + 1,
                f"the history ends with event {self._seq}, and the instance has come to event"
                f" {head.seq}: the rest was removed",
            )
        elif head.link != self.link:
            self.fault = Fault(
                "cut_off",
                head.version,
                None,
                "the last link of the history is not the one that the instance holds: rows at the"
                " end were removed or written anew",
            )
        elif self.noted:
            version = min(self.noted)
            self.fault = Fault(
                "missing", version, None, f"version {version}, noted elsewhere, has no row"
            )

    def compare(self, attempts: Mapping[str, str]) -> None:
        """Compare the digests of attempts' own rows, by ``task/attempt``, with the trail."""
        if self.fault is not None:
            return
        for name, digest in attempts.items():
            expected = self._sums.get(name)
            if expected is None and self.not_covered == 0:
                self._blame("added", f"the row of attempt {name} is not in the trail")
            elif expected is not None and digest not in expected:
                self._blame("changed", f"the row of attempt {name} is not what the trail says")
        for name in sorted(self._required - attempts.keys()):
            self._blame("missing", f"the row of attempt {name} is gone")

    def compare_beginning(self, definition: str, parameters_sha256: str) -> None:
        """Compare with what the trail says that the instance was begun with."""
        if self._begun is None:
            return
        if self._begun.get("definition") != definition:
            self._blame("changed", "the instance's definition is not what it was begun with")
        if self._begun["parameters_sha256"] != parameters_sha256:
            self._blame("changed", "the instance's parameters are not what it was begun with")

    def _blame(self, kind: FaultKind, message: str) -> None:
        if self.fault is None:
            self.fault = Fault(kind, self.version, None, message)

    def _keep(self, row: TrailRow, events: Sequence[Mapping[str, Any]]) -> None:
        self.link = row.link or ""
        self.version = row.version
        self._seq = _seq_of(events, -1) or self._seq
        if row.sums is not None:
            self._keep_sums(row.version, orjson.loads(row.sums))
        for event in events:
            if "parameters_sha256" in event["data"]:
                self._begun = event["data"]

    def _keep_sums(self, version: int, sums: Mapping[str, str]) -> None:
        for name, digest in sums.items():
            if version <= self.attempts_from:
                self._sums[name] = {digest}
                self._required.add(name)
            else:
                self._sums.setdefault(name, set()).add(digest)

    def _without_link(self, row: TrailRow, events: Sequence[Mapping[str, Any]]) -> Fault | None:
        """A row from before there were links is not covered; behind one with a link it is wrong."""
        since = self.chained_since
        is_older = self.not_covered > 0
        if events and since is not None:
            is_older = _is_before(events, since)
        if is_older and not self.link:
            return None
        return Fault(
            "not_chained",
            row.version,
            _seq_of(events, 0),
            "the row has no link: it was taken away, or the row added",
        )

    def _misfit(self, row: TrailRow, first: int | None) -> Fault | None:
        expected = self._seq + 1
        if first is not None and first > expected:
            message = f"events {expected} to {first - 1} are missing before it"
            return Fault("missing", row.version, expected, message)
        if first is not None and first < expected:
            message = f"event {first} stands behind event {self._seq}"
            return Fault("moved", row.version, first, message)
        if row.link != row_link(self.link, row):
            message = "the row is not what its link says: it was changed, or written anew"
            return Fault("changed", row.version, first, message)
        if self.noted.pop(row.version, row.link) != row.link:
            message = "the link is not the one noted elsewhere: the chain was computed anew"
            return Fault("changed", row.version, first, message)
        return None

    def _look_on(self, row: TrailRow) -> None:
        """What is missing may turn up further on."""
        fault = self.fault
        if fault is None or fault.kind != "missing" or fault.seq is None:
            return
        if _seq_of(_read(row.events), 0) == fault.seq:
            message = f"event {fault.seq} should stand here; it stands at version {row.version}"
            self.fault = Fault("moved", fault.version, fault.seq, message)


@dataclass(slots=True)
class EntryCheck:
    """Follows the entries of the trail that belongs to no instance, to the first fault."""

    #: By number: links that somebody noted elsewhere.
    noted: dict[int, str] = field(default_factory=dict)
    number: int = 0
    link: str = ""
    fault: Fault | None = None

    def add(self, entry: Entry) -> None:
        """Take the next entry."""
        if self.fault is not None:
            return
        number = self.number + 1
        if entry.number != number:
            message = f"entries {number} to {entry.number - 1} are missing before it"
            self.fault = Fault("missing", entry.number, None, message)
        elif entry.link != entry_link(self.link, number, entry.text):
            message = "the entry is not what its link says: it was changed, moved or written anew"
            self.fault = Fault("changed", number, None, message)
        elif self.noted.pop(number, entry.link) != entry.link:
            message = "the link is not the one noted elsewhere: the chain was computed anew"
            self.fault = Fault("changed", number, None, message)
        else:
            self.number, self.link = number, entry.link

    def end(self, number: int, link: str) -> None:
        """There are no more entries: is that the newest, by number and link?"""
        if self.fault is None and (number, link) != (self.number, self.link):
            message = f"the last entry is {self.number}, and there were {number}"
            self.fault = Fault("cut_off", self.number + 1, None, message)
        elif self.fault is None and self.noted:
            number = min(self.noted)
            message = f"entry {number}, noted elsewhere, is not there"
            self.fault = Fault("missing", number, None, message)


def _read(events: str) -> Sequence[Mapping[str, Any]]:
    """The events of a row; none, where they are none: its link does not fit it then."""
    try:
        found = orjson.loads(events)
        is_one = all(isinstance(each["seq"], int) and "data" in each for each in found)
    except (KeyError, TypeError, ValueError):
        return ()
    return found if is_one else ()


def _is_before(events: Sequence[Mapping[str, Any]], since: datetime) -> bool:
    try:
        return datetime.fromisoformat(events[0]["at"]) < since
    except (KeyError, TypeError, ValueError):
        return False


def _seq_of(events: Sequence[Mapping[str, Any]], at: int) -> int | None:
    return int(events[at]["seq"]) if events else None
