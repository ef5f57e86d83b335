"""The store in memory: the same promises as on disk, for tests and rehearsals.

Rows are kept as the same JSON text that the database keeps, so nothing is shared with a caller, and
what has no JSON form is refused here as there.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from sagabus.adapters.audit_entry import instances_deleted
from sagabus.adapters.memory_resources import MemoryResources
from sagabus.adapters.memory_trail import MemoryTrail
from sagabus.adapters.page_cursor import dump_cursor, load_cursor
from sagabus.adapters.store_codec import (
    dump_attempt,
    dump_document,
    dump_instance,
    dump_items,
    load_attempt,
    load_document,
    load_events,
    load_instance,
    load_items,
)
from sagabus.adapters.store_errors import partition_lost, version_conflict
from sagabus.adapters.transition_rows import TransitionRows
from sagabus.core.instance import Attempt, Instance, InstanceState, InstanceStatus, child_id
from sagabus.core.intents import Intent, oldest_untold
from sagabus.errors import StoreUnavailableError
from sagabus.ports import ActiveInstances, Batch, EndedRow, HistoryEntry, Mark, Page, PartitionClaim


@dataclass(slots=True)
class _Partition:
    epoch: int = 0
    batch: int = 0
    published: int = 0
    last_history: list[tuple[str, int]] = field(default_factory=list)
    restored_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    partition: int
    workflow: str
    status: InstanceStatus
    version: int
    created_at: datetime
    #: Nothing more is awaited.
    is_ended: bool
    text: str


class MemoryStore:
    """A ``ports.Store`` that ends with the process."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._instances: dict[str, _Row] = {}
        self._attempts: dict[str, dict[tuple[str, int], str]] = {}
        #: By partition, then instance: keys of attempts that ask for something.
        self._open: dict[int, dict[str, set[tuple[str, int]]]] = {}
        #: Rows of transitions by instance and version, as ``TransitionRows`` makes them.
        self._transitions: dict[str, dict[int, dict[str, Any]]] = {}
        self._items: dict[str, dict[str, str]] = {}
        self._definitions: dict[str, str] = {}
        self.resources = MemoryResources()
        self.trail = MemoryTrail(self._instances, self._transitions, self._attempts)
        self._is_closed = False

    async def read_mark(self, partition: int) -> Mark:
        """How far the partition is stored."""
        self._check_open()
        row = self._partitions.get(partition, _Partition())
        return Mark(row.epoch, row.batch)

    async def take_partition(
        self, partition: int, above: int = 0, restored_at: datetime | None = None
    ) -> PartitionClaim:
        """Raise the partition's epoch and read it."""
        self._check_open()
        row = self._partitions.setdefault(partition, _Partition())
        row.epoch = max(row.epoch, above) + 1
        row.restored_at = restored_at or row.restored_at
        last = [self._entry(instance_id, version) for instance_id, version in row.last_history]
        return PartitionClaim(row.epoch, row.batch, row.published, last, row.restored_at)

    async def commit(self, batch: Batch) -> None:
        """Store a batch, all or nothing."""
        self._check_open()
        transitions = TransitionRows(batch)
        instances = self._next_rows(batch, transitions)
        attempts = [(key[0], *found) for key, found in transitions.apart.items()]
        attempts += [
            (instance_id, attempt, dump_attempt(attempt, instance_id))
            for instance_id, ended in transitions.ended.items()
            for attempt in ended
        ]
        items = [(each, run, dump_items(items, each)) for each, run, items in batch.items]
        resources = self.resources.applied(batch.resources)
        row = self._partitions.get(batch.partition)
        if row is None or (row.epoch, row.batch) != (batch.epoch, batch.number - 1):
            raise partition_lost(batch.partition)
        self._check_versions(batch)
        # Nothing below can fail.
        row.batch = batch.number
        row.published = batch.published
        row.last_history = [(entry.instance, entry.version) for entry in batch.history]
        self._instances.update(instances)
        for instance_id, attempt, text in attempts:
            self._put_attempt(batch.partition, instance_id, attempt, text)
        for (instance_id, version), transition in transitions.rows.items():
            self._transitions.setdefault(instance_id, {})[version] = transition
        for instance_id, run, text in items:
            self._items.setdefault(instance_id, {})[run] = text
        self.resources.put(*resources)

    async def is_committed(self, partition: int, epoch: int, number: int) -> bool:
        """Whether batch ``number`` under ``epoch`` took effect."""
        self._check_open()
        row = self._partitions.get(partition)
        if row is None or row.epoch != epoch or row.batch not in {number, number - 1}:
            raise partition_lost(partition)
        return row.batch == number

    async def load_active(self, partition: int) -> ActiveInstances:
        """Everything unfinished of a partition."""
        self._check_open()
        found = ActiveInstances()
        tries = self._open.get(partition, {})
        for instance_id, row in self._instances.items():
            if row.partition != partition:
                continue
            if not row.is_ended or tries.get(instance_id):
                found.instances.append(load_instance(row.text))
        for instance_id, keys in tries.items():
            texts = self._attempts[instance_id]
            found.open_attempts.extend((instance_id, load_attempt(texts[key])) for key in keys)
        return found

    async def load_instance(self, instance_id: str) -> InstanceState | None:
        """One instance with all its attempts."""
        self._check_open()
        row = self._instances.get(instance_id)
        if row is None:
            return None
        return InstanceState.of(
            load_instance(row.text),
            await self.load_attempts(instance_id),
            await self.load_items(instance_id),
        )

    async def load_row(self, instance_id: str) -> Instance | None:
        """One instance without its attempts."""
        self._check_open()
        row = self._instances.get(instance_id)
        return None if row is None else load_instance(row.text)

    async def load_attempts(self, instance_id: str) -> list[Attempt]:
        """Every attempt of an instance, by task, then by number."""
        self._check_open()
        texts = self._attempts.get(instance_id, {})
        return [load_attempt(texts[key]) for key in sorted(texts)]

    async def load_items(self, instance_id: str) -> dict[str, list[Any]]:
        """The lists that runs of an instance have one task per element of, by run key."""
        self._check_open()
        return {run: load_items(text) for run, text in self._items.get(instance_id, {}).items()}

    async def history(self, instance_id: str, after: int = 0) -> list[HistoryEntry]:
        """The history of an instance beyond version ``after``, oldest first."""
        self._check_open()
        rows = sorted(self._transitions.get(instance_id, {}).items())
        return [
            self._entry(instance_id, version)
            for version, row in rows
            if version > after and row["events"] != "[]"
        ]

    async def list_instances(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Instances, newest first."""
        self._check_open()
        after = load_cursor(cursor) if cursor is not None else None
        keys = [
            (row.created_at, instance_id)
            for instance_id, row in self._instances.items()
            if (workflow is None or row.workflow == workflow)
            and (status is None or row.status == status)
            and (after is None or (row.created_at, instance_id) < after)
        ]
        keys.sort(reverse=True)
        found = [load_instance(self._instances[key].text) for _, key in keys[:limit]]
        last = found[-1] if len(keys) > limit else None
        return Page(found, dump_cursor(last.created_at, last.id) if last else None)

    async def intents(self) -> list[Intent]:
        """The final effects of all instances that were begun and are not told, oldest first."""
        self._check_open()
        return oldest_untold(
            Intent(instance_id, self._instances[instance_id].workflow, load_attempt(text))
            for instance_id, texts in self._attempts.items()
            for text in texts.values()
        )

    async def count_by_status(self) -> dict[str, int]:
        """Number of instances per status, 0 where there are none."""
        self._check_open()
        counts = {status.value: 0 for status in InstanceStatus}
        for row in self._instances.values():
            counts[row.status.value] += 1
        return counts

    async def save_definition(self, digest: str, name: str, document: Mapping[str, Any]) -> None:
        """Keep a definition snapshot."""
        self._check_open()
        self._definitions.setdefault(digest, dump_document(document))

    async def load_definition(self, digest: str) -> Mapping[str, Any] | None:
        """A snapshot by digest."""
        self._check_open()
        text = self._definitions.get(digest)
        return load_document(text) if text is not None else None

    async def expired(self, before: datetime, limit: int) -> AsyncIterator[list[EndedRow]]:
        """Ended roots that await nothing and did not change since ``before``."""
        self._check_open()
        rows = [self._ended(instance_id) for instance_id in self._instances]
        found = [
            row
            for row in rows
            if row.is_over and row.changed_at < before and row.root not in self._instances
        ]
        for at in range(0, len(found), limit):
            yield found[at : at + limit]

    async def children(self, instance_ids: Sequence[str]) -> list[tuple[str, EndedRow]]:
        """The instances that carried out attempts of these, each with the id of its parent."""
        ids = [
            (parent, child_id(parent, attempt.task, attempt.attempt))
            for parent in instance_ids
            for attempt in await self.load_attempts(parent)
            if attempt.is_child
        ]
        return [(parent, self._ended(each)) for parent, each in ids if each in self._instances]

    async def delete_instances(self, trees: Sequence[Sequence[EndedRow]]) -> int:
        """Delete each tree of which no row has changed."""
        self._check_open()
        deleted: list[str] = []
        for tree in trees:
            if any(row.id not in self._instances or self._ended(row.id) != row for row in tree):
                continue
            for row in tree:
                for rows in (self._instances, self._attempts, self._transitions, self._items):
                    rows.pop(row.id, None)
                for tries in self._open.values():
                    tries.pop(row.id, None)
            deleted += [row.id for row in tree]
        if deleted:
            before, after = instances_deleted()
            self.trail.entries_here.add(f"{before}{orjson.dumps(deleted).decode()}{after}")
        return len(deleted)

    async def ping(self) -> None:
        """Nothing to reach."""
        self._check_open()

    async def close(self) -> None:
        """Forget everything."""
        self._is_closed = True

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailableError("the store was closed")

    def _next_rows(self, batch: Batch, transitions: TransitionRows) -> dict[str, _Row]:
        rows: dict[str, _Row] = {}
        for each in batch.instances:
            transitions.chain(each)
            rows[each.id] = _Row(
                batch.partition,
                each.workflow,
                each.status,
                each.version,
                each.created_at,
                each.status.is_terminal and each.open_attempts == 0,
                dump_instance(each),
            )
        return rows

    def _ended(self, instance_id: str) -> EndedRow:
        stored = self._instances[instance_id]
        row = load_instance(stored.text)
        root = row.root or (row.parent.instance if row.parent else None)
        return EndedRow(row.id, row.version, row.updated_at, stored.is_ended, root)

    def _check_versions(self, batch: Batch) -> None:
        versions: dict[str, int] = {}
        for each in batch.instances:
            row = self._instances.get(each.id)
            held = versions.get(each.id, row.version if row is not None else 0)
            if held != each.version - 1:
                raise version_conflict(each.id)
            versions[each.id] = each.version

    def _put_attempt(self, partition: int, instance_id: str, attempt: Attempt, text: str) -> None:
        key = (attempt.task, attempt.attempt)
        self._attempts.setdefault(instance_id, {})[key] = text
        open_keys = self._open.setdefault(partition, {}).setdefault(instance_id, set())
        if attempt.is_open:
            open_keys.add(key)
        else:
            open_keys.discard(key)

    def _entry(self, instance_id: str, version: int) -> HistoryEntry:
        row = self._transitions[instance_id][version]
        return HistoryEntry(instance_id, version, row["workflow"], load_events(row["events"]))
