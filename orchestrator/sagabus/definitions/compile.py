"""From the models to what the machine reads, by way of the snapshot that is stored.

``document_of`` resolves every default of the engine into one JSON document, and
``compile_snapshot`` makes the definition from that document alone: so an instance that reloads its
snapshot after a restart runs on exactly what it started on.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sagabus.core.definition import (
    Approval,
    Classification,
    Compensation,
    Definition,
    RetryPolicy,
    Routes,
    Stage,
)
from sagabus.definitions.models import (
    CompensationModel,
    EngineModel,
    RetryModel,
    StageModel,
    WorkflowModel,
)
from sagabus.definitions.templates import compile_value
from sagabus.errors import ConfigError

FORMAT: Final = 1


class _EnginePart(BaseModel):
    """What of ``[engine]`` an instance is pinned to."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_parallel_tasks: int
    approval_gates_enabled: bool
    has_policies: bool
    max_payload_bytes: int


class _Snapshot(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    workflow: WorkflowModel
    engine: _EnginePart


def document_of(workflow: WorkflowModel, engine: EngineModel) -> dict[str, Any]:
    """The snapshot of ``workflow`` under ``engine``: JSON, every default resolved."""
    resolved = workflow.model_copy(
        update={
            "workflow_timeout": _first(workflow.workflow_timeout, engine.workflow_timeout),
            "stages": [_resolve(stage, engine) for stage in workflow.stages],
        }
    )
    snapshot = _Snapshot(
        format=FORMAT,
        workflow=resolved,
        engine=_EnginePart(
            max_parallel_tasks=engine.max_parallel_tasks,
            approval_gates_enabled=engine.approval_gates_enabled,
            has_policies=engine.cedar_policy_dir is not None,
            max_payload_bytes=engine.limits.max_payload_bytes,
        ),
    )
    return snapshot.model_dump(mode="json", exclude_none=True)


def digest_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document as canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def compile_workflow(workflow: WorkflowModel, engine: EngineModel) -> Definition:
    """Compile a workflow that lint found no fault with."""
    return compile_snapshot(document_of(workflow, engine))


def compile_snapshot(document: Mapping[str, Any]) -> Definition:
    """The definition that ``document`` holds.

    Raises:
        ConfigError: it is not a snapshot that this version can read.
        TemplateError: a template in it does not compile.
    """
    try:
        snapshot = _Snapshot.model_validate(document)
    except ValidationError as error:
        raise ConfigError(
            f"a stored workflow definition cannot be read by this version: {error}"
        ) from error
    workflow, engine = snapshot.workflow, snapshot.engine
    names = [stage.name for stage in workflow.stages]
    return Definition(
        name=workflow.name,
        digest=digest_of(document),
        stages={
            stage.name: _stage(stage, engine, tuple(names[index + 1 : index + 2]))
            for index, stage in enumerate(workflow.stages)
        },
        entry=tuple(names[:1]),
        version=workflow.version,
        description=workflow.description,
        trigger=workflow.trigger,
        enabled=workflow.enabled,
        tags=tuple(workflow.tags),
        labels=workflow.labels,
        workflow_timeout=_limit(workflow.workflow_timeout),
        max_parallel_tasks=engine.max_parallel_tasks,
        has_policies=engine.has_policies,
        max_payload_bytes=engine.max_payload_bytes,
        saga_on_failure=workflow.saga.on_failure,
        saga_on_failed_undo=workflow.saga.on_failed_undo,
        document=document,
    )


def _resolve(stage: StageModel, engine: EngineModel) -> StageModel:
    defaults = engine.defaults
    update: dict[str, Any] = {
        "action": stage.action or stage.name,
        "retry": stage.retry or defaults.retry,
        "timeout": _first(stage.timeout, defaults.timeout),
        "start_timeout": _first(stage.start_timeout, defaults.start_timeout),
        "approval_required": bool(stage.approval_required),
    }
    if stage.has_compensation:
        own = stage.compensation or CompensationModel()
        update["compensation_agents"] = stage.compensation_agents or stage.agents
        update["compensation"] = own.model_copy(
            update={
                "action": own.action or update["action"],
                "retry": own.retry or defaults.compensation.retry,
                "timeout": _first(own.timeout, defaults.compensation.timeout),
            }
        )
    return stage.model_copy(update=update)


def _stage(stage: StageModel, engine: _EnginePart, following: tuple[str, ...]) -> Stage:
    return Stage(
        name=stage.name,
        roles=tuple(stage.agents),
        action=stage.action or stage.name,
        parallel=stage.parallel,
        max_parallel=stage.max_parallel,
        input=None if stage.input is None else compile_value(stage.input, "input"),
        retry=_retry(stage.retry),
        timeout=_limit(stage.timeout),
        start_timeout=_limit(stage.start_timeout),
        approval=_approval(stage) if engine.approval_gates_enabled else None,
        classification=_classification(stage),
        compensation=_compensation(stage),
        routes=Routes(on_success=following),
    )


def _classification(stage: StageModel) -> Classification:
    if stage.classification is not None:
        return stage.classification
    return "compensatable" if stage.has_compensation else "unclassified"


def _approval(stage: StageModel) -> Approval | None:
    if not stage.approval_required:
        return None
    if stage.approval is None:
        return Approval()
    own = stage.approval
    return Approval(timeout=_limit(own.timeout), on_timeout=own.on_timeout, prompt=own.prompt)


def _compensation(stage: StageModel) -> Compensation | None:
    own = stage.compensation
    if own is None:
        return None
    return Compensation(
        roles=tuple(stage.compensation_agents or stage.agents),
        action=own.action or stage.action or stage.name,
        input=None if own.input is None else compile_value(own.input, "compensation.input"),
        retry=_retry(own.retry),
        timeout=_limit(own.timeout),
        compensate_self=own.compensate_self,
    )


def _retry(retry: RetryModel | None) -> RetryPolicy:
    if retry is None:
        return RetryPolicy()
    return RetryPolicy(
        count=retry.count,
        delay=retry.delay,
        backoff=retry.backoff,
        max_delay=retry.max_delay,
        jitter=retry.jitter,
    )


def _first(own: timedelta | None, default: timedelta | None) -> timedelta | None:
    return default if own is None else own


def _limit(duration: timedelta | None) -> timedelta | None:
    """A time limit; zero says that there is none."""
    return duration or None
