"""The store on SurrealDB: what it promises stands at ``ports.Store``.

The workflow columns are for queries and people; what the machine reads is the row's JSON text.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sagabus.adapters import surreal_retention
from sagabus.adapters.migrations import migrate
from sagabus.adapters.page_cursor import dump_cursor, load_cursor
from sagabus.adapters.store_codec import (
    CorruptRowError,
    dump_document,
    load_attempt,
    load_document,
    load_events,
    load_instance,
    load_items,
)
from sagabus.adapters.store_errors import partition_lost, version_conflict
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_newest import newest_attempts, newest_states, readable
from sagabus.adapters.surreal_reload import load_active
from sagabus.adapters.surreal_resources import SurrealResources, run_with_resources
from sagabus.adapters.surreal_response import StatementError
from sagabus.adapters.surreal_rows import CONFLICT, LOST, Written, commit_statement
from sagabus.adapters.surreal_trail import SurrealTrail
from sagabus.core.instance import Attempt, Instance, InstanceState, InstanceStatus
from sagabus.core.intents import Intent, oldest_untold
from sagabus.errors import StoreError
from sagabus.ports import (
    ActiveInstances,
    Batch,
    EndedRow,
    HistoryEntry,
    Mark,
    Page,
    PartitionClaim,
)

_TAKE: Final = """{
LET $p = (UPSERT ONLY type::record('partition', $partition) SET
  epoch = math::max([epoch ?? 0, $above]) + 1, batch = batch ?? 0, published = published ?? 0,
  last_history = last_history ?? [], restored_at = $restored_at ?? restored_at);
RETURN [$p.epoch, $p.batch, $p.published, (
  SELECT VALUE [record::id(id), workflow, events]
  FROM $p.last_history.map(|$key| type::record('history_event', $key))),
  IF $p.restored_at = NONE { NONE } ELSE { <string> $p.restored_at }];
};"""
_STANDING: Final = "SELECT VALUE [epoch, batch] FROM type::record('partition', $partition);"
# Blocks, so that all is of one moment.
_ATTEMPTS: Final = """{ RETURN [
  (SELECT VALUE state FROM task_execution:[$id, '']..[$id, []]),
  (SELECT VALUE attempts FROM history_event:[$id, 0]..[$id, []] WHERE attempts != NONE)
] };"""
# Version 0 marks what is being deleted (``surreal_retention``).
_INSTANCE: Final = """{ RETURN [
  (SELECT VALUE [version, state] FROM type::record('workflow_instances', $id) WHERE version > 0),
  (SELECT VALUE [record::id(id)[1], state] FROM history_event:[$id, 0]..[$id, []]
    WHERE state != NONE),
  (SELECT VALUE state FROM task_execution:[$id, '']..[$id, []]),
  (SELECT VALUE attempts FROM history_event:[$id, 0]..[$id, []] WHERE attempts != NONE)
] };"""
_ROW: Final = """
SELECT VALUE [record::id(id), version, state] FROM type::record('workflow_instances', $id)
  WHERE version > 0;
"""
_ITEMS: Final = "SELECT VALUE [record::id(id)[1], items] FROM stage_items:[$id, '']..[$id, []];"
_HISTORY: Final = """
SELECT VALUE [record::id(id), workflow, events] FROM history_event:[$id, $first]..[$id, []]
  WHERE events != '[]';
"""
_SNAPSHOT: Final = """
INSERT IGNORE INTO definition_snapshot { id: $digest, name: $name, source: $source } RETURN NONE;
"""
# Final effects that are under way are few, and stand in rows of their own.
_INTENTS: Final = """
SELECT VALUE [record::id(id)[0],
  type::record('workflow_instances', record::id(id)[0]).template_name, state]
  FROM task_execution WHERE open_slot >= 0 AND status IN ['running', 'unknown']
  AND string::contains(state, '"is_once":true');
"""
_COUNT: Final = "SELECT count() FROM workflow_instances WHERE status = '{status}' GROUP ALL;"
_PAGE: Final = """
SELECT VALUE [record::id(id), version, state, created_at]
  FROM (SELECT version, state, created_at, id FROM workflow_instances
  {where} ORDER BY created_at DESC, id DESC LIMIT $limit);
