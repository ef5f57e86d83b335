"""How much an inbox message brings along: what it refers to is read with its whole batch."""

import orjson


def referred_bytes(data: bytes) -> int:
    """Size of the object that a message refers to, as the message says; of most, 0."""
    if b'"payload"' not in data:
        return 0
    try:
        return int(orjson.loads(data)["payload"]["size"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0  # the word stands elsewhere in it, or it cannot be read at all
