"""Slots, presence, and how an agent leaves."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagabus_agents import Task, wire
from tests.support.agents import ACK_WAIT_S, make_agent, serving
from tests.support.eventually import eventually
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


async def test_no_more_tasks_are_taken_than_there_are_slots(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server, concurrency=2)
    release = asyncio.Event()
    running = 0
    most = 0

    @agent.task("work")
    async def work(task: Task) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    async with serving(agent):
        for number in range(6):
            await fake.send(fake.task("devops", "work", task=f"w-1-{number}"))

        def is_full() -> bool:
            beats = fake.presence.get(agent.id, [])
            return bool(beats) and len(beats[-1].running) == 2 and beats[-1].free == 0

        await fake.until(is_full)
        info = await fake.client.jetstream().consumer_info(wire.STREAM_TASKS, "devops")
        assert (info.num_ack_pending, info.num_pending) == (2, 4)
        release.set()
        await fake.until(lambda: len(fake.results) == 6)
    assert most == 2


async def test_presence_lists_what_runs_and_says_goodbye(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server, concurrency=3)
    release = asyncio.Event()

    @agent.task("work")
    async def work(task: Task) -> None:
        await release.wait()

    async with serving(agent):
        await fake.send(fake.task("devops", "work"))

        def listed() -> wire.PresenceMessage | None:
            return next((p for p in fake.presence.get(agent.id, []) if p.running), None)

        presence = await fake.until(listed)
        release.set()
        await fake.result("work-1-0")
    assert (presence.roles, presence.slots, presence.free) == (["devops"], 3, 2)
    assert [(r.instance, r.task, r.attempt) for r in presence.running] == [("wf-1", "work-1-0", 1)]
    last = await fake.until(lambda: [p for p in fake.presence[agent.id] if p.leaving])
    assert last[0].running == []


async def test_stopping_lets_running_tasks_end_and_takes_no_more(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    agent = make_agent(server, drain_s=10.0)
    started, release = asyncio.Event(), asyncio.Event()

    @agent.task("work")
    async def work(task: Task) -> str:
        started.set()
        await release.wait()
        return "done"

    async with serving(agent):
        await fake.send(fake.task("devops", "work"))
        await asyncio.wait_for(started.wait(), 10)
        agent.stop()

        async def asks_no_more() -> bool:
            info = await fake.client.jetstream().consumer_info(wire.STREAM_TASKS, "devops")
            return not info.num_waiting

        await eventually(asks_no_more)
        await fake.send(fake.task("devops", "work", task="late-1-0"))
        release.set()
    assert (await fake.result("work-1-0")).output == "done"
    assert await fake.queued() == 1


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_does_not_end_in_time_goes_to_the_next_agent(
    server: NatsServer, fake: FakeOrchestrator, kind: str
) -> None:
    first = make_agent(server, drain_s=0.1)
    started = threading.Event()
    release = threading.Event()

    async def work(task: Task) -> None:
        started.set()
        await asyncio.sleep(60)

    def work_in_thread(task: Task) -> None:
        started.set()
        release.wait(30)

    first.task("work")(work if kind == "async" else work_in_thread)
    async with serving(first):
        await fake.send(fake.task("devops", "work"))
        await asyncio.to_thread(started.wait, 10)
    assert fake.results == []

    second = make_agent(server)

    @second.task("work")
    async def again(task: Task) -> str:
        return "second"

    async with serving(second):
        result = await fake.result("work-1-0")
    release.set()
    assert result.output == "second"
    assert fake.claims[0].delivery == 2
