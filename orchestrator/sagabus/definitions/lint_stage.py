"""Rules of a single stage: which keys go together, and with what carries it out."""

from collections.abc import Iterator, Mapping
from typing import Final

from sagabus.core.definition import StageKind
from sagabus.definitions.explain import Place
from sagabus.definitions.findings import Findings, Located, Subject
from sagabus.definitions.flow import RESERVED
from sagabus.definitions.lint_core import core_problems, form_problems
from sagabus.definitions.models import ChildModel, StageModel

_LIST_KEYS: Final = ("batch_size", "concurrency", "fail_fast")
_UNDO_KEYS: Final = ("classification", "compensation_agents", "compensation", "idempotent")
_AGENT_KEYS: Final = ("parallel", "max_parallel", "start_timeout")
#: Keys that mean nothing to a stage of a kind.
_MEANINGLESS: Final[Mapping[StageKind, tuple[str, ...]]] = {
    "block": (
        *("agents", "action", "input", "with_items", "retry", "timeout"),
        *(*_LIST_KEYS, *_AGENT_KEYS, *_UNDO_KEYS),
    ),
    "inquiry": ("agents", "with_items", "retry", *_LIST_KEYS, *_AGENT_KEYS, *_UNDO_KEYS),
    "core": ("agents", *_AGENT_KEYS),
    "workflow": (*_AGENT_KEYS, "classification", "compensation_agents", "idempotent"),
}
_WHAT: Final[Mapping[StageKind, str]] = {
    "block": "a block only holds other stages",
    "inquiry": "an inquiry asks a person and sends no task",
    "core": "the engine itself carries this stage out",
    "workflow": "a sub-workflow is carried out, and undone, by its own stages",
}


def lint_stages(subject: Subject, found: Findings) -> None:
    """Check every well-formed stage by itself."""
    for located in subject.located:
        here, stage = located.place, located.stage
        if stage.name in RESERVED:
            found.add(here.at("name"), f'"{stage.name}" is a target of its own; take another name')
        _check_kind(subject, located, found)
        _check_block(here, stage, subject, found)
        _check_items(here, stage, subject, found)
        _check_undo(subject, located, found)
        _check_final(subject, located, found)
        for place, problem in _gate_problems(here, stage, subject):
            found.add(place, problem)
        approval = stage.approval
        if approval is not None and approval.on_timeout == "approve" and not approval.timeout:
            found.doubt(here.at("approval", "on_timeout"), "has no effect without a timeout")
        if stage.max_parallel > 1 and not stage.parallel and not subject.lacks(here, "parallel"):
            found.doubt(here.at("max_parallel"), "has no effect without parallel = true")


def _check_kind(subject: Subject, located: Located, found: Findings) -> None:
    here, stage = located.place, located.stage
    kind = subject.kind_of(stage)
    if kind is None:
        return
    for key in _MEANINGLESS.get(kind, ()):
        if key in stage.model_fields_set and getattr(stage, key) is not None:
            found.add(here.at(key), f"{_WHAT[kind]}; leave it out")
    for path, problem in core_problems(stage, kind):
        found.add(here.at(*path), problem)


def _check_block(here: Place, stage: ChildModel, subject: Subject, found: Findings) -> None:
    if not isinstance(stage, StageModel) or subject.lacks(here, "type", "stages"):
        return
    if stage.type is not None and stage.stages is None:
        found.add(here.at("type"), "there is nothing to run together; write `stages` in it")
    if stage.stages is not None and stage.type is None:
        found.add(here.at("stages"), 'a stage with stages in it says type = "parallel"')


def _check_items(here: Place, stage: ChildModel, subject: Subject, found: Findings) -> None:
    if stage.with_items is None:
        for key in _LIST_KEYS:
            if getattr(stage, key) is not None and not subject.lacks(here, "with_items"):
                found.add(here.at(key), "has no effect without with_items; leave it out")
        return
    if stage.agents is not None and len(stage.agents) > 1 and subject.kind_of(stage) == "agents":
        found.add(
            here.at("with_items"),
            "one task per item and one per agent do not go together; write one agent",
        )
    limit = subject.limits.max_items
    if isinstance(stage.with_items, list) and len(stage.with_items) > limit:
        found.add(
            here.at("with_items"),
            f"{len(stage.with_items)} items; engine.limits.max_items allows {limit}",
        )


def _check_undo(subject: Subject, located: Located, found: Findings) -> None:
    here, stage = located.place, located.stage
    kind = subject.kind_of(stage)
    if stage.classification == "read_only" and stage.has_compensation:
        found.add(
            here.at("classification"),
            "a read_only stage is never undone; leave out its compensation, or the classification",
        )
    if (
        stage.classification == "compensatable"
        and not stage.has_compensation
        and kind != "workflow"
        # Who wants agents means no workflow, which may need none, even where they do not fit.
        and (kind is not None or here.at("agents").value is not None)
        and not subject.lacks(here, "compensation", "compensation_agents")
    ):
        found.add(
            here.at("classification"),
            'a compensatable stage needs a compensation; write compensation_agents = ["role"]',
        )
    if (
        kind == "core"
        and stage.compensation is not None
        and stage.compensation_agents is None
        and not subject.lacks(here, "compensation_agents")
    ):
        found.add(
            here.at("compensation"),
            'nobody is there to undo it; write compensation_agents = ["role"]',
        )
    if kind == "workflow" and stage.compensation is not None:
        for key in ("action", "input"):
            if getattr(stage.compensation, key) is not None:
                found.add(here.at("compensation", key), f"{_WHAT['workflow']}; leave it out")


def _check_final(subject: Subject, located: Located, found: Findings) -> None:
    here, stage = located.place, located.stage
    if stage.classification != "final":
        if (
            stage.idempotent is not None
            and subject.kind_of(stage) in {"agents", "core", None}
            and not subject.lacks(here, "classification")
        ):
            problem = 'is for final stages alone; leave it out, or write classification = "final"'
            found.add(here.at("idempotent"), problem)
        return
    if stage.has_compensation:
        found.add(
            here.at("classification"),
            "a final stage cannot be undone; leave out its compensation, or the classification",
        )
    if subject.kind_of(stage) == "core":
        found.add(here.at("classification"), f"{_WHAT['core']}: nothing of it is final")
    if stage.name == subject.on_end:
        problem = "the stage of on_end runs whatever the end: nothing of it is final; leave it out"
        found.add(here.at("classification"), problem)


def _gate_problems(here: Place, stage: ChildModel, subject: Subject) -> Iterator[tuple[Place, str]]:
    if stage.approval is None:
        return
    if stage.approval_required is None and not subject.lacks(here, "approval_required"):
        yield (
            here.at("approval"),
            "nothing asks for this approval; write approval_required = true (or false)",
        )
    for path, problem in form_problems(stage.approval.form or {}):
        yield here.at("approval", "schema", *path), problem
