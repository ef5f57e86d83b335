"""Observing: which resources exist now, asked over core NATS and answered to whoever asked.

Nothing of it is stored, nothing is claimed, and it takes no slot of a role: it changes nothing, and
who asks hears soon that nobody answers. Of all agents of a role that observe a kind one is asked.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog
from nats.aio.msg import Msg
from structlog.typing import FilteringBoundLogger

from sagabus_agents.connection import Connection
from sagabus_agents.errors import error_info
from sagabus_agents.execution import EncodedResult, Ending, Execution, Outcome, encode_result
from sagabus_agents.handlers import Handlers
from sagabus_agents.payloads import BusAwayError, GoneError, Payloads
from sagabus_agents.task import Task
from sagabus_agents.wire import (
    ResultStatus,
    TaskMessage,
    TaskType,
    observe_subject,
    result_payload_name,
)

#: Observations that run at once; further ones wait for their turn.
MAX_RUNNING: Final = 4
#: How long they have to end once the agent leaves.
LEAVE_WITHIN_S: Final = 1.0


class Observations:
    """The observe tasks that this agent has in hand."""

    def __init__(
        self,
        agent: str,
        roles: Sequence[str],
        handlers: Handlers,
        connection: Connection,
        group: asyncio.TaskGroup,
    ) -> None:
        self._agent = agent
        self._handlers = handlers
        self._connection = connection
        self._payloads = Payloads(connection)
        self._group = group
        self._slots = asyncio.Semaphore(MAX_RUNNING)
        self._running: dict[asyncio.Task[None], Execution] = {}
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents").bind(agent=agent)
        for role in roles:
            for kind in handlers.actions(TaskType.OBSERVE):
                subject = partial(observe_subject, role, kind or "*")
                connection.subscribe(subject, self._on_request, group=role)

    async def leave(self) -> None:
        """Take no more, and end those that run: whoever asked is told."""
        await self._connection.unsubscribe(self._on_request)
        if not self._running:
            return
        for execution in self._running.values():
            execution.end(Ending.CANCELLED, "the agent leaves")
        await asyncio.wait(self._running, timeout=LEAVE_WITHIN_S)
        for work in self._running:
            work.cancel()  # a sync handler, which nothing can end

    async def _on_request(self, message: Msg) -> None:
        try:
            task = TaskMessage.model_validate_json(message.data)
            if message.subject != observe_subject(task.role, task.action):
                raise ValueError("it is not the observation that its subject names")
            if task.type is not TaskType.OBSERVE:
                raise ValueError(f"it has the type {task.type.value!r}")
        except ValueError as error:  # pydantic's ValidationError is one
            self._log.error("observation_unreadable", subject=message.subject, error=str(error))
            return
        execution = Execution(self._handlers, Task(task))
        work = self._group.create_task(self._answer(execution, message.reply))
        self._running[work] = execution
        work.add_done_callback(lambda ended: self._running.pop(ended))

    async def _answer(self, execution: Execution, reply: str) -> None:
        async with self._slots:
            started_at = datetime.now(UTC)
            outcome = await self._observe(execution)
            encoded = encode_result(execution.task, outcome, self._agent, started_at)
            await self._connection.publish(reply, await self._message(execution, encoded))

    async def _observe(self, execution: Execution) -> Outcome:
        message = execution.task.message
        if message.payload is not None:
            try:
                execution.task.complete(await self._payloads.complete(message, message.payload))
            except (BusAwayError, GoneError, ValueError) as error:
                why = f"the known ids cannot be read: {error or type(error).__name__}"
                return Outcome(ResultStatus.FAILED, error=error_info("bad_input", why))
        outcome = execution.never_ran() if execution.ending else await execution.run()
        # None is for tasks, which go to another agent; nobody ends an observation that way.
        return outcome or Outcome(ResultStatus.CANCELLED)

    async def _message(self, execution: Execution, encoded: EncodedResult) -> bytes:
        if encoded.payload is None:
            return encoded.message()
        task = execution.task
        name = result_payload_name(task.workflow_id, task.id, task.attempt)
        ref = await self._payloads.store(name, encoded.payload)
        if ref is not None:
            return encoded.message(ref)
        why = f"the answer has {len(encoded.payload)} bytes, and the bus does not take them now"
        failed = Outcome(ResultStatus.FAILED, error=error_info("bad_result", why))
        return encode_result(task, failed, self._agent, None).message()
