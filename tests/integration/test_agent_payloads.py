"""What is too large for a message: fetched before a task runs, stored before its result is sent.

Of the SDK's agents and of one without it, over a real server.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from sagabus_agents import Task, frames, outbox, wire, worker
from sagabus_agents.connection import Connection
from sagabus_agents.objects import Objects
from sagabus_agents.outbox import Letter, Outbox
from sagabus_agents.wire import PayloadRef, ResultMessage, ResultStatus, TaskMessage
from tests.support.agents import ACK_WAIT_S, make_agent, serving
from tests.support.eventually import eventually
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer
from tests.support.raw_agent import raw_agent

#: About 5 MB as JSON.
LARGE = [{"number": number, "text": "x" * 1_000} for number in range(5_000)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fake(server: NatsServer) -> AsyncIterator[FakeOrchestrator]:
    async with orchestrator(server.url, "devops", ack_wait_s=ACK_WAIT_S) as running:
        yield running


def objects(fake: FakeOrchestrator) -> Objects:
    return Objects(fake.client, 5.0)


async def stored(fake: FakeOrchestrator) -> int:
    """Messages that make up the objects of the bucket."""
    state = (await fake.client.jetstream().stream_info(wire.STREAM_PAYLOADS)).state
    return int(state.messages)


async def large_task(
    fake: FakeOrchestrator, body: dict[str, Any], *, is_stored: bool = True, **changes: Any
) -> TaskMessage:
    """A task whose ``body`` stands beside its message."""
    task = fake.task("devops", "copy", **changes)
    data = orjson.dumps(body)
    name = wire.task_payload_name(task.workflow_id, task.task, task.attempt)
    ref = PayloadRef(name=name, size=len(data), digest=wire.payload_digest(data))
    if is_stored:
        assert await objects(fake).put(name, data) == ref
    return task.model_copy(update={"payload": ref})


async def output_of(fake: FakeOrchestrator, result: ResultMessage) -> Any:
    """What stands beside a result."""
    assert result.payload is not None
    assert result.payload.name == wire.result_payload_name("wf-1", result.task, result.attempt)
    data = await objects(fake).get(result.payload)
    assert data is not None
    return orjson.loads(data)


async def copy_as_agent(stack: AsyncExitStack, server: NatsServer, kind: str) -> None:
    """An agent of either kind that gives back what it is given."""
    if kind == "raw":

        async def copy_raw(task: dict[str, Any]) -> tuple[Any, list[str]]:
            assert task["input"] is not None
            context = (task.get("original_context") or {}).get("output")
            return [task["input"], context], task.get("artifacts_to_undo") or []

        await stack.enter_async_context(raw_agent(server.url, "devops", copy_raw))
        return
    agent = make_agent(server)

    @agent.task("copy")
    @agent.compensation("copy")
    async def copy(task: Task) -> Any:
        for artifact in task.artifacts_to_undo:
            task.artifact(artifact)
        return [task.input, task.original_context.get("output")]

    await stack.enter_async_context(serving(agent))


@pytest.mark.parametrize("kind", ["sdk", "raw"])
async def test_large_input_arrives_and_large_output_leaves(
    server: NatsServer, fake: FakeOrchestrator, kind: str
) -> None:
    async with AsyncExitStack() as stack:
        await copy_as_agent(stack, server, kind)
        await fake.send(await large_task(fake, {"input": LARGE}))
        result = await fake.result("copy-1-0")
        await fake.until_acknowledged()
    assert (result.status, result.output) == (ResultStatus.SUCCEEDED, None)
    assert await output_of(fake, result) == [LARGE, None]


@pytest.mark.parametrize("kind", ["sdk", "raw"])
async def test_compensation_is_given_the_large_output_that_it_undoes(
    server: NatsServer, fake: FakeOrchestrator, kind: str
) -> None:
    body = {"input": {"why": "no"}, "original_context": {"output": LARGE}}
    body["artifacts_to_undo"] = ["made-1"]
    async with AsyncExitStack() as stack:
        await copy_as_agent(stack, server, kind)
        task = await large_task(fake, body, type="compensation", task="copy-1-0-undo-0", claim=True)
        await fake.send(task)
        result = await fake.result("copy-1-0-undo-0")
    assert await output_of(fake, result) == [{"why": "no"}, LARGE]
    assert result.artifacts == ["made-1"]
    assert len(fake.claims) == 1


@pytest.mark.parametrize("kind", ["sdk", "raw"])
async def test_task_whose_body_is_gone_comes_again_and_runs_once_it_is_there(
    server: NatsServer,
    fake: FakeOrchestrator,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "GONE_S", 0.1)
    monkeypatch.setattr("tests.support.raw_agent.GONE_S", 0.1)
    task = await large_task(fake, {"input": LARGE}, is_stored=False, claim=True)
    assert task.payload is not None
    async with AsyncExitStack() as stack:
        await copy_as_agent(stack, server, kind)
        await objects(fake).put(task.payload.name, b'{"input": "of somebody else"}')
        await fake.send(task)

        async def came_back() -> bool:
            info = await fake.client.jetstream().consumer_info(wire.STREAM_TASKS, "devops")
            return bool(info.num_redelivered)

        await eventually(came_back)
        # A claim that is granted starts the attempt: not before there is something to start.
        assert fake.claims == []
        assert fake.results == []
        await objects(fake).put(task.payload.name, orjson.dumps({"input": LARGE}))
        result = await fake.result("copy-1-0")
        await fake.until_acknowledged()
    assert await output_of(fake, result) == [LARGE, None]
    assert [claim.delivery > 1 for claim in fake.claims] == [True]


async def test_output_is_stored_again_where_the_server_has_lost_it_with_its_result(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    started, release = asyncio.Event(), asyncio.Event()
    agent = make_agent(server)

    @agent.task("copy")
    async def copy(task: Task) -> Any:
        started.set()
        await release.wait()
        return LARGE

    async with serving(agent):
        await fake.send(fake.task("devops", "copy"))
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.to_thread(server.kill)
        server.wipe()
        release.set()
        await asyncio.to_thread(server.start)
        result = await fake.result("copy-1-0")
        output = await output_of(fake, result)
    assert output == LARGE
    assert len(fake.results) == 1


async def test_what_a_result_names_is_stored_each_time_that_it_is_sent(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RETRY_S", 0.05)
    prepared: list[bytes | None] = []
    is_done = asyncio.Event()

    async def prepare() -> bytes | None:
        result = ResultMessage(
            task="t", attempt=1, status=ResultStatus.SUCCEEDED, agent="a", output=len(prepared)
        )
        prepared.append(result.model_dump_json().encode() if prepared else None)
        return prepared[-1]

    async def on_stored() -> None:
        is_done.set()

    async def on_refused(_: str) -> None:
        raise AssertionError

    connection = Connection(server.url, name="test")
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        letters = Outbox(connection, group)
        up = asyncio.Event()
        connection.on_up(up.set)
        keeping = group.create_task(connection.keep())
        await up.wait()
        subject = wire.inbox_subject("wf-1", "devops")
        await letters.send(Letter(subject, b"", "id-1", on_stored, on_refused, prepare))

        async def is_refused() -> bool:
            await letters.tick(asyncio.get_running_loop().time())
            return len(prepared) == 3  # not at first, then without a stream, twice

        await eventually(is_refused)
        async with orchestrator(server.url) as fake:

            async def is_stored() -> bool:
                await letters.tick(asyncio.get_running_loop().time())
                return is_done.is_set()

            await eventually(is_stored)
            result = await fake.result("t")
        assert result.output == len(prepared) - 1
        keeping.cancel()
    await connection.close()


async def test_small_output_stands_in_its_result_and_nothing_beside_it(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    async with AsyncExitStack() as stack:
        await copy_as_agent(stack, server, "sdk")
        small = "x" * (wire.MAX_INLINE_BYTES - 100)
        inline = await fake.run("devops", "copy", small)
        large = "x" * wire.MAX_INLINE_BYTES
        beside = await fake.run("devops", "copy", large, attempt=2)
    assert (inline.output, inline.payload) == ([small, None], None)
    assert beside.output is None
    assert await output_of(fake, beside) == [large, None]
    await objects(fake).delete([wire.result_payload_name("wf-1", "copy-1-0", 2)])
    assert await stored(fake) == 0


@pytest.mark.parametrize("data", [b"[1, 2]", b'{"original_context": 7}', b"no json"])
async def test_body_that_is_none_is_bad_input(
    server: NatsServer, fake: FakeOrchestrator, data: bytes
) -> None:
    task = fake.task("devops", "copy")
    ref = await objects(fake).put("wf-1.copy-1-0.1", data)
    async with AsyncExitStack() as stack:
        await copy_as_agent(stack, server, "sdk")
        await fake.send(task.model_copy(update={"payload": ref}))
        result = await fake.result("copy-1-0")
        await fake.until_acknowledged()
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == ("bad_input", False)


async def test_agent_that_leaves_waits_for_no_object(
    server: NatsServer, fake: FakeOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(server, drain_s=0.1)
    is_storing = asyncio.Event()

    async def never(*_: Any) -> None:
        is_storing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Objects, "put", never)

    @agent.task("copy")
    async def copy(task: Task) -> Any:
        return LARGE

    async with asyncio.timeout(15), serving(agent):
        await fake.send(fake.task("devops", "copy"))
        await is_storing.wait()
    assert fake.results == []
    assert await fake.queued() == 1


@pytest.mark.parametrize("msg_id", ["", "wf-1:copy-1-0:1"])
async def test_what_the_server_would_not_take_is_not_sent_and_the_connection_stays(
    server: NatsServer, msg_id: str
) -> None:
    connection = Connection(server.url, name="careful")
    up = asyncio.Event()
    connection.on_up(up.set)
    keeping = asyncio.create_task(connection.keep())
    try:
        await up.wait()
        # As much as fits, headers included, and one byte more.
        room = connection.max_payload - frames.payload_size(b"", msg_id)
        assert not await connection.publish("some.where", b"x" * (room + 1), msg_id=msg_id)
        assert await connection.publish("some.where", b"x" * room, msg_id=msg_id)
        assert await connection.request("nobody.answers", b"", 1.0) is None  # in order behind it
        assert (connection.is_up, connection.generation) == (True, 1)
    finally:
        keeping.cancel()
        await connection.close()
