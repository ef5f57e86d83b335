"""The route of intents: final effects that were begun, of which nobody has told how they ended."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from sagabus.api.body import StrictJsonRoute
from sagabus.api.facade import Behind
from sagabus.api.failures import documented
from sagabus.core.intents import Intent
from sagabus.views.shared import View

router = APIRouter(prefix="/api/v1/intents", tags=["intents"], route_class=StrictJsonRoute)


class IntentView(View):
    """One final effect, from its claim until its outcome is told."""

    instance: str
    workflow: str
    stage: str
    task: str
    attempt: int
    role: str
    action: str
    #: Who was told to run it, and when.
    agent: str | None
    started_at: datetime | None
    #: Nobody is at it any more: the instance waits until an operator resolves it.
    is_held: bool
    #: Why that is so.
    message: str | None
    #: The same for all attempts of the task: what the handler gives to whom it calls.
    idempotency_key: str


class IntentList(View):
    """Intents, the oldest first."""

    items: list[IntentView]
    #: How many there are in all.
    total: int


@router.get("", responses=documented())
async def list_intents(
    orchestrator: Behind,
    is_held: Annotated[bool, Query(alias="held")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> IntentList:
    """Final effects without an outcome, the oldest first; ``held``: only what nobody is at."""
    found = await orchestrator.intents()
    wanted = [each for each in found if each.attempt.is_held or not is_held]
    return IntentList(items=[_view_of(each) for each in wanted[:limit]], total=len(wanted))


def _view_of(intent: Intent) -> IntentView:
    attempt = intent.attempt
    return IntentView(
        instance=intent.instance,
        workflow=intent.workflow,
        stage=attempt.stage,
        task=attempt.task,
        attempt=attempt.attempt,
        role=attempt.role,
        action=attempt.action,
        agent=attempt.agent,
        started_at=attempt.started_at,
        is_held=attempt.is_held,
        message=attempt.error.message if attempt.error is not None else None,
        idempotency_key=f"{intent.instance}:{attempt.task}",
    )
