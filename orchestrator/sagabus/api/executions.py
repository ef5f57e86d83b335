"""Routes of instances: how they stand, what they did, and what people ask of them."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from starlette.responses import StreamingResponse

from sagabus.api import stream
from sagabus.api.body import StrictJsonRoute
from sagabus.api.closing import Waits
from sagabus.api.documents import (
    AnswerRequest,
    ApproveRequest,
    CancelRequest,
    CommandView,
    DecisionRequest,
    HistoryList,
    InstanceList,
    TaskList,
    WhyRequest,
)
from sagabus.api.facade import Behind, Given
from sagabus.api.failures import documented
from sagabus.core.instance import InstanceStatus
from sagabus.views.graphs import GraphView, view_of
from sagabus.views.instances import InstanceView, events_of, instance_of, summary_of
from sagabus.views.tasks import tasks_of
from sagabus.views.trees import Tree

router = APIRouter(
    prefix="/api/v1/workflow-executions", tags=["executions"], route_class=StrictJsonRoute
)


@router.get("", responses=documented())
async def list_instances(
    orchestrator: Behind,
    workflow: str | None = None,
    status: InstanceStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: str | None = None,
) -> InstanceList:
    """Instances, newest first."""
    page = await orchestrator.list_instances(
        workflow=workflow, status=status, limit=limit, cursor=cursor
    )
    return InstanceList(items=[summary_of(row) for row in page.instances], cursor=page.cursor)


@router.get("/{id}", responses=documented(404))
async def get_instance(
    orchestrator: Behind,
    waits: Waits,
    id: str,
    wait: Annotated[float | None, Query(ge=0, le=60)] = None,
) -> InstanceView:
    """One instance. ``wait``: answer when it has ended, or after that many seconds."""
    if wait is None:
        row = await orchestrator.get_row(id)
        return instance_of(row, await orchestrator.definition_of(row))
    try:
        async with waits.limit(wait):
            row = (await orchestrator.wait(id)).row
    except TimeoutError:
        row = await orchestrator.get_row(id)
    return instance_of(row, await orchestrator.definition_of(row))


@router.get("/{id}/tasks", responses=documented(404))
async def list_tasks(
    orchestrator: Behind,
    id: str,
    stage: str | None = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> TaskList:
    """Its tasks and compensations, with every attempt, in the order in which they were sent."""
    state = await orchestrator.get(id)
    definition = orchestrator.workflows().get(state.row.workflow)
    if definition is not None and definition.digest != state.row.digest:
        definition = None
    tasks = [each for each in tasks_of(state, definition) if stage in {None, each.task_name}]
    end = offset + limit
    return TaskList(items=tasks[offset:end], next_offset=end if end < len(tasks) else None)


@router.get("/{id}/tree", responses=documented(404))
async def get_tree(orchestrator: Behind, id: str) -> Tree:
    """It with the instances that carry out its stages, and so on down."""
    return await orchestrator.tree(id)


@router.get("/{id}/graph", responses=documented(404))
async def get_graph(orchestrator: Behind, id: str) -> GraphView:
    """The stages of its definition with where they lead: what has run, and which way it went."""
    return view_of(await orchestrator.graph(id))


@router.get("/{id}/history", responses=documented(404))
async def list_history(
    orchestrator: Behind,
    id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> HistoryList:
    """Its history after entry ``after``, oldest first."""
    await orchestrator.get_row(id)
    events = [event for event in events_of(await orchestrator.history(id)) if event.seq > after]
    page = events[:limit]
    return HistoryList(items=page, next_after=page[-1].seq if len(events) > limit else None)


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={
        **documented(404),
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"},
        204: {"description": "It has ended and everything was sent: do not reconnect"},
    },
)
async def watch(
    orchestrator: Behind,
    waits: Waits,
    id: str,
    last_event_id: Annotated[int, Header(alias="Last-Event-ID", ge=0)] = 0,
) -> Response:
    """Its history as it grows, as server-sent events, until it ends.

    ``id`` is the entry's number, ``data`` the entry. The last event is named ``end`` and carries
    the status.
    """
    row = await orchestrator.get_row(id)
    if row.status.is_terminal and last_event_id >= row.seq:
        return Response(status_code=204)
    return StreamingResponse(
        stream.events(orchestrator, waits, id, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.post("/{id}/approve", responses=documented(404, 409))
async def approve(
    orchestrator: Behind, id: str, body: ApproveRequest, command: Given
) -> CommandView:
    """Let a waiting stage go on, once all who have to have approved (``missing`` is 0)."""
    result = await orchestrator.approve_stage(
        id, body.stage, data=body.data, by=body.by, reason=body.reason, command=command.id
    )
    return command.done(result)


@router.post("/{id}/reject", responses=documented(404, 409))
async def reject(
    orchestrator: Behind, id: str, body: DecisionRequest, command: Given
) -> CommandView:
    """Refuse a waiting stage: the workflow fails and is undone."""
    result = await orchestrator.reject_stage(
        id, body.stage, by=body.by, reason=body.reason, command=command.id
    )
    return command.done(result)


@router.post("/{id}/answer", responses=documented(404, 409))
async def answer(orchestrator: Behind, id: str, body: AnswerRequest, command: Given) -> CommandView:
    """Answer the question that a stage asks; the answer is the stage's result."""
    result = await orchestrator.answer(
        id, body.stage, body.data, by=body.by, reason=body.reason, command=command.id
    )
    return command.done(result)


@router.post("/{id}/pause", responses=documented(404, 409))
async def pause(
    orchestrator: Behind, id: str, command: Given, body: WhyRequest | None = None
) -> CommandView:
    """Send nothing more, in the instances below neither; what was sent runs to its end."""
    request = body or WhyRequest()
    result = await orchestrator.pause(id, by=request.by, reason=request.reason, command=command.id)
    return command.done(result)


@router.post("/{id}/resume", responses=documented(404, 409))
async def resume(
    orchestrator: Behind, id: str, command: Given, body: WhyRequest | None = None
) -> CommandView:
    """Let a paused instance, and those below it, go on."""
    request = body or WhyRequest()
    result = await orchestrator.resume(id, by=request.by, reason=request.reason, command=command.id)
    return command.done(result)


@router.post("/{id}/cancel", responses=documented(404, 409))
async def cancel(
    orchestrator: Behind, id: str, command: Given, body: CancelRequest | None = None
) -> CommandView:
    """End an instance and undo what it did, or leave it (``compensate: false``) and name it."""
    request = body or CancelRequest()
    result = await orchestrator.cancel(
        id,
        compensate=request.compensate,
        by=request.by,
        reason=request.reason,
        command=command.id,
    )
    return command.done(result)
