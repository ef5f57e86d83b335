"""Commands that repair an instance: from what came over the bus to what the machine takes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sagabus.core.events import (
    CompensateRequested,
    FailRequested,
    IntentResolved,
    OperatorEvent,
    ResultSet,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import Instance
from sagabus.errors import BadMessageError, ConflictError
from sagabus.runtime.messages import what_is_asked
from sagabus.runtime.snapshots import Snapshots
from sagabus.runtime.starting import check_parameters
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


class _Resolve(_OfStage):
    outcome: Literal["succeeded", "failed", "retry"]
    output: Any = None
    all_: bool = Field(default=False, alias="all")


class _Retry(_Repair):
    from_: str | None = Field(default=None, max_length=64, alias="from")
    #: Those that change.
    parameters: dict[str, Any] = Field(default_factory=dict)
    #: ``latest``, or the digest that the newest one must have.
    definition: str | None = Field(default=None, max_length=128)


class _Compensate(_Repair):
    stage: str | None = Field(default=None, max_length=64)


def wrong_arguments(message: CommandMessage, error: ValidationError) -> BadMessageError:
    """The first thing that is wrong with what a command carries."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return BadMessageError(f"{message.name}: {place}: {first['msg']}")


def repair_event(message: CommandMessage, at: datetime) -> OperatorEvent:
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
        case "resolve":
            told = _Resolve.model_validate(arguments)
            return IntentResolved(
                at,
                command,
                told.stage,
                told.outcome,
                told.output,
                told.attempt,
                by,
                told.reason,
                told.all_,
            )
        case "compensate":
            undo = _Compensate.model_validate(arguments)
            return CompensateRequested(at, command, undo.stage, by, undo.reason)
        case name:
            raise BadMessageError(f"{name} repairs nothing")


async def retry_event(
    message: CommandMessage, row: Instance, snapshots: Snapshots, at: datetime
) -> RetryRequested:
    """What a retry means, with the definition that the instance is to go on with, not yet stored.

    Raises:
        BadMessageError: its arguments are wrong.
        InvalidRequestError: parameters cannot be stored.
        WorkflowNotFoundError: the workflow is not loaded any more, or disabled.
        ConflictError: the definition is not the one that was looked at.
    """
    try:
        asked = _Retry.model_validate(message.arguments)
    except ValidationError as error:
        raise wrong_arguments(message, error) from None
    definition = None
    if asked.definition is not None:
        newest = snapshots.in_force(row.workflow)
        if asked.definition not in {"latest", newest.digest}:
            raise ConflictError(
                f"workflow {row.workflow!r} was changed since you looked at it: compare again"
            )
        definition = newest if newest.digest != row.digest else None
    used = definition if definition is not None else await snapshots.of(row.digest)
    check_parameters({**row.parameters, **asked.parameters}, used.max_payload_bytes)
    return RetryRequested(
        at,
        message.command,
        asked.from_,
        asked.parameters,
        definition,
        message.by,
        asked.reason,
        asked=what_is_asked(message),
    )
