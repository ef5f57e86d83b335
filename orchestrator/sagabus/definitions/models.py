"""The shape of a definition: what the readers give and the compiler takes.

Every reader (TOML here) produces these models; stored snapshots are these models as JSON. A key
that is missing here is unknown, or named in ``keys`` as not built.
"""

import math
import re
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from sagabus.core.definition import Backoff
from sagabus.definitions.durations import Duration
from sagabus_agents.wire import ROLE_PATTERN

#: Task ids, made of the stage's name and numbers, have 64 characters.
MAX_STAGE_NAME: Final = 40
_STAGE_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_STAGE_NAME - 1}}}")
_WORKFLOW_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})?")
_ACTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")


def refused(message: str) -> PydanticCustomError:
    """A problem whose text is shown to the operator as it is."""
    return PydanticCustomError("sagabus", "{message}", {"message": message})


def _stage_name(value: str) -> str:
    if _STAGE_NAME.fullmatch(value):
        return value
    proposal = re.sub(r"[^a-z0-9_]+", "_", value.lower()).strip("_")[:MAX_STAGE_NAME]
    hint = f'; write "{proposal}"' if _STAGE_NAME.fullmatch(proposal) else ""
    raise refused(
        f"{value!r} is not a stage name: a lower-case letter, then letters, digits and "
        f"underscores, at most {MAX_STAGE_NAME}{hint}"
    )


def _workflow_name(value: str) -> str:
    if _WORKFLOW_NAME.fullmatch(value):
        return value
    raise refused(
        f"{value!r} is not a workflow name; write letters, digits, underscores and hyphens, "
        "at most 64, with one dot between a pack and its workflow"
    )


def _role(value: str) -> str:
    if re.fullmatch(ROLE_PATTERN, value) and "\n" not in value:
        return value
    raise refused(
        f"{value!r} is not a role; write letters, digits, underscores and hyphens, at most 64, "
        "without an underscore at the beginning"
    )


def _action(value: str) -> str:
    if _ACTION.fullmatch(value):
        return value
    raise refused(f"{value!r} is not an action; write letters, digits and any of _ . : / -")


