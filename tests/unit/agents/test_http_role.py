"""The agent ``http``: what it sends, what it makes of the answer, and of every kind of failure.

One file, because every test asks the same small web server.
"""

import asyncio
import json
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from sagabus_agents.roles.http import DEFAULT_MAX_BYTES, MAX_REDIRECTS, http_agent
from sagabus_agents.testing import run_task
from sagabus_agents.wire import ResultMessage, ResultStatus


class Server:
    """A web server whose answers the test gives; remembers the requests."""

    def __init__(self) -> None:
        self.port = 0
        #: By path: status, headers, body; or an exception of the connection.
        self.answers: dict[str, tuple[int, dict[str, str], bytes] | None] = {}
        self.requests: list[dict[str, Any]] = []
        self.release = asyncio.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, path: str, status: int = 200, body: Any = b"", **headers: str) -> None:
        if not isinstance(body, bytes):
            headers.setdefault("content_type", "application/json")
            body = json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, named, body)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            method, target, _ = first.split(" ")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(
                {"method": method, "target": target, "headers": headers, "body": body}
            )
            await self._answer(writer, method, target.partition("?")[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str) -> None:
        if path == "/slow":
            await self.release.wait()
            return
        if path == "/drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not self.release.is_set():
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)
            return
        found = self.answers[path]
        if found is None:
            return
        status, headers, body = found
        sent = {"Content-Length": str(len(body)), "Connection": "close", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode())
        writer.write(b"" if method == "HEAD" else body)
        await writer.drain()


@asynccontextmanager
async def listening_server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
        server.release.set()
        listening.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with listening_server() as running:
        yield running


@pytest.fixture
async def elsewhere() -> AsyncIterator[Server]:
    """Another origin: the same host, another port."""
    async with listening_server() as running:
        yield running


async def call(action: str, input: Any, **options: Any) -> ResultMessage:
    return await run_task(http_agent(), action, input, **options)


async def output_of(action: str, input: Any, **options: Any) -> dict[str, Any]:
    result = await call(action, input, **options)
    assert result.status is ResultStatus.SUCCEEDED, result.error
    assert isinstance(result.output, dict)
    return result.output


async def error_of(action: str, input: Any, **options: Any) -> tuple[str, bool, str]:
    result = await call(action, input, **options)
    assert result.status is ResultStatus.FAILED
    assert result.error is not None
    return result.error.type, result.error.retryable, result.error.message


async def test_json_answer_is_given_as_it_is(server: Server) -> None:
    server.answer("/a", 200, {"id": 7}, X_Thing="t")
    output = await output_of("get", {"url": server.url("/a?x=1"), "query": {"y": ["a b", 2]}})
    assert output["json"] == {"id": 7}
    assert "body" not in output
    assert (output["status_code"], output["headers"]["x-thing"]) == (200, "t")
    assert output["url"] == server.url("/a")
    assert 0 < output["elapsed_s"] < 5
    assert server.requests[0]["target"] == "/a?x=1&y=a+b&y=2"


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"hello", "text/plain", {"body": "hello"}),
        ("grün".encode("latin-1"), "text/plain; charset=latin-1", {"body": "grün"}),
        (b"\xff\xfe\x00", "application/octet-stream", {"base64": "//4A"}),
        (b"no json", "application/json", {"body": "no json"}),
        (b"NaN", "application/json", {"body": "NaN"}),
        (b"[1]", "application/problem+json", {"json": [1]}),
        (b"", "application/json", {"body": ""}),
    ],
)
async def test_body_is_given_in_the_form_that_it_has(
    server: Server, body: bytes, kind: str, expected: dict[str, Any]
) -> None:
    server.answer("/a", 200, body, content_type=kind)
    output = await output_of("get", {"url": server.url("/a")})
    assert {name: output[name] for name in ("json", "body", "base64") if name in output} == expected


