"""Secrets end to end: agents get them, and nothing that stays behind holds them.

One file, because every test runs the same workflow with the same secrets.
"""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from sagabus.app import Orchestrator
from sagabus.core.instance import InstanceState
from sagabus.settings import Settings
from sagabus_agents import Agent, PermanentError, Task
from sagabus_agents.roles.exec import exec_agent
from sagabus_agents.wire import SecretAnswer, SecretRequest, secret_subject
from tests.support.agents import serving
from tests.support.worlds import until

SECRET = "s3cret-5f2c9a77b1"
OTHER = "0ther-81d3ee90"
FLOW = """
[engine]
{engine}
[[workflows]]
name = "call"
[[workflows.stages]]
name = "send"
agents = ["backend"]
classification = "compensatable"
compensation_agents = ["backend"]
retry = {{count = 1, delay = 0.01}}
compensation = {{input = {{token = "{{{{ kv.get_secret('api.token') }}}}"}}}}
[workflows.stages.input]
auth = "Bearer {{{{ kv.get_secret('api.token') }}}} at {{{{ parameters.host }}}}"
both = ["{{{{ kv.get_secret('api.token') ~ '/' ~ kv.get_secret('api.other') }}}}"]
fake = "{{{{ parameters.fake }}}}"
flag = "{{{{ kv.get('flag', default='off') }}}}"
named = "{{{{ kv.get('of/' ~ parameters.host) }}}}"
[[workflows.stages]]
name = "last"
agents = ["tester"]
"""
PARAMETERS = {"host": "example", "fake": "[secret:api.token] marker-6b1e"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return write(tmp_path, "")


def write(tmp_path: Path, engine: str) -> Settings:
    config = tmp_path / "workflows.toml"
    config.write_text(FLOW.format(engine=engine))
    return Settings(config=config, data_dir=tmp_path / "data", log_level="debug")


class Hands:
    """An agent in the same program: what it was given, and how long it keeps it."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.inputs: list[Any] = []
        self.contexts: list[Any] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.agent = Agent("backend", "tester", nats_url=orchestrator.nats_url)
        self.fails_last = False

        @self.agent.task("send")
        async def send(task: Task) -> None:
            self.inputs.append(task.input)
            await self.go_on.wait()

        @self.agent.task("last")
        async def last(task: Task) -> None:
            if self.fails_last:
                raise ValueError("no")

        @self.agent.compensation("send")
        async def undo(task: Task) -> None:
            self.inputs.append(task.input)
            self.contexts.append(task.original_context)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Orchestrator, Hands]]:
    async with Orchestrator.open(settings) as orchestrator:
        hands = Hands(orchestrator)
        async with serving(hands.agent):
            yield orchestrator, hands


async def store_all(orchestrator: Orchestrator) -> None:
    await orchestrator.kv.set_secret("api.token", SECRET)
    await orchestrator.kv.set_secret("api.other", OTHER)
    await orchestrator.kv.set("flag", "plain-marker-77")
    await orchestrator.kv.set("of/example", {"n": 1})


async def run(orchestrator: Orchestrator, **more: Any) -> InstanceState:
    started = await orchestrator.start("call", PARAMETERS, **more)
    return await orchestrator.wait(started.id, 20)


EXPECTED = {
    "auth": f"Bearer {SECRET} at example",
    "both": [f"{SECRET}/{OTHER}"],
    "fake": PARAMETERS["fake"],
    "flag": "plain-marker-77",
    "named": {"n": 1},
}


async def test_an_agent_gets_its_secrets_and_nothing_that_stays_holds_them(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(settings) as (orchestrator, hands):
        await store_all(orchestrator)
        hands.fails_last = True
        ended = await run(orchestrator)
        assert ended.row.status == "rolled_back"
        entries = await orchestrator.history(ended.row.id)
    assert hands.inputs == [EXPECTED, {"token": SECRET}]
    assert hands.contexts[0]["input"]["auth"] == "Bearer [secret:api.token] at example"
    assert hands.contexts[0]["input"]["fake"] == PARAMETERS["fake"]
    out = capfd.readouterr()
    logs = out.out + out.err
    assert "secret_redeemed" in logs
    for secret in (SECRET, OTHER):
        assert secret not in logs
        assert secret not in repr(entries)
        assert files_with(settings.data_dir, secret.encode()) == []
    # The search does find what is there.
    assert files_with(settings.data_dir / "db", b"plain-marker-77")
    assert files_with(settings.data_dir / "db", b"marker-6b1e")
    assert files_with(settings.data_dir / "nats", ended.row.id.encode())


def leaky(orchestrator: Orchestrator, is_heard: asyncio.Event, *, is_large: bool) -> Agent:
    """An agent that tells all that it was given, wherever it can; ``is_heard``: its progress."""
    agent = Agent("backend", "tester", nats_url=orchestrator.nats_url)

    @agent.task("send")
    async def send(task: Task) -> Any:
        told = f"told-marker-31c8 {task.input['auth']} {task.input['both']}"
        task.artifact(told)
        task.progress(0.5, told)
        task.log.info("telling", told=told)
        await asyncio.wait_for(is_heard.wait(), 10)
        if task.attempt == 1:
            raise RuntimeError(told)
        return {"echo": task.input, told: "x" * (400_000 if is_large else 1)}

    @agent.task("last")
    async def last(task: Task) -> None:
        raise PermanentError("no")

    @agent.compensation("send")
    async def undo(task: Task) -> Any:
        task.progress(0.5, f"undone with {task.input}")
        return task.input

    return agent


@pytest.mark.parametrize("is_large", [False, True])
async def test_agent_that_tells_its_secrets_does_not_let_them_out(
    settings: Settings, capfd: pytest.CaptureFixture[str], is_large: bool
) -> None:
    heard: list[bytes] = []
    is_heard = asyncio.Event()

    async def hear(message: Msg) -> None:
        heard.append(message.data)
        if b'"fraction":0.5' in message.data:
            is_heard.set()

    async with Orchestrator.open(settings) as orchestrator:
        await store_all(orchestrator)
        client = await nats.connect(orchestrator.nats_url)
        await client.subscribe("sagabus.>", cb=hear)
        await client.flush()
        async with serving(leaky(orchestrator, is_heard, is_large=is_large)):
            ended = await run(orchestrator)
            assert ended.row.status == "rolled_back"
        entries = await orchestrator.history(ended.row.id)
        await client.close()
    assert ended.attempts["send-1-0"][1].output["echo"]["auth"] == (
        "Bearer [secret:api.token] at example"
    )
    error = ended.attempts["send-1-0"][0].error
    assert error is not None
    assert error.message == (
        "told-marker-31c8 Bearer [secret:api.token] at example "
        "['[secret:api.token]/[secret:api.other]']"
    )
    out = capfd.readouterr()
    logs = out.out + out.err
    assert "told-marker-31c8" in logs
    for secret in (SECRET, OTHER):
        assert secret not in logs
        assert secret not in repr(entries) + repr(ended)
        assert not any(secret.encode() in data for data in heard)
        assert files_with(settings.data_dir, secret.encode()) == []
    # The search does find what is there.
    assert files_with(settings.data_dir / "db", b"told-marker-31c8")


def files_with(directory: Path, text: bytes) -> list[Path]:
    found = [path for path in directory.rglob("*") if path.is_file() and text in path.read_bytes()]
    return sorted(found)


async def test_the_key_of_a_data_directory_is_for_its_owner_alone(settings: Settings) -> None:
    async with Orchestrator.open(settings) as orchestrator:
        await orchestrator.kv.set_secret("a", SECRET)
    path = settings.data_dir / "secret.key"
    assert path.stat().st_mode & 0o777 == 0o600
    async with Orchestrator.open(settings) as orchestrator:
        assert await orchestrator.kv.reveal("a") == SECRET


async def test_a_task_that_was_sent_by_an_orchestrator_before_this_one_gets_its_secrets(
    settings: Settings,
) -> None:
    async with Orchestrator.open(settings) as orchestrator:
        await store_all(orchestrator)
        await orchestrator.start("call", PARAMETERS, id="one")
    async with running(settings) as (orchestrator, hands):
        ended = await orchestrator.wait("one", 20)
    assert ended.row.status == "completed"
    assert hands.inputs == [EXPECTED]


@asynccontextmanager
async def asking(orchestrator: Orchestrator) -> AsyncIterator[Any]:
    """Ask for secrets as anybody on the bus may."""
    client = await nats.connect(orchestrator.nats_url)

    async def ask(role: str, instance: str, **changes: Any) -> SecretAnswer | None:
        reply = client.new_inbox()
        answers = await client.subscribe(reply)
        fields = {"request": "r1", "task": "send-1-0", "attempt": 1, "key": "api.token"}
        request = SecretRequest(**{**fields, "agent": "nobody", "reply": reply, **changes})
        data = request.model_dump_json().encode()
        await client.publish(secret_subject(role, instance), data)
        try:
            return SecretAnswer.model_validate_json((await answers.next_msg(timeout=2)).data)
        except (TimeoutError, nats.errors.TimeoutError):
            return None
        finally:
            await answers.unsubscribe()

    try:
        yield ask
    finally:
        await client.close()


async def test_only_the_task_that_names_a_secret_gets_it_and_only_while_it_runs(
    settings: Settings,
) -> None:
    async with running(settings) as (orchestrator, hands), asking(orchestrator) as ask:
        await store_all(orchestrator)
        await orchestrator.kv.set_secret("elsewhere", "never")
        hands.go_on.clear()
        for name in ("one", "two"):
            await orchestrator.start("call", PARAMETERS, id=name)

        async def both_run() -> bool:
            return len(hands.inputs) == 2

        await until(both_run)
        me = {"agent": hands.agent.id}
        for asked, said in [
            (ask("tester", "one", **me), "one of the role 'backend'"),
            (ask("backend", "one", **me, task="last-1-0"), "does not exist, or has ended"),
            (ask("backend", "one", **me, attempt=2), "does not exist, or has ended"),
            (ask("backend", "three", **me), "does not exist, or has ended"),
            (ask("backend", "one", **me, key="elsewhere"), "does not name it"),
            (ask("backend", "one", **me, key="flag"), "does not name it"),
            (ask("backend", "one"), "another agent runs the task"),
        ]:
            answer = await asked
            assert answer is not None
            assert answer.secret is None
            assert said in (answer.refusal or "")
        assert (await ask("backend", "one", **me)).secret == SECRET
        hands.go_on.set()
        for name in ("one", "two"):
            await orchestrator.wait(name, 20)
        answer = await ask("backend", "one", **me)
        assert (answer.secret, answer.refusal) == (None, "the task does not exist, or has ended")


async def test_an_answer_never_goes_into_a_stream(settings: Settings) -> None:
    async with running(settings) as (orchestrator, hands):
        await store_all(orchestrator)
        hands.go_on.clear()
        await orchestrator.start("call", PARAMETERS, id="one")

        async def runs() -> bool:
            return bool(hands.inputs)

        await until(runs)
        client = await nats.connect(orchestrator.nats_url)
        heard = await client.subscribe("sagabus.event.one.stolen")
        request = {"request": "r", "task": "send-1-0", "attempt": 1, "key": "api.token"}
        data = SecretRequest.model_construct(
            **request, agent=hands.agent.id, reply="sagabus.event.one.stolen"
        )
        await client.publish(secret_subject("backend", "one"), data.model_dump_json().encode())
        with pytest.raises(nats.errors.TimeoutError):
            await heard.next_msg(timeout=0.5)
        await client.close()
        hands.go_on.set()


async def test_a_secret_that_is_not_there_fails_the_task_once(settings: Settings) -> None:
    async with running(settings) as (orchestrator, hands):
        ended = await run(orchestrator)
    assert hands.inputs == []
    assert ended.row.error is not None
    assert ended.row.error.type == "denied"
    assert "sagabus kv set api.token --secret" in ended.row.error.message
    assert len(ended.attempts["send-1-0"]) == 1


POLICY = """
permit(principal, action == Action::"execute-stage", resource);
@id("tokens") permit(principal, action == Action::"read-secret", resource == Stage::"send")
when { context.started_by == "ada" && context.key like "api.*" && context.role == "backend" };
"""


async def test_policies_decide_who_may_have_a_secret_read(tmp_path: Path) -> None:
    policies = tmp_path / "cedar"
    policies.mkdir()
    (policies / "all.cedar").write_text(POLICY)
    async with running(write(tmp_path, 'cedar_policy_dir = "cedar"')) as (orchestrator, hands):
        await store_all(orchestrator)
        allowed = await run(orchestrator, by="ada")
        denied = await run(orchestrator, by="bob")
    assert allowed.row.status == "completed"
    assert hands.inputs == [EXPECTED]
    assert denied.row.error is not None
    assert denied.row.error.type == "denied"
    assert 'no policy permits read-secret on Stage::"send"' in denied.row.error.message


PROGRAM = """
import hashlib, json, os, sys
text = json.load(sys.stdin)["input"]["auth"]
around = repr(dict(os.environ)) + repr(sys.argv)
secret = text.split()[1]
print(json.dumps({"digest": hashlib.sha256(secret.encode()).hexdigest(), "seen": secret in around}))
"""


async def test_a_program_gets_its_secrets_on_standard_input_alone(
    settings: Settings, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    async with Orchestrator.open(settings) as orchestrator:
        await store_all(orchestrator)
        command = {"*": f"{sys.executable} {program}"}
        backend = exec_agent("backend", command, command, nats_url=orchestrator.nats_url)
        tester = exec_agent("tester", {"*": "true"}, nats_url=orchestrator.nats_url)
        async with serving(backend), serving(tester):
            ended = await run(orchestrator)
    assert ended.row.status == "completed"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert ended.attempts["send-1-0"][0].output == {"digest": digest, "seen": False}
