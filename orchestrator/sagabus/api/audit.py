"""Routes of the audit trail: what was done by whom and why, and whether it is as it was stored."""

from typing import Annotated

from fastapi import APIRouter, Query

from sagabus.api.body import StrictJsonRoute
from sagabus.api.facade import Behind
from sagabus.api.failures import documented
from sagabus.api.patterns import LINK
from sagabus.app.audit import Verdict
from sagabus.errors import InstanceNotFoundError
from sagabus.views.audit import AuditView, FaultView, entries_of, fault_of, trail_of
from sagabus.views.shared import View

router = APIRouter(tags=["audit"], route_class=StrictJsonRoute)

Version = Annotated[int | None, Query(ge=1)]
Link = Annotated[str | None, Query(pattern=LINK)]


class VerdictView(View):
    """How a trail was found."""

    #: Null: the trail of what people did beside instances.
    instance: str | None
    is_intact: bool
    #: Rows, or entries.
    rows: int
    #: Rows from before rows were chained: nothing can be said of them.
    not_covered: int
    version: int
    #: Link of the last row; empty where there is none.
    head: str
    fault: FaultView | None


class Verdicts(View):
    """How the trails of some instances were found; ``next_after`` continues, null at the end."""

    items: list[VerdictView]
    next_after: str | None


class Trail(View):
    """Part of a trail, oldest first; ``next_after`` continues, null at the end."""

    items: list[AuditView]
    next_after: int | None


@router.get("/api/v1/workflow-executions/{id}/audit", responses=documented(404))
async def get_trail(
    orchestrator: Behind,
    id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Trail:
    """Everything that happened to an instance, with who and why.

    ``after`` and ``limit`` count rows: what happened at once is never divided.
    """
    await orchestrator.get_row(id)
    rows = await orchestrator.audit.rows(id, after, limit)
    next_after = rows[-1].version if len(rows) == limit else None
    return Trail(items=list(trail_of(rows)), next_after=next_after)


@router.get("/api/v1/workflow-executions/{id}/audit/verify", responses=documented(404))
async def verify_instance(
    orchestrator: Behind, id: str, version: Version = None, link: Link = None
) -> VerdictView:
    """Whether the trail of an instance is what was stored.

    ``version`` and ``link``: a head that was noted elsewhere; it has to be in the trail.
    """
    return _view(await orchestrator.audit.verify(id, _noted(version, link)))


@router.get("/api/v1/audit")
async def list_entries(
    orchestrator: Behind,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Trail:
    """What people did beside instances: values and secrets, workflows, holds, dead letters."""
    entries = await orchestrator.audit.entries(after, limit)
    next_after = entries[-1].number if len(entries) == limit else None
    return Trail(items=list(entries_of(entries)), next_after=next_after)


@router.get("/api/v1/audit/verify")
async def verify_entries(
    orchestrator: Behind, version: Version = None, link: Link = None
) -> VerdictView:
    """Whether the trail of what people did beside instances is what was stored."""
    return _view(await orchestrator.audit.verify_entries(_noted(version, link)))


@router.get("/api/v1/audit/verify/instances")
async def verify_instances(
    orchestrator: Behind,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Verdicts:
    """Whether the trails of the instances behind id ``after`` are what was stored."""
    ids = await orchestrator.audit.instances(after, limit)
    items = []
    for each in ids:
        try:
            items.append(_view(await orchestrator.audit.verify(each)))
        except InstanceNotFoundError:
            continue  # deleted meanwhile: it was kept for as long as it was to be
    return Verdicts(items=items, next_after=ids[-1] if len(ids) == limit else None)


def _noted(version: int | None, link: str | None) -> dict[int, str]:
    return {} if version is None or link is None else {version: link}


def _view(verdict: Verdict) -> VerdictView:
    return VerdictView(
        instance=verdict.instance,
        is_intact=verdict.fault is None,
        rows=verdict.rows,
        not_covered=verdict.not_covered,
        version=verdict.version,
        head=verdict.head,
        fault=fault_of(verdict.fault),
    )
