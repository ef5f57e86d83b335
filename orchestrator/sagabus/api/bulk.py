"""The route of commands for many instances at once."""

from datetime import timedelta
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from sagabus.api.body import StrictJsonRoute
from sagabus.api.documents import CancelRequest
from sagabus.api.facade import Behind, Given
from sagabus.api.failures import documented
from sagabus.app.bulk import BulkName, Order, Selection
from sagabus.core.instance import InstanceStatus
from sagabus.errors import InvalidRequestError
from sagabus.views.shared import View

router = APIRouter(
    prefix="/api/v1/workflow-executions/bulk", tags=["repair"], route_class=StrictJsonRoute
)


class BulkRequest(CancelRequest):
    """Which instances, and what of the command; at least one of the first three has to be given."""

    workflow: str | None = Field(default=None, max_length=128)
    #: Default: the statuses that the command is meant for; ``compensate`` has none.
    status: list[InstanceStatus] = Field(default_factory=list)
    #: They started longer ago than this many seconds.
    older_than_s: float | None = Field(default=None, ge=0, le=10 * 365 * 86_400)
    #: Of more the newest.
    limit: int = Field(default=100, ge=1, le=1000)
    #: Say what each would be answered, and touch nothing.
    dry_run: bool = False
    #: Of ``retry``: go on with the newest definition.
    definition: Literal["latest"] | None = None
    #: Of ``retry``: parameters that change.
    parameters: dict[str, Any] | None = None


class OutcomeView(View):
    """What became of one instance."""

    id: str
    workflow: str
    #: Before the command.
    status: InstanceStatus
    ok: bool
    code: str | None
    #: Why not.
    message: str | None
    result: dict[str, Any]


class BulkView(View):
    """What became of each instance; ``has_more``: others match, beyond the limit."""

    command: str
    dry_run: bool
    items: list[OutcomeView]
    has_more: bool


@router.post("/{name}", responses=documented())
async def give_all(
    orchestrator: Behind, name: BulkName, body: BulkRequest, command: Given
) -> BulkView:
    """Give a command to every instance that matches; each is answered on its own.

    The same ``Idempotency-Key`` again does nothing twice to an instance.
    """
    _check(name, body)
    selection = Selection(
        workflow=body.workflow,
        statuses=body.status,
        older_than=None if body.older_than_s is None else timedelta(seconds=body.older_than_s),
        limit=body.limit,
    )
    order = Order(
        name=name,
        command=command.id,
        by=body.by,
        reason=body.reason,
        compensate=body.compensate,
        definition=body.definition,
        parameters=body.parameters,
        is_dry=body.dry_run,
    )
    report = await orchestrator.give_all(selection, order)
    items = [
        OutcomeView(
            id=each.id,
            workflow=each.workflow,
            status=each.status,
            ok=each.ok,
            code=each.code,
            message=each.message,
            result=dict(each.result),
        )
        for each in report.outcomes
    ]
    return BulkView(
        command=order.command, dry_run=order.is_dry, items=items, has_more=report.has_more
    )


def _check(name: BulkName, body: BulkRequest) -> None:
    owners = {"compensate": "cancel", "definition": "retry", "parameters": "retry"}
    for field, owner in owners.items():
        if field in body.model_fields_set and name != owner:
            raise InvalidRequestError(f"{field}: is of {owner}, not of {name}")
