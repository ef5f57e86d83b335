"""Role ``http``: one HTTP request per task, so that a workflow calls an API without own code.

The contract stands in ``docs/cli.md`` under "Ready-made agents".
"""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sagabus_agents.agent import DEFAULT_CONCURRENCY, DEFAULT_DRAIN_S, Agent
from sagabus_agents.errors import BadInputError, PermanentError, RetryableError, TaskError
from sagabus_agents.handlers import validated
from sagabus_agents.task import Task
from sagabus_agents.version import __version__

try:
    import httpx
except ImportError as error:
    raise ImportError("it needs httpx: pip install 'sagabus[http]'", name="httpx") from error

DEFAULT_ROLE: Final = "http"
DEFAULT_TIMEOUT_S: Final = 30.0
#: What fits into a result message beside everything else.
DEFAULT_MAX_BYTES: Final = 512 * 1024
LARGEST_MAX_BYTES: Final = 64 * 1024 * 1024
MAX_REDIRECTS: Final = 5
#: How much of an unexpected answer becomes part of the error's message.
SHOWN_CHARS: Final = 500
#: A server may ask to be left alone; for so long at most it is.
MAX_RETRY_AFTER_S: Final = 86_400.0

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
#: The action ``request`` takes its method from the input.
ACTIONS: Final[dict[str, Method | None]] = {
    "get": "GET",
    "post": "POST",
    "put": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "head": "HEAD",
    "request": None,
}
#: Methods that do something again when they are sent again, unless the server is told.
_NEEDS_KEY: Final = frozenset({"POST", "PUT", "PATCH"})
_KEY_HEADER: Final = "Idempotency-Key"

#: Names in any script, and addresses.
_HOST: Final = re.compile(r"[\w.:-]+")

_Scalar = str | int | float | bool | None
_Fields = dict[str, _Scalar | list[_Scalar]]
_HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
# Printable ASCII: a line break would begin a header of its own.
_HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e\t]*$")]
_Status = Annotated[int, Field(ge=100, le=599)]


def _http_url(url: str) -> str:
    # httpx would quote what is no host, and look it up.
    try:
        parts = urlsplit(url)
        is_usable = bool(
            parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "")
        )
        is_usable = is_usable and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        reason = {"reason": str(error)}
        raise PydanticCustomError("sagabus", "no address: {reason}", reason) from error
    if not is_usable:
        raise PydanticCustomError("sagabus", "write an address like https://example.org/path")
    return url


class _Input(BaseModel):
    """What every action takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(_http_url)]
    headers: dict[_HeaderName, _HeaderValue] = Field(default_factory=dict)
    query: _Fields = Field(default_factory=dict)
    json_: Any = Field(default=None, alias="json")
    body: str | None = None
    form: _Fields | None = None
    #: None: 200 to 299.
    expected_status: _Status | list[_Status] | None = None
    timeout: float = Field(default=DEFAULT_TIMEOUT_S, gt=0, le=3600)
    max_bytes: int = Field(default=DEFAULT_MAX_BYTES, ge=0, le=LARGEST_MAX_BYTES)

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        given = self.model_fields_set & {"json_", "body", "form"}
        if len(given) > 1:
            raise PydanticCustomError("sagabus", "give one of json, body and form")
        return self

    def expects(self, status: int) -> bool:
        """Whether the answer is what the workflow waits for."""
        match self.expected_status:
            case None:
                return 200 <= status < 300
            case int() as wanted:
                return status == wanted
            case several:
                return status in several


class _AnyInput(_Input):
    """What the action ``request`` takes besides."""

    method: Method = "GET"


_INPUT: Final = TypeAdapter(_Input)
_ANY_INPUT: Final = TypeAdapter(_AnyInput)


def http_agent(
    role: str = DEFAULT_ROLE,
    *,
    nats_url: str | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    drain_s: float = DEFAULT_DRAIN_S,
) -> Agent:
    """An agent whose actions are HTTP methods; an undo is one too, with an input of its own.

    Args:
        role: whose tasks to take.
        nats_url: see ``Agent``.
        concurrency: see ``Agent``.
        drain_s: see ``Agent``.
    """
    agent = Agent(role, concurrency=concurrency, nats_url=nats_url, drain_s=drain_s)
    for action, method in ACTIONS.items():
        agent.task(action)(partial(_call, method))
        agent.compensation(action)(partial(_undo, method))
    return agent


async def _call(method: Method | None, task: Task) -> dict[str, Any]:
    if method is None:
        asked = validated(_ANY_INPUT, task.input)
        return await _send(asked.method, asked, task)
    return await _send(method, validated(_INPUT, task.input), task)


async def _undo(method: Method | None, task: Task) -> dict[str, Any]:
    if task.input is None:
        raise BadInputError(
            "an undo over HTTP needs a request of its own: write "
            'compensation = {action = "delete", input = {url = "..."}}'
        )
    return await _call(method, task)


async def _send(method: Method, asked: _Input, task: Task) -> dict[str, Any]:
    place = f"{method} {_place(asked.url)}"
    began = perf_counter()
    try:
        async with (
            asyncio.timeout(asked.timeout),
            _client() as client,
            _answer(client, asked, _request(client, method, asked, task)) as reply,
        ):
            content = await _read(reply, asked, place)
    except TimeoutError:
        message = f"{place}: no answer within {asked.timeout:g} s"
        raise RetryableError(message, type="timeout") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _explained(error, place) from error
    if not asked.expects(reply.status_code):
        raise _unexpected(reply, content, place)
    return {
        "status_code": reply.status_code,
        "headers": dict(reply.headers),
        **_decoded(reply, content),
        "elapsed_s": round(perf_counter() - began, 6),
        "url": _place(str(reply.url)),
    }


@asynccontextmanager
async def _answer(
    client: httpx.AsyncClient, asked: _Input, request: httpx.Request
) -> AsyncIterator[httpx.Response]:
    """The answer after all redirects; its body is still to be read."""
    place = f"{request.method} {_place(asked.url)}"
    for _ in range(MAX_REDIRECTS + 1):
        reply = await client.send(request, stream=True)
        try:
            following = reply.next_request
            if following is None or any(asked.expects(status) for status in range(300, 400)):
                yield reply
                return
        finally:
            await reply.aclose()
        request = following
        if _origin(following.url) != _origin(reply.url):
            if asked.headers or not _is_bare(following):
                raise _leads_elsewhere(reply.status_code, following, place)
            # Made anew: the other would carry the task's key.
            request = client.build_request(following.method, following.url)
    raise PermanentError(f"{place}: more than {MAX_REDIRECTS} redirects", type="too_many_redirects")


def _is_bare(request: httpx.Request) -> bool:
    return request.method in {"GET", "HEAD"} and "Content-Length" not in request.headers


def _leads_elsewhere(status: int, following: httpx.Request, place: str) -> TaskError:
    return PermanentError(
        f"{place} answered {status}, a redirect to {_origin(following.url)}, and another origin "
        "gets neither headers nor body of the input: write the address there as `url`, or take "
        f"the redirect as the answer with expected_status {status}",
        type="http_redirect",
    )


def _origin(url: httpx.URL) -> str:
    """Scheme, host and port; a port that is the scheme's own does not stand in it."""
    return f"{url.scheme}://{url.netloc.decode()}"


