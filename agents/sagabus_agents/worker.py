"""What becomes of one delivery: claim it where needed, run it, report it, acknowledge it.

The task is acknowledged only after the server has stored its result; until then its attempt is
held, and a second delivery of it joins the first.
"""

import asyncio
from datetime import UTC, datetime
from functools import partial
from itertools import count

import orjson
import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from sagabus_agents.attempt import AttemptKey, HeldAttempt, delivery_count, parse_task_subject
from sagabus_agents.beats import Beats
from sagabus_agents.claims import Claim, Claims
from sagabus_agents.connection import Connection
from sagabus_agents.errors import TaskError, describe, error_info
from sagabus_agents.execution import EncodedResult, Ending, Execution, Outcome, encode_result
from sagabus_agents.handlers import Handlers
from sagabus_agents.hiding import SecretTask
from sagabus_agents.outbox import Letter, Outbox
from sagabus_agents.payloads import BusAwayError, GoneError, Payloads
from sagabus_agents.pull import RolePull
from sagabus_agents.secrets import Redemptions
from sagabus_agents.task import Task
from sagabus_agents.wire import (
    MAX_MESSAGE_BYTES,
    CancelMessage,
    ClaimVerdict,
    PayloadRef,
    ProgressMessage,
    ResultMessage,
    ResultStatus,
    TaskMessage,
    inbox_subject,
    result_payload_name,
)

#: Room for subject and headers within the server's ``max_payload``.
HEADER_ROOM = 4 * 1024
#: A task that this agent gives back is delivered to another one after this.
HAND_OVER_S = 0.5
#: One whose body is gone is delivered again after this, doubled with each delivery: the
#: orchestrator notices within half a minute, or when it is back.
GONE_S = 10.0
MAX_GONE_S = 300.0
FETCH_RETRY_S = 0.25


