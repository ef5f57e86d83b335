"""Agents as processes, started by the command line."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sagabus_agents.wire import ResultStatus
from tests.support.eventually import eventually
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fake(server: NatsServer) -> AsyncIterator[FakeOrchestrator]:
    async with orchestrator(server.url, "devops", ack_wait_s=1.0) as running:
        yield running


@asynccontextmanager
async def agent_process(
    cwd: Path, server: NatsServer, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``sagabus agent ...``; killed at the end if it is still there."""
    with (cwd / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagabus_agents.command", "agent", *arguments),
            cwd=cwd,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT / "agents"),
                "SAGABUS_NATS_URL": server.url,
                "SAGABUS_EFFECT_LOG": str(cwd / "effects.jsonl"),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ends(process: asyncio.subprocess.Process, number: signal.Signals) -> int:
    process.send_signal(number)
    return await asyncio.wait_for(process.wait(), 15)


async def logged(cwd: Path, event: str) -> None:
    async def is_logged() -> bool:
        return event in (cwd / "agent.log").read_text()

    await eventually(is_logged)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_demo_agent_works_and_ends_cleanly(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path, number: signal.Signals
) -> None:
    async with agent_process(
        tmp_path, server, "run", "sagabus_agents.examples.devops:agent"
    ) as process:
        made = await fake.run("devops", "provision", {"environment": "live"})
        undone = await fake.run(
            "devops",
            "provision",
            type="compensation",
            task="provision-1-0-undo",
            artifacts_to_undo=made.artifacts,
        )
        assert await ends(process, number) == 0
    assert made.output == {"environment_id": "env-wf-1", "target": "live"}
    assert undone.output == {"destroyed": ["env-wf-1"]}
    effects = [json.loads(line) for line in (tmp_path / "effects.jsonl").read_text().splitlines()]
    assert [(line["effect"], line["task"]) for line in effects] == [
        ("provisioned", "provision-1-0"),
        ("destroyed", "provision-1-0-undo"),
    ]


async def test_module_beside_the_user_is_run(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    (tmp_path / "my_agent.py").write_text(
        "from sagabus_agents import Agent\n"
        "mine = Agent('devops')\n"
        "@mine.task()\n"
        "def anything(task):\n"
        "    return 'mine'\n"
    )
    async with agent_process(tmp_path, server, "run", "my_agent:mine") as process:
        assert (await fake.run("devops", "x")).output == "mine"
        assert await ends(process, signal.SIGTERM) == 0


async def test_any_program_is_an_agent(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    (tmp_path / "make.sh").write_text('echo vm-1 >> "$SAGABUS_ARTIFACTS"\ncat\n')
    commands = ("--on", "make=sh make.sh", "--on", "*=false", "--undo", "make=cat")
    async with agent_process(tmp_path, server, "exec", "devops", *commands) as process:
        made = await fake.run("devops", "make", {"n": 1}, claim=True)
        failed = await fake.run("devops", "other")
        assert await ends(process, signal.SIGTERM) == 0
    assert made.output["input"] == {"n": 1}
    assert made.artifacts == ["vm-1"]
    assert failed.error is not None
    assert failed.error.type == "exit_1"


async def test_cancelled_program_is_killed_and_reported(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    (tmp_path / "slow.sh").write_text('echo $$ >> "$SAGABUS_ARTIFACTS"\necho up >&2\nsleep 300\n')
    async with agent_process(tmp_path, server, "exec", "devops", "--on", "*=sh slow.sh") as process:
        task = fake.task("devops", "slow")
        await fake.send(task)
        await logged(tmp_path, "program_stderr")
        await fake.cancel(task)
        result = await fake.result(task.task)
        assert await ends(process, signal.SIGTERM) == 0
    assert result.status is ResultStatus.CANCELLED
    [pid] = result.artifacts
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


async def test_second_signal_gives_up_what_runs(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    async with agent_process(
        tmp_path, server, "run", "sagabus_agents.examples.devops:agent"
    ) as process:
        await fake.send(fake.task("devops", "provision", {"delay_s": 300}))
        await fake.until(lambda: fake.progress)
        process.send_signal(signal.SIGTERM)
        await logged(tmp_path, "agent_draining")
        assert process.returncode is None
        assert await ends(process, signal.SIGTERM) == 0
    assert fake.results == []
    assert await fake.queued() == 1


async def test_stubborn_handler_cannot_hold_up_the_end(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import asyncio\n"
        "from sagabus_agents import Agent\n"
        "agent = Agent('devops', drain_s=0.1)\n"
        "@agent.task()\n"
        "async def never(task):\n"
        "    task.progress(0.1)\n"
        "    while True:\n"
        "        try:\n"
        "            await asyncio.sleep(300)\n"
        "        except asyncio.CancelledError:\n"
        "            pass\n"
    )
    async with agent_process(tmp_path, server, "run", "stubborn") as process:
        await fake.send(fake.task("devops", "never"))
        await fake.until(lambda: fake.progress)
        assert await ends(process, signal.SIGTERM) == 70
    assert fake.results == []


async def test_task_of_a_killed_agent_is_claimed_by_the_next(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    demo = ("run", "sagabus_agents.examples.devops:agent")
    async with agent_process(tmp_path, server, *demo) as first:
        await fake.send(fake.task("devops", "provision", {"delay_s": 300}))
        await fake.until(lambda: fake.progress)
        first.kill()
        await first.wait()
    assert fake.claims == []
    fake.verdict = lambda claim: None
    async with agent_process(tmp_path, server, *demo):
        await fake.until(lambda: fake.claims)
    assert fake.claims[0].delivery > 1
