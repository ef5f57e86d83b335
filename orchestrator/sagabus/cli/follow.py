"""Following an instance to its end, also over a restart of the orchestrator."""

import math
import time
from collections.abc import Iterator
from typing import Any, Final

import typer
from rich.text import Text

from sagabus.cli.client import Api, instance_path
from sagabus.cli.output import clean, clock, duration, say, status
from sagabus.core.instance import TERMINAL
from sagabus.errors import ApiError
from sagabus.views.shared import with_stage

#: How long an orchestrator may be away while it is followed.
_OUTAGE_S: Final = 60.0
_RETRY_S: Final = 0.5
#: An instance that has not moved for so long is asked why; then ever more rarely.
_QUIET_S: Final = 2.0
_POLL_S: Final = 30.0
_FIRST_S: Final = 0.5
_AWAY: Final = frozenset({"unreachable", "store_unavailable", "bus_unavailable"})
_ASKING: Final = frozenset({"approval", "question"})
#: Exit code where the instance has not ended in the time that it was given.
TIMED_OUT: Final = 4
#: Parts of an entry that are shown in this order; the rest stays for ``--json``.
_SHOWN: Final = (
    *("stage", "task", "role", "agent", "by", "missing", "cause", "outcome", "reason", "prompt"),
    *("variables", "is_handled", "next", "status", "message"),
)


class Follower:
    """Follows one instance; bears an orchestrator that is away, for a while.

    Where the instance does not move, it says on standard error why, again when the cause is
    another one. ``timeout_s``: how long all of it may take; None: as long as it takes.
    """

    def __init__(self, api: Api, instance_id: str, timeout_s: float | None = None) -> None:
        self._api = api
        self._id = instance_id
        self._timeout_s = timeout_s
        self._began = time.monotonic()
        self._away_since: float | None = None
        #: How long the next request waits for the instance to move.
        self._wait_s = _QUIET_S
        self._told: tuple[Any, ...] | None = None

    def until_ended(self) -> dict[str, Any]:
        """The instance when it has ended.

        Raises:
            typer.Exit: with ``TIMED_OUT``, the time is up.
        """
        seq = None
        while True:
            wait_s = min(self._left(), _FIRST_S if seq is None else self._wait_s)
            try:
                instance = self._api.get(instance_path(self._id), wait_s=wait_s, wait=wait_s)
                if instance["status"] in TERMINAL:
                    return dict(instance)
                if instance["seq"] == seq:
                    self._stands()
                else:
                    self._moves()
                seq = instance["seq"]
            except ApiError as error:
                self._bear(error)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Its history from the first entry to the last, as it is stored.

        Raises:
            typer.Exit: with ``TIMED_OUT``, the time is up.
        """
        last = 0
        while True:
            quiet_s = min(self._left(), self._wait_s)
            try:
                for entry in self._api.events(self._id, last, quiet_s):
                    last = entry["seq"]
                    self._moves()
                    yield entry
                    self._left()
            except TimeoutError:
                self._look()
            except ApiError as error:
                self._bear(error)
            else:
                return

    def _look(self) -> None:
        try:
            self._stands()
        except ApiError as error:
            self._bear(error)

    def _left(self) -> float:
        """Seconds that are left."""
        if self._timeout_s is None:
            return math.inf
        left = self._began + self._timeout_s - time.monotonic()
        if left > 0:
            return left
        took = duration(self._timeout_s)
        say(
            f"{self._id} has not ended in {took}; it goes on: sagabus watch {self._id}",
            is_error=True,
        )
        raise typer.Exit(TIMED_OUT)

    def _bear(self, error: ApiError) -> None:
        """Wait a little, or raise ``error`` when it has been too long."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        if error.code not in _AWAY or now - self._away_since > _OUTAGE_S:
            raise error
        time.sleep(_RETRY_S)

    def _moves(self) -> None:
        self._away_since = None
        self._wait_s = _QUIET_S

    def _stands(self) -> None:
        """Say why, unless it was said."""
        found = self._api.get(instance_path(self._id, "why"))
        self._away_since = None
        self._wait_s = min(2 * self._wait_s, _POLL_S)
        cause = _standing_cause(found)
        if cause is None:
            return
        # Not the message: it counts, and tells times.
        asked_at = cause["since"] if cause["cause"] in _ASKING else None
        told = *(cause[name] for name in ("id", "cause", "stage", "role", "next")), asked_at
        if told != self._told:
            self._told = told
            what_next = f"; next: {cause['next']}" if cause["next"] else ""
            say(f"{cause['message']}{what_next}", is_error=True)


def _standing_cause(found: dict[str, Any]) -> dict[str, Any] | None:
    """The first cause that holds it up, or what it waits for below it; None where none does."""
    if not found["is_standing"]:
        return None
    for cause in found["causes"]:
        if cause["is_standing"]:
            return {**cause, "id": found["id"]}
    below = map(_standing_cause, found["below"])
    return next((cause for cause in below if cause is not None), None)


def exit_code(instance: dict[str, Any]) -> int:
    """0 completed, 3 with failures that were handled or left something, 1 any other end."""
    if instance["status"] != "completed":
        return 1
    is_partial = instance["rollback"] == "partial"
    return 3 if instance["handled_failures"] or is_partial else 0


def error_line(instance: dict[str, Any]) -> str:
    """Why it failed, with the stage; empty where it has not."""
    error = instance["error"]
    return with_stage(error["message"], error["stage"]) if error else ""


def say_end(instance: dict[str, Any]) -> None:
    """One line: how it ended, or how it stands."""
    line = Text(f"{instance['workflow']} {instance['id']} ")
    line.append_text(status(instance["status"], instance["summary"]))
    if instance["duration_s"] is not None:
        line.append(f" in {duration(instance['duration_s'])}")
    if error := error_line(instance):
        line.append(clean(f": {error}"))
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
        stage = None if data.get("stage") else error.get("stage")
        parts.append(f"{error.get('type')}: {with_stage(str(error.get('message')), stage)}")
    return f"{clock(entry['at'])}  {entry['type']:<23} {'  '.join(parts)}".rstrip()


def _part(name: str, value: Any) -> str:
    if value is True:
        return name.removeprefix("is_")
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return f"{name}={value}"
