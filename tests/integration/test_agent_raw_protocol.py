"""The written protocol is enough: an agent without the SDK, and messages against their schemas."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from nats.aio.msg import Msg

from sagabus_agents import Agent, Task
from sagabus_agents.wire import ClaimVerdict, ResultStatus
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer
from tests.support.raw_agent import raw_agent

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fake(server: NatsServer) -> AsyncIterator[FakeOrchestrator]:
    async with orchestrator(server.url, "devops") as running:
        yield running


async def handle(task: dict[str, Any]) -> tuple[Any, list[str]]:
    if task["action"] == "broken":
        raise ValueError("no")
    return {"undone": task["artifacts_to_undo"]}, [f"made-{task['attempt']}"]


async def test_raw_agent_runs_tasks_and_compensations(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    async with raw_agent(server.url, "devops", handle) as agent:
        made = await fake.run("devops", "provision", {"size": 1})
        undone = await fake.run(
            "devops",
            "provision",
            type="compensation",
            task="provision-1-0-undo",
            claim=True,
            original_context={},
            artifacts_to_undo=made.artifacts,
        )
        failed = await fake.run("devops", "broken")
        await fake.until_acknowledged()
        await fake.until(lambda: fake.presence.get(agent.id))
    assert (made.status, made.artifacts) == (ResultStatus.SUCCEEDED, ["made-1"])
    assert undone.output == {"undone": ["made-1"]}
    assert failed.error is not None
    assert failed.error.type == "ValueError"
    assert [claim.task for claim in fake.claims] == ["provision-1-0-undo"]
    last = await fake.until(lambda: [p for p in fake.presence[agent.id] if p.leaving])
    assert last


async def test_raw_agent_obeys_the_answer_to_its_claim(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    answers = [ClaimVerdict.LATER, ClaimVerdict.SKIP]
    fake.verdict = lambda _: answers.pop(0)
    async with raw_agent(server.url, "devops", handle):
        await fake.send(fake.task("devops", "provision", resent=True))
        await fake.until(lambda: len(fake.claims) == 2)
        await fake.until_acknowledged()
    assert [claim.delivery for claim in fake.claims] == [1, 2]
    assert fake.results == []


async def test_raw_agent_and_sdk_agent_share_a_role(
    server: NatsServer, fake: FakeOrchestrator
) -> None:
    both = {"raw", "sdk"}
    met = asyncio.Event()

    async def meet(who: str) -> None:
        both.discard(who)
        if not both:
            met.set()
        await asyncio.wait_for(met.wait(), 10)

    async def raw(_: dict[str, Any]) -> tuple[Any, list[str]]:
        await meet("raw")
        return "raw", []

    sdk = Agent("devops", nats_url=server.url, concurrency=1)

    @sdk.task()
    async def anything(task: Task) -> str:
        await meet("sdk")
        return "sdk"

    serve = asyncio.create_task(sdk.serve())
    async with raw_agent(server.url, "devops", raw):
        for number in range(2):
            await fake.send(fake.task("devops", "meet", task=f"meet-1-{number}"))
        await fake.until(lambda: len(fake.results) == 2)
    sdk.stop()
    await asyncio.wait_for(serve, 10)
    assert {result.output for result in fake.results} == {"raw", "sdk"}


@pytest.mark.parametrize("kind", ["raw", "sdk"])
async def test_what_an_agent_sends_fits_the_schemas(
    server: NatsServer, fake: FakeOrchestrator, kind: str
) -> None:
    sent: list[tuple[str, Any]] = []

    async def listen(message: Msg) -> None:
        sent.append((message.subject, json.loads(message.data)))

    await fake.client.subscribe("sagabus.inbox.>", cb=listen)
    await fake.client.subscribe("sagabus.presence.>", cb=listen)
    await fake.client.flush()
    sdk = Agent("devops", nats_url=server.url)

    @sdk.task("provision")
    async def provision(task: Task) -> dict[str, Any]:
        return {"did": task.action}

    async with asyncio.TaskGroup() as group:
        if kind == "sdk":
            group.create_task(sdk.serve())
            await fake.run("devops", "provision", claim=True)
            await fake.run("devops", "unknown")
            sdk.stop()
        else:
            async with raw_agent(server.url, "devops", handle):
                await fake.run("devops", "provision", claim=True)
                await fake.run("devops", "broken")
    schemas = {
        name: json.loads((SCHEMAS / f"{name}_message.schema.json").read_text())
        for name in ("claim", "result", "presence")
    }
    checked = set()
    for subject, message in sent:
        name = "presence" if subject.startswith("sagabus.presence.") else message["kind"]
        jsonschema.validate(message, schemas[name])
        checked.add(name)
    assert checked == {"claim", "result", "presence"}
