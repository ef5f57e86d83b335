"""The agents ``http`` and ``pack`` as processes, from task to result over a real NATS server."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from nats.aio.msg import Msg

from sagabus_agents.wire import SecretAnswer, SecretRequest, secret_subject
from tests.support.fake_orchestrator import FakeOrchestrator, orchestrator
from tests.support.nats_server import NatsServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fake(server: NatsServer) -> AsyncIterator[FakeOrchestrator]:
    async with orchestrator(server.url, "http", "shop", "carrier", ack_wait_s=1.0) as running:
        yield running


@asynccontextmanager
async def agent_process(cwd: Path, server: NatsServer, *arguments: str) -> AsyncIterator[None]:
    """``sagabus agent ...``, which has to end cleanly when it is told to."""
    with (cwd / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagabus_agents.command", "agent", *arguments),
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT / "agents"), "SAGABUS_NATS_URL": server.url},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Things(BaseHTTPRequestHandler):
    """Counts what is made; every first attempt to read is refused for a moment."""

    keys: list[str | None] = []  # noqa: RUF012 - a new class for every test
    reads = 0

    def do_POST(self) -> None:
        self.keys.append(self.headers["Idempotency-Key"])
        self._answer(201, b'{"id": 7}')

    def do_GET(self) -> None:
        type(self).reads += 1
        if self.reads == 1:
            self._answer(503, b"not yet", ("Retry-After", "3"))
        else:
            self._answer(200, b'{"id": 7, "size": 2}')

    def do_DELETE(self) -> None:
        self._answer(404, b"gone")

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def things() -> Iterator[tuple[str, type[Things]]]:
    class Mine(Things):
        keys: list[str | None] = []  # noqa: RUF012

    with ThreadingHTTPServer(("127.0.0.1", 0), Mine) as listening:
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/things", Mine
        listening.shutdown()
        thread.join()


async def test_http_agent_calls_an_api(
    server: NatsServer,
    fake: FakeOrchestrator,
    things: tuple[str, type[Things]],
    tmp_path: Path,
) -> None:
    url, handler = things
    async with agent_process(tmp_path, server, "http"):
        made = await fake.run("http", "post", {"url": url, "json": {"size": 2}}, claim=True)
        refused = await fake.run("http", "get", {"url": url})
        read = await fake.run("http", "get", {"url": url}, attempt=2)
        undone = await fake.run(
            "http",
            "delete",
            {"url": url, "expected_status": [204, 404]},
            type="compensation",
            task="post-1-0-undo-0",
            original_context={},
            artifacts_to_undo=[],
        )
    assert (made.output["status_code"], made.output["json"]) == (201, {"id": 7})
    assert handler.keys == ["wf-1/post-1-0"]
    assert refused.error is not None
    assert (refused.error.type, refused.error.retryable) == ("http_status", True)
    assert refused.error.retry_after_s == 3
    assert read.output["json"] == {"id": 7, "size": 2}
    assert undone.output["status_code"] == 404
    assert url not in (tmp_path / "agent.log").read_text()


async def test_program_that_echoes_its_secret_does_not_let_it_out(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    async def answer(message: Msg) -> None:
        request = SecretRequest.model_validate_json(message.data)
        found = SecretAnswer(request=request.request, secret="s3cret-5f2c/9a77")
        await fake.client.publish(request.reply, found.model_dump_json().encode())

    await fake.client.subscribe(secret_subject("shop", "*"), cb=answer)
    await fake.client.flush()
    echo = """x=$(cat); printf %s "$x"; printf %s "$x" >&2"""
    commands = ("--on", f"echo=sh -c '{echo}'", "--on", "fail=sh -c 'cat >&2; exit 1'")
    places = [{"path": ["token"], "start": 7, "end": 17, "key": "k"}]
    input = {"token": "Bearer [secret:k]"}
    async with agent_process(tmp_path, server, "exec", "shop", *commands):
        echoed = await fake.run("shop", "echo", input, secrets=places)
        failed = await fake.run("shop", "fail", input, secrets=places)
    assert echoed.output["input"] == input
    assert failed.error is not None
    assert '"Bearer [secret:k]"' in failed.error.message
    log = (tmp_path / "agent.log").read_text()
    assert log.count("Bearer [secret:k]") == 2
    assert "s3cret" not in log + repr(fake.results)


async def test_pack_agent_runs_the_actions_of_its_pack(
    server: NatsServer, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    actions = tmp_path / "packs" / "shop" / "actions"
    actions.mkdir(parents=True)
    (actions / "reserve.yaml").write_text("description: Put a thing aside\n")
    (actions / "reserve.py").write_text(
        "async def run(task, thing, count=1):\n"
        "    task.artifact(f'{thing}-{count}')\n"
        "    return {'reserved': thing}\n"
        "def undo(thing, artifacts):\n"
        "    return [thing, artifacts]\n"
    )
    (actions / "send.yaml").write_text("role: carrier\nentry_point: sending.py\n")
    (actions / "sending.py").write_text("def run(**things):\n    return sorted(things)\n")
    async with agent_process(tmp_path, server, "pack", "shop"):
        reserved = await fake.run("shop", "reserve", {"thing": "chair"}, claim=True)
        undone = await fake.run(
            "shop",
            "reserve",
            type="compensation",
            task="reserve-1-0-undo-0",
            original_context={"input": {"thing": "chair"}, "output": reserved.output},
            artifacts_to_undo=reserved.artifacts,
        )
        sent = await fake.run("carrier", "send", {"b": 1, "a": 2})
    assert reserved.output == {"reserved": "chair"}
    assert undone.output == ["chair", ["chair-1"]]
    assert sent.output == ["a", "b"]
