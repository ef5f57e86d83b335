"""Routes that change which workflows there are."""

from typing import Any, Final

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from sagabus.api.facade import Behind, By, Reason
from sagabus.api.failures import documented
from sagabus.api.registry_documents import (
    Body,
    Expected,
    ProblemList,
    RegisteredList,
    RegisteredView,
    etag,
    problems_answer,
    registered_of,
)
from sagabus.errors import InvalidConfigError

router = APIRouter(prefix="/api/v1/workflows", tags=["registry"])

#: Answers of a route that takes workflows.
TAKES: Final[dict[int | str, dict[str, Any]]] = {
    **documented(409, 413, 415),
    422: {"model": ProblemList, "description": "Everything that is wrong; nothing was stored"},
}
#: The body of a route that takes one workflow.
DOCUMENT: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


@router.put("/{ref}", responses=TAKES, response_model=RegisteredView, openapi_extra=DOCUMENT)
async def put_workflow(
    orchestrator: Behind,
    response: Response,
    ref: str,
    draft: Body,
    expected: Expected,
    by: By = "",
    reason: Reason = "",
) -> RegisteredView | JSONResponse:
    """Register a workflow, or a new version of it; in force when this is answered.

    The same document again makes no version. ``If-Match`` with the version that was read makes
    sure that nobody else has changed it meanwhile. Running instances keep their definition.
    """
    try:
        [stored] = await orchestrator.registry.register(
            [draft], by=by, name=ref, expected=expected, reason=reason
        )
    except InvalidConfigError as error:
        return problems_answer(error)
    response.headers["ETag"] = etag(stored)
    return registered_of(stored)


@router.delete("/{ref}", responses=documented(404, 409))
async def delete_workflow(
    orchestrator: Behind, ref: str, expected: Expected, by: By = "", reason: Reason = ""
) -> RegisteredView:
    """Take a workflow out of force: nothing starts on it any more, what runs goes on."""
    deleted = await orchestrator.registry.delete(ref, by=by, expected=expected, reason=reason)
    return registered_of(deleted)


@router.get("/{ref}/versions", responses=documented(404))
async def list_versions(orchestrator: Behind, ref: str) -> RegisteredList:
    """Every version of a registered workflow, newest first; a deletion is one as well."""
    found = await orchestrator.registry.versions(ref)
    return RegisteredList(items=[registered_of(each, has_text=False) for each in found])
