"""Routes of resources: what tasks have made outside, and how it has drifted."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from sagabus.api.closing import Waits
from sagabus.api.facade import Behind
from sagabus.api.failures import documented
from sagabus.errors import ResourceNotFoundError
from sagabus.ports import ResourceFilter
from sagabus.runtime.drift import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S
from sagabus.views.resources import (
    DriftView,
    ResourceDetail,
    ResourceView,
    detail_of,
    drift_of,
)
from sagabus.views.shared import View

router = APIRouter(prefix="/api/v1", tags=["resources"])


class ResourceList(View):
    """Resources by kind and id; ``cursor`` continues, null at the end."""

    items: list[ResourceView]
    cursor: str | None


@router.get("/resources", responses=documented())
async def list_resources(
    orchestrator: Behind,
    kind: str | None = None,
    status: Literal["present", "gone"] | None = None,
    workflow: str | None = None,
    instance: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: str | None = None,
) -> ResourceList:
    """What tasks have declared, as it was declared last; by kind and id."""
    where = ResourceFilter(kind, status, workflow, instance)
    page = await orchestrator.resources.list(where, limit=limit, cursor=cursor)
    items = [ResourceView.model_validate(each) for each in page.resources]
    return ResourceList(items=items, cursor=page.cursor)


@router.get("/resources/{kind}/{id:path}", responses=documented(404))
async def get_resource(orchestrator: Behind, kind: str, id: str) -> ResourceDetail:
    """One resource with its history: every version of its spec, and who made it."""
    found = await orchestrator.resources.get(kind, id)
    if found is None:
        raise ResourceNotFoundError(f"there is no resource {kind} {id!r}")
    return detail_of(found, await orchestrator.resources.history(kind, id))


@router.get("/drift", responses=documented(404))
@router.post("/drift", responses=documented(404))
async def look_for_drift(
    orchestrator: Behind,
    waits: Waits,
    kind: str | None = None,
    wait: Annotated[float, Query(gt=0, le=MAX_TIMEOUT_S)] = DEFAULT_TIMEOUT_S,
) -> DriftView:
    """Ask the roles that made resources which exist now, and compare. Nothing is changed or stored.

    ``wait``: seconds for each role to answer; who does not is named in ``unobserved``.
    """
    try:
        async with waits.limit():
            return drift_of(await orchestrator.drift(kind, wait))
    except TimeoutError:
        raise HTTPException(503, "the orchestrator is stopping: ask again") from None