@pytest.mark.parametrize(
    ("content", "kind", "sent"),
    [
        ({"json": {"a": [1]}}, "application/json", b'{"a":[1]}'),
        ({"json": None}, "application/json", b"null"),
        ({"form": {"a": "x y", "b": 1}}, "application/x-www-form-urlencoded", b"a=x+y&b=1"),
        ({"body": "grün"}, None, "grün".encode()),
    ],
)
async def test_body_is_sent_in_the_form_that_was_asked_for(
    server: Server, content: dict[str, Any], kind: str | None, sent: bytes
) -> None:
    server.answer("/a", 201)
    await output_of("post", {"url": server.url("/a"), **content})
    [request] = server.requests
    assert (request["method"], request["body"]) == ("POST", sent)
    assert request["headers"].get("content-type") == kind


@pytest.mark.parametrize("action", ["get", "post", "put", "patch", "delete", "head"])
async def test_requests_that_act_carry_the_key_of_the_task(server: Server, action: str) -> None:
    server.answer("/a")
    await output_of(action, {"url": server.url("/a")}, attempt=2)
    [request] = server.requests
    assert request["method"] == action.upper()
    key = f"test:{action}-1-0" if action in {"post", "put", "patch"} else None
    assert request["headers"].get("idempotency-key") == key


async def test_headers_are_sent_and_ones_own_key_stays(server: Server) -> None:
    server.answer("/a")
    headers = {"idempotency-key": "mine", "X-Team": "ops"}
    await output_of("request", {"url": server.url("/a"), "method": "PUT", "headers": headers})
    [request] = server.requests
    assert request["headers"]["idempotency-key"] == "mine"
    assert request["headers"]["x-team"] == "ops"
    assert request["headers"]["user-agent"].startswith("sagabus/")


@pytest.mark.parametrize(
    ("status", "expected", "is_fine"),
    [
        (204, None, True),
        (404, None, False),
        (404, 404, True),
        (200, 404, False),
        (404, [200, 404], True),
        (500, [200, 404], False),
    ],
)
async def test_expected_status_decides(
    server: Server, status: int, expected: Any, is_fine: bool
) -> None:
    server.answer("/a", status)
    input = {"url": server.url("/a")} | ({"expected_status": expected} if expected else {})
    result = await call("get", input)
    assert (result.status is ResultStatus.SUCCEEDED) == is_fine
    if result.error is not None:
        assert result.error.type == "http_status"


@pytest.mark.parametrize(
    ("status", "is_retryable"), [(400, False), (404, False), (429, True), (500, True), (503, True)]
)
async def test_unexpected_status_says_what_was_answered(
    server: Server, status: int, is_retryable: bool
) -> None:
    server.answer("/a", status, b"out of\n  order " + b"x" * 9_000)
    address = server.url("/a?token=secret").replace("//", "//user:secret@")
    type, retryable, message = await error_of("get", {"url": address})
    assert (type, retryable) == ("http_status", is_retryable)
    assert message.startswith(f"GET {server.url('/a')} answered {status} Said: out of order xxx")
    assert "secret" not in message
    assert len(message) < 700


@pytest.mark.parametrize("is_date", [True, False])
async def test_server_that_asks_to_wait_is_left_alone(server: Server, is_date: bool) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    server.answer("/a", 503, Retry_After=later if is_date else "120")
    result = await call("get", {"url": server.url("/a")})
    assert result.error is not None
    assert result.error.retry_after_s == pytest.approx(120, abs=5)


async def test_wait_that_is_no_wait_is_not_taken_over(server: Server) -> None:
    server.answer("/a", 503, Retry_After="soon")
    result = await call("get", {"url": server.url("/a")})
    assert result.error is not None
    assert result.error.retry_after_s is None


@pytest.mark.parametrize("path", ["/slow", "/drip"])
async def test_answer_that_takes_too_long_is_a_timeout(server: Server, path: str) -> None:
    type, retryable, message = await error_of("get", {"url": server.url(path), "timeout": 0.2})
    assert (type, retryable) == ("timeout", True)
    assert message == f"GET {server.url(path)}: no answer within 0.2 s"


