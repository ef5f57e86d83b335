"""Which key belongs where, and what to say of one that does not."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from pydantic import BaseModel

from sagabus.definitions.models import (
    ApprovalModel,
    CompensationDefaults,
    CompensationModel,
    DefaultsModel,
    EngineModel,
    FileModel,
    LimitsModel,
    RetryModel,
    SagaModel,
    StageModel,
    WorkflowModel,
)

#: The model of each table, by its place without indices.
TABLES: Final[dict[tuple[str, ...], type[BaseModel]]] = {
    (): FileModel,
    ("engine",): EngineModel,
    ("engine", "defaults"): DefaultsModel,
    ("engine", "defaults", "retry"): RetryModel,
    ("engine", "defaults", "compensation"): CompensationDefaults,
    ("engine", "defaults", "compensation", "retry"): RetryModel,
    ("engine", "limits"): LimitsModel,
    ("workflows",): WorkflowModel,
    ("workflows", "saga"): SagaModel,
    ("workflows", "stages"): StageModel,
    ("workflows", "stages", "retry"): RetryModel,
    ("workflows", "stages", "approval"): ApprovalModel,
    ("workflows", "stages", "compensation"): CompensationModel,
    ("workflows", "stages", "compensation", "retry"): RetryModel,
}

#: Words of the language that this version does not know yet.
NOT_BUILT: Final[dict[type[BaseModel], frozenset[str]]] = {
    EngineModel: frozenset({"retention"}),
    WorkflowModel: frozenset({"parameters", "vars", "output", "output_map", "on_end"}),
    SagaModel: frozenset({"after_final"}),
    StageModel: frozenset(
        {"type", "stages", "publish", "when", "with_items", "batch_size", "concurrency"}
        | {"fail_fast", "idempotent", "join", "needs", "decision"}
        | {"on_success", "on_failure", "on_timeout", "on_complete"}
    ),
    RetryModel: frozenset({"on_error"}),
    ApprovalModel: frozenset({"self_approval", "schema"}),
}


def unknown_key(place: tuple[str, ...], key: str) -> str:
    """What is wrong with ``key`` in the table at ``place``, and what to write instead."""
    table = TABLES[place]
    if key in NOT_BUILT.get(table, ()):
        return f"`{key}` is not built yet; leave it out"
    if table is StageModel and key in _words(WorkflowModel):
        return (
            f"`{key}` belongs to the workflow, not to a stage; move it above [[workflows.stages]]"
        )
    if table is WorkflowModel and key in _words(StageModel):
        return f"`{key}` belongs to a stage; move it below [[workflows.stages]]"
    if table is FileModel and key in _words(EngineModel):
        return f"`{key}` belongs to the engine; move it below [engine]"
    hint = did_you_mean(key, table.model_fields)
    return f"unknown key `{key}`{hint or '; known here: ' + ', '.join(table.model_fields)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?``, or nothing when no known word is near."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def _words(table: type[BaseModel]) -> set[str]:
    return set(table.model_fields) | NOT_BUILT.get(table, frozenset())
