"""An HTTP API that does what it is asked once per ``Idempotency-Key``, and counts."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class PaymentApi:
    """``with PaymentApi() as api``: serves ``POST /charges`` and ``POST /refunds``.

    While ``is_mute`` it does what it is asked, and answers nothing.
    """

    def __init__(self) -> None:
        #: Path and key of every request, in order.
        self.requests: list[tuple[str, str]] = []
        #: Its answers by key: what it did.
        self.effects: dict[str, dict[str, Any]] = {}
        self.is_mute = False
        self._ends = threading.Event()
        self._lock = threading.Lock()
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
        self._ends.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _act(self, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.requests.append((path, key))
            if key not in self.effects:
                self.effects[key] = {"id": f"{path[1:]}-{len(self.effects)}", **body}
            return self.effects[key]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = api._act(self.path, self.headers["Idempotency-Key"], body)
                if api.is_mute:
                    api._ends.wait()
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        return Handler
