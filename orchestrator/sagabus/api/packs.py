"""Routes of packs and their workflows, and of everything that a stage can name as its action."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Response
from starlette.responses import JSONResponse

from sagabus.api.body import StrictJsonRoute
from sagabus.api.documents import WorkflowList, workflow_of
from sagabus.api.facade import Behind, By, Reason
from sagabus.api.failures import documented
from sagabus.api.registry import DOCUMENT, TAKES
from sagabus.api.registry_documents import (
    ActionList,
    Body,
    PackList,
    PackRequest,
    PackView,
    RegisteredList,
    RegisteredView,
    actions_of,
    etag,
    packs_of,
    problems_answer,
    registered_of,
)
from sagabus.app import Orchestrator
from sagabus.app.registry import Draft
from sagabus.errors import InvalidConfigError
from sagabus_agents.wire import ROLE_PATTERN

router = APIRouter(prefix="/api/v1", tags=["packs"], route_class=StrictJsonRoute)

#: A name that a pack can have.
PackRef = Annotated[str, Path(pattern=ROLE_PATTERN)]


@router.get("/packs")
async def list_packs(orchestrator: Behind) -> PackList:
    """Every pack: those in files, and those that registered workflows name."""
    return PackList(items=list(packs_of(orchestrator.catalog()).values()))


@router.get("/packs/{ref}", responses=documented(404))
async def get_pack(orchestrator: Behind, ref: PackRef) -> PackView:
    """One pack."""
    return _pack(orchestrator, ref)


@router.put("/packs/{ref}", responses=TAKES, response_model=RegisteredList)
async def put_pack(
    orchestrator: Behind, ref: PackRef, body: PackRequest, by: By = "", reason: Reason = ""
) -> RegisteredList | JSONResponse:
    """Register workflows of a pack together: all, or none.

    Those that the pack has besides stay as they are, and so do those that have not changed.
    """
    drafts = [Draft(one.text, "yaml", one.file, one.line) for one in body.workflows]
    try:
        stored = await orchestrator.registry.register(drafts, by=by, pack=ref, reason=reason)
    except InvalidConfigError as error:
        return problems_answer(error)
    return RegisteredList(items=[registered_of(each, has_text=False) for each in stored])


@router.get("/packs/{ref}/workflows", responses=documented(404))
async def list_pack_workflows(orchestrator: Behind, ref: PackRef) -> WorkflowList:
    """The workflows of a pack that are in force."""
    pack = _pack(orchestrator, ref)
    definitions = orchestrator.workflows()
    return WorkflowList(
        items=[workflow_of(definitions[name]) for name in pack.workflows if name in definitions]
    )


@router.post(
    "/packs/{ref}/workflows",
    status_code=201,
    responses=TAKES,
    response_model=RegisteredView,
    openapi_extra=DOCUMENT,
)
async def create_workflow(
    orchestrator: Behind,
    response: Response,
    ref: PackRef,
    draft: Body,
    by: By = "",
    reason: Reason = "",
) -> RegisteredView | JSONResponse:
    """Register a new workflow of a pack, in force when this is answered.

    409: there is one of that name; PUT changes it.
    """
    try:
        [stored] = await orchestrator.registry.register(
            [draft], by=by, pack=ref, expected=0, reason=reason
        )
    except InvalidConfigError as error:
        return problems_answer(error)
    response.headers["ETag"] = etag(stored)
    response.headers["Location"] = f"/api/v1/workflows/{stored.workflow.name}"
    return registered_of(stored)


@router.get("/actions")
async def list_actions(orchestrator: Behind) -> ActionList:
    """Everything that a stage can name as its action; workflows are actions like any other."""
    return ActionList(items=actions_of(orchestrator.catalog()))


def _pack(orchestrator: Orchestrator, ref: str) -> PackView:
    packs = packs_of(orchestrator.catalog())
    if ref not in packs:
        known = ", ".join(packs) or "none"
        raise HTTPException(404, f"there is no pack {ref!r}; there are: {known}")
    return packs[ref]
