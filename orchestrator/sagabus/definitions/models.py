"""The shape of a definition: what the readers give and the compiler takes.

Every reader (TOML, YAML packs) produces these models; stored snapshots are these models as JSON, so
a new key is optional. A key that is missing here is unknown.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sagabus.core.definition import Backoff
from sagabus.definitions.durations import Duration
from sagabus.definitions.field_types import (
    MAX_APPROVERS,
    MAX_TARGETS,
    Action,
    Condition,
    ItemList,
    Join,
    JsonTable,
    Keeping,
    Prompt,
    PublishList,
    Roles,
    StageName,
    Targets,
    Trigger,
    Version,
    WorkflowName,
    as_routes,
)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RetryModel(_Table):
    """``retry``: how often and when a failed attempt is tried again."""

    count: int = Field(ge=0, le=1_000)
    delay: Duration = timedelta(seconds=1)
    backoff: Backoff = "constant"
    max_delay: Duration = timedelta(minutes=5)
    jitter: bool = True


class StageRetryModel(RetryModel):
    """``retry`` of a stage, which may ask what kind of error it was."""

    on_error: Condition | None = None


class ApprovalModel(_Table):
    """``approval``: the gate of a stage with ``approval_required``."""

    timeout: Duration | None = None
    on_timeout: Literal["reject", "approve"] = "reject"
    prompt: Prompt = ""
    approvers: int = Field(default=1, ge=1, le=MAX_APPROVERS)
    #: None, as absent: they may.
    self_approval: bool | None = None
    form: JsonTable | None = Field(default=None, alias="schema")


class CompensationModel(_Table):
    """``compensation``: how the tasks of a stage are undone."""

    action: Action | None = None
    input: JsonTable | None = None
    retry: RetryModel | None = None
    timeout: Duration | None = None
    compensate_self: Literal["unknown", "never", "always"] = "unknown"


class RouteModel(_Table):
    """One line of ``on_success`` and its like: all that match fire, in order."""

    when: Condition | None = None
    do: Targets
    publish: PublishList | None = None


class ChoiceModel(_Table):
    """One line of ``decision``: the first that matches; ``default`` is the last."""

    when: Condition | None = None
    next: str | None = None
    default: str | None = None

    @property
    def target(self) -> str | None:
        """Where it leads."""
        return self.next if self.default is None else self.default


Routes = Annotated[
    list[RouteModel],
    BeforeValidator(
        as_routes,
        json_schema_input_type=str | list[str] | list[RouteModel],
    ),
    Field(min_length=1, max_length=MAX_TARGETS),
]
Decision = Annotated[list[ChoiceModel], Field(min_length=1, max_length=MAX_TARGETS)]


class ChildModel(_Table):
    """A stage of a block; what it shares with every other stage."""

    name: StageName
    description: str = ""
    agents: Roles | None = None
    action: Action | None = None
    parallel: bool = False
    max_parallel: int = Field(default=0, ge=0)
    input: JsonTable | None = None
    publish: PublishList | None = None
    when: Condition | None = None
    with_items: ItemList | None = None
    batch_size: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=0)
    fail_fast: bool | None = None
    retry: StageRetryModel | None = None
    timeout: Duration | None = None
    start_timeout: Duration | None = None
    approval_required: bool | None = None
    approval: ApprovalModel | None = None
    classification: Literal["read_only", "compensatable", "final"] | None = None
    compensation_agents: Roles | None = None
    compensation: CompensationModel | None = None
    idempotent: bool | None = None

    @property
    def has_compensation(self) -> bool:
        """True when it says how its tasks are undone."""
        return self.compensation_agents is not None or self.compensation is not None


class StageModel(ChildModel):
    """``[[workflows.stages]]``: a node of the graph, or a block of stages that run together."""

    type: Literal["parallel"] | None = None
    stages: list[ChildModel] | None = Field(default=None, min_length=1)
    join: Join | None = None
    needs: Targets | None = None
    on_success: Routes | None = None
    on_failure: Routes | None = None
    on_timeout: Routes | None = None
    on_complete: Routes | None = None
    decision: Decision | None = None

    @property
    def is_block(self) -> bool:
        """True when it only holds other stages."""
        return self.type is not None or self.stages is not None


class SagaModel(_Table):
    """``saga``: what happens when the workflow fails."""

    on_failure: Literal["compensate", "halt"] = "compensate"
    after_final: Literal["hold", "compensate"] = "hold"
    on_failed_undo: Literal["continue", "park"] = "continue"


class WorkflowModel(_Table):
    """``[[workflows]]``."""

    name: WorkflowName
    version: Version = ""
    label: str = ""
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    enabled: bool = True
    trigger: Trigger = "manual"
    workflow_timeout: Duration | None = None
    #: By name: keywords of JSON Schema, ``required`` and ``secret``. None: anything is accepted.
    parameters: dict[str, JsonTable] | None = None
    vars: JsonTable | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    order: Literal["written", "graph"] = "written"
    saga: SagaModel = SagaModel()
    output: JsonTable | None = None
    output_map: JsonTable | None = None
    on_end: str | None = None
    stages: list[StageModel] = Field(min_length=1)

    def all_stages(self) -> Iterator[ChildModel]:
        """Every stage, those of a block after it."""
        for stage in self.stages:
            yield stage
            yield from stage.stages or ()


class CompensationDefaults(_Table):
    """``[engine.defaults.compensation]``."""

    retry: RetryModel = RetryModel(count=3, backoff="exponential")
    timeout: Duration | None = None


class DefaultsModel(_Table):
    """``[engine.defaults]``: for every stage that sets none."""

    retry: RetryModel = RetryModel(count=0)
    timeout: Duration | None = None
    start_timeout: Duration | None = None
    compensation: CompensationDefaults = CompensationDefaults()


class LimitsModel(_Table):
    """``[engine.limits]``; each error names the limit."""

    max_stages: int = Field(default=500, ge=1, le=1_000)
    max_items: int = Field(default=10_000, ge=1)
    max_depth: int = Field(default=8, ge=1, le=64)
    max_passes: int = Field(default=1_000, ge=1)
    max_payload_bytes: int = Field(default=524_288, ge=1_024, le=900 * 1_024)


class RetentionModel(_Table):
    """``[engine.retention]``."""

    #: Terminal instances older than this are swept; None: kept.
    completed: Keeping | None = None


class EngineModel(_Table):
    """``[engine]``."""

    max_parallel_tasks: int = Field(default=10, ge=0)
    workflow_timeout: Duration = timedelta(hours=1)
    approval_gates_enabled: bool = True
    cedar_policy_dir: Annotated[str, Field(min_length=1)] | None = None
    defaults: DefaultsModel = DefaultsModel()
    limits: LimitsModel = LimitsModel()
    retention: RetentionModel = RetentionModel()


class FileModel(_Table):
    """A whole file; included files hold ``workflows`` alone."""

    include: list[str] = Field(default_factory=list)
    #: Directories of packs, relative to the file.
    packs: list[str] = Field(default_factory=lambda: ["packs"])
    engine: EngineModel = EngineModel()
    workflows: list[WorkflowModel] = Field(default_factory=list)