async def test_nobody_there_and_a_broken_answer_are_worth_another_attempt(server: Server) -> None:
    server.answers["/cut"] = None
    for url in ("http://127.0.0.1:1/", server.url("/cut")):
        assert (await error_of("get", {"url": url}))[:2] == ("connection", True)


@pytest.mark.parametrize("is_packed", [True, False])
async def test_answer_that_is_too_large_fails_for_good(server: Server, is_packed: bool) -> None:
    body = b"x" * (DEFAULT_MAX_BYTES + 1)
    if is_packed:
        server.answer("/a", 200, zlib.compress(body), content_encoding="deflate")
    else:
        server.answer("/a", 200, body)
    type, retryable, message = await error_of("get", {"url": server.url("/a")})
    assert (type, retryable) == ("too_large", False)
    assert "max_bytes" in message
    server.answer("/b", 200, b"x" * 11)
    assert (await error_of("get", {"url": server.url("/b"), "max_bytes": 10}))[0] == "too_large"
    assert (await output_of("get", {"url": server.url("/b"), "max_bytes": 11}))["body"]


async def test_redirects_are_followed_but_not_for_ever(server: Server) -> None:
    server.answer("/old", 302, location="/new")
    server.answer("/new", 200, b"here")
    output = await output_of("get", {"url": server.url("/old")})
    assert (output["body"], output["url"]) == ("here", server.url("/new"))
    server.answer("/loop", 302, location="/loop")
    before = len(server.requests)
    found = await error_of("get", {"url": server.url("/loop")})
    assert found[:2] == ("too_many_redirects", False)
    assert len(server.requests) == before + MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("action", "status", "content"),
    [
        ("get", 302, {"headers": {"X-Api-Key": "s3cret"}}),
        ("get", 307, {"headers": {"Authorization": "Bearer s3cret"}}),
        ("get", 307, {"json": {"token": "s3cret"}}),
        ("post", 303, {"json": 1, "headers": {"Cookie": "s3cret"}}),
        ("post", 307, {"json": {"token": "s3cret"}}),
        ("put", 308, {"body": "s3cret"}),
        ("post", 308, {"form": {"token": "s3cret"}}),
        ("delete", 307, {}),
    ],
)
async def test_redirect_to_another_origin_gets_nothing_of_the_input(
    server: Server, elsewhere: Server, action: str, status: int, content: dict[str, Any]
) -> None:
    server.answer("/old", 307, location="/older")
    server.answer("/older", status, location=elsewhere.url("/new/path?token=t0ken"))
    elsewhere.answer("/new/path")
    input = {"url": server.url("/old"), **content}
    type, retryable, message = await error_of(action, input)
    assert elsewhere.requests == []
    assert (type, retryable) == ("http_redirect", False)
    assert message == (
        f"{action.upper()} {server.url('/old')} answered {status}, a redirect to "
        f"http://127.0.0.1:{elsewhere.port}, and another origin gets neither headers nor body of "
        "the input: write the address there as `url`, or take the redirect as the answer with "
        f"expected_status {status}"
    )


@pytest.mark.parametrize(("action", "status"), [("get", 302), ("get", 308), ("post", 303)])
async def test_bare_get_is_followed_to_another_origin(
    server: Server, elsewhere: Server, action: str, status: int
) -> None:
    content = {"json": {"token": "s3cret"}} if action == "post" else {}
    server.answer("/old", status, location=elsewhere.url("/new"))
    elsewhere.answer("/new", 200, b"here")
    address = server.url("/old?a=s3cret").replace("//", "//user:s3cret@")
    output = await output_of(action, {"url": address, **content})
    assert (output["body"], output["url"]) == ("here", elsewhere.url("/new"))
    [request] = elsewhere.requests
    assert (request["method"], request["target"], request["body"]) == ("GET", "/new", b"")
    assert set(request["headers"]) == {
        *("host", "accept", "accept-encoding", "connection", "user-agent")
    }


