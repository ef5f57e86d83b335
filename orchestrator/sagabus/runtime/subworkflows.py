"""What one instance says to another: a stage carried out by a sub-workflow, and how that ended.

Each is a message in the inbox of the other's partition, as if it came from outside. All may be said
again: a start of what exists, and an undo of what was undone, are answered and change nothing.
"""

import uuid
from dataclasses import asdict
from typing import Any

from sagabus.core.commands import CommandChild, StartChild, TellParent, UndoChild
from sagabus.core.instance import Failure, ParentRef
from sagabus.ports import Bus
from sagabus.runtime.payloads import send_result
from sagabus_agents.wire import (
    MAX_MESSAGE_BYTES,
    CommandMessage,
    ErrorInfo,
    ResultMessage,
    ResultStatus,
)

#: Room for what surrounds parameters and outputs in their message.
_ENVELOPE_BYTES = 4_096

Saying = StartChild | UndoChild | CommandChild | TellParent


async def tell_instance(bus: Bus, instance: str, command: Saying) -> None:
    """Say what ``instance`` has to say to the one above or below it."""
    match command:
        case StartChild():
            await _start(bus, command)
        case UndoChild():
            arguments: dict[str, Any] = {
                "parent": asdict(command.parent),
                "paused": command.is_paused,
            }
            if command.is_asked:
                arguments["asked"] = True
            await _command(bus, command.child, "undo", arguments, command.parent.instance)
        case CommandChild():
            why: dict[str, Any] = {"reason": command.reason}
            if command.name == "cancel":
                why["compensate"] = command.is_undone
            await _command(bus, command.child, command.name, why, command.by, id_=command.command)
        case TellParent():
            await _tell_parent(bus, instance, command)


async def _start(bus: Bus, command: StartChild) -> None:
    parameters = command.parameters if isinstance(command.parameters, dict) else {}
    arguments: dict[str, Any] = {
        "workflow": command.workflow,
        "digest": command.digest,
        "parameters": parameters,
        "parent": asdict(command.parent),
        "root": command.root,
        "trace": command.trace,
        "paused": command.is_paused,
    }
    if command.restored_at is not None:
        arguments["restored_at"] = command.restored_at
    size = await _command(bus, command.child, "start", arguments, command.by)
    if size > MAX_MESSAGE_BYTES:
        message = f"the parameters of sub-workflow {command.workflow!r} have {size} bytes"
        failure = Failure("bad_input", f"{message}, the bus takes {MAX_MESSAGE_BYTES}")
        await _tell_parent(bus, command.child, refusal(command.parent, failure))


def refusal(parent: ParentRef, failure: Failure) -> TellParent:
    """What the instance above is told where there is no instance to carry out its stage."""
    return TellParent(parent, "failed", error=failure)


async def _command(
    bus: Bus, instance: str, name: Any, arguments: dict[str, Any], by: str, *, id_: str = ""
) -> int:
    """Send a command, unless it is too large; gives its size in bytes."""
    message = CommandMessage(
        command=id_ or f"{instance}-{name}", name=name, arguments=arguments, by=by
    )
    data = message.model_dump_json().encode()
    size = len(data) + _ENVELOPE_BYTES
    if size <= MAX_MESSAGE_BYTES:
        await bus.send_command(instance, data, uuid.uuid4().hex)
    return size


async def _tell_parent(bus: Bus, instance: str, command: TellParent) -> None:
    error = command.error or Failure("failed", "it did not complete")
    is_done = command.status == "succeeded"
    message = ResultMessage(
        task=command.parent.task,
        attempt=command.parent.attempt,
        status=ResultStatus(command.status),
        output=command.output,
        error=None if is_done else ErrorInfo(type=error.type, message=error.message),
        agent=instance,
        has_left_effects=command.has_left_effects,
        left=command.left,
        seq=command.seq,
    )
    await send_result(bus, command.parent.instance, message, uuid.uuid4().hex)
