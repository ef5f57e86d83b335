"""Requests that are made to break or to hold up: one clear refusal each, nothing stored."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagabus.api.application import create_app
from sagabus_agents.wire import MAX_MESSAGE_BYTES
from tests.support.registry_orchestrator import RegistryOrchestrator, workflow
from tests.unit.hostile.judging import SLOWNESS, check_text

#: Longest time for which nothing else may run, on a quick machine.
LIMIT_S = 0.2
JSON = {"Content-Type": "application/json"}

BODIES: dict[str, bytes] = {
    "nested without end": b'{"%s": ' + b"[" * 400_000,
    "nested deeply": b'{"%s": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "nested tables": b'{"%s": ' + b'{"a": ' * 3_000 + b"1" + b"}" * 3_000 + b"}",
    "no number": b'{"%s": {"x": NaN}}',
    "no end": b'{"%s": {"x": -Infinity}}',
    "half a character": b'{"%s": {"x": "\\ud800"}}',
    "not UTF-8": b'{"%s": {"x": "\xff\xfe"}}',
    "a number of many digits": b'{"%s": {"x": ' + b"9" * 100_000 + b"}}",
    "cut off": b'{"%s": {"x": "',
    "nothing": b"",
    "a list": b"[]",
    "a text": b'"%s"',
    "null": b"null",
    "two values": b'{"%s": {}} {}',
    "an unknown key": b'{"%s": {}, "__class__": 1}',
    "huge": b'{"%s": {"x": "' + b"x" * 64_000_000 + b'"}}',
    "comments": b'{"%s": {}} // x',
    "control characters": b'{"%s": {"x": "\x00\x1b[31m"}}',
}
ROUTES = {
    "execute": ("POST", "/api/v1/workflows/from_file/execute", "parameters"),
    "answer": ("POST", "/api/v1/workflow-executions/none/answer", "data"),
    "approve": ("POST", "/api/v1/workflow-executions/none/approve", "stage"),
    "kv": ("PUT", "/api/v1/kv/key", "value"),
}
#: Fits after all: no body is a start without parameters, and the last of equal keys counts.
FITS = {("execute", "nothing"), ("execute", "null")}

DOCUMENTS = {
    "billion laughs": "a: &a [x]\n"
    + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
    ),
    "nested": "ref: shop.x\ntasks: " + "[" * 10_000,
    "objects": "ref: shop.x\ntasks: !!python/object/apply:os.system ['true']\n",
    "binary": "ref: \x00\x01",
    "many tasks": "ref: shop.x\ntasks:\n" + "- {name: s, action: devops.x}\n" * 12_000,
    "many expressions": "ref: shop.x\ntasks:\n- name: s\n  action: devops.x\n  input:\n    x:\n"
    + "".join(f'    - "{{{{ {n} }}}}"\n' for n in range(20_000)),
    "wrong expressions": "ref: shop.x\ntasks:\n- name: s\n  action: devops.x\n  input:\n    x:\n"
    + "".join(f'    - "{{{{ {n} + }}}}"\n' for n in range(2_500)),
    "large": workflow("shop.x") + "#" * (MAX_MESSAGE_BYTES - 1_000),
    "too large": workflow("shop.x") + "#" * 64_000_000,
    "nothing": "",
    "a text": "hello",
    "two": workflow("shop.x") + "---\n" + workflow("shop.y"),
    "control characters": 'ref: "shop.x\\e[31m"\ntasks: []\n',
    "another pack": workflow("other.x"),
    "a built-in name": workflow("core.echo"),
}


@pytest.fixture
def orchestrator(tmp_path: Path) -> RegistryOrchestrator:
    return RegistryOrchestrator(tmp_path)


@pytest.fixture
async def client(orchestrator: RegistryOrchestrator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(orchestrator), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as client:
        yield client


@asynccontextmanager
async def never_blocked(limit_s: float = LIMIT_S) -> AsyncIterator[None]:
    """Processor time of the loop's thread between two beats of its heart stays below the limit."""
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    gc.collect()  # what is left of other tests is not to be paid for here
    heart = asyncio.create_task(beat())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        heart.cancel()
    assert longest < limit_s * SLOWNESS, f"blocked for {longest:.3f} s"


