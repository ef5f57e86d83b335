"""An agent on a real bus: tasks in, results out."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sagabus_agents import PermanentError, RetryableError, Task, wire
from sagabus_agents.wire import ResultStatus
from tests.support.agents import ACK_WAIT_S, make_agent, serving
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fake(server: NatsServer) -> AsyncIterator[FakeOrchestrator]:
    async with orchestrator(server.url, "devops", "backend", ack_wait_s=ACK_WAIT_S) as running:
        yield running


async def test_result_reaches_the_inbox_before_the_task_is_acknowledged(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)

    @agent.task("provision")
    async def provision(task: Task) -> dict[str, Any]:
        task.artifact("vm-1")
        return {"host": "h", "asked": task.input}

    async with serving(agent):
        result = await fake.run("devops", "provision", {"size": 3})
        await fake.until_acknowledged()
    assert result.status is ResultStatus.SUCCEEDED
    assert result.output == {"host": "h", "asked": {"size": 3}}
    assert result.artifacts == ["vm-1"]
    assert result.agent == agent.id
    assert result.started_at is not None
    assert fake.claims == []


async def test_one_agent_serves_several_roles(server: NatsServer, fake: FakeOrchestrator) -> None:
    agent = make_agent(server, "devops", "backend")

    @agent.task()
    async def anything(task: Task) -> str:
        return task.role

    async with serving(agent):
        assert (await fake.run("devops", "a")).output == "devops"
        assert (await fake.run("backend", "b")).output == "backend"


async def test_errors_keep_their_type_and_say_whether_to_retry(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)

    @agent.task("busy")
    async def busy(task: Task) -> None:
        raise RetryableError("no capacity", retry_after=7)

    @agent.task("never")
    def never(task: Task) -> None:
        raise PermanentError("no such region", type="bad_region")

    @agent.task("bug")
    async def bug(task: Task) -> None:
        raise KeyError("x")

    async with serving(agent):
        errors = {
            action: (await fake.run("devops", action)).error
            for action in ("busy", "never", "bug", "unheard_of")
        }
    seen = {
        action: (error.type, error.retryable, error.retry_after_s)
        for action, error in errors.items()
        if error is not None
    }
    assert seen == {
        "busy": ("RetryableError", True, 7.0),
        "never": ("bad_region", False, None),
        "bug": ("KeyError", True, None),
        "unheard_of": ("no_handler", False, None),
    }


async def test_typed_input_that_does_not_fit_is_bad_input(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    class Order(BaseModel):
        count: int

    agent = make_agent(server)

    @agent.task("order")
    async def order(task: Task, order: Order) -> Order:
        return Order(count=order.count + 1)

    async with serving(agent):
        good = await fake.run("devops", "order", {"count": "2"})
        bad = await fake.run("devops", "order", {"count": "two"}, attempt=2)
    assert good.output == {"count": 3}
    assert bad.error is not None
    assert (bad.error.type, bad.error.retryable) == ("bad_input", False)
    assert "count" in bad.error.message


async def test_output_that_cannot_be_sent_is_bad_result_and_keeps_its_artifacts(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)

    @agent.task("huge")
    async def huge(task: Task) -> str:
        task.artifact("kept")
        return "x" * (wire.MAX_PAYLOAD_BYTES + 1)

    @agent.task("odd")
    async def odd(task: Task) -> Any:
        return {1, 2}

    async with serving(agent):
        for action in ("huge", "odd"):
            result = await fake.run("devops", action)
            assert result.status is ResultStatus.FAILED
            assert result.error is not None
            assert (result.error.type, result.error.retryable) == ("bad_result", False)
        await fake.until_acknowledged()
    assert fake.results[0].artifacts == ["kept"]


async def test_unreadable_task_is_answered_and_acknowledged(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    async with serving(make_agent(server)):
        subject = wire.task_subject("devops", "wf-9", "t-1-0", 1)
        await fake.client.jetstream().publish(subject, b'{"type": "task"}')
        result = await fake.result("t-1-0")
        await fake.until_acknowledged()
    assert result.error is not None
    assert result.error.type == "bad_input"


async def test_sync_handlers_run_side_by_side_in_threads(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server, concurrency=2)
    both = threading.Barrier(2, timeout=10)

    @agent.task("meet")
    def meet(task: Task) -> str:
        both.wait()
        return threading.current_thread().name

    async with serving(agent):
        for number in range(2):
            await fake.send(fake.task("devops", "meet", task=f"m-1-{number}"))
        await fake.until(lambda: len(fake.results) == 2)
    assert {r.output for r in fake.results} == {"sagabus-handler"}


async def test_timeout_ends_the_handler_and_is_retryable(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)

    @agent.task("slow")
    async def slow(task: Task) -> None:
        await asyncio.sleep(60)

    async with serving(agent):
        result = await fake.run("devops", "slow", timeout_s=0.2)
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == ("timeout", True)
