"""Routes that say why instances do not move, and what to do about it."""

from datetime import datetime

from fastapi import APIRouter

from sagabus.api.body import StrictJsonRoute
from sagabus.api.facade import Behind
from sagabus.api.failures import documented
from sagabus.app.why import Explained, Standstill
from sagabus.core.instance import InstanceStatus
from sagabus.views.causes import Cause, CauseName
from sagabus.views.shared import View

router = APIRouter(prefix="/api/v1", tags=["why"], route_class=StrictJsonRoute)

#: Ids that one cause lists; ``count`` says how many there are.
_MAX_LISTED = 100


class CauseView(View):
    """One reason why an instance stands where it stands."""

    cause: CauseName
    #: One sentence.
    message: str
    #: What to do about it; empty: nothing, it goes on by itself.
    next: str
    #: The same, each by itself, the least destructive first.
    ways: list[str]
    #: It holds the instance up; false of what is under way, or only follows from another cause.
    is_standing: bool
    stage: str | None
    task: str | None
    role: str | None
    since: datetime | None
    until: datetime | None
    #: Instances that it waits for.
    instances: list[str]


class WhyView(View):
    """Why an instance stands where it stands."""

    id: str
    workflow: str
    status: InstanceStatus
    #: Nothing of it is being worked on, nor of the instances below it.
    is_standing: bool
    #: When it moved last.
    since: datetime
    causes: list[CauseView]
    #: The same of instances that carry out its stages, as far as it waits for them.
    below: "list[WhyView]"


class StandstillView(View):
    """Instances that one cause holds up."""

    cause: CauseName
    #: One sentence, of all of them.
    message: str
    #: What to do about it, ``ID`` standing for one of them.
    next: str
    role: str | None
    count: int
    #: When the first of them moved last.
    since: datetime | None
    instances: list[str]


class StandstillList(View):
    """Everything that stands still, by cause, most of it first."""

    items: list[StandstillView]
    #: What is wrong with the orchestrator itself.
    troubles: list[CauseView]
    #: Unfinished instances that were looked at; false: there are more.
    looked_at: int
    is_complete: bool


@router.get("/why", responses=documented())
async def look(orchestrator: Behind, workflow: str | None = None) -> StandstillList:
    """Unfinished instances that stand still, by cause."""
    found = await orchestrator.why.look(workflow)
    return StandstillList(
        items=[_standstill(each) for each in found.standstills],
        troubles=[_cause(each, "") for each in found.troubles],
        looked_at=found.looked_at,
        is_complete=found.is_complete,
    )


@router.get("/workflow-executions/{id}/why", responses=documented(404))
async def explain(orchestrator: Behind, id: str) -> WhyView:
    """Why an instance does not move, and what to do about it."""
    return _why(await orchestrator.why.explain(id))


def _why(found: Explained) -> WhyView:
    row = found.row
    return WhyView(
        id=row.id,
        workflow=row.workflow,
        status=row.status,
        is_standing=found.is_standing,
        since=row.updated_at,
        causes=[_cause(each, row.id) for each in found.causes],
        below=[_why(each) for each in found.below],
    )


def _cause(cause: Cause, instance: str) -> CauseView:
    return CauseView(
        cause=cause.cause,
        message=cause.message,
        next=cause.remedy_for(instance),
        ways=cause.ways_for(instance),
        is_standing=cause.is_standing,
        stage=cause.stage,
        task=cause.task,
        role=cause.role,
        since=cause.since,
        until=cause.until,
        instances=list(cause.others),
    )


def _standstill(found: Standstill) -> StandstillView:
    cause = found.cause
    return StandstillView(
        cause=cause.cause,
        message=cause.title,
        next=cause.remedy,
        role=cause.role,
        count=len(found.instances),
        since=found.since,
        instances=found.instances[:_MAX_LISTED],
    )
