"""Running one attempt: call the handler, end it in time, say how it ended.

Knows nothing of the bus; ``runner`` and ``testing`` both use it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Any, Final

import orjson
from pydantic import BaseModel

from sagabus_agents.errors import TaskError, describe, error_info
from sagabus_agents.handlers import Handler, Handlers, call_in_thread, plain
from sagabus_agents.hiding import Hiding, hiding_of
from sagabus_agents.task import Task
from sagabus_agents.wire import (
    MAX_INLINE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    ErrorInfo,
    PayloadRef,
    ResultStatus,
)

MAX_ARTIFACTS = 10_000
#: What naming an object adds to a message, at most.
PAYLOAD_ROOM = 512
_HARMLESS: Final = frozenset({str, int, bool, type(None)})


class Ending(Enum):
    """Why a running handler was told to end."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    #: The agent leaves; the attempt has no outcome and goes to another agent.
    SHUTDOWN = "shutdown"


@dataclass(slots=True)
class Outcome:
    """How an attempt ended."""

    status: ResultStatus
    output: Any = None
    error: ErrorInfo | None = None


class Execution:
    """One run of one handler."""

    __slots__ = ("_handlers", "_running", "ending", "reason", "task")

    def __init__(self, handlers: Handlers, task: Task) -> None:
        self.task = task
        self.ending: Ending | None = None
        self.reason = ""
        self._handlers = handlers
        self._running: asyncio.Task[Any] | None = None

    def end(self, ending: Ending, reason: str = "") -> None:
        """Make the handler end: an async one is cancelled, a sync one is told by its ``Task``.

        Whatever a handler returns in spite of it counts: what was done was done.
        """
        if self.ending is None:
            self.ending = ending
            self.reason = reason
        self.task.tell_cancelled()
        if self._running is not None:
            self._running.cancel()

    async def run(self) -> Outcome | None:
        """Run to the end; None when the agent leaves before there is an outcome."""
        try:
            handler = self._handlers.find(self.task.message.type, self.task.action)
            return Outcome(ResultStatus.SUCCEEDED, await self._call(handler))
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            # Ours was taken back in _call; one that is left came from outside.
            if current is not None and current.cancelling():
                raise
            return self._failed(error)
        # A handler that calls sys.exit fails its task, it does not end the agent.
        except (Exception, SystemExit) as error:
            if not isinstance(error, TaskError) and self.ending is None:  # nobody planned it
                self.task.log.warning("task_failed", action=self.task.action, exc_info=True)
            return self._failed(error)

    def never_ran(self) -> Outcome | None:
        """The outcome of an attempt that was told to end before its handler was called."""
        return self._failed(asyncio.CancelledError())

    async def _call(self, handler: Handler) -> Any:
        call = handler.bind(self.task)
        timeout_s = self.task.message.timeout_s
        timer = None
        if timeout_s is not None:
            timer = asyncio.get_running_loop().call_later(timeout_s, self.end, Ending.TIMEOUT)
        try:
            if not handler.is_async:
                return await call_in_thread(call)
            self._running = asyncio.current_task()
            return await call()
        finally:
            if timer is not None:
                timer.cancel()
            running, self._running = self._running, None
            # Our own cancellation is dealt with here; the task goes on and reports the outcome.
            while self.ending is not None and running is not None and running.cancelling():
                running.uncancel()

    def _failed(self, error: BaseException) -> Outcome | None:
        said = "" if isinstance(error, asyncio.CancelledError) else f": {error}"
        match self.ending:
            case None:
                return Outcome(ResultStatus.FAILED, error=describe(error))
            case Ending.SHUTDOWN:
                return None
            case Ending.TIMEOUT:
                limit = f"no result within {self.task.message.timeout_s:g} s{said}"
                return Outcome(ResultStatus.FAILED, error=error_info("timeout", limit))
            case Ending.CANCELLED:
                reason = (self.reason or "cancelled") + said
                return Outcome(
                    ResultStatus.CANCELLED,
                    error=error_info("cancelled", reason, retryable=False),
                )


