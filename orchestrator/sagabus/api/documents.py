"""What the API takes, and what it answers beside instances (``sagabus.views``)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagabus.core.definition import CORE_ROLE, WORKFLOW_ROLE, Definition, Stage
from sagabus.ports import Hold
from sagabus.views.instances import EventView, InstanceSummary
from sagabus.views.shared import View
from sagabus.views.tasks import TaskView
from sagabus_agents.wire import Id, PresenceMessage


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExecuteRequest(_Request):
    """Start an instance."""

    #: The same id again returns the same instance and starts nothing.
    id: Id | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    #: Who asks.
    by: str = Field(default="", max_length=256)


class WhyRequest(_Request):
    """Who asks, and why: both are recorded."""

    by: str = Field(default="", max_length=256)
    reason: str = Field(default="", max_length=2000)


class CancelRequest(WhyRequest):
    """End an instance and undo what it did."""

    #: False: end it at once, and leave all that it did as it is; ``effects_left`` names that.
    compensate: bool = True


class DecisionRequest(WhyRequest):
    """Answer the approval that ``stage`` waits for."""

    stage: str = Field(min_length=1, max_length=64)


class ApproveRequest(DecisionRequest):
    """Approve what ``stage`` waits for."""

    #: What the approval's ``schema`` asks for.
    data: Any = None


class AnswerRequest(WhyRequest):
    """Answer the question that ``stage`` asks."""

    stage: str = Field(min_length=1, max_length=64)
    #: What the question's form asks for.
    data: Any


class CommandView(View):
    """A command that was carried out and stored."""

    #: The ``Idempotency-Key``, or one made for this request.
    command: str
    result: dict[str, Any]


class ErrorDocument(View):
    """Any answer that is not a success."""

    #: A stable word; ``message`` is for people.
    code: str
    message: str


class StageDefinitionView(View):
    """A stage of a definition."""

    name: str
    agents: list[str]
    action: str
    parallel: bool
    max_parallel: int
    approval_required: bool
    classification: str
    #: Of a final stage: to do it twice does no harm.
    is_idempotent: bool
    compensation_agents: list[str]
    timeout_s: float | None
    max_retries: int
    #: Stages that it leads to, whatever its outcome.
    next: list[str]
    #: ``agents``, ``core``, ``workflow``, ``inquiry`` or ``block``.
    kind: str
    #: The workflow that carries it out.
    workflow: str | None


class WorkflowView(View):
    """A definition in force."""

    name: str
    version: str
    description: str
    enabled: bool
    trigger: str
    tags: list[str]
    labels: dict[str, str]
    digest: str
    workflow_timeout_s: float | None
    max_parallel_tasks: int
    #: By name, JSON Schema keywords with ``required``; null: anything is accepted.
    parameters: dict[str, Any] | None
    entry: list[str]
    #: How many stages there are of each class.
    effect_classes: dict[str, int]
    stages: list[StageDefinitionView]


class RefusedView(View):
    """Files that were changed, and are not in force as they are now."""

    file: str
    at: datetime
    #: A sentence, with what to do.
    message: str


class WorkflowList(View):
    """Every definition in force, by name."""

    items: list[WorkflowView]
    #: Null: what is in force is what the files say.
    refused: RefusedView | None = None


class InstanceList(View):
    """Instances, newest first; ``cursor`` continues, null at the end."""

    items: list[InstanceSummary]
    cursor: str | None


class TaskList(View):
    """Tasks and compensations of an instance, in the order in which they were first sent.

    ``next_offset`` continues, null at the end.
    """

    items: list[TaskView]
    next_offset: int | None


class HistoryList(View):
    """History of an instance; ``next_after`` continues, null at the end."""

    items: list[EventView]
    next_after: int | None


class RunningView(View):
    """An attempt that an agent runs now."""

    instance: str
    task: str
    attempt: int
    started_at: datetime


class AgentView(View):
    """An agent that is alive now."""

    agent: str
    roles: list[str]
    slots: int
    free: int
    version: str
    running: list[RunningView]


class AgentList(View):
    """Every agent that is alive now, by name."""

    items: list[AgentView]


class ComponentView(View):
    """How one part of the orchestrator is."""

    ok: bool
    detail: str


class HoldView(View):
    """Something that was paused; or, where ``is_held`` is false, goes on."""

    kind: Literal["workflow", "role", "all"]
    #: ``all`` for everything.
    name: str
    by: str
    reason: str
    at: datetime
    is_held: bool


class HealthView(View):
    """How the orchestrator is; ``degraded`` heals by itself once its cause is gone."""

    status: str
    version: str
    agents: int
    store: ComponentView
    bus: ComponentView
    loops: ComponentView
    config: ComponentView
    #: What is paused beyond single instances.
    holds: list[HoldView]


def workflow_of(definition: Definition) -> WorkflowView:
    """The document of a definition."""
    timeout = definition.workflow_timeout
    return WorkflowView(
        name=definition.name,
        version=definition.version,
        description=definition.description,
        enabled=definition.enabled,
        trigger=definition.trigger,
        tags=list(definition.tags),
        labels=dict(definition.labels),
        digest=definition.digest,
        workflow_timeout_s=timeout.total_seconds() if timeout else None,
        max_parallel_tasks=definition.max_parallel_tasks,
        parameters=definition.document.get("workflow", {}).get("parameters"),
        entry=list(definition.entry),
        effect_classes={**definition.effect_classes},
        stages=[_stage_of(stage) for stage in definition.stages.values()],
    )


def agent_of(presence: PresenceMessage) -> AgentView:
    """The document of an agent."""
    return AgentView(
        agent=presence.agent,
        roles=presence.roles,
        slots=presence.slots,
        free=presence.free,
        version=presence.version,
        running=[RunningView(**running.model_dump()) for running in presence.running],
    )


def hold_of(hold: Hold) -> HoldView:
    """The document of a hold."""
    return HoldView(
        kind=hold.kind,
        name=hold.name,
        by=hold.by,
        reason=hold.reason,
        at=hold.at,
        is_held=hold.is_held,
    )


def _agents(roles: Sequence[str]) -> list[str]:
    return [role for role in roles if role not in {CORE_ROLE, WORKFLOW_ROLE}]


def _stage_of(stage: Stage) -> StageDefinitionView:
    return StageDefinitionView(
        name=stage.name,
        agents=_agents(stage.roles),
        action=stage.action,
        parallel=stage.parallel,
        max_parallel=stage.max_parallel,
        approval_required=stage.approval is not None,
        classification=stage.classification,
        is_idempotent=stage.is_idempotent,
        compensation_agents=_agents(stage.compensation.roles) if stage.compensation else [],
        timeout_s=stage.timeout.total_seconds() if stage.timeout else None,
        max_retries=stage.retry.count,
        next=list(stage.routes.leads_to),
        kind=stage.kind,
        workflow=stage.workflow,
    )
