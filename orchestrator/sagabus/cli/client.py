"""The HTTP client behind the operators' commands; every failure is one sentence."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import typer

from sagabus.cli.data_dir import find_endpoints
from sagabus.errors import ApiError

_TIMEOUT_S: Final = 35.0  # the orchestrator itself gives up after 30
EXECUTIONS: Final = "/api/v1/workflow-executions"
WORKFLOWS: Final = "/api/v1/workflows"
PACKS: Final = "/api/v1/packs"


class Api:
    """One orchestrator's API. ``url``: None takes $SAGABUS_URL, then the nearest data directory."""

    def __init__(self, url: str | None = None) -> None:
        self._given = url or os.environ.get("SAGABUS_URL") or None

    def get(self, path: str, *, wait_s: float = 0.0, **query: Any) -> Any:
        """The document at ``path``. ``wait_s``: how much later than usual it may answer."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", path, params=wanted, timeout=_TIMEOUT_S + wait_s)

    def post(self, path: str, document: dict[str, Any]) -> Any:
        """Give a command; its id is made here, so that a broken connection repeats nothing."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self._ask("POST", path, json=document, headers=headers)

    def put(self, path: str, document: dict[str, Any], **query: Any) -> Any:
        """Have ``document`` stand at ``path``; the same again changes nothing."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self._ask("PUT", path, json=document, params=wanted)

    def delete(self, path: str, **query: Any) -> Any:
        """Have nothing stand at ``path``."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self._ask("DELETE", path, params=wanted)

    def health(self) -> dict[str, Any]:
        """``/health``, whether or not it is good."""
        return dict(_document(self._send("GET", "/health")))

    def events(self, instance: str, after: int, quiet_s: float) -> Iterator[dict[str, Any]]:
        """History entries after ``after`` as they are stored; returns when the instance ended.

        Raises:
            ApiError: ``code`` is ``unreachable`` when the connection broke; ask again then.
            TimeoutError: there was none for ``quiet_s``; ask again then, too.
        """
        url = self._url()
        path = f"{url}{EXECUTIONS}/{_quoted(instance)}/events"
        headers = {"Last-Event-ID": str(after)}
        with _explained(url), _http(quiet_s) as http:
            try:
                with http.stream("GET", path, headers=headers) as reply:
                    if reply.status_code == httpx.codes.NO_CONTENT:
                        return
                    if reply.is_error:
                        reply.read()
                        _refuse(reply)
                    yield from _entries(reply.iter_lines(), url)
            except httpx.ReadTimeout:
                raise TimeoutError from None

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        reply = self._send(method, path, **request)
        if reply.is_error:
            _refuse(reply)
        return _document(reply)

    def _send(
        self, method: str, path: str, *, timeout: float = _TIMEOUT_S, **request: Any
    ) -> httpx.Response:
        url = self._url()
        with _explained(url), _http(timeout) as http:
            return http.request(method, url + path, **request)

    def _url(self) -> str:
        # Looked up anew each time: an orchestrator that was started again has another port.
        if self._given:
            return self._given.rstrip("/")
        found = find_endpoints(Path.cwd(), os.environ)
        if found is None:
            raise ApiError(
                "no orchestrator is running in .sagabus here or above: start one with 'sagabus up',"
                " or name one with --url or SAGABUS_URL",
                code="unreachable",
            )
        return found.http


def instance_path(instance: str, part: str = "") -> str:
    """Path of an instance's document, or of a part of it."""
    return f"{EXECUTIONS}/{_quoted(instance)}{part and '/'}{part}"


def workflow_path(workflow: str, part: str = "") -> str:
    """Path of a definition's document, or of a part of it."""
    return f"{WORKFLOWS}/{_quoted(workflow)}{part and '/'}{part}"


def pack_path(pack: str, part: str = "") -> str:
    """Path of a pack's document, or of a part of it."""
    return f"{PACKS}/{_quoted(pack)}{part and '/'}{part}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _http(timeout: float | None) -> httpx.Client:
    # Proxies are for other machines.
    limits = httpx.Timeout(timeout, connect=5.0)
    return httpx.Client(timeout=limits, trust_env=False)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn the failures of httpx into ``ApiError``, or wrong usage."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise typer.BadParameter(
            f"{url!r} is no http:// address: correct it, or SAGABUS_URL", param_hint="--url"
        ) from None
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise ApiError(
            f"no orchestrator answers at {url}: is it running? ('sagabus up')", code="unreachable"
        ) from None
    except httpx.TransportError:
        raise ApiError(
            f"the connection to {url} broke before the answer came; whether a command took effect"
            " is not known: look with 'sagabus show'",
            code="unreachable",
        ) from None


def _refuse(reply: httpx.Response) -> None:
    try:
        document = reply.json()
        raise ApiError(str(document["message"]), code=str(document["code"]))
    except (ValueError, KeyError, TypeError):
        if reply.status_code >= 500:
            raise ApiError(
                f"{reply.url} answered {reply.status_code}: {reply.text[:200]}; see its log",
                code="internal",
            ) from None
        raise ApiError(
            f"{reply.url} answered {reply.status_code} and is no sagabus: correct --url",
            code="bad_url",
        ) from None


def _document(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError:
        raise ApiError(
            f"{reply.url} answered no JSON and is no sagabus: correct --url", code="bad_url"
        ) from None


def _entries(lines: Iterator[str], url: str) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line == "event: end":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    raise ApiError(f"the stream from {url} ended early", code="unreachable")