@dataclass(frozen=True, slots=True)
class EncodedResult:
    """A ``ResultMessage``, and the output that is too large to stand in it."""

    fields: dict[str, Any]
    #: The output as JSON: its reference is to stand in the message. None: it stands there itself.
    payload: bytes | None = None

    def message(self, payload: PayloadRef | None = None) -> bytes:
        """The message, naming ``payload``."""
        if payload is None:
            return orjson.dumps(self.fields)
        return orjson.dumps(self.fields | {"payload": payload.model_dump()})


def encode_result(
    task: Task,
    outcome: Outcome,
    agent: str,
    started_at: datetime | None,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> EncodedResult:
    """The ``ResultMessage`` of an attempt; one that cannot be sent becomes ``bad_result``.

    Whatever the task was given in secret is hidden in it.
    """
    hiding, error, artifacts = hiding_of(task), outcome.error, task.artifacts
    if hiding is not None:
        error = None if error is None else hiding.error(error)
        artifacts = [hiding.text(id) for id in artifacts]
    result: dict[str, Any] = {
        "kind": "result",
        "task": task.id,
        "attempt": task.attempt,
        "status": outcome.status.value,
        "artifacts": artifacts,
        "error": None if error is None else error.model_dump(),
        "agent": agent,
        "started_at": started_at,
    }
    if task.resources:
        result["resources"] = _resources(task, hiding)
    room = max_bytes - len(orjson.dumps(result)) - PAYLOAD_ROOM
    if len(result["artifacts"]) > MAX_ARTIFACTS:
        problem = f"{len(result['artifacts'])} artifacts, at most {MAX_ARTIFACTS} can be reported"
        result["artifacts"] = []
    elif room < 0:
        problem = f"the result has {max_bytes - room} bytes, at most {max_bytes} can be sent"
    else:
        try:
            output = _json_of(outcome.output, hiding)
        except (TypeError, orjson.JSONDecodeError) as reason:
            problem = f"the output of {task.action!r} cannot be sent: {reason}"
        else:
            if len(output) <= min(room, MAX_INLINE_BYTES):
                return EncodedResult(result | {"output": orjson.Fragment(output)})
            if len(output) <= MAX_PAYLOAD_BYTES:
                return EncodedResult(result, output)
            problem = f"the output has {len(output)} bytes, at most {MAX_PAYLOAD_BYTES} can be sent"
    result["status"] = ResultStatus.FAILED.value
    result["error"] = error_info("bad_result", problem, retryable=False).model_dump()
    if len(orjson.dumps(result)) > max_bytes:
        result |= {"artifacts": [], "resources": []}
    return EncodedResult(result)


def _json_of(value: Any, hiding: Hiding | None) -> bytes:
    """``value`` as JSON, without secrets.

    Raises:
        TypeError: it cannot be written so.
        orjson.JSONDecodeError: it cannot be read again.
    """
    data = orjson.dumps(value, default=plain)
    # NaN and infinity are written as null; what holds none needs no look.
    keys = _no_number(value) if b"null" in data else None
    if keys is not None:
        place = f"`{'.'.join(map(str, keys))}`" if keys else "it"
        place = place if hiding is None else hiding.text(place)
        raise TypeError(
            f"{place} is infinite or not a number, which JSON does not know; return None or text "
            "in its place"
        )
    return data if hiding is None else hiding.json(data)


def _no_number(value: Any) -> list[Any] | None:
    """Keys of the first float in ``value``, which can be sent, that is infinite or no number."""
    items: Iterable[tuple[Any, Any]]
    match value:
        case float():
            return None if isfinite(value) else []
        case dict():
            items = value.items()
        case list() | tuple():
            items = enumerate(value)
        case BaseModel():
            return _no_number(plain(value))
        case _ if is_dataclass(value):
            items = ((field.name, getattr(value, field.name, None)) for field in fields(value))
        case _:
            return None
    for key, item in items:
        if type(item) not in _HARMLESS and (found := _no_number(item)) is not None:
            return [key, *found]
    return None


def _resources(task: Task, hiding: Hiding | None) -> list[dict[str, Any]]:
    resources = [resource.model_dump() for resource in task.resources]
    return resources if hiding is None else [hiding.value(each) for each in resources]
