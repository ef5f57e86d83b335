"""What is stored of a definition: one JSON document with everything that it was resolved from.

An instance that reloads its snapshot after a restart runs on exactly what it started on: on the
engine's defaults of then, on the actions and sub-workflows that the names stood for then. Keys that
came later are optional, so that what an older version stored is still read.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sagabus.core.definition import Classification, Definition, StageKind
from sagabus.definitions.actions import Carrier
from sagabus.definitions.models import (
    ChildModel,
    CompensationModel,
    EngineModel,
    LimitsModel,
    StageModel,
    StageRetryModel,
    WorkflowModel,
)
from sagabus.errors import ConfigError

FORMAT: Final = 1
_LIMITS: Final = LimitsModel()


@dataclass(frozen=True, slots=True)
class Links:
    """What the names in a workflow stand for."""

    #: By stage: of every stage.
    carriers: Mapping[str, Carrier]
    #: Sub-workflows by name.
    children: Mapping[str, Definition] = field(default_factory=dict)
    pack_config: Mapping[str, Any] = field(default_factory=dict)


class EnginePart(BaseModel):
    """What of ``[engine]`` an instance is pinned to."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_parallel_tasks: int
    approval_gates_enabled: bool
    has_policies: bool
    max_payload_bytes: int
    max_items: int = _LIMITS.max_items
    max_passes: int = _LIMITS.max_passes


class Link(BaseModel):
    """What the ``action`` of a stage without ``agents`` stood for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: StageKind
    roles: list[str]
    action: str
    input_schema: dict[str, Any] | None = None
    workflow: str | None = None
    digest: str | None = None
    #: Of the workflow.
    classification: Classification | None = None


class Snapshot(BaseModel):
    """The whole document."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    workflow: WorkflowModel
    engine: EnginePart
    links: dict[str, Link] = Field(default_factory=dict)
    pack_config: dict[str, Any] = Field(default_factory=dict)
    #: Levels of workflows: 1 without sub-workflows.
    depth: int = 1


def document_of(workflow: WorkflowModel, engine: EngineModel, links: Links) -> dict[str, Any]:
    """The snapshot of ``workflow`` under ``engine``: JSON, every default resolved."""
    kinds = {name: carrier.kind for name, carrier in links.carriers.items()}
    stages = [_resolve_stage(stage, engine, kinds) for stage in workflow.stages]
    timeout = _first(workflow.workflow_timeout, engine.workflow_timeout)
    snapshot = Snapshot(
        format=FORMAT,
        workflow=workflow.model_copy(update={"workflow_timeout": timeout, "stages": stages}),
        engine=EnginePart(
            max_parallel_tasks=engine.max_parallel_tasks,
            approval_gates_enabled=engine.approval_gates_enabled,
            has_policies=engine.cedar_policy_dir is not None,
            max_payload_bytes=engine.limits.max_payload_bytes,
            max_items=engine.limits.max_items,
            max_passes=engine.limits.max_passes,
        ),
        links={
            stage.name: _link(links.carriers[stage.name], links.children)
            for stage in workflow.all_stages()
            if stage.action is not None and stage.agents is None
        },
        pack_config=dict(links.pack_config),
        depth=1 + max((depth_of(child) for child in links.children.values()), default=0),
    )
    return snapshot.model_dump(mode="json", exclude_none=True, by_alias=True)


def digest_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document as canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_snapshot(document: Mapping[str, Any]) -> Snapshot:
    """The document as a model.

    Raises:
        ConfigError: it is not a snapshot that this version can read.
    """
    try:
        return Snapshot.model_validate(document)
    except ValidationError as error:
        raise ConfigError(
            f"a stored workflow definition cannot be read by this version: {error}"
        ) from error


def depth_of(definition: Definition) -> int:
    """Levels of workflows, its own too."""
    depth: int = definition.document.get("depth", 1)
    return depth


def classification_of(definition: Definition) -> Classification:
    """What a stage is that ``definition`` carries out."""
    kinds = {stage.classification for stage in definition.stages.values() if not stage.children}
    if "final" in kinds:
        return "final"
    if "compensatable" in kinds:
        return "compensatable"
    return "read_only" if kinds == {"read_only"} else "unclassified"


def _link(carrier: Carrier, children: Mapping[str, Definition]) -> Link:
    child = children[carrier.workflow] if carrier.workflow is not None else None
    schema = carrier.input_schema
    return Link(
        kind=carrier.kind,
        roles=list(carrier.roles),
        action=carrier.action,
        input_schema=None if schema is None else dict(schema),
        workflow=carrier.workflow,
        digest=child.digest if child else None,
        classification=classification_of(child) if child else None,
    )


def _resolve_stage(
    stage: StageModel, engine: EngineModel, kinds: Mapping[str, StageKind]
) -> StageModel:
    resolved = stage.model_copy(update=_defaults(stage, engine, kinds[stage.name]))
    if stage.stages is None:
        return resolved
    children = [
        child.model_copy(update=_defaults(child, engine, kinds[child.name]))
        for child in stage.stages
    ]
    return resolved.model_copy(update={"stages": children})


def _defaults(stage: ChildModel, engine: EngineModel, kind: StageKind) -> dict[str, Any]:
    """What ``stage`` leaves to the engine, as far as its kind has attempts to apply it to."""
    update: dict[str, Any] = {"approval_required": bool(stage.approval_required)}
    if stage.agents is not None:
        update["action"] = stage.action or stage.name
    if kind in {"block", "inquiry"}:
        return update
    defaults = engine.defaults
    update["retry"] = stage.retry or StageRetryModel(**dict(defaults.retry))
    update["timeout"] = _first(stage.timeout, defaults.timeout)
    if kind == "agents":
        update["start_timeout"] = _first(stage.start_timeout, defaults.start_timeout)
    if stage.has_compensation or kind == "workflow":
        own = stage.compensation or CompensationModel()
        update["compensation"] = own.model_copy(
            update={
                "retry": own.retry or defaults.compensation.retry,
                "timeout": _first(own.timeout, defaults.compensation.timeout),
            }
        )
    return update


def _first(own: timedelta | None, default: timedelta | None) -> timedelta | None:
    return default if own is None else own
