"""How agents are asked which resources exist, over a real bus."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import nats.errors
import orjson
import pytest
from nats.aio.client import Client

from sagabus_agents import Task
from sagabus_agents.objects import Objects
from sagabus_agents.wire import (
    MAX_INLINE_BYTES,
    OBSERVE_TASK,
    ResultMessage,
    TaskMessage,
    TaskType,
    observe_subject,
    task_payload_name,
)
from tests.support.agents import make_agent, serving
from tests.support.eventually import eventually
from tests.support.fake_orchestrator import orchestrator
from tests.support.nats_server import NatsServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    async with orchestrator(server.url) as fake:
        await fake.ensure("devops")
        yield fake.client


def question(kind: str, **changes: Any) -> TaskMessage:
    id = secrets.token_hex(16)
    fields: dict[str, Any] = {
        "type": "observe",
        "stage_name": "",
        "workflow_id": id,
        "workflow": "",
        "task": OBSERVE_TASK,
        "attempt": 1,
        "role": "devops",
        "action": kind,
        "input": {"kind": kind, "ids": []},
        "idempotency_key": f"{id}:{OBSERVE_TASK}",
        "timeout_s": 5,
        "trace": "0" * 32,
    }
    return TaskMessage.model_validate(fields | changes)


async def ask(client: Client, kind: str, *, wait_s: float = 10, **changes: Any) -> ResultMessage:
    data = question(kind, **changes).model_dump_json().encode()
    reply = await client.request(observe_subject("devops", kind), data, timeout=wait_s)
    return ResultMessage.model_validate_json(reply.data)


async def ready(client: Client, kind: str) -> None:
    async def answers() -> bool:
        try:
            await ask(client, kind, wait_s=0.5)
        except nats.errors.Error:  # nobody yet, or no server
            return False
        return True

    await eventually(answers)


async def test_one_of_several_agents_answers_while_its_slots_are_taken(
    server: NatsServer, client: Client
) -> None:
    first, second = make_agent(server, concurrency=1), make_agent(server, concurrency=1)
    calls: list[str] = []
    for agent in (first, second):

        async def vms(name: str, task: Task) -> list[Any]:
            calls.append(name)
            return [{"id": "vm-1", "spec": {"at": name}}]

        agent.observe("vm")(partial(vms, agent.id))

    async with serving(first), serving(second):
        while len(set(calls)) < 2:
            await ready(client, "vm")
        calls.clear()
        found = [await ask(client, "vm") for _ in range(40)]
    assert len(calls) == 40
    assert {each.output[0]["spec"]["at"] for each in found} == {first.id, second.id}
    assert all(each.agent == each.output[0]["spec"]["at"] for each in found)


async def test_an_agent_is_not_asked_for_kinds_that_it_does_not_observe(
    server: NatsServer, client: Client
) -> None:
    one, other = make_agent(server), make_agent(server)
    one.observe("vm")(lambda task: [{"id": "vm"}])
    other.observe()(lambda task: [{"id": task.action}])
    async with serving(one):
        await ready(client, "vm")
        with pytest.raises(nats.errors.NoRespondersError):
            await ask(client, "dns")
        async with serving(other):
            await ready(client, "dns")
            assert [(await ask(client, "dns")).output for _ in range(9)] == [[{"id": "dns"}]] * 9


async def test_what_goes_wrong_in_an_observer_is_told(server: NatsServer, client: Client) -> None:
    agent = make_agent(server)

    @agent.observe("broken")
    def broken(task: Task) -> None:
        raise RuntimeError("the cloud says no")

    @agent.observe("slow")
    async def slow(task: Task) -> None:
        await asyncio.sleep(60)

    async with serving(agent):
        await ready(client, "broken")
        failed = await ask(client, "broken")
        late = await ask(client, "slow", timeout_s=0.2)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("RuntimeError", "the cloud says no")
    assert late.error is not None
    assert late.error.type == "timeout"


async def test_an_agent_that_leaves_tells_who_asked(server: NatsServer, client: Client) -> None:
    agent = make_agent(server)
    began = asyncio.Event()

    @agent.observe("slow")
    async def slow(task: Task) -> None:
        began.set()
        await asyncio.sleep(60)

    @agent.observe("vm")
    async def vms(task: Task) -> list[Any]:
        return []

    async with serving(agent):
        await ready(client, "vm")
        asking = asyncio.ensure_future(ask(client, "slow"))
        await asyncio.wait_for(began.wait(), 5)
        agent.stop()
        answer = await asking
    assert answer.status == "cancelled"
    assert answer.error is not None
    assert answer.error.message == "the agent leaves"


async def test_many_ids_and_long_answers_stand_beside_their_messages(
    server: NatsServer, client: Client
) -> None:
    agent = make_agent(server)

    @agent.observe("vm")
    async def vms(asked: dict[str, Any]) -> list[Any]:
        return [{"id": id, "spec": {"n": 1}} for id in asked["ids"]]

    ids = [f"vm-{n:06}" for n in range(20_000)]
    body = orjson.dumps({"input": {"kind": "vm", "ids": ids}})
    assert len(body) < MAX_INLINE_BYTES * 2
    async with serving(agent):
        await ready(client, "vm")
        asked = question("vm", input=None)
        objects = Objects(client, 5)
        ref = await objects.put(task_payload_name(asked.workflow_id, OBSERVE_TASK, 1), body)
        data = asked.model_copy(update={"payload": ref}).model_dump_json().encode()
        reply = await client.request(observe_subject("devops", "vm"), data, timeout=10)
        answer = ResultMessage.model_validate_json(reply.data)
        assert answer.payload is not None
        found = orjson.loads(await objects.get(answer.payload) or b"")
        gone = await ask(client, "vm", payload=ref.model_copy(update={"name": "another"}))
    assert [each["id"] for each in found] == ids
    assert gone.error is not None
    assert gone.error.type == "bad_input"


async def test_what_is_no_observation_gets_no_answer(server: NatsServer, client: Client) -> None:
    agent = make_agent(server)
    agent.observe()(lambda task: [])
    async with serving(agent):
        await ready(client, "vm")
        for changes in ({"type": TaskType.TASK}, {"role": "backend"}, {"action": "dns"}):
            data = question("vm").model_copy(update=changes).model_dump_json().encode()
            with pytest.raises(nats.errors.TimeoutError):
                await client.request(observe_subject("devops", "vm"), data, timeout=0.2)
        assert (await ask(client, "vm")).output == []


async def test_a_server_that_comes_back_can_ask_again(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        agent = make_agent(server)
        agent.observe("vm")(lambda task: [])
        async with orchestrator(server.url) as fake:
            await fake.ensure("devops")
            async with serving(agent):
                await ready(fake.client, "vm")
                server.restart()
                await ready(fake.client, "vm")
