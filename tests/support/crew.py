"""Agents that do what a script says, and clients, speaking the wire protocol over any bus."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sagabus_agents import wire
from sagabus_agents.wire import (
    ClaimAnswer,
    ClaimMessage,
    ClaimVerdict,
    CommandMessage,
    CommandReply,
    TaskMessage,
)
from tests.support.worlds import WAIT_S, Link, Taken, until


@dataclass(slots=True)
class Fail:
    """The attempt fails."""

    type: str = "Broken"
    message: str = "no"
    is_retryable: bool = True


@dataclass(slots=True)
class Hang:
    """The attempt runs until it is cancelled, or for ever where ``is_deaf``."""

    is_deaf: bool = False


Outcome = Fail | Hang | Any


@dataclass(slots=True)
class Crew:
    """Agents of several roles that do what ``script`` says by ``"task#attempt"``, else succeed."""

    link: Link
    roles: Sequence[str]
    script: Mapping[str, Outcome] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"crew-{uuid.uuid4().hex[:8]}")
    #: What was done to the world, by ``"<instance> <task>#<attempt>"``.
    effects: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    #: Messages of what was run.
    ran: list[TaskMessage] = field(default_factory=list)
    _held: dict[tuple[str, str, int], Taken] = field(default_factory=dict)
    _started: dict[tuple[str, str, int], datetime] = field(default_factory=dict)
    _answers: dict[str, asyncio.Future[ClaimVerdict]] = field(default_factory=dict)
    _cancelled: dict[tuple[str, int], asyncio.Event] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        return not self._held

    async def work(self) -> None:
        """Until cancelled."""
        reply = f"_INBOX.{self.id}"
        async with (
            self.link.listen(reply, self._on_answer),
            self.link.listen("sagabus.cancel.*", self._on_cancel),
            asyncio.TaskGroup() as group,
        ):
            for role in self.roles:
                group.create_task(self._pull(role, reply, group))
            group.create_task(self._leave_at_end())

    async def _leave_at_end(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.link.leave()

    async def _pull(self, role: str, reply: str, group: asyncio.TaskGroup) -> None:
        while True:
            taken = await self.link.take(role)
            if taken is None:
                continue
            message = taken.message
            key = (message.workflow_id, message.task, message.attempt)
            is_held = key in self._held
            self._held[key] = taken
            if not is_held:
                group.create_task(self._handle(key, reply))

    async def _handle(self, key: tuple[str, str, int], reply: str) -> None:
        taken = self._held[key]
        message = taken.message
        needs_claim = message.claim or message.resent or taken.delivery > 1
        verdict = await self._claim(taken, reply) if needs_claim else ClaimVerdict.RUN
        if verdict is ClaimVerdict.LATER:
            await self._held.pop(key).give_back()
            return
        if verdict is ClaimVerdict.RUN:
            self.effects[f"{key[0]} {key[1]}#{key[2]}"] += 1
            self.ran.append(message)
            self._started[key] = datetime.now(UTC)
            await self.announce()
            result = await self._run(key)
            del self._started[key]
            if result is None:
                return
            await self.link.send(key[0], message.role, result)
            await self.announce()
        else:
            self.refused[f"{key[0]} {key[1]}#{key[2]}"] += 1
        acknowledged: Taken | None = None
        while acknowledged is not self._held[key]:  # a later delivery may have joined meanwhile
            acknowledged = self._held[key]
            await acknowledged.ack()
        del self._held[key]

    async def _claim(self, taken: Taken, reply: str) -> ClaimVerdict:
        message = taken.message
        claim = ClaimMessage(
            claim=uuid.uuid4().hex,
            task=message.task,
            attempt=message.attempt,
            agent=self.id,
            delivery=taken.delivery,
            reply=reply,
        )
        answer: asyncio.Future[ClaimVerdict] = asyncio.get_running_loop().create_future()
        self._answers[claim.claim] = answer
        while not answer.done():
            await self.link.send(
                message.workflow_id, message.role, claim.model_dump_json().encode()
            )
            await asyncio.wait([answer], timeout=0.1)
        return answer.result()

    async def _run(self, key: tuple[str, str, int]) -> bytes | None:
        """The result; None where it never comes."""
        _, task, attempt = key
        outcome = self.script.get(f"{task}#{attempt}", {"made": task})
        result: dict[str, Any] = {"output": outcome, "artifacts": [f"{task}-artifact"]}
        status = "succeeded"
        match outcome:
            case Fail():
                status = "failed"
                result = {
                    "error": {
                        "type": outcome.type,
                        "message": outcome.message,
                        "retryable": outcome.is_retryable,
                    }
                }
            case Hang():
                if outcome.is_deaf:
                    return None
                await self._cancelled.setdefault((task, attempt), asyncio.Event()).wait()
                status, result = "cancelled", {}
        return result_data(task, attempt, status, agent=self.id, **result)

    async def announce(self) -> None:
        """Tell what runs here."""
        running = [
            wire.RunningAttempt(instance=i, task=t, attempt=a, started_at=at)
            for (i, t, a), at in self._started.items()
        ]
        message = wire.PresenceMessage(
            agent=self.id, roles=list(self.roles), slots=9, free=9, running=running
        )
        await self.link.notify(wire.presence_subject(self.id), message.model_dump_json().encode())

    def _on_answer(self, data: bytes) -> None:
        answer = ClaimAnswer.model_validate_json(data)
        waiting = self._answers.get(answer.claim)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.answer)

    def _on_cancel(self, data: bytes) -> None:
        cancel = wire.CancelMessage.model_validate_json(data)
        self._cancelled.setdefault((cancel.task, cancel.attempt), asyncio.Event()).set()


class Hand:
    """An agent played by the test, one message at a time."""

    def __init__(self, link: Link, id: str = "hand") -> None:
        self.link = link
        self.id = id

    async def take(self, role: str) -> Taken:
        """The next task of the role."""
        return await until(lambda: self.link.take(role))

    async def claim(
        self, taken: Taken, *, claim: str = "", wait_s: float = WAIT_S
    ) -> ClaimVerdict | None:
        """Ask once to run it; None where no answer comes in time."""
        reply = f"_INBOX.{uuid.uuid4().hex}"
        answer: asyncio.Future[ClaimAnswer] = asyncio.get_running_loop().create_future()

        def on_answer(data: bytes) -> None:
            if not answer.done():
                answer.set_result(ClaimAnswer.model_validate_json(data))

        message = ClaimMessage(
            claim=claim or uuid.uuid4().hex,
            task=taken.message.task,
            attempt=taken.message.attempt,
            agent=self.id,
            delivery=taken.delivery,
            reply=reply,
        )
        async with self.link.listen(reply, on_answer):
            await self.send(taken, message.model_dump_json().encode())
            await asyncio.wait([answer], timeout=wait_s)
        return answer.result().answer if answer.done() else None

    async def run(self, taken: Taken) -> None:
        """Claim it, and be allowed to."""
        assert await self.claim(taken) is ClaimVerdict.RUN

    async def send(self, taken: Taken, data: bytes) -> None:
        """Store something as the agent of the task."""
        await self.link.send(taken.message.workflow_id, taken.message.role, data)

    async def finish(self, taken: Taken, status: str = "succeeded", **fields: Any) -> None:
        """Send the result, and acknowledge the task."""
        message = taken.message
        data = result_data(message.task, message.attempt, status, agent=self.id, **fields)
        await self.send(taken, data)
        await taken.ack()

    async def fail(self, taken: Taken, *, is_retryable: bool = False) -> None:
        """Fail it."""
        error = {"type": "Broken", "message": "no", "retryable": is_retryable}
        await self.finish(taken, "failed", error=error)


def result_data(
    task: str, attempt: int = 1, status: str = "succeeded", agent: str = "hand", **fields: Any
) -> bytes:
    """A result message."""
    values = {"task": task, "attempt": attempt, "status": status, "agent": agent, **fields}
    return wire.ResultMessage.model_validate(values).model_dump_json().encode()


async def command(
    link: Link, instance: str, id: str, name: Any, *, by: str = "ann", **arguments: Any
) -> CommandReply:
    """Give a command as another process does, again with the same id until it is answered."""
    reply = f"_INBOX.{uuid.uuid4().hex}"
    message = CommandMessage(command=id, name=name, arguments=arguments, by=by, reply=reply)
    answer: asyncio.Future[CommandReply] = asyncio.get_running_loop().create_future()

    def on_reply(data: bytes) -> None:
        if not answer.done():
            answer.set_result(CommandReply.model_validate_json(data))

    async with link.listen(reply, on_reply), asyncio.timeout(WAIT_S):
        while not answer.done():
            await link.send(instance, wire.COMMAND_SOURCE, message.model_dump_json().encode())
            await asyncio.wait([answer], timeout=0.2)
    return answer.result()
