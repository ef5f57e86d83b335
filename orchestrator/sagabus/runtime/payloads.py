"""Payloads that are too large for a message: objects beside the messages that name them.

A task's body is stored before the task is published, and an output is read before its result is
decided. The database has, or gets, both: what the bus keeps is for the way only, and is deleted
when it has served.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import orjson
import structlog

from sagabus.core.instance import Attempt, InstanceState, TaskStatus
from sagabus.errors import BusUnavailableError
from sagabus.ports import Bus, OutgoingTask
from sagabus.runtime.messages import task_body, without_output
from sagabus.runtime.reading import Dead, Item, Reading
from sagabus.runtime.turn import Turn
from sagabus_agents.wire import (
    MAX_INLINE_BYTES,
    MAX_PAYLOAD_BYTES,
    ResultMessage,
    result_payload_name,
    task_payload_name,
    task_subject,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

#: Objects on their way at once: each is in memory meanwhile.
_AT_ONCE = 4
#: A body from here on may have been too large for its message, whatever stood beside it there.
_MAYBE_LARGE_BYTES = MAX_INLINE_BYTES // 2
#: Of an attempt that ended so, an agent may have stored an output and never said so.
_WITHOUT_WORD = frozenset({TaskStatus.TIMED_OUT, TaskStatus.UNKNOWN, TaskStatus.CANCELLED})


async def store_payloads(bus: Bus, tasks: Sequence[OutgoingTask]) -> list[OutgoingTask]:
    """Store what the tasks are to name, where it is missing; the tasks ready to be published.

    Raises:
        BusUnavailableError: not all could be stored.
    """
    if all(task.payload is None for task in tasks):
        return list(tasks)
    return await _each(tasks, lambda task: _with_payload(bus, task))


async def _with_payload(bus: Bus, task: OutgoingTask) -> OutgoingTask:
    if task.payload is None:
        return task
    ref = await bus.put_payload(task.payload.name, orjson.dumps(task.payload.body))
    message = orjson.loads(task.data) | {"payload": ref.model_dump()}
    return task._replace(data=orjson.dumps(message), payload=None)


async def send_result(bus: Bus, instance: str, message: ResultMessage, msg_id: str) -> None:
    """Give ``instance`` the result of another one, beside its message if it is large.

    Raises:
        BusUnavailableError: it is not stored.
    """
    data = message.model_dump_json().encode()
    if len(data) > MAX_INLINE_BYTES:
        name = result_payload_name(instance, message.task, message.attempt)
        ref = await bus.put_payload(name, orjson.dumps(message.output))
        message = message.model_copy(update={"output": None, "payload": ref})
        data = message.model_dump_json().encode()
    await bus.send_result(instance, data, msg_id)


async def complete_results(
    bus: Bus, reading: Reading, states: Mapping[str, InstanceState]
) -> list[Dead]:
    """Read the outputs that stand beside their results; those that are lost are dead letters.

    A task whose result is lost has had no answer: the reconciler sends it again.

    Raises:
        BusUnavailableError: the bus is away.
    """
    places = [
        (instance, index)
        for instance, items in reading.items.items()
        for index, item in enumerate(items)
        if isinstance(item.message, ResultMessage) and item.message.payload is not None
    ]
    if not places:
        return []

    async def complete(place: tuple[str, int]) -> Item | Dead:
        instance, index = place
        return await _complete(bus, instance, reading.items[instance][index], states.get(instance))

    found = await _each(places, complete)
    dead = [each for each in found if isinstance(each, Dead)]
    for (instance, index), each in zip(reversed(places), reversed(found), strict=True):
        if isinstance(each, Dead):
            del reading.items[instance][index]
        else:
            reading.items[instance][index] = each
    return dead


async def _complete(
    bus: Bus, instance: str, item: Item, state: InstanceState | None
) -> Item | Dead:
    message = item.message
    if not isinstance(message, ResultMessage) or message.payload is None or item.delivery is None:
        return item
    attempt = state.find(message.task, message.attempt) if state is not None else None
    if attempt is None or attempt.status is TaskStatus.SUCCEEDED:
        return item  # nobody asks for it, or it was taken before, and is deleted
    if message.payload.name != result_payload_name(instance, message.task, message.attempt):
        reason = f"payload_lost: {message.payload.name} is not the name of its output"
        return Dead(reason, item.source, instance, item.delivery)
    if message.payload.size > MAX_PAYLOAD_BYTES:
        return _failed(
            item,
            message,
            f"its output has {message.payload.size} bytes, and at most "
            f"{MAX_PAYLOAD_BYTES} are taken: pass a reference instead of the data",
        )
    data = await bus.get_payload(message.payload)
    if data is None:
        reason = f"payload_lost: {message.payload.name} is gone, or is not what was stored"
        return Dead(reason, item.source, instance, item.delivery)
    try:
        output = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return _failed(item, message, f"its output is not JSON: {error}")
    return replace(item, message=message.model_copy(update={"output": output}))


def _failed(item: Item, message: ResultMessage, why: str) -> Item:
    return replace(item, message=without_output(message, why))


async def forget_payloads(bus: Bus, turn: Turn) -> None:
    """Delete what has served with this turn. What is left, by a crash or so, expires."""
    states = {state.row.id: state for state in turn.states}
    names = _outputs(turn, states)
    for instance, attempt in turn.changes.attempts:
        state = states.get(instance)
        if state is None or attempt.ended_at != turn.at or not _was_large(state, attempt):
            continue
        names.append(task_payload_name(instance, attempt.task, attempt.attempt))
        # A copy that is still queued would ask for the object again and again.
        await _if_there(
            bus.purge_task(task_subject(attempt.role, instance, attempt.task, attempt.attempt))
        )
    if names:
        await _if_there(bus.delete_payloads(names))


def _outputs(turn: Turn, states: Mapping[str, InstanceState]) -> list[str]:
    """Outputs that were taken, or that nobody will ask for any more."""
    names: list[str] = []
    for instance, item in turn.origins.values():
        message = item.message
        if not isinstance(message, ResultMessage) or message.payload is None:
            continue
        state = states.get(instance)
        attempt = state.find(message.task, message.attempt) if state is not None else None
        if attempt is not None and not attempt.is_unanswered:
            names.append(result_payload_name(instance, message.task, message.attempt))
    for state in states.values():
        if state.row.status.is_terminal and state.row.ended_at == turn.at:
            names += [
                result_payload_name(state.row.id, attempt.task, attempt.attempt)
                for tries in state.attempts.values()
                for attempt in tries
                if attempt.status in _WITHOUT_WORD
            ]
    return names


def _was_large(state: InstanceState, attempt: Attempt) -> bool:
    """Whether an attempt has ended whose body may have stood beside its message."""
    if attempt.is_unanswered or attempt.is_local or attempt.is_child:
        return False
    return len(orjson.dumps(task_body(state, attempt))) > _MAYBE_LARGE_BYTES


async def _if_there(call: Awaitable[None]) -> None:
    try:
        await call
    except BusUnavailableError as error:
        log.debug("payloads_left", error=str(error))


async def _each(items: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """The results of ``work``, a few of them at a time."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> R:
        async with slots:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))
