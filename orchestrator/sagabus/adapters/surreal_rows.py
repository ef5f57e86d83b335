"""A batch as the parameters that the database takes, and the SurrealQL that stores it.

Rows go as JSON text, decoded by the engine: the driver's own encoder costs a multiple of it. The
rows' free content is text within that text (``store_codec``), which halves the engine's work. Each
table's rows are a parameter of their own: the engine copies a parameter wherever it is named.

Where a change of an instance concerns no column, its state goes into the row of the transition, and
the instance's own row stays as it is: inserting costs a fifth of rewriting a row with indexes.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from sagabus.adapters.store_codec import dump_instance, dump_items
from sagabus.adapters.transition_rows import TransitionRows
from sagabus.core.instance import Instance, InstanceStatus, TaskStatus
from sagabus.ports import Batch

#: What the statement throws.
LOST: Final = "sagabus:lost"
CONFLICT: Final = "sagabus:conflict:"

#: Slots of one partition: a reload reads a partition in slices of them.
SLOTS: Final = 1 << 32

#: So many states may follow an instance's row, and be so large: a reload reads one after another,
#: and they stay where they are.
MAX_FOLLOWING: Final = 3
_MAX_FOLLOWING_CHARS: Final = 4096

# Numbers of ours stand in the text: the driver's encoder takes 3 us for each parameter.
_FENCE: Final = """
IF (UPDATE partition:{partition:d}
    SET batch = {number:d}, published = {published:d},
      last_history = encoding::json::decode($last_history)
    WHERE epoch = {epoch:d} AND batch = {before:d} RETURN VALUE batch) = []
  {{ THROW 'sagabus:lost' }};
"""
_CREATE: Final = "INSERT INTO workflow_instances encoding::json::decode($created) RETURN NONE;"
# Of an instance that this owner has not written yet: its newest version may stand in the history.
# Version 0 is being deleted.
_CHANGE_FIRST: Final = """
FOR $d IN encoding::json::decode($first) {
  IF (UPDATE type::record('workflow_instances', $d.id) CONTENT $d.row
      WHERE version > 0 AND (version = $d.was OR (version < $d.was
          AND record::exists(type::record('history_event', [$d.id, $d.was]))))
        AND !record::exists(type::record('history_event', [$d.id, $d.was + 1]))
      RETURN VALUE version) = [] { THROW 'sagabus:conflict:' + $d.id } };
"""
_CHANGE: Final = """
FOR $d IN encoding::json::decode($changed) {
  IF (UPDATE type::record('workflow_instances', $d.id) CONTENT $d.row
      WHERE version = $d.was RETURN VALUE version) = [] { THROW 'sagabus:conflict:' + $d.id } };
"""
# What is sent is new; what is answered is there already: each takes its shorter way.
_SENT: Final = """
INSERT INTO task_execution encoding::json::decode($sent) ON DUPLICATE KEY UPDATE
  status = $input.status, open_slot = $input.open_slot, state = $input.state RETURN NONE;
"""
_ANSWERED: Final = """
FOR $d IN encoding::json::decode($answered) {
  IF (UPDATE type::record('task_execution', $d.id) CONTENT $d.row RETURN VALUE true) = []
  { CREATE type::record('task_execution', $d.id) CONTENT $d.row RETURN NONE } };
