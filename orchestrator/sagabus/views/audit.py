"""The audit trail as documents: who did what, when and why, and how a trail was found."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from sagabus.core.chain import Entry, Fault, TrailRow
from sagabus.errors import StoreError
from sagabus.views.shared import View


class AuditView(View):
    """One event of an instance, or one thing that somebody did beside instances."""

    #: Number of the event within its instance, or of the entry.
    number: int
    type: str
    at: datetime
    #: Who made it happen: a person, an agent, the instance above; empty: the engine by itself.
    by: str
    #: Why: the reason that was given, the policies that decided, what failed.
    reason: str
    data: dict[str, Any]
    #: Link of its row; null where rows were not chained yet.
    link: str | None


class FaultView(View):
    """The first place at which a trail does not fit."""

    kind: str
    #: Version of the row, or number of the entry.
    version: int
    #: Number of the first event concerned.
    seq: int | None
    message: str


def trail_of(rows: Iterable[TrailRow]) -> Iterator[AuditView]:
    """The events of an instance's rows.

    Raises:
        StoreError: a row is not what it was stored as.
    """
    for row in rows:
        try:
            for event in orjson.loads(row.events):
                yield _event(event, row.link)
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(f"version {row.version} of instance {row.instance}") from error


def entries_of(entries: Iterable[Entry]) -> Iterator[AuditView]:
    """What people did beside instances.

    Raises:
        StoreError: an entry is not what it was stored as.
    """
    for entry in entries:
        try:
            yield AuditView(number=entry.number, link=entry.link, **orjson.loads(entry.text))
        except (TypeError, ValueError) as error:
            raise _unreadable(f"entry {entry.number}") from error


def _event(event: Mapping[str, Any], link: str | None) -> AuditView:
    data = event["data"]
    return AuditView(
        number=event["seq"],
        type=event["type"],
        at=event["at"],
        by=_by(data),
        reason=_reason(data),
        data=data,
        link=link,
    )


def _unreadable(place: str) -> StoreError:
    return StoreError(f"{place} of the audit trail cannot be read: see 'sagabus audit verify'")


def fault_of(fault: Fault | None) -> FaultView | None:
    """The document of a fault."""
    if fault is None:
        return None
    return FaultView(kind=fault.kind, version=fault.version, seq=fault.seq, message=fault.message)


def _by(data: Mapping[str, Any]) -> str:
    for name in ("by", "started_by", "agent", "role"):
        if found := data.get(name):
            return f"role {found}" if name == "role" else str(found)
    return ""


def _reason(data: Mapping[str, Any]) -> str:
    parts = [str(data["reason"])] if data.get("reason") else []
    error = data.get("error")
    if isinstance(error, Mapping):
        parts.append(f"{error.get('type')}: {error.get('message')}")
    if data.get("message"):
        parts.append(str(data["message"]))
    policies: Sequence[str] = data.get("policies") or ()
    if policies:
        parts.append(f"policies {', '.join(policies)}")
    return "; ".join(parts)
