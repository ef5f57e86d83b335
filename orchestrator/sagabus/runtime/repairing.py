"""Commands that repair an instance: from what came over the bus to what the machine takes."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sagabus.core.events import (
    CompensateRequested,
    Event,
    FailRequested,
    ResultSet,
    SkipRequested,
)
from sagabus.errors import BadMessageError
from sagabus_agents.wire import CommandMessage


class _Repair(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=4096)


class _OfStage(_Repair):
    stage: str = Field(max_length=64)
    #: The attempt that was seen: ``<task>/<attempt>``.
    attempt: str | None = Field(default=None, max_length=200)


class _SetResult(_OfStage):
    output: Any = None


class _Compensate(_Repair):
    stage: str | None = Field(default=None, max_length=64)


def repair_event(message: CommandMessage, at: datetime) -> Event:
    """What a command means that repairs an instance; ``retry`` needs more than the message.

    Raises:
        ValidationError: its arguments are wrong.
        BadMessageError: it is no such command.
    """
    arguments: dict[str, Any] = message.arguments
    command, by = message.command, message.by
    match message.name:
        case "skip" | "fail":
            of = _OfStage.model_validate(arguments)
            make = SkipRequested if message.name == "skip" else FailRequested
            return make(at, command, of.stage, of.attempt, by, of.reason)
        case "set_result":
            given = _SetResult.model_validate(arguments)
            return ResultSet(
                at, command, given.stage, given.output, given.attempt, by, given.reason
            )
        case "compensate":
            undo = _Compensate.model_validate(arguments)
            return CompensateRequested(at, command, undo.stage, by, undo.reason)
        case name:
            raise BadMessageError(f"{name} repairs nothing")
