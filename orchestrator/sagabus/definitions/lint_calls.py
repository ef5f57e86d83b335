"""What a stage hands to a sub-workflow or to an action that says what it takes."""

from collections.abc import Iterator
from typing import Any

from sagabus.core.definition import Definition
from sagabus.definitions.actions import Carrier
from sagabus.definitions.findings import Findings, Located, Subject
from sagabus.definitions.json_schema import Schema
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.parameters import Parameters
from sagabus.definitions.template_names import texts_of


def lint_calls(subject: Subject, found: Findings) -> None:
    """Check inputs, as far as they are known before anything runs."""
    for located in subject.located:
        carrier = subject.carriers.get(located.stage.name)
        if carrier is None or located.stage.input is None:
            # Without `input` it gets the parameters, whatever they are.
            continue
        child = subject.children.get(carrier.workflow or "")
        for key, problem in _problems(located, carrier, child):
            place = located.place.at("input")
            found.add(place.at(key) if key in located.stage.input else place, problem)


def _problems(
    located: Located, carrier: Carrier, child: Definition | None
) -> Iterator[tuple[str, str]]:
    given: dict[str, Any] = located.stage.input or {}
    if child is not None and isinstance(child.parameters, Parameters):
        yield from _parameter_problems(given, child.parameters)
    elif carrier.input_schema is not None:
        yield from _schema_problems(given, carrier)


def _parameter_problems(given: dict[str, Any], declared: Parameters) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if name not in declared.table:
            yield name, declared.unknown(name)
        elif _is_constant(value):
            for problem in declared.problems(name, value):
                yield name, problem
    for name in declared.required:
        if name not in given:
            yield name, f"parameter `{name}` is missing"


def _schema_problems(given: dict[str, Any], carrier: Carrier) -> Iterator[tuple[str, str]]:
    schema = carrier.input_schema or {}
    properties = schema.get("properties", {})
    if schema.get("additionalProperties") is False and (unknown := given.keys() - properties):
        for name in sorted(unknown):
            hint = did_you_mean(name, properties) or f"; it takes {', '.join(properties) or 'none'}"
            yield name, f"the action has no parameter `{name}`{hint}"
    elif _is_constant(given):
        for problem in Schema(schema).problems(given):
            yield "", f"does not fit the action: {problem}"
        return
    for name in schema.get("required", ()):
        if name not in given:
            yield "", f"does not fit the action: `{name}` is missing"


def _is_constant(value: Any) -> bool:
    return next(texts_of(value), None) is None
