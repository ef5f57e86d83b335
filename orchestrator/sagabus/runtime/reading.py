"""From what a batch holds (messages, commands, timers) to each instance's events, in order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sagabus.core.commands import AnswerClaim, TellParent
from sagabus.core.events import (
    ApprovalAnswered,
    CancelRequested,
    ClaimReceived,
    Event,
    InquiryAnswered,
    OperatorEvent,
    PauseRequested,
    ResumeRequested,
    UndoRequested,
)
from sagabus.core.instance import ParentRef
from sagabus.errors import BadMessageError
from sagabus.ports import Delivery
from sagabus.runtime.engine import Engine, LocalCommand
from sagabus.runtime.messages import read_inbox, result_event, what_is_asked
from sagabus.runtime.repairing import repair_event, wrong_arguments
from sagabus_agents.wire import (
    COMMAND_SOURCE,
    ClaimMessage,
    CommandMessage,
    ResultMessage,
    is_id,
)


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that nobody can use."""

    reason: str
    role: str
    instance: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Item:
    """One message for one instance, with where it came from."""

    message: ResultMessage | ClaimMessage | CommandMessage
    source: str
    delivery: Delivery | None = None
    local: LocalCommand | None = None


@dataclass(slots=True)
class Reading:
    """A batch's messages by instance, in the order in which they were stored."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)


def read(deliveries: Sequence[Delivery], commands: Sequence[LocalCommand]) -> Reading:
    """Sort messages by instance; what cannot be understood is dead."""
    reading = Reading()
    for delivery in deliveries:
        # sagabus.inbox.<partition>.<instance>.<source>
        _, _, _, instance, source = delivery.subject.split(".", 4)
        try:
            if not is_id(instance):
                raise BadMessageError(f"not an id: {instance}")
            message = read_inbox(delivery.data)
            if isinstance(message, CommandMessage) != (source == COMMAND_SOURCE):
                raise BadMessageError(f"wrong source: a {message.kind} from {source}")
        except BadMessageError as error:
            reading.dead.append(Dead(error.reason, source, instance, delivery))
            continue
        reading.items.setdefault(instance, []).append(Item(message, source, delivery))
    for command in commands:
        item = Item(command.message, COMMAND_SOURCE, local=command)
        reading.items.setdefault(command.instance, []).append(item)
    return reading


class _AnswerGate(BaseModel):
    model_config = ConfigDict(extra="forbid")
    stage: str = Field(max_length=64)
    reason: str = Field(default="", max_length=4096)


class _Approve(_AnswerGate):
    data: Any = None


class _AnswerInquiry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    stage: str = Field(max_length=64)
    data: Any = None
    reason: str = Field(default="", max_length=4096)


class _Undo(BaseModel):
    model_config = ConfigDict(extra="forbid")
    parent: ParentRef
    paused: bool = False
    asked: bool = False


class _Cancel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=4096)
    compensate: bool = True


class _Pause(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=4096)


def event_of(engine: Engine, instance: str, item: Item, at: datetime) -> Event:
    """What a message means to the core; ``start`` is not one of these.

    Raises:
        BadMessageError: the command's arguments are wrong.
    """
    message = item.message
    if isinstance(message, ResultMessage):
        return result_event(message, item.source, at)
    if isinstance(message, ClaimMessage):
        return _claim(engine, instance, message, item.source, at)
    try:
        event = _command(message, at)
    except ValidationError as error:
        raise wrong_arguments(message, error) from None
    if isinstance(event, UndoRequested):
        return event
    return replace(event, asked=what_is_asked(message))


def _claim(
    engine: Engine, instance: str, message: ClaimMessage, source: str, at: datetime
) -> ClaimReceived:
    key = (instance, message.task, message.attempt)
    elsewhere = engine.presence.running_since(key, beside=message.agent)
    return ClaimReceived(
        at=at,
        source=source,
        claim=message.claim,
        task=message.task,
        attempt=message.attempt,
        agent=message.agent,
        delivery=message.delivery,
        reply=message.reply,
        is_running_elsewhere=elsewhere is not None,
        is_presence_known=engine.knows_presence(),
        max_deliver=engine.limits.max_deliver,
    )


def _command(message: CommandMessage, at: datetime) -> OperatorEvent | UndoRequested:
    arguments: dict[str, Any] = message.arguments
    match message.name:
        case "cancel":
            cancel = _Cancel.model_validate(arguments)
            return CancelRequested(
                at, message.command, message.by, cancel.reason, cancel.compensate
            )
        case "pause" | "resume":
            why = _Pause.model_validate(arguments).reason
            make = PauseRequested if message.name == "pause" else ResumeRequested
            return make(at, message.command, message.by, why)
        case "answer":
            answer = _AnswerInquiry.model_validate(arguments)
            return InquiryAnswered(
                at, message.command, answer.stage, answer.data, message.by, answer.reason
            )
        case "undo":
            undo = _Undo.model_validate(arguments)
            return UndoRequested(at, message.command, undo.parent, undo.paused, undo.asked)
        case "approve":
            given = _Approve.model_validate(arguments)
            return ApprovalAnswered(
                at,
                message.command,
                given.stage,
                is_approved=True,
                by=message.by,
                reason=given.reason,
                data=given.data,
            )
        case "reject":
            gate = _AnswerGate.model_validate(arguments)
            return ApprovalAnswered(
                at,
                message.command,
                gate.stage,
                is_approved=False,
                by=message.by,
                reason=gate.reason,
            )
        case "skip" | "set_result" | "fail" | "resolve" | "compensate":
            return repair_event(message, at)
        case name:
            raise BadMessageError(f"{name} is no command for an instance that exists")


def skip(claim: ClaimMessage) -> AnswerClaim:
    """The answer to a claim for an instance that does not exist."""
    return AnswerClaim(claim.reply, claim.claim, "skip")


def nothing_undone(message: CommandMessage) -> TellParent | None:
    """The answer to an undo of an instance that never was: there is nothing to undo."""
    try:
        return TellParent(_Undo.model_validate(message.arguments).parent, "succeeded")
    except ValidationError:
        return None
