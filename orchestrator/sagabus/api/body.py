"""Strict JSON bodies: what could not be sent on or stored is refused at the door."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute


class _StrictRequest(Request):
    async def json(self) -> Any:
        """Parse without the extensions of Python's own parser.

        ``NaN``, half surrogate pairs and nesting without end are no JSON, and neither the bus nor
        the database could hold them.
        """
        return orjson.loads(await self.body())


class StrictJsonRoute(APIRoute):
    """A route whose body is read by ``orjson``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler, so that it sees a strict request."""
        handle = super().get_route_handler()

        async def handle_strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strict
