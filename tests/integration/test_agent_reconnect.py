"""The server goes away and comes back, with and without what it had stored: agents go on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagabus_agents import Agent, Task, wire
from sagabus_agents.wire import ResultStatus
from tests.support.agents import serving
from tests.support.eventually import eventually
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fake(server: NatsServer) -> AsyncIterator[FakeOrchestrator]:
    async with orchestrator(server.url, "devops") as running:
        yield running


class Work:
    """An agent whose task can be held."""

    def __init__(self, url: str):
        self.agent = Agent("devops", nats_url=url, drain_s=5.0)
        self.runs: list[str] = []
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.agent.task("quick")(self.quick)
        self.agent.task("held")(self.held)

    async def quick(self, task: Task) -> str:
        self.runs.append(task.id)
        return "quick"

    async def held(self, task: Task) -> str:
        self.runs.append(task.id)
        self.started.set()
        await self.release.wait()
        return "held"


async def connected(fake: FakeOrchestrator) -> None:
    async def is_connected() -> bool:
        return fake.client.is_connected

    await eventually(is_connected)


async def test_idle_agent_pulls_again_after_every_restart_of_the_server(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    work = Work(server.url)
    async with serving(work.agent):
        await fake.run("devops", "quick", task="before")
        for number in range(3):
            await asyncio.to_thread(server.restart)
            await connected(fake)
            await fake.run("devops", "quick", task=f"after-{number}")
    assert work.runs == ["before", "after-0", "after-1", "after-2"]


async def test_working_agent_reports_once_and_pulls_again_after_a_restart(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    work = Work(server.url)
    async with serving(work.agent):
        await fake.send(fake.task("devops", "held"))
        await asyncio.wait_for(work.started.wait(), 10)
        await asyncio.to_thread(server.restart)
        await connected(fake)
        await fake.run("devops", "quick", task="meanwhile")
        work.release.set()
        result = await fake.result("held-1-0")
        await fake.until_acknowledged()
    assert result.output == "held"
    assert work.runs == ["held-1-0", "meanwhile"]
    assert len(fake.results) == 2


async def test_result_made_while_the_server_is_away_arrives_once_it_is_back(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    work = Work(server.url)
    async with serving(work.agent):
        await fake.send(fake.task("devops", "held"))
        await asyncio.wait_for(work.started.wait(), 10)
        await asyncio.to_thread(server.kill)
        work.release.set()
        await asyncio.sleep(0)
        await asyncio.to_thread(server.start)
        result = await fake.result("held-1-0")
        await connected(fake)
        await fake.until_acknowledged()
    assert result.output == "held"
    assert work.runs == ["held-1-0"]
    assert len(fake.results) == 1


async def test_agent_finds_its_work_after_the_store_was_wiped(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    work = Work(server.url)
    async with serving(work.agent):
        await fake.run("devops", "quick", task="before")
        server.kill()
        server.wipe()
        await asyncio.to_thread(server.start)
        await connected(fake)
        await fake.ensure()  # the streams alone: the consumer is made by the agent
        await fake.run("devops", "quick", task="after")
        await fake.until_acknowledged()
    assert work.runs == ["before", "after"]


async def test_copy_sent_after_a_wipe_joins_the_attempt_that_still_runs(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    work = Work(server.url)
    async with serving(work.agent):
        task = fake.task("devops", "held")
        await fake.send(task)
        await asyncio.wait_for(work.started.wait(), 10)
        server.kill()
        server.wipe()
        await asyncio.to_thread(server.start)
        await connected(fake)
        await fake.ensure("devops")
        await fake.send(task.model_copy(update={"resent": True}))

        async def is_delivered() -> object:
            info = await fake.client.jetstream().consumer_info(wire.STREAM_TASKS, "devops")
            return info.num_ack_pending

        await eventually(is_delivered)
        work.release.set()
        result = await fake.result("held-1-0")
        await fake.until_acknowledged()
    assert result.status is ResultStatus.SUCCEEDED
    assert work.runs == ["held-1-0"]
    assert fake.claims == []
    assert len(fake.results) == 1


async def test_agent_that_is_first_waits_for_the_server_and_its_streams(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        server.kill()
        work = Work(server.url)
        async with serving(work.agent):
            await asyncio.sleep(0)
            await asyncio.to_thread(server.start)
            async with orchestrator(server.url) as fake:
                await fake.run("devops", "quick", task="first")
    assert work.runs == ["first"]
