"""Routes about the orchestrator itself."""

from fastapi import APIRouter, Response

from sagabus.api.documents import AgentList, ComponentView, HealthView, agent_of, hold_of
from sagabus.api.facade import Behind
from sagabus.observe.metrics import CONTENT_TYPE

router = APIRouter(tags=["service"])


@router.get("/health", responses={503: {"model": HealthView, "description": "Degraded"}})
async def health(orchestrator: Behind, response: Response) -> HealthView:
    """How the store, the bus, the loops and the configuration are; 503 when degraded."""
    found = await orchestrator.health()
    if found.status != "ok":
        response.status_code = 503
    return HealthView(
        status=found.status,
        version=found.version,
        agents=found.agents,
        store=ComponentView(ok=found.store.ok, detail=found.store.detail),
        bus=ComponentView(ok=found.bus.ok, detail=found.bus.detail),
        loops=ComponentView(ok=found.loops.ok, detail=found.loops.detail),
        config=ComponentView(ok=found.config.ok, detail=found.config.detail),
        holds=[hold_of(each) for each in found.holds],
    )


@router.get("/metrics", response_class=Response)
async def metrics(orchestrator: Behind) -> Response:
    """Prometheus text exposition."""
    return Response(orchestrator.metrics.render(), media_type=CONTENT_TYPE)


@router.get("/api/v1/agents")
async def agents(orchestrator: Behind) -> AgentList:
    """Agents that are alive now."""
    alive = sorted(orchestrator.agents(), key=lambda presence: presence.agent)
    return AgentList(items=[agent_of(presence) for presence in alive])
