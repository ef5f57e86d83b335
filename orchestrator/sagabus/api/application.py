"""The web application: routes, guard and failures around one orchestrator."""

from fastapi import FastAPI
from starlette.responses import HTMLResponse

from sagabus.api import (
    audit,
    bulk,
    dead_letters,
    executions,
    failures,
    holds,
    intents,
    kv,
    ledger,
    packs,
    registry,
    repair,
    resources,
    service,
    why,
    workflows,
)
from sagabus.api.closing import Closing
from sagabus.api.docs_page import render
from sagabus.api.guard import Guard
from sagabus.app import VERSION, Orchestrator


def create_app(orchestrator: Orchestrator) -> FastAPI:
    """The API of ``orchestrator``, to be served on loopback only: it authenticates nobody."""
    app = FastAPI(
        title="sagabus",
        version=VERSION,
        summary="Durable workflows and sagas across processes",
        # The stock pages load their scripts from elsewhere; ours needs nothing but this server.
        docs_url=None,
        redoc_url=None,
    )
    app.state.orchestrator = orchestrator
    app.state.closing = Closing()
    for part in (
        workflows,
        registry,
        packs,
        bulk,
        executions,
        ledger,
        audit,
        repair,
        holds,
        dead_letters,
        intents,
        resources,
        why,
        kv,
        service,
    ):
        app.include_router(part.router)
    failures.install(app)
    app.add_middleware(Guard)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(render(app.openapi()))

    return app
