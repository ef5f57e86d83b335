"""Routes of definitions, and of starting them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from sagabus.api.body import StrictJsonRoute
from sagabus.api.documents import (
    ExecuteRequest,
    InstanceList,
    RefusedView,
    WorkflowList,
    WorkflowView,
    workflow_of,
)
from sagabus.api.facade import Behind, Given
from sagabus.api.failures import documented
from sagabus.api.registry_documents import RegisteredView, etag, registered_of
from sagabus.core.graph import graph_of
from sagabus.core.instance import InstanceStatus
from sagabus.errors import WorkflowNotFoundError
from sagabus.views.graphs import GraphView, view_of
from sagabus.views.instances import InstanceView, instance_of, summary_of

router = APIRouter(prefix="/api/v1/workflows", tags=["workflows"], route_class=StrictJsonRoute)


@router.get("")
async def list_workflows(orchestrator: Behind) -> WorkflowList:
    """Every definition in force."""
    definitions = orchestrator.workflows()
    refusal = orchestrator.refusal()
    return WorkflowList(
        items=[workflow_of(definitions[name]) for name in sorted(definitions)],
        refused=refusal
        and RefusedView(file=str(refusal.file), at=refusal.at, message=str(refusal)),
    )


@router.get("/{ref}", responses=documented(404))
async def get_workflow(
    orchestrator: Behind,
    response: Response,
    ref: str,
    version: Annotated[int | None, Query(ge=1)] = None,
) -> WorkflowView | RegisteredView:
    """One definition in force; ``version``: that version as it was registered, with its text.

    The ``ETag`` of one that is registered is its version.
    """
    if version is not None:
        return registered_of(await orchestrator.registry.find(ref, version))
    registered = orchestrator.registry.of(ref)
    if registered is not None and ref not in orchestrator.workflows():
        why = "; ".join(str(problem) for problem in orchestrator.registry.problems(ref))
        raise WorkflowNotFoundError(
            f"version {registered.version} of workflow {ref!r} cannot be in force: {why}"
        )
    definition = orchestrator.workflow(ref)
    if registered is not None:
        response.headers["ETag"] = etag(registered)
    return workflow_of(definition)


@router.get("/{ref}/graph", responses=documented(404))
async def get_graph(orchestrator: Behind, ref: str) -> GraphView:
    """The stages of a definition in force, with where they lead."""
    return view_of(graph_of(orchestrator.workflow(ref)))


@router.post(
    "/{ref}/execute",
    status_code=201,
    responses={
        **documented(404, 409, 413),
        200: {
            "model": InstanceView,
            "description": "The id exists: that instance, nothing started",
        },
    },
)
async def execute(
    orchestrator: Behind,
    response: Response,
    ref: str,
    command: Given,
    body: ExecuteRequest | None = None,
) -> InstanceView:
    """Start an instance; answered when it is stored.

    Without an ``id`` the ``Idempotency-Key`` is the id, so that a request that is sent again
    starts nothing. An id that exists with other parameters is a conflict (409).
    """
    request = body or ExecuteRequest()
    started = await orchestrator.start(
        ref,
        request.parameters,
        id=request.id or command.key,
        by=request.by,
        command=command.id,
    )
    if not started.is_new:
        response.status_code = 200
    row = await orchestrator.get_row(started.id)
    return instance_of(row, await orchestrator.definition_of(row))


@router.get("/{ref}/executions", responses=documented())
async def list_executions(
    orchestrator: Behind,
    ref: str,
    status: InstanceStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: str | None = None,
) -> InstanceList:
    """Instances of one workflow, newest first, also of one that is no longer loaded."""
    page = await orchestrator.list_instances(
        workflow=ref, status=status, limit=limit, cursor=cursor
    )
    return InstanceList(items=[summary_of(row) for row in page.instances], cursor=page.cursor)
