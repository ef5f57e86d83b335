"""Rules of the language that go beyond the shape of one table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sagabus.core.definition import TemplateError
from sagabus.definitions.explain import Place
from sagabus.definitions.models import LimitsModel, StageModel
from sagabus.definitions.template_names import (
    VisibleStages,
    check_names,
    keys_with_expressions,
    texts_of,
)
from sagabus.definitions.templates import compile_value, has_expression
from sagabus.errors import DefinitionError


@dataclass(slots=True)
class Findings:
    """What is wrong, and what is only doubtful."""

    problems: list[DefinitionError] = field(default_factory=list)
    warnings: list[DefinitionError] = field(default_factory=list)


def lint_workflow(place: Place, stages: Mapping[int, StageModel], limits: LimitsModel) -> Findings:
    """Check a workflow, whose well-formed stages are ``stages`` by position."""
    found = Findings()
    written = place.at("stages").value
    names = _names(written) if isinstance(written, list) else []
    if len(names) > limits.max_stages:
        found.problems.append(
            place.at("stages").error(
                f"{len(names)} stages; engine.limits.max_stages allows {limits.max_stages}"
            )
        )
    for index, name in enumerate(names):
        if name is not None and name in names[:index]:
            first = place.at("stages", names.index(name), "name")
            found.problems.append(
                place.at("stages", index, "name").error(
                    f'"{name}" is already the name of the stage at line '
                    f"{first.source.line(first.path)}; names are unique in a workflow"
                )
            )
    for index, stage in stages.items():
        here = place.at("stages", index)
        found.problems += _saga_problems(here, stage)
        found.problems += _gate_problems(here, stage)
        found.problems += _template_problems(here, stage, names, index)
        if stage.max_parallel > 1 and not stage.parallel:
            found.warnings.append(
                here.at("max_parallel").error("has no effect without parallel = true")
            )
    return found


def _names(stages: list[object]) -> list[str | None]:
    names = [stage.get("name") if isinstance(stage, dict) else None for stage in stages]
    return [name if isinstance(name, str) else None for name in names]


def _saga_problems(here: Place, stage: StageModel) -> Iterator[DefinitionError]:
    if stage.classification == "read_only" and stage.has_compensation:
        yield here.at("classification").error(
            "a read_only stage is never undone; leave out its compensation, or the classification"
        )
    if stage.classification == "compensatable" and not stage.has_compensation:
        yield here.at("classification").error(
            'a compensatable stage needs a compensation; write compensation_agents = ["role"]'
        )


def _gate_problems(here: Place, stage: StageModel) -> Iterator[DefinitionError]:
    if stage.approval is None:
        return
    if stage.approval_required is None:
        yield here.at("approval").error(
            "nothing asks for this approval; write approval_required = true (or false)"
        )
    if has_expression(stage.approval.prompt):
        yield here.at("approval", "prompt").error("expressions are not built here yet; write text")


def _template_problems(
    here: Place, stage: StageModel, names: list[str | None], index: int
) -> Iterator[DefinitionError]:
    known = [name for name in names if name is not None]
    earlier = [name for name in names[:index] if name is not None]
    yield from _check_table(here.at("input"), stage.input, VisibleStages(earlier, known))
    if stage.compensation is not None:
        visible = VisibleStages([*earlier, stage.name], known)
        yield from _check_table(here.at("compensation", "input"), stage.compensation.input, visible)


def _check_table(place: Place, value: object, stages: VisibleStages) -> Iterator[DefinitionError]:
    for key in keys_with_expressions(value):
        yield place.error(f'the key "{key}" is not evaluated; write expressions as values')
    for path, text in texts_of(value):
        here = place.at(*path)
        try:
            compile_value(text, "")
        except TemplateError as error:
            yield here.error(f"{error} in {_shown(text)}")
            continue
        for problem in check_names(text, stages):
            yield here.error(f"{problem}, in {_shown(text)}")


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
