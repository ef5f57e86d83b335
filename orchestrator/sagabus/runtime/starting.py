"""From a start command to a new instance, or to the answer that there is one."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sagabus.core.definition import Definition
from sagabus.core.instance import Answer, Instance, InstanceState, InstanceStatus, ParentRef
from sagabus.errors import InvalidRequestError
from sagabus.runtime.snapshots import Snapshots
from sagabus_agents.wire import CommandMessage

MAX_DEPTH = 64


class StartArguments(BaseModel):
    """Arguments of the command ``start``; all but the first two from an instance above."""

    model_config = ConfigDict(extra="forbid")

    workflow: str = Field(min_length=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
    #: The definition that the instance above is pinned to.
    digest: str | None = None
    parent: ParentRef | None = None
    root: str | None = None
    trace: str | None = None
    #: The instance above is.
    paused: bool = False
    #: When that one began again from a backup.
    restored_at: datetime | None = None


def read_arguments(command: CommandMessage) -> StartArguments:
    """Check what a start command carries.

    Raises:
        InvalidRequestError: it cannot be started like this.
    """
    try:
        arguments = StartArguments.model_validate(command.arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidRequestError(f"start: {place}: {first['msg']}") from None
    return arguments


def check_parameters(parameters: Mapping[str, Any], limit_bytes: int) -> None:
    """Refuse what cannot be stored or sent as it is.

    Raises:
        InvalidRequestError: too large, too deep, or not JSON.
    """
    _check_shape(parameters)
    try:
        size = len(orjson.dumps(parameters))
    except orjson.JSONEncodeError as error:
        raise InvalidRequestError(f"parameters are not JSON: {error}") from None
    if size > limit_bytes:
        raise InvalidRequestError(
            f"parameters have {size} bytes, engine.limits.max_payload_bytes allows {limit_bytes}: "
            "pass a reference instead of the data"
        )


def _check_shape(parameters: Mapping[str, Any]) -> None:
    level: list[Any] = [parameters]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, float) and not math.isfinite(item):
                raise InvalidRequestError(f"parameters are not JSON: {item} is no number there")
        level = below
    if level:
        raise InvalidRequestError(f"parameters are nested deeper than {MAX_DEPTH} levels")


def complete_parameters(definition: Definition, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` with the definition's defaults.

    Raises:
        InvalidRequestError: everything that is wrong with them.
    """
    if definition.parameters is None:
        return dict(given)
    values, problems = definition.parameters.complete(given)
    if problems:
        raise InvalidRequestError(f"workflow {definition.name!r}: {'; '.join(problems)}")
    return values


def existing_answer(
    state: InstanceState,
    command: CommandMessage,
    arguments: StartArguments,
    definition: Definition,
) -> Answer:
    """The answer to a start whose id is taken: the same start again, or a conflict.

    ``definition`` is what the instance runs on.
    """
    row = state.row
    try:
        parameters = complete_parameters(definition, arguments.parameters)
    except InvalidRequestError:
        parameters = arguments.parameters
    if row.workflow == arguments.workflow and _is_same(row.parameters, parameters):
        # The trace is the command that made it: a repeat of that one gets its first answer.
        is_made_by_it = row.trace == command.command
        return Answer(ok=True, result={"id": row.id, "created": is_made_by_it})
    what = (
        f"of workflow {row.workflow!r}"
        if row.workflow != arguments.workflow
        else "with other parameters"
    )
    message = f"instance {row.id!r} exists already, {what}: choose another id"
    return Answer(ok=False, code="conflict", message=message)


def _is_same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Equal as JSON: to Python, true is 1."""
    return orjson.dumps(left, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        right, option=orjson.OPT_SORT_KEYS
    )


async def new_instance(
    instance_id: str,
    command: CommandMessage,
    arguments: StartArguments,
    snapshots: Snapshots,
    at: datetime,
) -> InstanceState:
    """A new instance, not stored yet.

    Raises:
        WorkflowNotFoundError: there is no such workflow.
        InvalidRequestError: its parameters do not fit, are too large or too deep.
    """
    if arguments.digest is not None:
        definition = await snapshots.of(arguments.digest)
    else:
        definition = await snapshots.newest(arguments.workflow)
    parameters = complete_parameters(definition, arguments.parameters)
    check_parameters(parameters, definition.max_payload_bytes)
    return InstanceState(
        Instance(
            id=instance_id,
            workflow=definition.name,
            digest=definition.digest,
            status=InstanceStatus.PENDING,
            created_at=at,
            updated_at=at,
            parameters=parameters,
            started_by=command.by,
            trace=arguments.trace or command.command,
            parent=arguments.parent,
            root=arguments.root,
            restored_at=arguments.restored_at,
        )
    )
