"""Why something happened, as the audit trail tells it."""

from typing import Any

import orjson
import pytest

from sagabus.core.chain import TrailRow
from sagabus.views.audit import trail_of


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"reason": "wrong amount"}, "wrong amount"),
        ({"error": {"type": "unhealthy", "message": "503"}}, "unhealthy: 503"),
        ({"cause": "intent_unknown", "message": "nobody knows"}, "nobody knows"),
        ({"policies": ["ops", "night"]}, "policies ops, night"),
        ({"stage": "build"}, ""),
    ],
)
def test_every_event_says_why(data: dict[str, Any], why: str) -> None:
    event = {"seq": 1, "type": "Happened", "at": "2026-01-01T00:00:00Z", "data": data}
    row = TrailRow("i1", 1, "flow", orjson.dumps([event]).decode())
    [told] = trail_of([row])
    assert told.reason == why
