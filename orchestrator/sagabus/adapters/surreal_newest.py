"""The newest states of instances: those of their rows, or those that follow in their history.

See ``surreal_rows``: a change that concerns no column leaves the instance's row as it is.
"""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from sagabus.adapters.surreal_connection import SurrealConnection
from sagabus.adapters.surreal_rows import MAX_FOLLOWING

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
