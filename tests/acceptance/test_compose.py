"""docker-compose.yml keeps its promises, as far as they can be kept without a container engine."""

import asyncio
import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import nats
import nats.errors
import pytest
import yaml
from nats.aio.client import Client

from sagabus.adapters.nats_child import read_port, server_binary
from tests.support.nats_server import NatsServer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)


def strings(node: Any) -> list[str]:
    match node:
        case dict():
            return [text for value in node.values() for text in strings(value)]
        case list():
            return [text for value in node for text in strings(value)]
        case _:
            return [str(node)]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_healthcheck_and_starts_again_after_a_crash(name: str) -> None:
    health = SERVICES[name]["healthcheck"]
    assert health["test"][0] == "CMD"  # no shell: not every image has one
    assert {"interval", "timeout", "retries", "start_period"} <= health.keys()
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_until_what_it_needs_is_healthy(name: str) -> None:
    needs = SERVICES[name].get("depends_on", {})
    assert all(need["condition"] == "service_healthy" for need in needs.values())
    assert needs.keys() <= SERVICES.keys()
    if name in OURS:
        assert "nats" in needs


def test_no_password_has_a_value_or_a_default() -> None:
    for name, service in SERVICES.items():
        secrets = [
            str(value)
            for key, value in service.get("environment", {}).items()
            if re.search(r"PASS|TOKEN|SECRET|KEY", key)
        ]
        secrets += re.findall(r"--(?:pass|auth|token)\w*[= ](\S+)", "\n".join(strings(service)))
        secrets += re.findall(r"://[^/@:\s]*:(.+)@", "\n".join(strings(service)))
        for secret in secrets:
            assert re.match(r"\$\{\w+:\?", secret), f"{name}: {secret}"
    # `:-` and `-` give a variable a default.
    assert not re.findall(r"\$\{\w*PASS\w*:?-", TEXT)


def test_what_must_survive_lies_on_named_volumes() -> None:
    for name in ("nats", "surrealdb"):
        volumes = [volume.partition(":") for volume in SERVICES[name]["volumes"]]
        assert any(source in COMPOSE["volumes"] for source, _, _ in volumes)
        [(_, _, target)] = volumes
        assert target in " ".join(SERVICES[name]["command"])


def test_there_are_agents_of_at_least_two_roles_and_each_has_its_own_command() -> None:
    commands = {
        tuple(SERVICES[name]["command"])
        for name in OURS
        if SERVICES[name]["command"][:2] == ["sagabus", "agent"]
    }
    assert len(commands) >= 2


@pytest.mark.parametrize("name", OURS)
def test_images_are_built_from_files_that_exist(name: str) -> None:
    dockerfile = SERVICES[name]["build"]["dockerfile_inline"]
    sources = [
        source
        for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def check(service: str, **environment: str) -> int:
    """Run a service's own healthcheck, with this interpreter for the image's."""
    _, program, *arguments = SERVICES[service]["healthcheck"]["test"]
    assert program == "python"
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, timeout=30, check=False
    ).returncode


def test_an_agent_is_healthy_while_it_is_heard_of(tmp_path: Path) -> None:
    program, *arguments = SERVICES["devops"]["command"]
    with NatsServer(tmp_path / "nats") as server:
        env = {**os.environ, "SAGABUS_NATS_URL": server.url}
        agent = subprocess.Popen(
            [Path(sys.executable).with_name(program), *arguments], env=env, stderr=subprocess.PIPE
        )
        try:
            assert check("devops", SAGABUS_NATS_URL=server.url) == 0
        finally:
            agent.terminate()
            _, log = agent.communicate(timeout=30)
        assert agent.returncode == 0, log
        assert check("devops", SAGABUS_NATS_URL=server.url) != 0


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_orchestrator_is_as_healthy_as_its_api_says(status: int, healthy: bool) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        answering = Thread(target=server.handle_request)
        answering.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert (check("orchestrator", SAGABUS_URL=url) == 0) is healthy
        answering.join()
    assert check("orchestrator", SAGABUS_URL=url) != 0


async def test_nats_takes_its_flags_and_lets_nobody_in_without_the_password(tmp_path: Path) -> None:
    flags = [
        re.sub(r"\$\{.*\}", "secret", flag)
        .replace("/data", str(tmp_path / "data"))
        .replace("8222", "-1")
        for flag in SERVICES["nats"]["command"]
    ]
    own = ["--addr=127.0.0.1", "--port=-1", f"--ports_file_dir={tmp_path}"]
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(
        server_binary(), *flags, *own, stdout=quiet, stderr=quiet
    )
    try:
        async with asyncio.timeout(20):
            while read_port(tmp_path, server.pid) is None:
                assert server.returncode is None
                await asyncio.sleep(0.02)
        ports = json.loads((tmp_path / f"nats-server_{server.pid}.ports").read_bytes())
        [path] = re.findall(r"/healthz\S*", SERVICES["nats"]["healthcheck"]["test"][-1])
        async with httpx.AsyncClient() as http:
            assert (await http.get(ports["monitoring"][0] + path)).status_code == 200
        [address] = ports["nats"]
        stranger = Client()
        with pytest.raises(nats.errors.Error, match="Authorization"):
            await stranger.connect(address, allow_reconnect=False)
        await stranger.close()
        url = address.replace("://", "://sagabus:secret@")
        async with await nats.connect(url, allow_reconnect=False) as client:
            assert (await client.jetstream().account_info()).streams == 0
    finally:
        server.terminate()
        await server.wait()
