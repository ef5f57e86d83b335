"""Which key belongs where, and what to say of one that does not."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from pydantic import BaseModel

from sagabus.definitions.models import (
    ApprovalModel,
    ChildModel,
    ChoiceModel,
    CompensationDefaults,
    CompensationModel,
    DefaultsModel,
    EngineModel,
    FileModel,
    LimitsModel,
    RetentionModel,
    RetryModel,
    RouteModel,
    SagaModel,
    StageModel,
    StageRetryModel,
    WorkflowModel,
)

_STAGES: Final = ("workflows", "stages")
_OF_A_STAGE: Final[dict[str, type[BaseModel]]] = {
    "retry": StageRetryModel,
    "approval": ApprovalModel,
    "compensation": CompensationModel,
}

#: Keys of a stage that hold routes.
ROUTE_KEYS: Final = ("on_success", "on_failure", "on_timeout", "on_complete")

#: The model of each table, by its place without indices.
TABLES: Final[dict[tuple[str, ...], type[BaseModel]]] = {
    (): FileModel,
    ("engine",): EngineModel,
    ("engine", "defaults"): DefaultsModel,
    ("engine", "defaults", "retry"): RetryModel,
    ("engine", "defaults", "compensation"): CompensationDefaults,
    ("engine", "defaults", "compensation", "retry"): RetryModel,
    ("engine", "limits"): LimitsModel,
    ("engine", "retention"): RetentionModel,
    ("workflows",): WorkflowModel,
    ("workflows", "saga"): SagaModel,
    _STAGES: StageModel,
    (*_STAGES, "stages"): ChildModel,
    (*_STAGES, "decision"): ChoiceModel,
    **{(*_STAGES, key): RouteModel for key in ROUTE_KEYS},
    **{
        (*stages, key): table
        for stages in (_STAGES, (*_STAGES, "stages"))
        for key, table in _OF_A_STAGE.items()
    },
    (*_STAGES, "compensation", "retry"): RetryModel,
    (*_STAGES, "stages", "compensation", "retry"): RetryModel,
}


def unknown_key(place: tuple[str, ...], key: str) -> str:
    """What is wrong with ``key`` in the table at ``place``, and what to write instead."""
    table = TABLES[place]
    if moved := _elsewhere(table, key):
        return moved
    words = words_of(table)
    hint = did_you_mean(key, words)
    return f"unknown key `{key}`{hint or '; known here: ' + ', '.join(words)}"


def words_of(table: type[BaseModel]) -> tuple[str, ...]:
    """The keys of ``table`` as they are written."""
    return tuple(field.alias or name for name, field in table.model_fields.items())


def did_you_mean(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """``; did you mean "x"?``, or nothing when no known word is near.

    ``likeness``: what is near, from 0 to 1; where there are many words, some are by chance.
    """
    near = nearest(word, known, likeness)
    return f'; did you mean "{near}"?' if near else ""


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known word that ``word`` is most likely to stand for, None when none is near."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=likeness)
    return near[0] if near else None


def _elsewhere(table: type[BaseModel], key: str) -> str | None:
    """Where ``key`` would be known, if that is not in ``table``."""
    is_stage = issubclass(table, ChildModel)
    if table is ChildModel and key in {"type", "stages"}:
        return f"`{key}`: a block has no place in a block; write a sub-workflow"
    if table is ChildModel and key in words_of(StageModel):
        return f"`{key}`: a stage of a block leads nowhere; write it at the block"
    if is_stage and key in words_of(WorkflowModel):
        return (
            f"`{key}` belongs to the workflow, not to a stage; move it above [[workflows.stages]]"
        )
    if table is WorkflowModel and key in words_of(StageModel):
        return f"`{key}` belongs to a stage; move it below [[workflows.stages]]"
    if table is FileModel and key in words_of(EngineModel):
        return f"`{key}` belongs to the engine; move it below [engine]"
    if table is RetryModel and key == "on_error":
        return "`on_error` is known in the `retry` of a stage alone; leave it out"
    return None
