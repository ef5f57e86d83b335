"""Asking before acting: a claim is sent until its answer arrives."""

import asyncio
import secrets
from dataclasses import dataclass, field

import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from sagabus_agents.connection import Connection
from sagabus_agents.wire import ClaimAnswer, ClaimMessage, TaskMessage, inbox_subject

RESEND_S = 3.0


@dataclass(slots=True, eq=False)
class Claim:
    """One claim: for one delivery of one attempt."""

    task: TaskMessage
    delivery: int
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    answer: "asyncio.Future[ClaimAnswer | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    #: Loop time at which it is to be sent again.
    due: float = 0.0
    sent: int = 0

    def abandon(self) -> None:
        """Stop waiting: ``ask`` returns None."""
        if not self.answer.done():
            self.answer.set_result(None)


class Claims:
    """The claims of one agent that have no answer yet."""

    def __init__(self, connection: Connection, agent: str) -> None:
        self._connection = connection
        self._agent = agent
        self._open: dict[str, Claim] = {}
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents")
        connection.subscribe(lambda: self._reply, self._on_answer)

    @property
    def _reply(self) -> str:
        return f"{self._connection.inbox}.claim"

    async def ask(self, claim: Claim) -> ClaimAnswer | None:
        """Wait for the answer, however long; None when the claim was abandoned."""
        self._open[claim.id] = claim
        try:
            await self._send(claim)
            return await claim.answer
        finally:
            del self._open[claim.id]

    def reconnected(self) -> None:
        """Answers to what was sent before go to an inbox that is gone: everything is due."""
        for claim in self._open.values():
            claim.due = 0.0

    async def tick(self, now: float) -> None:
        """Send again what was not answered."""
        for claim in [claim for claim in self._open.values() if claim.due <= now]:
            await self._send(claim)

    async def _send(self, claim: Claim) -> None:
        claim.due = asyncio.get_running_loop().time() + RESEND_S
        claim.sent += 1
        message = ClaimMessage(
            claim=claim.id,
            task=claim.task.task,
            attempt=claim.task.attempt,
            agent=self._agent,
            delivery=claim.delivery,
            reply=self._reply,
        )
        # The server drops a repeated Nats-Msg-Id, and with it the question: a new one each time.
        await self._connection.publish(
            inbox_subject(claim.task.workflow_id, claim.task.role),
            message.model_dump_json().encode(),
            msg_id=f"{claim.id}-{claim.sent}",
        )

    async def _on_answer(self, message: Msg) -> None:
        try:
            answer = ClaimAnswer.model_validate_json(message.data)
        except ValidationError as error:
            self._log.warning("claim_answer_unreadable", error=str(error))
            return
        claim = self._open.get(answer.claim)
        if claim is not None and not claim.answer.done():
            claim.answer.set_result(answer)
