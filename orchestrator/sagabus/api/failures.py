"""Every failure as ``{code, message}`` with the status that fits."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sagabus.api.documents import ErrorDocument
from sagabus.api.patterns import IN_WORDS
from sagabus.errors import (
    BusUnavailableError,
    ConflictError,
    InstanceNotFoundError,
    InvalidRequestError,
    LetterNotFoundError,
    RequestError,
    ResourceNotFoundError,
    StoreUnavailableError,
    UnauthorizedError,
    WorkflowNotFoundError,
)

_STATUS: Final[dict[type[RequestError], int]] = {
    WorkflowNotFoundError: 404,
    InstanceNotFoundError: 404,
    LetterNotFoundError: 404,
    ResourceNotFoundError: 404,
    ConflictError: 409,
    InvalidRequestError: 422,
}
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_MAX_PROBLEMS: Final = 10


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route, for the OpenAPI document."""
    return {
        status: {"model": ErrorDocument, "description": HTTPStatus(status).phrase}
        for status in (*statuses, 422, 503)
    }


def install(app: FastAPI) -> None:
    """Answer every failure of ``app`` this way."""

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return _answer(_STATUS.get(type(error), 400), error.code, str(error))

    @app.exception_handler(UnauthorizedError)
    async def denied(_: Request, error: UnauthorizedError) -> JSONResponse:
        return _answer(403, "unauthorized", str(error))

    @app.exception_handler(StoreUnavailableError)
    async def no_store(_: Request, error: StoreUnavailableError) -> JSONResponse:
        return _answer(503, "store_unavailable", str(error))

    @app.exception_handler(BusUnavailableError)
    async def no_bus(_: Request, error: BusUnavailableError) -> JSONResponse:
        return _answer(503, "bus_unavailable", str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        whole = ("model_attributes_type", ("body",))
        if whole in ((problem["type"], tuple(problem["loc"])) for problem in problems):
            return _answer(422, InvalidRequestError.code, _no_object(request))
        return _answer(422, InvalidRequestError.code, _sentence(problems))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, RequestError.code)
        return _answer(error.status_code, code, error.detail)

    @app.exception_handler(Exception)
    async def crashed(_: Request, error: Exception) -> JSONResponse:  # the server logs it
        return _answer(500, "internal_error", f"{type(error).__name__}; see the log")


def _answer(status: int, code: str, message: str) -> JSONResponse:
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse({"code": code, "message": message}, status, headers)


def _no_object(request: Request) -> str:
    """Of a body that is no JSON object, or was not read as one.

    JSON is not looked for in what says that it is something else: a form of another site's page
    can be text, and a browser asks nobody before it sends one.
    """
    given = request.headers.get("content-type", "")
    if "json" in given:
        return "body: not a JSON object"
    sent = f"was sent as {given}" if given else "has no Content-Type"
    return f"body: {sent}; send JSON with the header `Content-Type: application/json`"


def _sentence(problems: Sequence[Any]) -> str:
    # The input is not repeated: it may be large, or a secret.
    parts = []
    for problem in problems[:_MAX_PROBLEMS]:
        place = ".".join(str(part) for part in problem["loc"] if part != "body") or "body"
        reason = problem["msg"]
        if problem["type"] == "json_invalid":
            place = f"body, character {place}"
            reason = f"no JSON: {problem['ctx']['error']}"
        elif problem["type"] == "string_pattern_mismatch":
            reason = IN_WORDS.get(problem["ctx"]["pattern"], reason)
        parts.append(f"{place}: {reason}")
    return "; ".join(parts)
