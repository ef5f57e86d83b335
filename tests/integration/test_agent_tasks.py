"""An agent on a real bus: tasks, claims, cancellation, heartbeats, presence."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sagabus_agents import Agent, PermanentError, RetryableError, Task, wire
from sagabus_agents.wire import ClaimVerdict, ResultStatus
from tests.support.eventually import eventually
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer

ACK_WAIT_S = 1.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fake(server: NatsServer) -> AsyncIterator[FakeOrchestrator]:
    async with orchestrator(server.url, "devops", "backend", ack_wait_s=ACK_WAIT_S) as running:
        yield running


@asynccontextmanager
async def serving(agent: Agent) -> AsyncIterator[Agent]:
    """The agent at work; drained at the end."""
    serve = asyncio.create_task(agent.serve())
    try:
        yield agent
    finally:
        agent.stop()
        await asyncio.wait_for(serve, 20)


def make_agent(server: NatsServer, *roles: str, **options: Any) -> Agent:
    options.setdefault("heartbeat_s", ACK_WAIT_S / 4)
    options.setdefault("drain_s", 1.0)
    return Agent(*(roles or ("devops",)), nats_url=server.url, **options)


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
        return "x" * (wire.MAX_MESSAGE_BYTES + 1)

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
