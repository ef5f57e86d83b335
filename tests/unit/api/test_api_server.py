"""The server inside the event loop."""

import asyncio
import json
import socket
import urllib.error
import urllib.request

import httpx
import pytest

from sagabus.api.application import create_app
from sagabus.api.server import serve
from sagabus.errors import SettingsError
from tests.support.memory_orchestrator import MemoryOrchestrator


async def test_server_takes_a_free_port_says_which_and_gives_it_back():
    app = create_app(MemoryOrchestrator())
    async with serve(app, "127.0.0.1", 0) as url, httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/health")).status_code == 200
        port = int(url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


async def test_who_sends_too_much_reads_the_answer():
    def send(url: str, data: bytes) -> tuple[int, str]:
        try:
            urllib.request.urlopen(f"{url}/api/v1/workflows/x/execute", data, 10)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["code"]
        raise AssertionError

    async with serve(create_app(MemoryOrchestrator()), "127.0.0.1", 0) as url:
        for _ in range(5):
            answer = await asyncio.to_thread(send, url, b" " * 16_000_000)
            assert answer == (413, "too_large")


async def test_taken_address_is_one_clear_sentence():
    app = create_app(MemoryOrchestrator())
    async with serve(app, "127.0.0.1", 0) as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with serve(app, "127.0.0.1", port):
                pass


async def test_watching_sees_each_entry_when_it_is_stored():
    orchestrator = MemoryOrchestrator()
    await orchestrator.start("release", id="run-1")
    async with (
        serve(create_app(orchestrator), "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/api/v1/workflow-executions/run-1/events") as reply,
    ):
        lines = reply.aiter_lines()
        seen = [await anext(lines) for _ in range(6)]
        assert '"ApprovalRequested"' in seen[4]
        await orchestrator.approve_stage("run-1", "publish")
        assert '"ApprovalGranted"' in [await anext(lines) for _ in range(3)][1]
        await orchestrator.succeed("run-1")
        assert [line async for line in lines][-3] == "event: end"


async def test_open_streams_and_waits_end_with_the_server(caplog):
    orchestrator = MemoryOrchestrator()
    await orchestrator.start("release", id="run-1")
    path = "/api/v1/workflow-executions/run-1"
    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as group:
        async with serve(create_app(orchestrator), "127.0.0.1", 0) as url:
            request = client.build_request("GET", f"{url}{path}/events")
            stream = await client.send(request, stream=True)
            lines = stream.aiter_lines()
            assert await anext(lines) == "id: 1"
            wait = group.create_task(client.get(f"{url}{path}", params={"wait": 60}))
            async with asyncio.timeout(5):
                await orchestrator.waited_for.wait()
        assert (await wait).json()["status"] == "waiting"
        assert "event: end" not in [line async for line in lines]
    assert not caplog.records
