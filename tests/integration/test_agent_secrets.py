"""What an agent does to have the secrets of its tasks, over a real bus."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sagabus_agents import Task, secrets
from sagabus_agents.errors import BadInputError
from sagabus_agents.secrets import filled
from sagabus_agents.wire import SecretAnswer, SecretPlace, SecretRequest, secret_subject
from tests.support.agents import make_agent, serving
from tests.support.eventually import eventually
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer

PLACES = [
    {"path": ["a", 0], "start": 0, "end": 10, "key": "k"},
    {"path": ["b"], "start": 4, "end": 14, "key": "k"},
    {"path": ["b"], "start": 15, "end": 25, "key": "l"},
]
INPUT = {"a": ["[secret:k]", 1], "b": "say [secret:k]/[secret:l]!", "c": "[secret:k]"}

Answer = Callable[[SecretRequest], SecretAnswer | None]


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[tuple[NatsServer, FakeOrchestrator]]:
    with NatsServer(tmp_path) as server:
        async with orchestrator(server.url) as fake:
            await fake.ensure("devops")
            yield server, fake


@asynccontextmanager
async def answering(fake: FakeOrchestrator, answer: Answer) -> AsyncIterator[list[SecretRequest]]:
    """Answer requests of the role; those that came."""
    heard: list[SecretRequest] = []

    async def on_request(message: Any) -> None:
        request = SecretRequest.model_validate_json(message.data)
        heard.append(request)
        found = answer(request)
        if found is not None:
            await fake.client.publish(request.reply, found.model_dump_json().encode())

    subscription = await fake.client.subscribe(secret_subject("devops", "*"), cb=on_request)
    await fake.client.flush()
    yield heard
    await subscription.unsubscribe()


def given(request: SecretRequest) -> SecretAnswer:
    return SecretAnswer(request=request.request, secret=f"<{request.key}>")


@asynccontextmanager
async def working(server: NatsServer) -> AsyncIterator[list[Any]]:
    """An agent that does nothing but note its inputs."""
    agent = make_agent(server)
    inputs: list[Any] = []

    @agent.task()
    async def anything(task: Task) -> None:
        inputs.append(task.input)

    async with serving(agent):
        yield inputs


async def test_secrets_are_put_in_before_the_handler_is_called(fake) -> None:
    server, bus = fake
    async with answering(bus, given) as heard, working(server) as inputs:
        result = await bus.run("devops", "x", INPUT, secrets=PLACES)
    assert result.status == "succeeded"
    assert inputs == [{"a": ["<k>", 1], "b": "say <k>/<l>!", "c": "[secret:k]"}]
    assert [(each.key, each.task, each.attempt) for each in heard] == [
        ("k", "x-1-0", 1),
        ("l", "x-1-0", 1),
    ]
    assert result.started_at is not None


async def test_a_refused_secret_fails_the_task_for_good(fake) -> None:
    server, bus = fake

    def refused(request: SecretRequest) -> SecretAnswer:
        return SecretAnswer(request=request.request, refusal="not yours")

    async with answering(bus, refused), working(server) as inputs:
        result = await bus.run("devops", "x", INPUT, secrets=PLACES)
    assert (result.error.type, result.error.retryable) == ("denied", False)
    assert result.error.message == "the secret 'k' was refused: not yours"
    assert inputs == []


async def test_a_lost_request_is_sent_again_under_the_same_name(fake) -> None:
    server, bus = fake
    silent = iter([True, True])

    def at_last(request: SecretRequest) -> SecretAnswer | None:
        return None if next(silent, False) else given(request)

    async with answering(bus, at_last) as heard, working(server):
        result = await bus.run("devops", "x", INPUT, secrets=PLACES[:1])
    assert result.status == "succeeded"
    assert len({each.request for each in heard}) == 1
    assert len(heard) == 3


async def test_without_any_answer_the_attempt_fails_and_may_be_tried_again(
    fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, bus = fake
    monkeypatch.setattr(secrets, "PATIENCE_S", 0.4)
    async with working(server) as inputs:
        result = await bus.run("devops", "x", INPUT, secrets=PLACES)
    assert (result.error.type, result.error.retryable) == ("secret_unavailable", True)
    assert inputs == []


async def test_a_task_that_is_cancelled_asks_no_more(fake) -> None:
    server, bus = fake
    async with answering(bus, lambda _: None) as heard, working(server) as inputs:
        task = bus.task("devops", "x", INPUT, secrets=PLACES)
        await bus.send(task)

        async def is_asked() -> bool:
            return bool(heard)

        await eventually(is_asked)
        await bus.cancel(task, "enough")
        result = await bus.result("x-1-0")
    assert result.status == "cancelled"
    assert inputs == []


async def test_an_answer_to_something_else_is_not_taken(fake) -> None:
    server, bus = fake

    def stray(request: SecretRequest) -> SecretAnswer:
        if not strays:
            strays.append(request)
            return SecretAnswer(request="another", secret="stray")
        return given(request)

    strays: list[SecretRequest] = []
    async with answering(bus, stray), working(server) as inputs:
        await bus.run("devops", "x", INPUT, secrets=PLACES[:1])
    assert inputs[0]["a"] == ["<k>", 1]


@pytest.mark.parametrize(
    "place",
    [
        {"path": ["a", 2], "start": 0, "end": 1},
        {"path": ["a", 1], "start": 0, "end": 1},
        {"path": ["none"], "start": 0, "end": 1},
        {"path": [], "start": 0, "end": 1},
        {"path": ["b", 0], "start": 0, "end": 1},
        {"path": ["b"], "start": 0, "end": 99},
        {"path": ["b"], "start": 5, "end": 4},
    ],
)
def test_a_place_that_does_not_exist_is_bad_input(place: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="has no place"):
        filled(INPUT, [SecretPlace(key="k", **place)], {"k": "s"})


def test_a_secret_that_looks_like_a_place_stays_as_it_is() -> None:
    places = [SecretPlace(**place) for place in PLACES]
    found = filled(INPUT, places, {"k": "[secret:l]" * 3, "l": ""})
    assert found["b"] == f"say {'[secret:l]' * 3}/!"
    assert INPUT["b"] == "say [secret:k]/[secret:l]!"
