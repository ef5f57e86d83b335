"""The orchestrator's side of the contract, over a real bus: tasks, answers, what comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import BadRequestError

from sagabus.adapters.nats_streams import stream_configs
from sagabus_agents import wire
from sagabus_agents.wire import ClaimAnswer, ClaimMessage, ClaimVerdict, ResultMessage, TaskMessage
from tests.support.eventually import eventually

WAIT_S = 15.0

T = TypeVar("T")
Verdict = Callable[[ClaimMessage], ClaimVerdict | None]


class FakeOrchestrator:
    """``async with orchestrator(url) as fake``: everything it received is in its lists."""

    def __init__(self, client: Client, ack_wait_s: float):
        self.client = client
        self.results: list[ResultMessage] = []
        self.claims: list[ClaimMessage] = []
        self.progress: list[wire.ProgressMessage] = []
        self.presence: dict[str, list[wire.PresenceMessage]] = {}
        #: What a claim is answered; None leaves it without an answer.
        self.verdict: Verdict = lambda _: ClaimVerdict.RUN
        self.retry_after_s = 0.3
        self._ack_wait_s = ack_wait_s
        self._news = asyncio.Condition()

    async def ensure(self, *roles: str) -> None:
        """Create what is missing."""
        jetstream = self.client.jetstream()
        for config in stream_configs(1, 1):
            with suppress(BadRequestError):
                await jetstream.add_stream(config)
        for role in roles:
            await jetstream.add_consumer(
                wire.STREAM_TASKS,
                ConsumerConfig(
                    durable_name=role,
                    filter_subject=wire.task_filter(role),
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=self._ack_wait_s,
                    max_deliver=-1,
                    max_ack_pending=-1,
                ),
            )

    def task(self, role: str, action: str, input: Any = None, **changes: Any) -> TaskMessage:
        """A task message with everything that a test does not care about filled in."""
        fields: dict[str, Any] = {
            "type": "task",
            "stage_name": action,
            "workflow_id": "wf-1",
            "workflow": "demo",
            "task": f"{action}-1-0",
            "attempt": 1,
            "role": role,
            "action": action,
            "input": input,
            "idempotency_key": f"wf-1/{action}-1-0",
            "trace": "0" * 32,
        }
        return TaskMessage.model_validate(fields | changes)

    async def send(self, task: TaskMessage) -> None:
        """Put a task on its subject."""
        subject = wire.task_subject(task.role, task.workflow_id, task.task, task.attempt)
        await self.client.jetstream().publish(
            subject, task.model_dump_json().encode(), headers={"Nats-Msg-Id": uuid4().hex}
        )

    async def run(self, role: str, action: str, input: Any = None, **changes: Any) -> ResultMessage:
        """Send a task and wait for its result."""
        task = self.task(role, action, input, **changes)
        await self.send(task)
        return await self.result(task.task, task.attempt)

    async def result(self, task: str, attempt: int = 1) -> ResultMessage:
        """The first result of an attempt."""

        def find() -> ResultMessage | None:
            wanted = (r for r in self.results if (r.task, r.attempt) == (task, attempt))
            return next(wanted, None)

        return await self.until(find)

    async def cancel(self, task: TaskMessage, reason: str = "") -> None:
        """Ask for an attempt to be ended."""
        message = wire.CancelMessage(task=task.task, attempt=task.attempt, reason=reason)
        subject = wire.cancel_subject(task.workflow_id)
        await self.client.publish(subject, message.model_dump_json().encode())

    async def queued(self) -> int:
        """Task messages in the stream, delivered or not."""
        return (await self.client.jetstream().stream_info(wire.STREAM_TASKS)).state.messages

    async def until_acknowledged(self) -> None:
        """Wait until no task is left in the stream."""

        async def is_empty() -> bool:
            return not await self.queued()

        await eventually(is_empty)

    async def until(self, condition: Callable[[], T | None]) -> T:
        """Wait until ``condition`` gives something true."""
        async with asyncio.timeout(WAIT_S), self._news:
            while not (found := condition()):
                await self._news.wait()
            return found

    async def consume(self) -> None:
        """Read the inbox for ever, over restarts of the server and lost streams."""
        jetstream = self.client.jetstream(timeout=1)
        config = ConsumerConfig(durable_name="fake", ack_policy=AckPolicy.EXPLICIT)
        while True:
            try:
                await self.ensure()
                await jetstream.add_consumer(wire.STREAM_INBOX, config)
                pull = await jetstream.pull_subscribe_bind("fake", wire.STREAM_INBOX)
                try:
                    while True:
                        for message in await self._fetch(pull):
                            await self._receive(message)
                finally:
                    with suppress(nats.errors.Error):
                        await pull.unsubscribe()
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(0.1)

    async def _fetch(self, pull: Any) -> list[Msg]:
        try:
            return await pull.fetch(100, timeout=0.5)
        except TimeoutError:
            # Raises when the consumer is gone; the pull itself would never say so.
            await self.client.jetstream(timeout=0.5).consumer_info(wire.STREAM_INBOX, "fake")
            return []

    async def _receive(self, message: Msg) -> None:
        received = wire.INBOX_ADAPTER.validate_json(message.data)
        async with self._news:
            match received:
                case ResultMessage():
                    self.results.append(received)
                case ClaimMessage():
                    self.claims.append(received)
                    verdict = self.verdict(received)
                    if verdict is not None:
                        answer = ClaimAnswer(
                            claim=received.claim,
                            answer=verdict,
                            retry_after_s=self.retry_after_s,
                        )
                        await self.client.publish(received.reply, answer.model_dump_json().encode())
            await message.ack()
            self._news.notify_all()

    async def on_presence(self, message: Msg) -> None:
        presence = wire.PresenceMessage.model_validate_json(message.data)
        async with self._news:
            self.presence.setdefault(presence.agent, []).append(presence)
            self._news.notify_all()

    async def on_progress(self, message: Msg) -> None:
        async with self._news:
            self.progress.append(wire.ProgressMessage.model_validate_json(message.data))
            self._news.notify_all()


async def _ignore(_: Exception) -> None:
    """Lost connections are part of the tests."""


@asynccontextmanager
async def orchestrator(
    url: str, *roles: str, ack_wait_s: float = wire.TASK_ACK_WAIT_S
) -> AsyncIterator[FakeOrchestrator]:
    """A fake orchestrator at ``url`` that has created the consumers of ``roles``."""
    client = await nats.connect(
        url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_ignore
    )
    fake = FakeOrchestrator(client, ack_wait_s)
    await fake.ensure(*roles)
    await client.subscribe("sagabus.presence.*", cb=fake.on_presence)
    await client.subscribe("sagabus.progress.*", cb=fake.on_progress)
    consumer = asyncio.create_task(fake.consume())
    try:
        yield fake
    finally:
        consumer.cancel()
        with suppress(asyncio.CancelledError):
            await consumer
        await client.close()
