"""Durations as operators write them: a number of seconds, or text like ``"90s"`` or ``"30d"``."""

import re
from datetime import timedelta
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: Longer than any workflow, and short enough for every later sum of instants.
LONGEST = timedelta(days=3_650)
_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)")


def parse_duration(value: Any) -> timedelta:
    """Read a duration.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if match:
        seconds = float(match[1]) * UNITS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise _refused(f"{shown} is not a duration")
    if not 0 <= seconds <= LONGEST.total_seconds():  # False for nan, too
        raise _refused(f"{value!r} is not between 0 and {LONGEST.days} days")
    return timedelta(seconds=seconds)


def _refused(what: str) -> ValueError:
    return ValueError(f'{what}; write seconds, or text like "90s", "15m", "2h", "30d"')
