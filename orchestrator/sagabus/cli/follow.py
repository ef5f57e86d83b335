"""Following an instance to its end, also over a restart of the orchestrator."""

import json
import shlex
import time
from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from sagabus.cli.client import Api, instance_path
from sagabus.cli.output import clean, clock, duration, say, status
from sagabus.core.instance import TERMINAL
from sagabus.errors import ApiError

#: How long an orchestrator may be away while it is followed.
_OUTAGE_S: Final = 60.0
_RETRY_S: Final = 0.5
_POLL_S: Final = 30.0
_AWAY: Final = frozenset({"unreachable", "store_unavailable", "bus_unavailable"})
#: Parts of an entry that are shown in this order; the rest stays for ``--json``.
_SHOWN: Final = (
    *("stage", "task", "role", "agent", "by", "cause", "outcome", "reason", "prompt", "next"),
    *("status", "message"),
)


class _Patience:
    """Bears an orchestrator that is away, for a while."""

    def __init__(self) -> None:
        self._away_since: float | None = None

    def bear(self, error: ApiError) -> None:
        """Wait a little, or raise ``error`` when it has been too long."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        if error.code not in _AWAY or now - self._away_since > _OUTAGE_S:
            raise error
        time.sleep(_RETRY_S)

    def forget(self) -> None:
        """It is there again."""
        self._away_since = None


def until_ended(api: Api, instance_id: str) -> dict[str, Any]:
    """The instance when it has ended; says on standard error when it waits for a person."""
    patience, asked = _Patience(), set[str]()
    while True:
        try:
            # The first look is short: an approval should be asked for soon.
            wait_s = _POLL_S if asked else 1.0
            instance = api.get(instance_path(instance_id), wait_s=wait_s, wait=wait_s)
        except ApiError as error:
            patience.bear(error)
            continue
        patience.forget()
        if instance["status"] in TERMINAL:
            return dict(instance)
        for stage in instance["stages"]:
            if stage["status"] == "waiting" and stage["stage"] not in asked:
                asked.add(stage["stage"])
                say(what_waits(instance_id, stage), is_error=True)


def entries(api: Api, instance_id: str) -> Iterator[dict[str, Any]]:
    """Its history from the first entry to the last, as it is stored."""
    patience, last = _Patience(), 0
    while True:
        try:
            for entry in api.events(instance_id, last):
                last = entry["seq"]
                patience.forget()
                yield entry
        except ApiError as error:
            patience.bear(error)
        else:
            return


def exit_code(instance: dict[str, Any]) -> int:
    """0 completed, 3 with failures that were handled or left something, 1 any other end."""
    if instance["status"] != "completed":
        return 1
    is_partial = instance["rollback"] == "partial"
    return 3 if instance["handled_failures"] or is_partial else 0


def say_end(instance: dict[str, Any]) -> None:
    """One line: how it ended, or how it stands."""
    line = Text(f"{instance['workflow']} {instance['id']} ")
    line.append_text(status(instance["status"], instance["summary"]))
    if instance["duration_s"] is not None:
        line.append(f" in {duration(instance['duration_s'])}")
    if instance["error_message"]:
        line.append(clean(f": {instance['error_message']}"))
    say(line)


def line_of(entry: dict[str, Any]) -> str:
    """One entry of the history for people."""
    data = entry["data"]
    parts = [_part(name, data[name]) for name in _SHOWN if data.get(name)]
    if (data.get("attempt") or 1) > 1:
        parts.append(f"attempt={data['attempt']}")
    if "duration_s" in data:
        parts.append(duration(data["duration_s"]))
    error = data.get("error")
    if isinstance(error, dict):
        parts.append(f"{error.get('type')}: {error.get('message')}")
    return f"{clock(entry['at'])}  {entry['type']:<23} {'  '.join(parts)}".rstrip()


def _part(name: str, value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return f"{name}={value}"


def what_waits(instance: str, stage: dict[str, Any]) -> str:
    """What a waiting stage asks, and how it is answered."""
    name, gate = stage["stage"], stage["approval"]
    question = f" ({gate['prompt']})" if gate["prompt"] else ""
    if gate["is_question"]:
        example = gate["example"]
        data = "JSON" if example is None else shlex.quote(json.dumps(example, ensure_ascii=False))
        how = f"sagabus answer {instance} {name} --data {data}"
        return f"stage {name} asks{question}: {how}"
    return f"stage {name} waits for approval{question}: sagabus approve {instance} {name}"