def _version(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _trigger(value: Any) -> Any:
    if value == "manual":
        return value
    kind = ", ".join(value) if isinstance(value, dict) else repr(value)
    raise refused(f'the trigger {kind} is not built yet; write trigger = "manual"')


def _not_built(key: str, built: Any) -> BeforeValidator:
    """Accepts ``built`` alone, the default of a choice whose other values come later."""

    def check(value: Any) -> Any:
        if value == built and type(value) is type(built):
            return value
        raise refused(f"`{key} = {value!r}` is not built yet; leave the key out")

    return BeforeValidator(check)


def _refuse_final(value: Any) -> Any:
    if value == "final":
        raise refused('`classification = "final"` is not built yet')
    return value


def json_value(value: Any) -> Any:
    """``value`` as JSON can hold it: dates and times become text.

    Raises:
        PydanticCustomError: a number that JSON does not have.
    """
    match value:
        case dict():
            return {str(key): json_value(item) for key, item in value.items()}
        case list():
            return [json_value(item) for item in value]
        case datetime() | date() | time():
            return value.isoformat()
        case float() if not math.isfinite(value):
            raise refused(f"{value} is not a number that JSON has")
        case int() if not -(2**63) <= value < 2**63:
            raise refused(f"{value} does not fit into 64 bits; write it as text")
        case _:
            return value


def _table(value: dict[str, Any]) -> dict[str, Any]:
    return {key: json_value(item) for key, item in value.items()}


StageName = Annotated[str, AfterValidator(_stage_name)]
WorkflowName = Annotated[str, AfterValidator(_workflow_name)]
Role = Annotated[str, AfterValidator(_role)]
Action = Annotated[str, AfterValidator(_action)]
Roles = Annotated[list[Role], Field(min_length=1, max_length=1_000)]
JsonTable = Annotated[dict[str, Any], AfterValidator(_table)]
Prompt = Annotated[str, Field(max_length=2_000)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RetryModel(_Table):
    """``retry``: how often and when a failed attempt is tried again."""

    count: int = Field(ge=0, le=1_000)
    delay: Duration = timedelta(seconds=1)
    backoff: Backoff = "exponential"
    max_delay: Duration = timedelta(minutes=5)
    jitter: bool = True


class ApprovalModel(_Table):
    """``approval``: the gate of a stage with ``approval_required``."""

    timeout: Duration | None = None
    on_timeout: Literal["reject", "approve"] = "reject"
    prompt: Prompt = ""
    approvers: Annotated[int, _not_built("approvers", 1)] = 1


class CompensationModel(_Table):
    """``compensation``: how the tasks of a stage are undone."""

    action: Action | None = None
    input: JsonTable | None = None
    retry: RetryModel | None = None
    timeout: Duration | None = None
    compensate_self: Literal["unknown", "never", "always"] = "unknown"


class StageModel(_Table):
    """``[[workflows.stages]]``."""

    name: StageName
    description: str = ""
    agents: Roles
    action: Action | None = None
    parallel: bool = False
    max_parallel: int = Field(default=0, ge=0)
    input: JsonTable | None = None
    retry: RetryModel | None = None
    timeout: Duration | None = None
    start_timeout: Duration | None = None
    approval_required: bool | None = None
    approval: ApprovalModel | None = None
    classification: Annotated[
        Literal["read_only", "compensatable"] | None, BeforeValidator(_refuse_final)
    ] = None
    compensation_agents: Roles | None = None
    compensation: CompensationModel | None = None

    @property
    def has_compensation(self) -> bool:
        """True when its tasks can be undone."""
        return self.compensation_agents is not None or self.compensation is not None


class SagaModel(_Table):
    """``saga``: what happens when the workflow fails."""

    on_failure: Literal["compensate", "halt"] = "compensate"
    on_failed_undo: Literal["continue", "park"] = "continue"


class WorkflowModel(_Table):
    """``[[workflows]]``."""

    name: WorkflowName
    version: Annotated[str, BeforeValidator(_version)] = ""
    label: str = ""
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    enabled: bool = True
    trigger: Annotated[Literal["manual"], BeforeValidator(_trigger)] = "manual"
    workflow_timeout: Duration | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    order: Annotated[Literal["written"], _not_built("order", "written")] = "written"
    saga: SagaModel = SagaModel()
    stages: list[StageModel] = Field(min_length=1)


class CompensationDefaults(_Table):
    """``[engine.defaults.compensation]``."""

    retry: RetryModel = RetryModel(count=3)
    timeout: Duration | None = None


class DefaultsModel(_Table):
    """``[engine.defaults]``: for every stage that sets none."""

    retry: RetryModel = RetryModel(count=0)
    timeout: Duration | None = None
    start_timeout: Duration | None = None
    compensation: CompensationDefaults = CompensationDefaults()


class LimitsModel(_Table):
    """``[engine.limits]``; each error names the limit."""

    max_stages: int = Field(default=500, ge=1)
    max_items: int = Field(default=10_000, ge=1)
    max_depth: int = Field(default=8, ge=1)
    max_passes: int = Field(default=1_000, ge=1)
    max_payload_bytes: int = Field(default=524_288, ge=1_024, le=900 * 1_024)


class EngineModel(_Table):
    """``[engine]``."""

    max_parallel_tasks: int = Field(default=10, ge=0)
    workflow_timeout: Duration = timedelta(hours=1)
    approval_gates_enabled: bool = True
    cedar_policy_dir: Annotated[str, Field(min_length=1)] | None = None
    defaults: DefaultsModel = DefaultsModel()
    limits: LimitsModel = LimitsModel()


class FileModel(_Table):
    """A whole file; included files hold ``workflows`` alone."""

    include: list[str] = Field(default_factory=list)
    engine: EngineModel = EngineModel()
    workflows: list[WorkflowModel] = Field(default_factory=list)
