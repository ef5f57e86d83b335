"""How a route reaches the orchestrator that the application was made for."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request

from sagabus.api.documents import CommandView
from sagabus.app import Orchestrator
from sagabus_agents.wire import ID_PATTERN


def _orchestrator_of(request: Request) -> Orchestrator:
    orchestrator: Orchestrator = request.app.state.orchestrator
    return orchestrator


Behind = Annotated[Orchestrator, Depends(_orchestrator_of)]


class Command:
    """The command that a request gives; under the same key again it does nothing more."""

    def __init__(
        self,
        key: Annotated[str | None, Header(alias="Idempotency-Key", pattern=ID_PATTERN)] = None,
    ) -> None:
        #: What the client named it; None: nothing.
        self.key = key
        #: That, or one that is made here.
        self.id = key or uuid.uuid4().hex

    def done(self, result: Mapping[str, Any]) -> CommandView:
        """The document that says what came of it."""
        return CommandView(command=self.id, result=dict(result))


Given = Annotated[Command, Depends(Command)]

#: Who asks, and why; both are recorded.
By = Annotated[str, Query(max_length=256)]
Reason = Annotated[str, Query(max_length=2000)]
