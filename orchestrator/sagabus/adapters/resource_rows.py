"""Rows of resources, and what a change makes of them: the one rule of every store.

A spec is kept as JSON text with its keys in order, so that the same spec is the same text.
"""

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from sagabus.core.transition import ResourceChange
from sagabus.errors import InvariantError
from sagabus.ports import Resource, ResourceEntry

#: Changes of a resource that are kept, the newest.
MAX_KEPT: Final = 100

#: Kind and id.
Key = tuple[str, str]
#: The same, and the attempt that says it.
EntryKey = tuple[str, str, str, str, int]


@dataclass(frozen=True, slots=True)
class ResourceRow:
    """A resource as it was declared last."""

    status: Literal["present", "gone"]
    spec: str
    spec_version: int
    #: Number of the newest entry.
    changes: int
    instance: str
    workflow: str
    stage: str
    task: str
    attempt: int
    role: str
    created_at: datetime
    declared_at: datetime
    gone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One change in the history of a resource."""

    number: int
    status: Literal["present", "gone"]
    spec: str | None
    spec_version: int
    #: It changed nothing: an undo of what another instance had declared since.
    is_void: bool
    workflow: str
    stage: str
    role: str
    at: datetime


def key_of(change: ResourceChange) -> Key:
    """Key of the resource."""
    return change.kind, change.id


def entry_key_of(change: ResourceChange) -> EntryKey:
    """Key of the entry that a change becomes: an attempt says one thing of a resource."""
    return change.kind, change.id, change.instance, change.task, change.attempt


def applied(
    changes: Iterable[ResourceChange],
    rows: Mapping[Key, ResourceRow],
    entries: Mapping[EntryKey, EntryRow],
) -> tuple[dict[Key, ResourceRow], dict[EntryKey, EntryRow]]:
    """The rows and entries that ``changes`` make new or change; those stored already make none.

    Raises:
        InvariantError: a spec has no JSON form.
    """
    new_rows: dict[Key, ResourceRow] = {}
    new_entries: dict[EntryKey, EntryRow] = {}
    stored, said = ChainMap(new_rows, dict(rows)), ChainMap(new_entries, dict(entries))
    for change in changes:
        key, entry_key = key_of(change), entry_key_of(change)
        was, known = stored.get(key), said.get(entry_key)
        spec = _text(change)
        status: Literal["present", "gone"] = "gone" if spec is None else "present"
        is_known = known is not None and (known.status, known.spec) == (status, spec)
        if is_known or (spec is None and (was is None or was.status == "gone")):
            continue
        number = 1 if was is None else was.changes + 1
        version = 1 if was is None else was.spec_version + (spec not in {None, was.spec})
        is_void = change.is_undo and was is not None and was.instance != change.instance
        new_entries[entry_key] = EntryRow(
            number=number,
            status=status,
            spec=spec,
            spec_version=version,
            is_void=is_void,
            workflow=change.workflow,
            stage=change.stage,
            role=change.role,
            at=change.at,
        )
        if spec is not None:
            created_at = change.at if was is None else was.created_at
            new_rows[key] = _declared(change, spec, version, number, created_at)
        elif was is not None:
            gone = {} if is_void else {"status": "gone", "gone_at": change.at}
            new_rows[key] = replace(was, changes=number, **gone)  # type: ignore[arg-type]
    return new_rows, new_entries


def _declared(
    change: ResourceChange, spec: str, version: int, number: int, created_at: datetime
) -> ResourceRow:
    return ResourceRow(
        status="present",
        spec=spec,
        spec_version=version,
        changes=number,
        instance=change.instance,
        workflow=change.workflow,
        stage=change.stage,
        task=change.task,
        attempt=change.attempt,
        role=change.role,
        created_at=created_at,
        declared_at=change.at,
    )


def _text(change: ResourceChange) -> str | None:
    if change.spec is None:
        return None
    try:
        return orjson.dumps(change.spec, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError as error:
        raise InvariantError(
            f"instance {change.instance} declares a spec that cannot be stored: {error}",
            instance_id=change.instance,
        ) from error


def resource_of(key: Key, row: ResourceRow) -> Resource:
    """What is told of a resource."""
    return Resource(
        kind=key[0],
        id=key[1],
        status=row.status,
        spec=_spec(row.spec),
        spec_version=row.spec_version,
        instance=row.instance,
        workflow=row.workflow,
        stage=row.stage,
        task=row.task,
        attempt=row.attempt,
        role=row.role,
        created_at=row.created_at,
        declared_at=row.declared_at,
        gone_at=row.gone_at,
    )


def entry_of(key: EntryKey, row: EntryRow) -> ResourceEntry:
    """What is told of one change."""
    _, _, instance, task, attempt = key
    return ResourceEntry(
        number=row.number,
        status=row.status,
        spec=None if row.spec is None else _spec(row.spec),
        spec_version=row.spec_version,
        is_void=row.is_void,
        instance=instance,
        workflow=row.workflow,
        stage=row.stage,
        task=task,
        attempt=attempt,
        role=row.role,
        at=row.at,
    )


def _spec(text: str) -> dict[str, Any]:
    spec: dict[str, Any] = orjson.loads(text)
    return spec
