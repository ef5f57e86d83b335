"""Between wire and core: task messages out, inbox messages in."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sagabus.core.definition import Definition
from sagabus.core.events import ResultReceived
from sagabus.core.fingerprint import fingerprint
from sagabus.core.instance import Attempt, InstanceState, Resource, TaskStatus, task_id
from sagabus.core.tasks import plan_of
from sagabus.errors import BadMessageError
from sagabus.ports import OutgoingEvent, OutgoingTask, TaskPayload
from sagabus_agents.wire import (
    INBOX_ADAPTER,
    MAX_INLINE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_RESOURCES,
    WORKFLOW_SOURCE,
    ClaimMessage,
    CommandMessage,
    ErrorInfo,
    ResultMessage,
    ResultStatus,
    event_subject,
    resource_problem,
    task_payload_name,
    task_subject,
)

_STATUS: dict[ResultStatus, Literal["succeeded", "failed", "cancelled"]] = {
    ResultStatus.SUCCEEDED: "succeeded",
    ResultStatus.FAILED: "failed",
    ResultStatus.CANCELLED: "cancelled",
}
#: Room for headers beside a payload.
_HEADER_BYTES = 512
#: An error's message stands in several rows and events: what is longer than this tells no more.
_MAX_ERROR_CHARS = 16_000
#: A parser's complaint may quote what it complains of.
_MAX_REASON_CHARS = 300
#: Enough to tell apart what somebody gives under one id.
_DIGEST_CHARS = 16
_KINDS = "result, claim and command"


def task_message(
    definition: Definition, state: InstanceState, attempt: Attempt, *, resend: str = ""
) -> OutgoingTask:
    """The message that asks an agent for an attempt; ``resend`` marks and names a send by recovery.

    Raises:
        BadMessageError: its input is too large, or holds what JSON cannot.
    """
    row = state.row
    timeout = plan_of(definition, attempt).timeout
    envelope: dict[str, Any] = {
        "type": attempt.kind,
        "stage_name": attempt.stage,
        "workflow_id": row.id,
        "workflow": row.workflow,
        "task": attempt.task,
        "attempt": attempt.attempt,
        "role": attempt.role,
        "action": attempt.action,
        "claim": attempt.claim,
        # What a restored database does not know may have been sent before.
        "resent": bool(resend) or row.restored_at is not None,
        "idempotency_key": f"{row.id}:{attempt.task}",
        "timeout_s": None if timeout is None else timeout.total_seconds(),
        "trace": row.trace,
    }
    if attempt.secrets:
        envelope["secrets"] = attempt.secrets
    body = task_body(state, attempt)
    payload = None
    try:
        data = orjson.dumps(envelope | body)
        if len(data) > MAX_INLINE_BYTES:
            _check_input(attempt)
            payload = TaskPayload(task_payload_name(row.id, attempt.task, attempt.attempt), body)
            data = orjson.dumps(envelope)
    except orjson.JSONEncodeError as error:
        raise BadMessageError(f"the message for stage {attempt.stage!r}: {error}") from None
    if len(data) + _HEADER_BYTES > MAX_MESSAGE_BYTES:
        raise BadMessageError(
            f"the message for stage {attempt.stage!r} names {len(attempt.secrets)} secrets, and "
            f"with them has {len(data)} bytes, of which the bus takes {MAX_MESSAGE_BYTES}"
        )
    subject = task_subject(attempt.role, row.id, attempt.task, attempt.attempt)
    mark = resend
    if not mark and row.restored_at is not None:
        # The bus may still know the id: of a future that the restored database has lost.
        mark = f":{row.restored_at.timestamp():.6f}"
    msg_id = f"{row.id}:{attempt.task}:{attempt.attempt}{mark}"
    return OutgoingTask(subject, attempt.role, data, msg_id, payload)


def task_body(state: InstanceState, attempt: Attempt) -> dict[str, Any]:
    """The fields of a task message that may be too large for one."""
    body = {"input": attempt.input}
    return body | _undo_payload(state, attempt) if attempt.kind == "compensation" else body


def _check_input(attempt: Attempt) -> None:
    """Limit what a task is given; what undoes it is sent that and its output, whatever the size.

    Raises:
        BadMessageError: it is too large. What cannot be undone must not begin.
    """
    size = len(orjson.dumps(attempt.input))
    if size > MAX_PAYLOAD_BYTES:
        raise BadMessageError(
            f"the input for stage {attempt.stage!r} has {size} bytes, and at most "
            f"{MAX_PAYLOAD_BYTES} can be sent: pass a reference instead of the data"
        )


def _undo_payload(state: InstanceState, undo: Attempt) -> dict[str, Any]:
    """What the task to be undone was given and gave."""
    tries = state.attempts.get(task_id(undo.stage, undo.pass_, undo.index), [])
    done = next((a for a in reversed(tries) if a.status is TaskStatus.SUCCEEDED), None)
    source = done or (tries[-1] if tries else None)
    return {
        "original_context": {
            "parameters": state.row.parameters,
            "vars": (source.vars if source else None) or {},
            "input": source.input if source else None,
            "output": source.output if source else None,
        },
        # Of every attempt: one that failed or came late may have left something, too.
        "artifacts_to_undo": list(dict.fromkeys(each for a in tries for each in a.artifacts)),
    }


def event_message(instance: str, workflow: str, event: Mapping[str, Any]) -> OutgoingEvent:
    """A history entry as announced to the world; one that is too large without its data."""
    data = orjson.dumps({"instance": instance, "workflow": workflow, **event})
    if len(data) + _HEADER_BYTES > MAX_MESSAGE_BYTES:
        # The history has it all; nothing that is stored may block what comes after it.
        short = {**event, "data": {"left_out_bytes": len(data)}}
        data = orjson.dumps({"instance": instance, "workflow": workflow, **short})
    subject = event_subject(instance, event["type"])
    return OutgoingEvent(subject, data, f"{instance}:{event['seq']}")


def read_inbox(data: bytes) -> ResultMessage | ClaimMessage | CommandMessage:
    """Parse an inbox message.

    Raises:
        BadMessageError: it does not follow the contract.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessageError(f"too large: {len(data)} bytes of {MAX_MESSAGE_BYTES}")
    try:
        return INBOX_ADAPTER.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        complaint = _in_words(first)
        where = f"{place}: " if place else ""
        raise BadMessageError(f"not understood: {where}{complaint}") from None


