"""What a request must pass before any route sees it.

The API trusts whoever reaches it, because it listens on loopback. A web page in a browser on this
machine reaches it too: by a name that resolves to 127.0.0.1 (DNS rebinding), which the ``Host``
header gives away, or by a cross-origin form, which ``Origin`` gives away.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagabus.settings import is_loopback
from sagabus_agents.wire import MAX_MESSAGE_BYTES

#: Parameters travel in one message, so nothing larger can be of use.
MAX_BODY_BYTES: Final = MAX_MESSAGE_BYTES
#: Who sends more than this does not wait for an answer.
_MAX_DROPPED_BYTES: Final = 64 * 1024 * 1024
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware: refuses foreign hosts, foreign origins and large bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _refusal(scope["method"], Headers(scope=scope))
        if refusal is not None:
            if refusal.status_code == 413:
                await _drop(receive)
            await refusal(scope, receive, send)
            return
        await self._app(scope, _limited(receive), send)


def _refusal(method: str, headers: Headers) -> JSONResponse | None:
    host = headers.get("host", "")
    if not is_loopback(_host_name(host)):
        return _error(
            403, "forbidden_host", f"the Host header {host!r} does not name this machine's loopback"
        )
    origin = headers.get("origin")
    if method not in _SAFE_METHODS and origin is not None and origin != f"http://{host}":
        return _error(403, "cross_origin", f"pages of {origin!r} may not send commands")
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        return _error(413, "too_large", _too_large())
    return None


def _limited(receive: Receive) -> Receive:
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            if message.get("more_body", False):
                await _drop(receive)
            raise HTTPException(413, _too_large())
        return message

    return receive_limited


async def _drop(receive: Receive) -> None:
    """Read what a client is still sending: it would see a reset in place of the answer."""
    dropped, is_more = 0, True
    while is_more and dropped < _MAX_DROPPED_BYTES:
        message = await receive()
        dropped += len(message.get("body", b""))
        is_more = message.get("more_body", False)


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _too_large() -> str:
    return f"the body is larger than {MAX_BODY_BYTES} bytes"


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status)
