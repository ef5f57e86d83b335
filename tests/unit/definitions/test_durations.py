"""Durations, as operators write them."""

from datetime import timedelta
from typing import Any

import pytest

from sagabus.core.durations import parse_duration
from sagabus.definitions.durations import seconds_of


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(0, 0), (90, 90), (0.25, 0.25), ("90s", 90), ("15m", 900), ("2h", 7_200), ("1.5h", 5_400)],
)
def test_a_duration_is_seconds_or_text_with_a_unit(written: Any, seconds: float):
    assert parse_duration(written) == timedelta(seconds=seconds)
    assert parse_duration(seconds_of(parse_duration(written))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "90",
        "s",
        "-1s",
        "1 h",
        "1w",
        "1h30m",
        "٣s",
        -1,
        float("nan"),
        float("inf"),
        10**400,
        "9" * 400 + "d",
        True,
        None,
        [],
        {},
    ],
)
def test_anything_else_is_refused_with_what_to_write(written: Any):
    with pytest.raises(ValueError, match=r'write seconds, or text like "90s"'):
        parse_duration(written)
