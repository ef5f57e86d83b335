"""Deliveries that come again, claims and their answers, cancellation, heartbeats."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagabus_agents import Task, wire
from sagabus_agents.wire import ClaimVerdict, ResultStatus
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


async def test_heartbeats_keep_a_long_task_from_being_delivered_again(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)
    runs = 0

    @agent.task("long")
    async def long(task: Task) -> None:
        nonlocal runs
        runs += 1
        task.progress(0.5, "half")
        await asyncio.sleep(ACK_WAIT_S * 2.5)

    async with serving(agent):
        await fake.run("devops", "long")
        await fake.until_acknowledged()
    assert runs == 1
    assert fake.claims == []
    assert [(p.fraction, p.message) for p in fake.progress] == [(0.5, "half")]


async def test_second_delivery_of_a_running_attempt_joins_it(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server, heartbeat_s=60.0)  # silent: the server delivers it again
    runs = 0

    @agent.task("long")
    async def long(task: Task) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(ACK_WAIT_S * 2.5)

    async with serving(agent):
        await fake.run("devops", "long")
        await fake.until_acknowledged()
        info = await fake.client.jetstream().consumer_info(wire.STREAM_TASKS, "devops")
    assert info.delivered is not None
    assert info.delivered.consumer_seq > 1
    assert runs == 1
    assert fake.claims == []
    assert len(fake.results) == 1


async def test_claimed_task_waits_for_the_answer_and_asks_again(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)
    ran = asyncio.Event()

    @agent.task("provision")
    async def provision(task: Task) -> None:
        ran.set()

    fake.verdict = lambda _: None
    async with serving(agent):
        await fake.send(fake.task("devops", "provision", claim=True))
        await fake.until(lambda: len(fake.claims) >= 2)
        assert not ran.is_set()
        fake.verdict = lambda _: ClaimVerdict.RUN
        await fake.result("provision-1-0")
        await fake.until_acknowledged()
    assert len({claim.claim for claim in fake.claims}) == 1
    assert fake.claims[0].delivery == 1


@pytest.mark.parametrize("verdict", [ClaimVerdict.SKIP, ClaimVerdict.HOLD])
async def test_task_that_may_not_run_is_acknowledged_and_forgotten(
    server: NatsServer, fake: FakeOrchestrator, verdict: ClaimVerdict
) -> None:
    agent = make_agent(server)
    runs = 0

    @agent.task("provision")
    async def provision(task: Task) -> None:
        nonlocal runs
        runs += 1

    fake.verdict = lambda _: verdict
    async with serving(agent):
        await fake.send(fake.task("devops", "provision", resent=True))
        await fake.until(lambda: fake.claims)
        await fake.until_acknowledged()
    assert runs == 0
    assert fake.results == []


async def test_later_is_asked_again_with_the_next_delivery(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)

    @agent.task("provision")
    async def provision(task: Task) -> None:
        return None

    fake.verdict = lambda claim: ClaimVerdict.RUN if claim.delivery > 1 else ClaimVerdict.LATER
    async with serving(agent):
        await fake.run("devops", "provision", claim=True)
    assert [claim.delivery for claim in fake.claims] == [1, 2]
    assert len({claim.claim for claim in fake.claims}) == 2


async def test_cancelled_handler_reports_cancelled_with_its_artifacts(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)
    started = asyncio.Event()

    @agent.task("provision")
    async def provision(task: Task) -> None:
        task.artifact("half-made")
        started.set()
        await asyncio.sleep(60)

    async with serving(agent):
        task = fake.task("devops", "provision")
        await fake.send(task)
        await asyncio.wait_for(started.wait(), 10)
        await fake.cancel(task, "not wanted")
        result = await fake.result(task.task)
        await fake.until_acknowledged()
    assert result.status is ResultStatus.CANCELLED
    assert result.artifacts == ["half-made"]
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("cancelled", "not wanted")


async def test_cancelled_while_it_claims_never_starts(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server)

    @agent.task("provision")
    async def provision(task: Task) -> None:
        raise AssertionError

    fake.verdict = lambda _: None
    async with serving(agent):
        task = fake.task("devops", "provision", claim=True)
        await fake.send(task)
        await fake.until(lambda: fake.claims)
        await fake.cancel(task)
        result = await fake.result(task.task)
    assert result.status is ResultStatus.CANCELLED
    assert result.started_at is None