"""
_HISTORY: Final = "INSERT INTO history_event encoding::json::decode($history) RETURN NONE;"
_ITEMS: Final = "INSERT INTO stage_items encoding::json::decode($items) RETURN NONE;"


class Written(NamedTuple):
    """What is stored of an instance, as far as its next change has to know."""

    #: Of the newest state, and of the one in the instance's own row.
    version: int
    row_version: int
    status: InstanceStatus
    wake_at: datetime | None
    has_slot: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """Statements, to be run as one transaction, with their parameters; and what they leave."""

    statements: str
    parameters: dict[str, Any]
    #: By instance.
    written: dict[str, Written]


@dataclass(slots=True)
class _Rows:
    """The rows of one batch, by how they are stored."""

    transitions: TransitionRows
    created: list[dict[str, Any]] = field(default_factory=list)
    first: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    answered: list[dict[str, Any]] = field(default_factory=list)


def slot(partition: int, instance_id: str) -> int:
    """Where an instance and its open attempts stand in the reload of their partition."""
    return partition * SLOTS + zlib.crc32(instance_id.encode())


def commit_statement(batch: Batch, written: Mapping[str, Written]) -> Commit:
    """How to store ``batch``; ``written``: what this owner of the partition wrote before.

    Raises:
        InvariantError: a value of the batch has no JSON form, or an attempt no instance.
    """
    rows = _Rows(TransitionRows(batch))
    _add_attempts(rows, batch.partition)
    now = _add_instances(rows, batch, written)
    items = [
        {"id": (instance_id, run), "items": dump_items(found, instance_id)}
        for instance_id, run, found in batch.items
    ]
    parameters: dict[str, Any] = {
        "last_history": _json([(entry.instance, entry.version) for entry in batch.history])
    }
    fence = _FENCE.format(
        partition=batch.partition,
        number=batch.number,
        published=batch.published,
        epoch=batch.epoch,
        before=batch.number - 1,
    )
    # What a batch lacks is left out of the statement too: a lone commit is felt by who waits.
    parts = [fence]
    for name, part, some in (
        ("created", _CREATE, rows.created),
        ("first", _CHANGE_FIRST, rows.first),
        ("changed", _CHANGE, rows.changed),
        ("sent", _SENT, rows.sent),
        ("answered", _ANSWERED, rows.answered),
        ("history", _HISTORY, list(rows.transitions.rows.values())),
        ("items", _ITEMS, items),
    ):
        if some:
            parts.append(part)
            parameters[name] = _json(some)
    return Commit("".join(parts), parameters, now)


def _json(rows: list[Any]) -> str:
    return orjson.dumps(rows).decode()


def _add_instances(rows: _Rows, batch: Batch, written: Mapping[str, Written]) -> dict[str, Written]:
    now: dict[str, Written] = {}
    for each in batch.instances:
        rows.transitions.chain(each)
        state = dump_instance(each)
        version = each.version
        has_slot = not each.status.is_terminal or each.open_attempts > 0
        was = now.get(each.id) or written.get(each.id)
        row_version = version
        if version == 1:
            row = _instance_row(batch.partition, each, state, has_slot)
            rows.created.append({"id": each.id, **row})
        elif was is None:
            row = _instance_row(batch.partition, each, state, has_slot)
            rows.first.append({"id": each.id, "was": version - 1, "row": row})
        elif (
            version == was.version + 1
            and version - was.row_version <= MAX_FOLLOWING
            and (each.status, each.wake_at, has_slot) == (was.status, was.wake_at, was.has_slot)
            and len(state) <= _MAX_FOLLOWING_CHARS
        ):
            rows.transitions.add_state(each, state)
            row_version = was.row_version
        else:
            row = _instance_row(batch.partition, each, state, has_slot)
            # No row has version 0: what does not follow the newest state is a conflict.
            expected = was.row_version if version == was.version + 1 else 0
            rows.changed.append({"id": each.id, "was": expected, "row": row})
        now[each.id] = Written(version, row_version, each.status, each.wake_at, has_slot)
    return now


def _instance_row(partition: int, instance: Instance, state: str, has_slot: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "template_name": instance.workflow,
        "status": instance.status,
        "version": instance.version,
        "created_at": instance.created_at,
        "updated_at": instance.updated_at,
        "state": state,
    }
    # Absent, not null: the columns are options.
    if instance.wake_at is not None:
        row["wake_at"] = instance.wake_at
    if has_slot:
        row["open_slot"] = slot(partition, instance.id)
    return row


def _add_attempts(rows: _Rows, partition: int) -> None:
    for key, (attempt, state) in rows.transitions.apart.items():
        row: dict[str, Any] = {"status": attempt.status, "state": state}
        if attempt.is_open:
            row["open_slot"] = slot(partition, key[0])
        if attempt.status is TaskStatus.DISPATCHED:
            rows.sent.append({"id": key, **row})
        else:
            rows.answered.append({"id": key, "row": row})
