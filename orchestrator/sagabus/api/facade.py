"""How a route reaches the orchestrator that the application was made for."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from sagabus.app import Orchestrator
from sagabus_agents.wire import ID_PATTERN


def _orchestrator_of(request: Request) -> Orchestrator:
    orchestrator: Orchestrator = request.app.state.orchestrator
    return orchestrator


Behind = Annotated[Orchestrator, Depends(_orchestrator_of)]

#: The id of a command: the same key again returns the first answer and does nothing.
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=ID_PATTERN)]

#: Who asks, and why; both are recorded.
By = Annotated[str, Query(max_length=256)]
Reason = Annotated[str, Query(max_length=2000)]