"""
_SAME_INSTANT: Final = "created_at = $created_at AND id < type::record('workflow_instances', $id)"


class SurrealStore:
    """A ``ports.Store``; use ``open``."""

    def __init__(self, connection: SurrealConnection) -> None:
        self._connection = connection
        self.resources = SurrealResources(connection)
        self.trail = SurrealTrail(connection)
        #: By partition and instance: what was written since the partition was taken here.
        self._written: dict[int, dict[str, Written]] = {}

    @property
    def connection(self) -> SurrealConnection:
        """The connection, which what stands beside the store shares: files have one opener."""
        return self._connection

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        namespace: str = "sagabus",
        database: str = "sagabus",
        migrations: Path,
        timeout_s: float = 10.0,
    ) -> "SurrealStore":
        """Connect to ``mem://``, ``surrealkv://PATH`` or ``ws://HOST:PORT/rpc``, and migrate.

        Raises:
            SettingsError: the address or a name cannot be used.
            StoreUnavailableError: nothing answers at the address.
            MigrationError: the files in ``migrations`` and the database do not agree.
            StoreError: the database refuses: wrong password, or its files are in use.
        """
        connection = await SurrealConnection.open(
            url,
            user=user,
            password=password,
            namespace=namespace,
            database=database,
            timeout_s=timeout_s,
        )
        try:
            await migrate(connection, migrations)
        except BaseException:
            await connection.close()
            raise
        return cls(connection)

    async def read_mark(self, partition: int) -> Mark:
        """How far the partition is stored."""
        [rows] = await self._connection.run(_STANDING, partition=partition)
        return Mark(*rows[0]) if rows else Mark(0, 0)

    async def take_partition(
        self, partition: int, above: int = 0, restored_at: datetime | None = None
    ) -> PartitionClaim:
        """Raise the partition's epoch and read it."""
        self._written[partition] = {}
        [[epoch, batch, published, history, restored]] = await self._connection.run(
            _TAKE,
            partition=partition,
            above=above,
            restored_at=None if restored_at is None else restored_at.isoformat(),
        )
        last = [_entry(*row) for row in history]
        at = None if restored is None else datetime.fromisoformat(restored)
        return PartitionClaim(epoch, batch, published, last, at)

    async def commit(self, batch: Batch) -> None:
        """Store a batch, all or nothing."""
        written = self._written.setdefault(batch.partition, {})
        commit = commit_statement(batch, written)
        for instance_id in commit.written:
            written.pop(instance_id, None)  # unknown until the commit is known to be stored
        try:
            await run_with_resources(
                self._connection, commit.statements, commit.parameters, batch.resources
            )
        except StatementError as error:
            raise _commit_error(batch, error) from error
        written.update((key, each) for key, each in commit.written.items() if each.has_slot)

    async def is_committed(self, partition: int, epoch: int, number: int) -> bool:
        """Whether batch ``number`` under ``epoch`` took effect."""
        [rows] = await self._connection.run(_STANDING, partition=partition)
        if rows not in ([[epoch, number]], [[epoch, number - 1]]):
            raise partition_lost(partition)
        return bool(rows[0][1] == number)

    async def load_active(self, partition: int) -> ActiveInstances:
        """Everything unfinished of a partition."""
        return await load_active(self._connection, partition)

    async def load_instance(self, instance_id: str) -> InstanceState | None:
        """One instance with all its attempts."""
        [[rows, following, *attempts]] = await self._connection.run(_INSTANCE, id=instance_id)
        if not rows:
            return None
        # The row's version may be the newest: what the history holds is older then.
        _, text = max([*following, *rows], key=lambda found: found[0])
        try:
            row = load_instance(text)
            has_items = any(run.items is not None for run in row.runs.values())
            items = await self.load_items(instance_id) if has_items else None
            return InstanceState.of(row, newest_attempts(*attempts), items)
        except CorruptRowError as error:
            raise _unreadable(instance_id, error) from error

    async def load_row(self, instance_id: str) -> Instance | None:
        """One instance without its attempts."""
        [rows] = await self._connection.run(_ROW, id=instance_id)
        for _, text in await newest_states(self._connection, rows):
            try:
                return load_instance(text)
            except CorruptRowError as error:
                raise _unreadable(instance_id, error) from error
        return None

    async def load_attempts(self, instance_id: str) -> list[Attempt]:
        """Every attempt of an instance, by task, then by number."""
        [attempts] = await self._connection.run(_ATTEMPTS, id=instance_id)
        try:
            return newest_attempts(*attempts)
        except CorruptRowError as error:
            raise _unreadable(instance_id, error) from error

    async def load_items(self, instance_id: str) -> dict[str, list[Any]]:
        """The lists that runs of an instance have one task per element of, by run key."""
        [rows] = await self._connection.run(_ITEMS, id=instance_id)
        try:
            return {run: load_items(text) for run, text in rows}
        except CorruptRowError as error:
            raise _unreadable(instance_id, error) from error

    async def history(self, instance_id: str, after: int = 0) -> list[HistoryEntry]:
        """The history of an instance beyond version ``after``, oldest first."""
        [rows] = await self._connection.run(_HISTORY, id=instance_id, first=after + 1)
        return [_entry(*row) for row in rows]

    async def list_instances(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Instances, newest first."""
        parameters: dict[str, Any] = {"limit": limit + 1}
        filters = []
        for column, value in (("template_name", workflow), ("status", status)):
            if value is not None:
                filters.append(f"{column} = ${column}")
                parameters[column] = value
        if cursor is None:
            [rows] = await self._connection.run(_page(filters), **parameters)
        else:
            created_at, instance_id = load_cursor(cursor)
            # Two closed questions: one OR would not use the index.
            [same_instant, older] = await self._connection.run(
                _page([*filters, _SAME_INSTANT]) + _page([*filters, "created_at < $created_at"]),
                created_at=created_at,
                id=instance_id,
                **parameters,
            )
            rows = same_instant + older
        page = rows[:limit]
        # Version 0: being deleted.
        there = [(key, version, state) for key, version, state, _ in page if version > 0]
        found = readable(await newest_states(self._connection, there))
        has_more = len(rows) > limit
        return Page(found, dump_cursor(page[-1][3], page[-1][0]) if has_more else None)

    async def intents(self) -> list[Intent]:
        """The final effects of all instances that were begun and are not told, oldest first."""
        [rows] = await self._connection.run(_INTENTS)
        found = []
        for instance_id, workflow, text in rows:
            with contextlib.suppress(CorruptRowError):  # the reload names it
                found.append(Intent(instance_id, workflow, load_attempt(text)))
        return oldest_untold(found)

    async def count_by_status(self) -> dict[str, int]:
        """Number of instances per status, 0 where there are none."""
        results = await self._connection.run(
            "".join(_COUNT.format(status=status.value) for status in InstanceStatus)
        )
        return {
            status.value: rows[0]["count"] if rows else 0
            for status, rows in zip(InstanceStatus, results, strict=True)
        }

    async def save_definition(self, digest: str, name: str, document: Mapping[str, Any]) -> None:
        """Keep a definition snapshot."""
        await self._connection.run(
            _SNAPSHOT, digest=digest, name=name, source=dump_document(document)
        )

    async def load_definition(self, digest: str) -> Mapping[str, Any] | None:
        """A snapshot by digest."""
        [rows] = await self._connection.run(
            "SELECT VALUE source FROM type::record('definition_snapshot', $digest)", digest=digest
        )
        return load_document(rows[0]) if rows else None

    def expired(self, before: datetime, limit: int) -> AsyncIterator[list[EndedRow]]:
        """Ended roots that await nothing and did not change since ``before``."""
        return surreal_retention.expired(self._connection, before, limit)

    async def children(self, instance_ids: Sequence[str]) -> list[tuple[str, EndedRow]]:
        """The instances that carried out attempts of these, each with the id of its parent."""
        return await surreal_retention.children(self._connection, instance_ids)

    async def delete_instances(self, trees: Sequence[Sequence[EndedRow]]) -> int:
        """Delete each tree of which no row has changed."""
        return await surreal_retention.delete_instances(self._connection, trees)

    async def ping(self) -> None:
        """A cheap round trip."""
        await self._connection.run("RETURN true")

    async def close(self) -> None:
        """Release the database."""
        await self._connection.close()


def _page(conditions: list[str]) -> str:
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return _PAGE.format(where=where)


def _entry(key: tuple[str, int], workflow: str, events: str) -> HistoryEntry:
    instance_id, version = key
    try:
        return HistoryEntry(instance_id, version, workflow, load_events(events))
    except CorruptRowError as error:
        raise _unreadable(instance_id, error) from error


def _unreadable(instance_id: str, error: CorruptRowError) -> StoreError:
    return StoreError(f"what is stored of instance {instance_id} cannot be read: {error}")


def _commit_error(batch: Batch, error: StatementError) -> StoreError:
    message = str(error)
    if LOST in message:
        return partition_lost(batch.partition)
    if CONFLICT in message:
        return version_conflict(message.partition(CONFLICT)[2])
    table, _, key = error.record.partition(":")
    if error.kind == "AlreadyExists" and table == "workflow_instances":
        return version_conflict(key.strip("`⟨⟩"))
    return error
