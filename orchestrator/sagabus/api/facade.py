"""What the API needs of an orchestrator, and how a route reaches it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Protocol

from fastapi import Depends, Header, Request

from sagabus.core.definition import Definition
from sagabus.core.instance import InstanceState
from sagabus.observe.metrics import Metrics
from sagabus.ports import HistoryEntry, Page
from sagabus_agents.wire import ID_PATTERN, PresenceMessage


class ComponentHealth(Protocol):
    """How one part of the orchestrator is."""

    @property
    def ok(self) -> bool:
        """Whether it works."""

    @property
    def detail(self) -> str:
        """What is wrong, or how it stands."""


class Health(Protocol):
    """How the orchestrator is."""

    @property
    def status(self) -> str:
        """``ok`` or ``degraded``."""

    @property
    def store(self) -> ComponentHealth:
        """The database."""

    @property
    def bus(self) -> ComponentHealth:
        """NATS."""

    @property
    def loops(self) -> ComponentHealth:
        """The partitions' loops."""

    @property
    def config(self) -> ComponentHealth:
        """The definitions and policies; not ok when the file's newest state is bad."""

    @property
    def agents(self) -> int:
        """Agents alive now."""

    @property
    def version(self) -> str:
        """The running version."""


class Facade(Protocol):
    """``sagabus.app.Orchestrator``, as far as the API goes.

    Requests that cannot be granted raise ``RequestError``; ``StoreUnavailableError`` and
    ``BusUnavailableError`` may come from any of them.
    """

    metrics: Metrics

    async def start(
        self,
        workflow: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        by: str = "",
        command: str | None = None,
    ) -> InstanceState:
        """Start an instance, or find the one that has ``id`` already."""

    async def approve_stage(
        self,
        instance_id: str,
        stage: str,
        *,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Let a waiting stage go on."""

    async def reject_stage(
        self,
        instance_id: str,
        stage: str,
        *,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Refuse a waiting stage."""

    async def cancel(
        self, instance_id: str, *, by: str = "", reason: str = "", command: str | None = None
    ) -> Mapping[str, Any]:
        """End an instance and undo what it did."""

    async def get(self, instance_id: str) -> InstanceState:
        """One instance."""

    async def history(self, instance_id: str) -> list[HistoryEntry]:
        """Its history, oldest first."""

    async def list_instances(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Instances, newest first."""

    async def wait(self, instance_id: str, timeout_s: float | None = None) -> InstanceState:
        """The instance when it has ended; ``TimeoutError`` when it does not in time."""

    def watch(self, instance_id: str) -> AsyncIterator[Mapping[str, Any]]:
        """Its history from the first entry, as it grows, until it ends."""

    def workflows(self) -> Mapping[str, Definition]:
        """Definitions in force, by name."""

    def agents(self) -> Sequence[PresenceMessage]:
        """Agents alive now."""

    async def health(self) -> Health:
        """How everything is."""


def _orchestrator_of(request: Request) -> Facade:
    orchestrator: Facade = request.app.state.orchestrator
    return orchestrator


Behind = Annotated[Facade, Depends(_orchestrator_of)]

#: The id of a command: the same key again returns the first answer and does nothing.
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=ID_PATTERN)]