def _in_words(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "union_tag_not_found":
            return f"`kind` is missing; one of {_KINDS}"
        case "union_tag_invalid":
            tag = str(problem["ctx"]["tag"])[:_MAX_REASON_CHARS]
            return f"`kind` is {tag!r}; it must be one of {_KINDS}"
        case _:
            return problem["msg"][:_MAX_REASON_CHARS]


def result_event(message: ResultMessage, source: str, at: datetime) -> ResultReceived:
    """A result as the core takes it."""
    problem = _problem_of(message)
    if problem is not None:
        message = without_output(message, problem)
    error = message.error
    status = _STATUS[message.status]
    return ResultReceived(
        at=at,
        source=source,
        task=message.task,
        attempt=message.attempt,
        status=status,
        agent=message.agent,
        output=message.output,
        artifacts=message.artifacts,
        resources=[Resource(each.kind, each.id, each.spec) for each in message.resources],
        error_type=error.type if error else ("cancelled" if status == "cancelled" else "unknown"),
        error_message=error.message[:_MAX_ERROR_CHARS] if error else "",
        is_retryable=error.retryable if error else True,
        retry_after_s=error.retry_after_s if error else None,
        started_at=message.started_at,
        has_left_effects=source == WORKFLOW_SOURCE and message.has_left_effects,
        left=message.left if source == WORKFLOW_SOURCE else None,
        seq=message.seq if source == WORKFLOW_SOURCE else 0,
    )


def what_is_asked(message: CommandMessage) -> str:
    """A command in short, whoever gives it and why, as ``OperatorRequest.asked``.

    Raises:
        BadMessageError: its arguments are no JSON.
    """
    try:
        what = {name: value for name, value in message.arguments.items() if name != "reason"}
        return f"{message.name}-{fingerprint(what)[:_DIGEST_CHARS]}"
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMessageError(f"{message.name}: its arguments are no JSON: {error}") from None


def without_output(message: ResultMessage, why: str) -> ResultMessage:
    """It was done, and nobody can be told with which output: not a compensation, either."""
    error = ErrorInfo(type="bad_result", message=why, retryable=False)
    update: dict[str, Any] = {
        "status": ResultStatus.FAILED,
        "output": None,
        "resources": [],
        "error": error,
        "has_left_effects": True,  # of an instance that completed; an agent's effects are known
        "left": None,
    }
    return message.model_copy(update=update)


def _problem_of(message: ResultMessage) -> str | None:
    """What of a result can be neither stored nor sent on: integers beyond 64 bits, for one."""
    try:
        orjson.dumps(message.output)
    except orjson.JSONEncodeError:
        return "its output has no JSON form"
    if not message.resources:
        return None
    if len(message.resources) > MAX_RESOURCES:
        return f"{len(message.resources)} resources, of which a result may have {MAX_RESOURCES}"
    return next(filter(None, map(resource_problem, message.resources)), None)
