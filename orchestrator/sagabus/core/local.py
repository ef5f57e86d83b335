"""Tasks that need no agent: ``core.noop``, ``core.echo``, ``core.sleep``, and a person's answer."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sagabus.core.durations import LONGEST, parse_duration
from sagabus.core.instance import Attempt, Failure
from sagabus.core.transition import Transition

ECHO: Final = "core.echo"
SLEEP: Final = "core.sleep"


def take(t: Transition, attempt: Attempt) -> None:
    """Begin an attempt: to be ended when the event is applied, or by a timer."""
    failure: Failure | None = None
    if attempt.action == SLEEP:
        try:
            attempt.due_at = _wake_at(t.at, attempt.input)
        except ValueError as error:
            failure = Failure("bad_input", f"core.sleep: {error}", attempt.stage, attempt.task)
        else:
            return
    if attempt.action == ECHO:
        attempt.output = attempt.input
    t.local_left -= 1
    if t.local_left < 0:
        attempt.due_at = t.at
    else:
        t.local.append((attempt, failure))


def _wake_at(at: datetime, input_: Any) -> datetime:
    known = ("duration", "seconds", "until")
    table = input_ if isinstance(input_, Mapping) else {}
    given = {name: table[name] for name in known if name in table}
    if len(given) != 1:
        raise ValueError("write one of duration, seconds and until in its input")
    if "until" not in given:
        return at + parse_duration(next(iter(given.values())))
    try:
        until = datetime.fromisoformat(given["until"])
    except (TypeError, ValueError):
        raise ValueError(
            f"{given['until']!r} is not an instant like 2030-01-31T12:00:00Z"
        ) from None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    if until - at > LONGEST:
        raise ValueError(f"{given['until']} is more than {LONGEST.days} days away")
    return max(until, at)