def check_refused(reply: httpx.Response) -> dict[str, Any]:
    assert 400 <= reply.status_code < 500, reply.text[:500]
    assert len(reply.content) < 100_000
    document: dict[str, Any] = reply.json()
    assert document["code"]
    for line in document["message"].split("\n"):
        check_text(line)
    return document


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("route", ROUTES)
async def test_a_hostile_body_is_refused_in_one_sentence(
    route: str,
    body: str,
    client: httpx.AsyncClient,
    orchestrator: RegistryOrchestrator,
):
    method, path, key = ROUTES[route]
    content = BODIES[body].replace(b"%s", key.encode(), 1)
    async with never_blocked():
        reply = await client.request(method, path, content=content, headers=JSON)
    if (route, body) in FITS:
        return
    check_refused(reply)
    assert not orchestrator.states
    assert await orchestrator.kv.get("key") is None


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_a_hostile_document_is_not_registered(
    document: str, client: httpx.AsyncClient, orchestrator: RegistryOrchestrator
):
    before = dict(orchestrator.workflows())
    headers = {"Content-Type": "application/yaml"}
    content = DOCUMENTS[document].encode()
    async with never_blocked():
        replies = [
            await client.put("/api/v1/workflows/shop.x", content=content, headers=headers),
            await client.post("/api/v1/packs/shop/workflows", content=content, headers=headers),
        ]
    if document == "two":  # a pack takes several at once
        replies.pop()
    elif document != "large":
        for reply in replies:
            check_refused(reply)
        assert orchestrator.workflows() == before


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 500_000,
        b'{"ref": "shop.x", "tasks": ' + b"[" * 100_000,
        b'{"ref": "shop.x", "tasks": NaN}',
        b'{"ref": "shop.x", "tasks": [{"name": "s", "action": "devops.x", "timeout": 9'
        + b"9" * 5_000
        + b"}]}",
        b'{"ref": "shop.x", "ref": "shop.y", "tasks": []}',
        b'{"ref": "shop.x", "tasks": [], "label": "\\ud800"}',
        b"{",
        b"\xff",
    ],
    ids=range(8),
)
async def test_a_hostile_json_document_is_not_registered(
    text: bytes, client: httpx.AsyncClient, orchestrator: RegistryOrchestrator
):
    before = dict(orchestrator.workflows())
    async with never_blocked():
        reply = await client.put("/api/v1/workflows/shop.x", content=text, headers=JSON)
    check_refused(reply)
    assert orchestrator.workflows() == before


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/workflows/%00/execute",
        "/api/v1/workflows/..%2f..%2fetc%2fpasswd/execute",
        f"/api/v1/workflows/{'x' * 20_000}/execute",
        "/api/v1/workflows/%1b%5b31m/execute",
        "/api/v1/workflow-executions/%E2%80%AE/cancel",
        "/api/v1/workflow-executions/*/cancel",
        "/api/v1/workflow-executions/a.b.%3E/cancel",
    ],
)
async def test_a_hostile_path_is_refused(path: str, client: httpx.AsyncClient):
    async with never_blocked():
        check_refused(await client.post(path, json={}))


PARAMETERS = """
ref: shop.x
parameters:
  list: {type: array, items: {type: integer}}
  unique: {type: array, uniqueItems: true}
  text: {type: string, pattern: "a.*b$"}
  tree:
    $defs:
      n:
        anyOf:
          - {properties: {x: {$ref: "#/$defs/n"}}, required: [y]}
          - {properties: {x: {$ref: "#/$defs/n"}}, required: [z]}
    $ref: "#/$defs/n"
tasks:
  - {name: work, action: devops.work}
"""


def nested(depth: int) -> Any:
    return {"x": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    "parameters",
    [
        {"list": [1] * 200_000},
        {"unique": [{"a": n} for n in range(30_000)] + [{"a": 0}]},
        {"text": "a" * 400_000},
        {"tree": nested(30)},
        {f"k{n}": n for n in range(20_000)},
        {"k" * 300_000: 1},
        {"list": ["\x1b[31m" * 1_000] * 50},
    ],
    ids=["list", "unique", "text", "tree", "unknown", "long name", "control characters"],
)
async def test_parameters_are_checked_in_time(
    parameters: dict[str, Any], client: httpx.AsyncClient, orchestrator: RegistryOrchestrator
):
    headers = {"Content-Type": "application/yaml"}
    stored = await client.put("/api/v1/workflows/shop.x", content=PARAMETERS, headers=headers)
    assert stored.status_code == 200, stored.text
    definition = orchestrator.workflows()["shop.x"].parameters
    assert definition is not None
    began = time.thread_time()
    _, problems = definition.complete(json.loads(json.dumps(parameters)))
    spent = time.thread_time() - began
    assert spent < 1.0 * SLOWNESS, f"{spent:.3f} s"
    assert problems
    assert sum(map(len, problems)) < 100_000
