"""The newest states of instances and attempts: of their rows, or of what follows in the history.

See ``surreal_rows``: a change that concerns no column leaves the instance's row as it is.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import orjson

from sagabus.adapters.store_codec import (
    CorruptRowError,
    load_attempt,
    load_attempts,
    load_instance,
)
from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_rows import MAX_FOLLOWING
from sagabus.core.instance import Attempt, Instance

# One record by its id costs a fifth of a range of ids.
_FOLLOWING: Final = """
SELECT VALUE [record::id(id)[0], state]
  FROM encoding::json::decode($keys).map(|$key| type::record('history_event', $key))
  WHERE state != NONE;
"""


async def newest_states(
    connection: SurrealConnection, rows: Iterable[tuple[str, int, str]]
) -> list[tuple[str, str]]:
    """Newest state of each instance, in the order of ``rows`` of id, version and state."""
    states: dict[str, str] = {}
    next_keys: list[tuple[str, int]] = []
    for instance_id, version, state in rows:
        states[instance_id] = state
        next_keys.append((instance_id, version + 1))
    for _ in range(MAX_FOLLOWING):
        if not next_keys:
            break
        [found] = await connection.run(_FOLLOWING, keys=orjson.dumps(next_keys).decode())
        following: dict[str, Any] = dict(found)
        states |= following
        next_keys = [(key, version + 1) for key, version in next_keys if key in following]
    return list(states.items())


def newest_attempts(rows: list[str], ended: list[str]) -> list[Attempt]:
    """Attempts with rows of their own, and those in the rows of transitions, oldest first."""
    attempts = [load_attempt(text) for text in rows]
    for text in ended:
        attempts += load_attempts(text)
    by_key = {(each.task, each.attempt): each for each in attempts}
    return [attempt for _, attempt in sorted(by_key.items())]


def readable(rows: list[tuple[str, str]]) -> list[Instance]:
    """One corrupt row must not hide all others; the reload names it."""
    found = []
    for _, text in rows:
        with suppress(CorruptRowError):
            found.append(load_instance(text))
    return found