class Worker:
    """The attempts that this agent has in hand."""

    def __init__(
        self,
        agent: str,
        handlers: Handlers,
        connection: Connection,
        group: asyncio.TaskGroup,
        held: dict[AttemptKey, HeldAttempt],
        beats: Beats,
    ) -> None:
        self._agent = agent
        self._handlers = handlers
        self._connection = connection
        self._group = group
        self._held = held
        self._beats = beats
        self._outbox = Outbox(connection, group)
        self._payloads = Payloads(connection)
        self._claims = Claims(connection, agent)
        self._redemptions = Redemptions(connection, agent)
        self._numbers = count(1)
        self._is_leaving = False
        self._loop = asyncio.get_running_loop()
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents").bind(agent=agent)
        #: Set while nothing is held.
        self.idle = asyncio.Event()
        self.idle.set()

    def reconnected(self) -> None:
        """Ask and report again what went to the old connection."""
        self._claims.reconnected()
        self._outbox.reconnected()

    async def tick(self, now: float) -> None:
        """Send again what is due."""
        await self._claims.tick(now)
        await self._outbox.tick(now)

    def leave(self) -> None:
        """Take no more tasks."""
        self._is_leaving = True

    async def on_task(self, pull: RolePull, message: Msg) -> None:
        """One delivery."""
        try:
            role, key = parse_task_subject(message.subject)
        except ValueError as error:
            self._log.error("not_a_task", subject=message.subject, error=str(error))
            await self._connection.publish(message.reply, b"+TERM not a task")
            return
        held = self._held.get(key)
        if held is not None:
            held.ack = message.reply
            return
        if self._is_leaving:
            await self._connection.publish(message.reply, _nak(HAND_OVER_S))
            return
        try:
            task = TaskMessage.model_validate_json(message.data)
            if (task.role, task.workflow_id, task.task, task.attempt) != (role, *key):
                raise ValueError("it is not the task that its subject names")
        except ValueError as error:  # pydantic's ValidationError is one
            await self._report_unreadable(role, key, message.reply, error)
            return
        self._take(pull, task, message.reply)

    async def on_cancel(self, message: Msg) -> None:
        """A ``CancelMessage``, for whoever runs the attempt."""
        try:
            cancel = CancelMessage.model_validate_json(message.data)
        except ValidationError as error:
            self._log.warning("cancel_unreadable", error=str(error))
            return
        instance = message.subject.rpartition(".")[2]
        attempt = self._held.get((instance, cancel.task, cancel.attempt))
        if attempt is not None:
            attempt.end(Ending.CANCELLED, cancel.reason)

    def end_all(self) -> None:
        """Give up everything in hand; what ends in time is given back to the role."""
        for attempt in self._held.values():
            attempt.end(Ending.SHUTDOWN)

    def abandon_threads(self) -> None:
        """Wait no longer for sync handlers, which nothing can end; their tasks stay unanswered.

        Nor for outputs on their way.
        """
        self._outbox.abandon()
        for attempt in self._held.values():
            if attempt.work is not None:
                attempt.work.cancel()

    def _take(self, pull: RolePull, task: TaskMessage, ack: str) -> None:
        context = SecretTask(task) if task.secrets else Task(task)
        attempt = HeldAttempt(task, Execution(self._handlers, context), pull, ack)
        context.on_progress = partial(self._on_progress, attempt)
        delivery = delivery_count(ack)
        if task.claim or task.resent or delivery > 1:
            attempt.claim = Claim(task, delivery)
        pull.taken += 1
        self._held[attempt.key] = attempt
        self.idle.clear()
        attempt.work = self._group.create_task(self._work(attempt))

    async def _work(self, attempt: HeldAttempt) -> None:
        execution = attempt.execution
        # Before it is claimed: a claim that was granted is the start of the attempt.
        body = attempt.message.payload
        if body is not None and not await self._has_body(attempt, body):
            return
        if attempt.claim is not None and not await self._is_granted(attempt, attempt.claim):
            return
        outcome = await self._run(execution, attempt)
        if outcome is None:
            await self._let_go(attempt, _nak(HAND_OVER_S))
        else:
            await self._report(attempt, outcome)

    async def _run(self, execution: Execution, attempt: HeldAttempt) -> Outcome | None:
        if execution.ending is None:
            attempt.started_at = datetime.now(UTC)
            try:
                await self._redeem(execution)
            except TaskError as error:
                return Outcome(ResultStatus.FAILED, error=describe(error))
        return execution.never_ran() if execution.ending else await execution.run()

    async def _redeem(self, execution: Execution) -> None:
        """Put the secrets into the input that the handler gets."""
        task = execution.task
        if isinstance(task, SecretTask):
            found = await self._redemptions.redeem(task.message, lambda: bool(execution.ending))
            if found is not None:
                task.redeemed(*found)

    async def _has_body(self, attempt: HeldAttempt, body: PayloadRef) -> bool:
        """Read the body; False when there is none, and the attempt was let go."""
        execution = attempt.execution
        while execution.ending is None:
            try:
                execution.task.complete(await self._payloads.complete(attempt.message, body))
            except BusAwayError:
                await asyncio.sleep(FETCH_RETRY_S)
            except GoneError:
                execution.task.log.warning("task_body_gone", name=body.name)
                doublings = min(delivery_count(attempt.ack) - 1, 10)
                await self._let_go(attempt, _nak(min(GONE_S * 2**doublings, MAX_GONE_S)))
                return False
            except ValueError as error:
                why = f"the task cannot be read: {error}"
                bad_input = error_info("bad_input", why, retryable=False)
                await self._report(attempt, Outcome(ResultStatus.FAILED, error=bad_input))
                return False
            else:
                return True
        return True

    async def _is_granted(self, attempt: HeldAttempt, claim: Claim) -> bool:
        answer = await self._claims.ask(claim)
        attempt.claim = None
        if answer is None or answer.answer is ClaimVerdict.RUN:
            return True
        if answer.answer is ClaimVerdict.LATER:
            await self._let_go(attempt, _nak(answer.retry_after_s))
        else:
            log = attempt.execution.task.log
            if answer.answer is ClaimVerdict.HOLD:
                log.warning("task_held", why="it may have been done: an operator has to decide")
            else:
                log.info("task_not_run", verdict=answer.answer.value)
            await self._let_go(attempt, b"+ACK")
        return False

    async def _report(self, attempt: HeldAttempt, outcome: Outcome) -> None:
        limit = min(MAX_MESSAGE_BYTES, self._connection.max_payload - HEADER_ROOM)
        encoded = encode_result(
            attempt.execution.task, outcome, self._agent, attempt.started_at, limit
        )
        letter = Letter(
            inbox_subject(attempt.message.workflow_id, attempt.message.role),
            encoded.message(),
            # Unique per run: another run's result of the same attempt is another message.
            f"{self._agent}-{next(self._numbers)}",
            partial(self._let_go, attempt, b"+ACK"),
            partial(self._on_refused, attempt),
        )
        if encoded.payload is not None:
            letter.prepare = partial(self._with_output, attempt, encoded, encoded.payload)
        await self._outbox.send(letter)

    async def _with_output(
        self, attempt: HeldAttempt, encoded: EncodedResult, output: bytes
    ) -> bytes | None:
        """Store an output that is too large for its message; the message that names it."""
        ref = await self._payloads.store(result_payload_name(*attempt.key), output)
        return None if ref is None else encoded.message(ref)

    async def _on_refused(self, attempt: HeldAttempt, reason: str) -> None:
        error = error_info(
            "bad_result", f"the stream refuses the result: {reason}", retryable=False
        )
        await self._report(attempt, Outcome(ResultStatus.FAILED, error=error))

    async def _report_unreadable(
        self, role: str, key: AttemptKey, ack: str, error: ValueError
    ) -> None:
        instance, task, number = key
        self._log.error("task_unreadable", workflow_id=instance, task=task, error=str(error))
        result = ResultMessage(
            task=task,
            attempt=number,
            status=ResultStatus.FAILED,
            error=error_info("bad_input", f"the task cannot be read: {error}", retryable=False),
            agent=self._agent,
        )

        async def acknowledge(_: str = "") -> None:
            await self._connection.publish(ack, b"+ACK")

        await self._outbox.send(
            Letter(
                inbox_subject(instance, role),
                result.model_dump_json().encode(),
                f"{self._agent}-{next(self._numbers)}",
                acknowledge,
                acknowledge,
            )
        )

    async def _let_go(self, attempt: HeldAttempt, verb: bytes) -> None:
        # First the books: a connection that closes cancels its callbacks where they wait.
        del self._held[attempt.key]
        attempt.pull.taken -= 1
        await self._connection.publish(attempt.ack, verb)
        if not self._held:
            self.idle.set()
        await attempt.pull.top_up()

    def _on_progress(self, attempt: HeldAttempt, news: ProgressMessage) -> None:
        attempt.progress = news
        self._loop.call_soon_threadsafe(self._beats.progressed.add, attempt)


def _nak(delay_s: float) -> bytes:
    """Give a task back; a bare ``-NAK`` would be delivered again at once, over and over."""
    return b"-NAK " + orjson.dumps({"delay": int(delay_s * 1e9)})