def _client() -> httpx.AsyncClient:
    # Of its own for every task: no cookie of one workflow reaches another.
    return httpx.AsyncClient(
        verify=_trusted(),
        timeout=None,  # noqa: S113 - the whole call has one limit
        headers={"User-Agent": f"sagabus/{__version__}"},
    )


@cache
def _trusted() -> ssl.SSLContext:
    # Reading the certificates takes tens of milliseconds.
    return httpx.create_ssl_context()


def _url(asked: _Input) -> httpx.URL:
    url = httpx.URL(asked.url)
    return url.copy_merge_params(asked.query) if asked.query else url


def _request(client: httpx.AsyncClient, method: Method, asked: _Input, task: Task) -> httpx.Request:
    headers = httpx.Headers(asked.headers)
    if method in _NEEDS_KEY:
        headers.setdefault(_KEY_HEADER, task.idempotency_key)
    content: dict[str, Any] = {"headers": headers}
    if "json_" in asked.model_fields_set:
        content["content"] = orjson.dumps(asked.json_)  # httpx takes null for nothing
        headers.setdefault("Content-Type", "application/json")
    elif asked.body is not None:
        content["content"] = asked.body
    elif asked.form is not None:
        content["data"] = asked.form
    return client.build_request(method, _url(asked), **content)


async def _read(reply: httpx.Response, asked: _Input, place: str) -> bytes:
    """The whole body, unpacked; never more than one piece beyond the limit is held."""
    content = bytearray()
    async for piece in reply.aiter_bytes():
        content += piece
        if len(content) > asked.max_bytes:
            raise PermanentError(
                f"{place}: the answer has more than {asked.max_bytes} bytes; raise max_bytes, or "
                "ask for less",
                type="too_large",
            )
    return bytes(content)


def _explained(error: Exception, place: str) -> TaskError:
    said = str(error) or type(error).__name__
    match error:
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return BadInputError(f"{place}: {said}")
        case _:
            return RetryableError(f"{place}: {said}", type="connection")


def _unexpected(reply: httpx.Response, content: bytes, place: str) -> TaskError:
    status = reply.status_code
    text = " ".join(content.decode(reply.encoding or "utf-8", errors="replace").split())
    said = f": {text[:SHOWN_CHARS]}" if text else ""
    message = f"{place} answered {status} {reply.reason_phrase}".rstrip() + said
    if status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS:
        return RetryableError(message, type="http_status", retry_after=_retry_after(reply))
    return PermanentError(message, type="http_status")


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds that the server wants to be left alone; a date or a number. Source: RFC 9110."""
    text = reply.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), MAX_RETRY_AFTER_S)


def _decoded(reply: httpx.Response, content: bytes) -> dict[str, Any]:
    """``json`` where the answer is JSON, ``body`` where it is text, ``base64`` else."""
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return {"json": json.loads(content, parse_constant=_no_constant)}
        except (ValueError, RecursionError):
            pass  # it says so and is not: what came is shown as it is
    try:
        return {"body": content.decode(reply.encoding or "utf-8")}
    except (UnicodeDecodeError, LookupError):
        return {"base64": base64.b64encode(content).decode()}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _place(url: str) -> str:
    """The address without what may be a secret: name and password, query."""
    bare = httpx.URL(url).copy_with(username=None, password=None, query=None, fragment=None)
    return str(bare)
