"""Routes that repair an instance: tried again, gone on without, resolved, undone."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from pydantic import Field, model_validator

from sagabus.api.body import StrictJsonRoute
from sagabus.api.documents import CommandView, WhyRequest
from sagabus.api.facade import Behind, Given
from sagabus.api.failures import documented
from sagabus.api.patterns import ATTEMPT
from sagabus.core.instance import InstanceStatus, Rollback
from sagabus.core.preview import Undo
from sagabus.definitions.compare import WorkflowChange
from sagabus.views.instances import EffectView, effects_of
from sagabus.views.shared import View

router = APIRouter(
    prefix="/api/v1/workflow-executions", tags=["repair"], route_class=StrictJsonRoute
)

_Stage = Annotated[str, Field(min_length=1, max_length=64)]


class RetryRequest(WhyRequest):
    """Go on in place, with the results that the instance has."""

    #: This stage and what descends from it run again, whatever they gave.
    from_stage: _Stage | None = Field(default=None, alias="from")
    #: Those that change.
    parameters: dict[str, Any] | None = None
    #: ``latest``, or the digest that the newest definition must have; null: its own.
    definition: str | None = Field(default=None, min_length=1, max_length=128)


class RepairRequest(WhyRequest):
    """Put a stage right; why has to be said."""

    stage: _Stage
    reason: str = Field(min_length=1, max_length=2000)
    #: What was seen of the stage, ``<task>/<attempt>``: 409 when there is a newer one.
    attempt: str | None = Field(default=None, pattern=ATTEMPT)


class ResultRequest(RepairRequest):
    """Go on as if the stage had given this."""

    output: Any = None


class ResolveRequest(ResultRequest):
    """Say what came of a final stage."""

    #: ``retry``: it is sent once more, with the same idempotency key.
    outcome: Literal["succeeded", "failed", "retry"]
    #: Of all attempts of the stage whose outcome is unknown.
    all_: bool = Field(default=False, alias="all")

    @model_validator(mode="after")
    def _name_one_or_all(self) -> Self:
        if self.all_ and self.attempt is not None:
            raise ValueError("name one attempt, or all: not both")
        return self


class CompensateRequest(WhyRequest):
    """Undo what stands."""

    #: Only of this one.
    stage: _Stage | None = None


class EndView(View):
    """How an instance would end."""

    status: InstanceStatus
    rollback: Rollback


class PreviewView(View):
    """What ``compensate`` would send, in that order, and what it would come to."""

    id: str
    status: InstanceStatus
    #: Why ``compensate`` would be refused now, or null.
    refusal: str | None
    items: list[Undo]
    #: What stands then all the same, if every compensation succeeds: what is final, first of all.
    effects_left: list[EffectView]
    #: How the instance ends then; null where it would be refused.
    ends: EndView | None


class DefinitionChangeView(View):
    """What the definition in force changes for an instance; null: it is the one that it runs on."""

    id: str
    workflow: str
    #: Of the one that it runs on.
    digest: str
    change: WorkflowChange | None


@router.post("/{id}/retry", responses=documented(404, 409))
async def retry(
    orchestrator: Behind, id: str, command: Given, body: RetryRequest | None = None
) -> CommandView:
    """Go on after a failure; ``result``: the stages that are ``kept``, and those run ``again``."""
    request = body or RetryRequest()
    result = await orchestrator.retry(
        id,
        from_stage=request.from_stage,
        parameters=request.parameters,
        definition=request.definition,
        by=request.by,
        reason=request.reason,
        command=command.id,
    )
    return command.done(result)


@router.post("/{id}/skip", responses=documented(404, 409))
async def skip(orchestrator: Behind, id: str, body: RepairRequest, command: Given) -> CommandView:
    """Go on without a stage that has not ended, or without the undo of it that failed."""
    result = await orchestrator.skip(
        id, body.stage, attempt=body.attempt, by=body.by, reason=body.reason, command=command.id
    )
    return command.done(result)


@router.post("/{id}/set-result", responses=documented(404, 409))
async def set_result(
    orchestrator: Behind, id: str, body: ResultRequest, command: Given
) -> CommandView:
    """Go on as if a stage had given ``output``; of one whose undo failed: it was undone by hand."""
    result = await orchestrator.set_result(
        id,
        body.stage,
        body.output,
        attempt=body.attempt,
        by=body.by,
        reason=body.reason,
        command=command.id,
    )
    return command.done(result)


@router.post("/{id}/fail", responses=documented(404, 409))
async def fail(orchestrator: Behind, id: str, body: RepairRequest, command: Given) -> CommandView:
    """Go on as if a stage had failed: a route handles that, or the workflow fails."""
    result = await orchestrator.fail_stage(
        id, body.stage, attempt=body.attempt, by=body.by, reason=body.reason, command=command.id
    )
    return command.done(result)


@router.post("/{id}/resolve", responses=documented(404, 409))
async def resolve(
    orchestrator: Behind, id: str, body: ResolveRequest, command: Given
) -> CommandView:
    """Say what came of a final stage whose outcome is unknown."""
    result = await orchestrator.resolve(
        id,
        body.stage,
        body.outcome,
        output=body.output,
        attempt=body.attempt,
        is_all=body.all_,
        by=body.by,
        reason=body.reason,
        command=command.id,
    )
    return command.done(result)


@router.post("/{id}/compensate", responses=documented(404, 409))
async def compensate(
    orchestrator: Behind,
    id: str,
    command: Given,
    body: CompensateRequest | None = None,
) -> CommandView:
    """Undo what an instance left that has ended, of one stage or of all."""
    request = body or CompensateRequest()
    result = await orchestrator.compensate(
        id, stage=request.stage, by=request.by, reason=request.reason, command=command.id
    )
    return command.done(result)


@router.get("/{id}/compensate", responses=documented(404))
async def preview(
    orchestrator: Behind, id: str, stage: Annotated[str | None, Query(max_length=64)] = None
) -> PreviewView:
    """What ``compensate`` would send, in that order, and leave; nothing is sent."""
    row = await orchestrator.get_row(id)
    found, refusal = await orchestrator.compensate_preview(id, stage)
    return PreviewView(
        id=id,
        status=row.status,
        refusal=refusal,
        items=found.undos,
        effects_left=effects_of(found.left),
        ends=None if refusal else EndView(status=found.status, rollback=found.rollback),
    )


@router.get("/{id}/definition-change", responses=documented(404))
async def definition_change(orchestrator: Behind, id: str) -> DefinitionChangeView:
    """What ``retry`` with the newest definition would go on with, beside the instance's own."""
    row = await orchestrator.get_row(id)
    change = await orchestrator.definition_change(id)
    return DefinitionChangeView(id=id, workflow=row.workflow, digest=row.digest, change=change)