async def test_two_origins_that_lead_to_each_other_are_not_followed_for_ever(
    server: Server, elsewhere: Server
) -> None:
    server.answer("/a", 302, location=elsewhere.url("/b"))
    elsewhere.answer("/b", 302, location=server.url("/a"))
    assert (await error_of("get", {"url": server.url("/a")}))[0] == "too_many_redirects"
    assert len(server.requests) + len(elsewhere.requests) == MAX_REDIRECTS + 1


async def test_redirect_within_the_origin_gets_headers_and_body(server: Server) -> None:
    server.answer("/old", 307, location=server.url("/new"))
    server.answer("/new", 200)
    headers = {"X-Api-Key": "k", "Authorization": "Bearer k"}
    await output_of("post", {"url": server.url("/old"), "headers": headers, "json": [1]})
    for request in server.requests:
        assert (request["method"], request["body"]) == ("POST", b"[1]")
        assert request["headers"]["x-api-key"] == "k"
        assert request["headers"]["authorization"] == "Bearer k"
        assert request["headers"]["idempotency-key"] == "test:post-1-0"
    assert len(server.requests) == 2


async def test_redirect_that_is_expected_is_the_answer(server: Server) -> None:
    server.answer("/old", 302, location="/new")
    output = await output_of("get", {"url": server.url("/old"), "expected_status": 302})
    assert output["headers"]["location"] == "/new"


async def test_redirect_to_another_protocol_is_refused(server: Server) -> None:
    server.answer("/old", 302, location="ftp://elsewhere/")
    assert (await error_of("get", {"url": server.url("/old")}))[:2] == ("bad_input", False)


@pytest.mark.parametrize(
    ("input", "words"),
    [
        ({"url": "ftp://x/"}, "url: write an address like https://"),
        ({"url": "http://[x"}, "url: no address"),
        ({"url": "http://a b/"}, "url: write an address like https://"),
        ({"url": "http://x:99999/"}, "url: no address"),
        ({"url": "http://"}, "url: write an address like https://"),
        ({}, "url: Field required"),
        ({"url": "http://x/", "jsno": 1}, "jsno: Extra inputs are not permitted"),
        ({"url": "http://x/", "json": 1, "body": ""}, "give one of json, body and form"),
        ({"url": "http://x/", "headers": {"a": "b\r\nc: d"}}, "headers.a: "),
        ({"url": "http://x/", "headers": {"a b": ""}}, "headers.a b"),
        ({"url": "http://x/", "timeout": 0}, "timeout: "),
        ({"url": "http://x/", "method": "GET"}, "method: "),
        ({"url": "http://x/", "expected_status": 20}, "expected_status"),
        (None, "input: "),
    ],
)
async def test_input_that_does_not_fit_is_refused(input: Any, words: str) -> None:
    type, retryable, message = await error_of("get", input)
    assert (type, retryable) == ("bad_input", False)
    assert words in message


async def test_unknown_action_has_no_handler() -> None:
    assert (await error_of("steal", {"url": "http://x/"}))[0] == "no_handler"


async def test_undo_is_a_request_of_its_own(server: Server) -> None:
    server.answer("/thing/7")
    input = {"url": server.url("/thing/7")}
    assert (await output_of("delete", input, compensation=True))["status_code"] == 200
    type, _, message = await error_of("post", None, compensation=True)
    assert type == "bad_input"
    assert "compensation = {action" in message


async def test_cookies_of_one_task_do_not_reach_the_next(server: Server) -> None:
    server.answer("/a", 200, Set_Cookie="a=b")
    agent = http_agent()
    for _ in range(2):
        await run_task(agent, "get", {"url": server.url("/a")})
    assert [request["headers"].get("cookie") for request in server.requests] == [None, None]


def test_without_httpx_it_says_in_one_line_what_to_install() -> None:
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "from sagabus_agents.command import agent_command\n"
        "sys.exit(agent_command(['http']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "sagabus: agent http: it needs httpx: pip install 'sagabus[http]'\n"
