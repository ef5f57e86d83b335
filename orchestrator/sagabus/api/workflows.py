"""Routes of definitions, and of starting them."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response

from sagabus.api.body import StrictJsonRoute
from sagabus.api.documents import (
    ExecuteRequest,
    InstanceList,
    WorkflowList,
    WorkflowView,
    workflow_of,
)
from sagabus.api.facade import Behind, IdempotencyKey
from sagabus.api.failures import documented
from sagabus.core.instance import InstanceStatus
from sagabus.errors import WorkflowNotFoundError
from sagabus.views.instances import InstanceView, instance_of, summary_of

router = APIRouter(prefix="/api/v1/workflows", tags=["workflows"], route_class=StrictJsonRoute)


@router.get("")
async def list_workflows(orchestrator: Behind) -> WorkflowList:
    """Every definition in force."""
    definitions = orchestrator.workflows()
    return WorkflowList(items=[workflow_of(definitions[name]) for name in sorted(definitions)])


@router.get("/{ref}", responses=documented(404))
async def get_workflow(orchestrator: Behind, ref: str) -> WorkflowView:
    """One definition in force."""
    definition = orchestrator.workflows().get(ref)
    if definition is None:
        raise WorkflowNotFoundError(f"no workflow {ref!r} is loaded")
    return workflow_of(definition)


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
    body: ExecuteRequest | None = None,
    key: IdempotencyKey = None,
) -> InstanceView:
    """Start an instance; answered when it is stored.

    Without an ``id`` the ``Idempotency-Key`` is the id, so that a request that is sent again
    starts nothing. An id that exists with other parameters is a conflict (409).
    """
    request = body or ExecuteRequest()
    started = await orchestrator.start(
        ref,
        request.parameters,
        id=request.id or key,
        by=request.by,
        command=key or uuid.uuid4().hex,
    )
    if not started.is_new:
        response.status_code = 200
    return instance_of(await orchestrator.get(started.id))


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
