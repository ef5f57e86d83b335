"""A web server that takes what is posted to it, or refuses it as it is told."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class WebHook:
    """``with WebHook() as hook``: listens on a free port."""

    def __init__(self) -> None:
        #: ``Idempotency-Key`` and body of every request, in order.
        self.taken: list[tuple[str, bytes]] = []
        #: What the first requests are answered; later ones as the last of these.
        self.statuses = [204]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = hook.statuses[min(len(hook.taken), len(hook.statuses) - 1)]
                hook.taken.append((self.headers["Idempotency-Key"], body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        return Handler
