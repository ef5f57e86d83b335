"""Routes of what is paused beyond single instances: a workflow, a role, everything."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path

from sagabus.api.body import StrictJsonRoute
from sagabus.api.documents import HoldView, WhyRequest, hold_of
from sagabus.api.facade import Behind, By, Reason
from sagabus.api.failures import documented
from sagabus.views.shared import View

router = APIRouter(prefix="/api/v1/holds", tags=["holds"], route_class=StrictJsonRoute)

Name = Annotated[str, Path(min_length=1, max_length=128)]


class HoldList(View):
    """What is paused beyond single instances, oldest first."""

    items: list[HoldView]


@router.get("")
async def list_holds(orchestrator: Behind) -> HoldList:
    """What is paused beyond single instances."""
    return HoldList(items=[hold_of(each) for each in orchestrator.holds.current])


@router.put("/all", responses=documented(409))
async def hold_everything(orchestrator: Behind, body: WhyRequest | None = None) -> HoldView:
    """Send nothing more to any agent; results and commands are taken, and no time runs out."""
    request = body or WhyRequest()
    return hold_of(await orchestrator.holds.hold("all", by=request.by, reason=request.reason))


@router.put("/{kind}/{name}", responses=documented(409))
async def hold(
    orchestrator: Behind,
    kind: Literal["workflow", "role"],
    name: Name,
    body: WhyRequest | None = None,
) -> HoldView:
    """Pause a workflow (its instances, and new ones as they start) or a role (its tasks wait).

    The same again changes nothing; 409: somebody else has paused it.
    """
    request = body or WhyRequest()
    return hold_of(await orchestrator.holds.hold(kind, name, by=request.by, reason=request.reason))


@router.delete("/all", responses=documented(409))
async def let_everything_go(orchestrator: Behind, by: By = "", reason: Reason = "") -> HoldView:
    """Send what was kept back; a workflow or a role that is paused by itself stays so."""
    return hold_of(await orchestrator.holds.let_go("all", by=by, reason=reason))


@router.delete("/{kind}/{name}", responses=documented(409))
async def let_go(
    orchestrator: Behind,
    kind: Literal["workflow", "role"],
    name: Name,
    by: By = "",
    reason: Reason = "",
) -> HoldView:
    """Let a workflow or a role go on; instances that were paused one by one stay so."""
    return hold_of(await orchestrator.holds.let_go(kind, name, by=by, reason=reason))
