"""A batch as the one JSON text that the database takes, and the SurrealQL that stores it.

One text parameter, decoded by the engine: the driver's own encoder costs a multiple of it. The
rows' free content is text within that text (``store_codec``), which halves the engine's work.
"""

import zlib
from typing import Any, Final

import orjson

from sagabus.adapters.store_codec import dump_attempt, dump_events, dump_instance, dump_items
from sagabus.core.instance import Instance, TaskStatus
from sagabus.ports import Batch

#: What the statement throws.
LOST: Final = "sagabus:lost"
CONFLICT: Final = "sagabus:conflict:"

#: Slots of one partition: a reload reads a partition in slices of them.
SLOTS: Final = 1 << 32

_FENCE: Final = """
LET $b = encoding::json::decode($batch);
IF (UPDATE type::record('partition', $b.partition)
    SET batch = $b.number, published = $b.published, last_history = $b.last_history
    WHERE epoch = $b.epoch AND batch = $b.number - 1 RETURN VALUE batch) = []
  { THROW 'sagabus:lost' };
"""
_CREATE: Final = "INSERT INTO workflow_instances $b.created RETURN NONE;"
_CHANGE: Final = """
FOR $d IN $b.changed {
  IF (UPDATE type::record('workflow_instances', $d.id) CONTENT $d.row
      WHERE version = $d.version RETURN VALUE version) = [] { THROW 'sagabus:conflict:' + $d.id } };
"""
# What is sent, or stood in its instance's row so far, is new; the rest is there already: each takes
# its shorter way.
_SENT: Final = """
INSERT INTO task_execution $b.sent ON DUPLICATE KEY UPDATE
  status = $input.status, open_slot = $input.open_slot, state = $input.state RETURN NONE;
"""
_ANSWERED: Final = """
FOR $d IN $b.answered {
  IF (UPDATE type::record('task_execution', $d.id) CONTENT $d.row RETURN VALUE true) = []
  { CREATE type::record('task_execution', $d.id) CONTENT $d.row RETURN NONE } };
"""
_HISTORY: Final = "INSERT INTO history_event $b.history RETURN NONE;"
_ITEMS: Final = "INSERT INTO stage_items $b.items RETURN NONE;"


def slot(partition: int, instance_id: str) -> int:
    """Where an instance and its open attempts stand in the reload of their partition."""
    return partition * SLOTS + zlib.crc32(instance_id.encode())


def commit_statement(batch: Batch) -> tuple[str, str]:
    """The statement for ``batch``, a block and so one transaction, and its parameter ``$batch``.

    Raises:
        InvariantError: a value of the batch has no JSON form.
    """
    document: dict[str, Any] = {
        "partition": batch.partition,
        "epoch": batch.epoch,
        "number": batch.number,
        "published": batch.published,
        "last_history": [(entry.instance, entry.version) for entry in batch.history],
    }
    # What a batch lacks is left out of the statement too: a lone commit is felt by who waits.
    parts = [_FENCE]
    created = [each for each in batch.instances if each.version == 1]
    if created:
        parts.append(_CREATE)
        document["created"] = [
            {"id": each.id, **_instance_row(batch.partition, each)} for each in created
        ]
    if len(created) < len(batch.instances):
        parts.append(_CHANGE)
        document["changed"] = [
            {
                "id": each.id,
                "version": each.version - 1,
                "row": _instance_row(batch.partition, each),
            }
            for each in batch.instances
            if each.version != 1
        ]
    sent, answered = _attempt_rows(batch)
    if sent:
        parts.append(_SENT)
        document["sent"] = sent
    if answered:
        parts.append(_ANSWERED)
        document["answered"] = answered
    if batch.history:
        parts.append(_HISTORY)
        document["history"] = [
            {
                "id": (entry.instance, entry.version),
                "workflow": entry.workflow,
                "events": dump_events(entry.events, entry.instance),
            }
            for entry in batch.history
        ]
    if batch.items:
        parts.append(_ITEMS)
        document["items"] = [
            {"id": (instance_id, run), "items": dump_items(items, instance_id)}
            for instance_id, run, items in batch.items
        ]
    return f"{{{''.join(parts)}}};", orjson.dumps(document).decode()


def _instance_row(partition: int, instance: Instance) -> dict[str, Any]:
    row: dict[str, Any] = {
        "template_name": instance.workflow,
        "status": instance.status,
        "version": instance.version,
        "created_at": instance.created_at,
        "updated_at": instance.updated_at,
        "state": dump_instance(instance),
    }
    # Absent, not null: the columns are options.
    if instance.wake_at is not None:
        row["wake_at"] = instance.wake_at
    if not instance.status.is_terminal or instance.open_attempts:
        row["open_slot"] = slot(partition, instance.id)
    return row


def _attempt_rows(batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    # Of several states of one attempt only the last counts.
    latest = {
        (instance_id, attempt.task, attempt.attempt): attempt
        for instance_id, attempt in batch.attempts
    }
    sent, answered = [], []
    for key, attempt in latest.items():
        row: dict[str, Any] = {"status": attempt.status, "state": dump_attempt(attempt, key[0])}
        if attempt.is_open:
            row["open_slot"] = slot(batch.partition, key[0])
        if attempt.status is TaskStatus.DISPATCHED or attempt.is_inline:
            sent.append({"id": key, **row})
        else:
            answered.append({"id": key, "row": row})
    return sent, answered
