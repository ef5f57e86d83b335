"""Reads everything unfinished of a partition, in slices: a million rows are too much at once."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Final

import orjson

from sagabus.adapters.store_codec import CorruptRowError, load_attempt, load_instance
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_newest import newest_states
from sagabus.adapters.surreal_rows import SLOTS
from sagabus.core.instance import Attempt, Instance
from sagabus.ports import ActiveInstances

#: Rows of a slice: some MB, well below what a websocket carries, decoded in a few ten ms.
_SLICE_ROWS: Final = 1000
#: The engine reads the next slice while this thread decodes one.
_READERS: Final = 2

# Bounds stand in the text: with parameters the engine counts by reading every row.
_COUNT: Final = """
SELECT count() FROM workflow_instances WHERE open_slot >= {first} AND open_slot < {end} GROUP ALL;
SELECT count() FROM task_execution WHERE open_slot >= {first} AND open_slot < {end} GROUP ALL;
"""
_SLICE: Final = """
SELECT VALUE [record::id(id), version, state] FROM workflow_instances
  WHERE open_slot >= {first} AND open_slot < {end};
SELECT VALUE [record::id(id)[0], state] FROM task_execution
  WHERE open_slot >= {first} AND open_slot < {end};
"""
_BY_ID: Final = """
SELECT VALUE [record::id(id), version, state]
  FROM encoding::json::decode($ids).map(|$id| type::record('workflow_instances', $id));
"""


async def load_active(connection: SurrealConnection, partition: int) -> ActiveInstances:
    """Everything unfinished of ``partition``; rows that cannot be read are named, never fatal."""
    first, end = partition * SLOTS, (partition + 1) * SLOTS
    counts = await connection.run(_COUNT.format(first=first, end=end))
    rows = max(count[0]["count"] if count else 0 for count in counts)
    step = SLOTS // (rows // _SLICE_ROWS + 1) + 1
    slices = iter([(at, min(at + step, end)) for at in range(first, end, step)])
    found = ActiveInstances()
    with _no_collections():
        async with asyncio.TaskGroup() as readers:
            for _ in range(_READERS):
                readers.create_task(_read_slices(connection, slices, found))
    return found


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Rows hold no cycles; looking for them again and again in a growing heap doubles the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def _read_slices(
    connection: SurrealConnection, slices: Iterator[tuple[int, int]], found: ActiveInstances
) -> None:
    for first, end in slices:
        instances, attempts = await connection.run(_SLICE.format(first=first, end=end))
        # An ended instance has no slot; its open attempts lead to it.
        missing = {each for each, _ in attempts}.difference(each for each, *_ in instances)
        if missing:
            [ended] = await connection.run(_BY_ID, ids=orjson.dumps(sorted(missing)).decode())
            instances += ended
        _add_slice(found, await newest_states(connection, instances), attempts)


def _add_slice(
    found: ActiveInstances, instances: list[tuple[str, str]], attempts: list[tuple[str, str]]
) -> None:
    """An instance of which one row cannot be read is left out whole: it must not act by halves."""
    corrupt: dict[str, str] = {}
    rows: dict[str, Instance] = {}
    tries: list[tuple[str, Attempt]] = []
    for instance_id, text in instances:
        try:
            rows[instance_id] = load_instance(text)
        except CorruptRowError as error:
            corrupt[instance_id] = f"instance: {error}"
    for instance_id, text in attempts:
        try:
            tries.append((instance_id, load_attempt(text)))
        except CorruptRowError as error:
            corrupt.setdefault(instance_id, f"attempt: {error}")
    if corrupt:
        rows = {key: row for key, row in rows.items() if key not in corrupt}
        tries = [each for each in tries if each[0] not in corrupt]
    found.instances.extend(rows.values())
    found.open_attempts.extend(tries)
    found.corrupt.extend(corrupt.items())
