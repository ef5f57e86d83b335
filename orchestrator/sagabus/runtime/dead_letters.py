"""Dead letters: messages that nobody can use and tasks that nobody finishes, and their way back.

A letter is kept with the reason and with what it is about. Put back, a message is judged by the
machine as if it came only now, and a task leaves as one that recovery sends again.
"""

import re
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from sagabus.core.commands import BuryTask
from sagabus.core.instance import Attempt, InstanceState, TaskStatus
from sagabus.errors import BadMessageError, ConflictError
from sagabus.ports import OutgoingTask, StoredLetter
from sagabus.runtime.engine import Engine
from sagabus.runtime.messages import read_inbox, task_message
from sagabus.runtime.payloads import store_payloads
from sagabus.runtime.reading import Dead
from sagabus_agents.wire import (
    MAX_MESSAGE_BYTES,
    ClaimMessage,
    CommandMessage,
    DeadLetter,
    ResultMessage,
    is_id,
    task_subject,
)

#: Of a longer message, or one that is no text, only the beginning is kept.
_MAX_WHOLE_BYTES: Final = 384 * 1024
_CUT_BYTES: Final = 64 * 1024
#: Room for what a letter says beside the message.
_ENVELOPE_BYTES: Final = 8 * 1024
_TASK_PREFIX: Final = "sagabus.task."
#: ``<stage>-<pass>-<index>``, and of a compensation ``-undo-<entry>`` behind it.
_TASK: Final = re.compile(r"(.+)-\d+-\d+(?:-undo-\d+)?")


def letter_of_message(dead: Dead, at: datetime) -> bytes:
    """A message nobody can use, with the reason."""
    delivery = dead.delivery
    payload, is_whole = _kept(delivery.data)
    task, attempt = _named(delivery.data)
    return _dump(
        DeadLetter(
            reason=dead.reason,
            subject=delivery.subject,
            at=at,
            payload=payload,
            task=task,
            attempt=attempt,
            instance=dead.instance,
            role=dead.role,
            stage=stage_of(task),
            delivery=delivery.delivery,
            size=len(delivery.data),
            is_whole=is_whole,
        )
    )


def letter_of_task(instance: str, command: BuryTask) -> bytes:
    """A task that was delivered too often; the database has all of it."""
    attempt = command.attempt
    return _dump(
        DeadLetter(
            reason=command.reason,
            subject=task_subject(attempt.role, instance, attempt.task, attempt.attempt),
            at=attempt.ended_at or attempt.created_at,
            task=attempt.task,
            attempt=attempt.attempt,
            instance=instance,
            role=attempt.role,
            stage=attempt.stage,
            delivery=command.delivery,
        )
    )


def stage_of(task: str | None) -> str | None:
    """The stage that a task's id names."""
    match = _TASK.fullmatch(task or "")
    return match[1] if match else None


def _dump(letter: DeadLetter) -> bytes:
    return letter.model_dump_json().encode()


def _kept(data: bytes) -> tuple[str, bool]:
    """What is kept of a message, and whether that is all of it."""
    if len(data) <= _MAX_WHOLE_BYTES:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            pass
        else:
            # Control characters grow when they are written as JSON.
            if len(orjson.dumps(text)) + _ENVELOPE_BYTES <= MAX_MESSAGE_BYTES:
                return text, True
    return data[:_CUT_BYTES].decode("utf-8", errors="replace"), False


def _named(data: bytes) -> tuple[str | None, int | None]:
    """The task and the attempt that a message names, as far as that can be read."""
    try:
        found: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(found, dict):
        return None, None
    task, attempt = found.get("task"), found.get("attempt")
    return (
        task if isinstance(task, str) and is_id(task) else None,
        attempt if isinstance(attempt, int) and not isinstance(attempt, bool) else None,
    )


async def put_back(
    engine: Engine, stored: StoredLetter, letter: DeadLetter
) -> Literal["message", "task"]:
    """Send a letter's message or task once more; says what was sent.

    Raises:
        ConflictError: it would do harm or nothing, and why.
    """
    if letter.subject.startswith(_TASK_PREFIX):
        return await _send_task_again(engine, letter, stored.seq)
    # sagabus.inbox.<partition>.<instance>.<source>
    tokens = letter.subject.split(".")
    if len(tokens) != 5 or not is_id(tokens[3]):
        raise ConflictError(f"its subject {letter.subject!r} names no instance: it cannot be sent")
    if not letter.is_whole:
        raise ConflictError(
            f"only the beginning of its {letter.size} bytes was kept: it cannot be put back"
        )
    data = letter.payload.encode()
    await _check_message(engine, tokens[3], tokens[4], data)
    await engine.bus.put_back(tokens[3], tokens[4], data, f"dead-{stored.seq}")
    return "message"


async def _check_message(engine: Engine, instance: str, source: str, data: bytes) -> None:
    try:
        message = read_inbox(data)
    except BadMessageError as error:
        raise ConflictError(
            f"it is {error.reason}: it would only come back as a new dead letter"
        ) from None
    match message:
        case ClaimMessage():
            raise ConflictError("it is a claim: its agent waits no more, or asks again by itself")
        case CommandMessage():
            raise ConflictError(f"it is a command that came from {source!r}, which gives none")
        case ResultMessage():
            attempt = _attempt(await _state(engine, instance), message.task, message.attempt)
            if attempt.role != source:
                raise ConflictError(f"{attempt.task} is of role {attempt.role}, not of {source}")
            if attempt.status is TaskStatus.SUCCEEDED:
                raise ConflictError(f"attempt {attempt.attempt} of {attempt.task} has succeeded")


async def _send_task_again(engine: Engine, letter: DeadLetter, seq: int) -> Literal["task"]:
    if letter.instance is None or letter.task is None:
        raise ConflictError("it names no task: it cannot be sent")
    state = await _state(engine, letter.instance)
    attempt = state.current(letter.task)
    if attempt is None:
        raise ConflictError(f"instance {letter.instance} has no task {letter.task}")
    if not attempt.may_be_sent_again or attempt.is_child or attempt.is_local:
        raise ConflictError(_why_not_again(letter.instance, attempt))
    if engine.holds.covers(attempt.role):
        raise ConflictError(f"role {attempt.role} is paused: its tasks leave when it is resumed")
    definition = await engine.snapshots.of(state.row.digest)
    again: OutgoingTask = task_message(definition, state, attempt, resend=f":dead-{seq}")
    await engine.bus.publish([], await store_payloads(engine.bus, [again]))
    return "task"


def _why_not_again(instance: str, attempt: Attempt) -> str:
    what = f"attempt {attempt.attempt} of {attempt.task}"
    if attempt.is_held or attempt.is_intent:
        return (
            f"{what} may be done, and is final: 'sagabus resolve {instance} {attempt.stage}"
            " --succeeded | --failed | --retry --reason TEXT' says what became of it"
        )
    if attempt.retry and attempt.due_at is not None:
        return f"the task is tried again at {attempt.due_at.isoformat(timespec='seconds')}"
    return (
        f"{what} is {attempt.status}, nothing of the task is awaited any more: "
        f"'sagabus retry {instance}' continues an instance that has failed"
    )


async def _state(engine: Engine, instance: str) -> InstanceState:
    state = await engine.store.load_instance(instance)
    if state is None:
        raise ConflictError(f"there is no instance {instance!r} (any more)")
    return state


def _attempt(state: InstanceState, task: str, number: int) -> Attempt:
    attempt = state.find(task, number)
    if attempt is None:
        raise ConflictError(f"instance {state.row.id} has no attempt {number} of task {task}")
    return attempt
