"""The parameters of a workflow: what they must be, and what stands where none is given."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from sagabus.definitions.json_schema import MAX_PROBLEMS, Schema, SchemaPath, schema_problems
from sagabus.definitions.keys import did_you_mean

#: Longest name that a message shows whole.
_MAX_NAME: Final = 200
#: Keywords of one parameter that JSON Schema does not have.
_OWN: Final = ("required", "secret")
#: Keywords of JSON Schema (draft 2020-12), its core, validation, annotation and content parts.
_KEYWORDS: Final = frozenset(
    {"type", "enum", "const", "default", "description", "title", "examples", "deprecated"}
    | {"readOnly", "writeOnly", "format", "pattern", "minLength", "maxLength", "minimum"}
    | {"maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "items", "prefixItems"}
    | {"contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems"}
    | {"properties", "patternProperties", "additionalProperties", "propertyNames"}
    | {"minProperties", "maxProperties", "dependentRequired", "dependentSchemas"}
    | {"unevaluatedItems", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "not", "if"}
    | {"then", "else", "contentEncoding", "contentMediaType", "contentSchema"}
    | {"$ref", "$defs", "$comment", "$schema", "$anchor"}
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters that a workflow declares; see ``core.definition.ParameterSchema``."""

    #: By name: keywords of JSON Schema, and ``required`` (true, false) and ``secret``.
    table: Mapping[str, Mapping[str, Any]]
    _schemas: Mapping[str, Schema] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        schemas = {
            name: Schema(_json_schema(declared), is_secret=declared.get("secret") is True)
            for name, declared in self.table.items()
        }
        object.__setattr__(self, "_schemas", schemas)

    @property
    def required(self) -> tuple[str, ...]:
        """Names that a caller has to give."""
        return tuple(
            name
            for name, declared in self.table.items()
            if declared.get("required") is True and "default" not in declared
        )

    @property
    def secret(self) -> frozenset[str]:
        """Names whose values are not to be shown."""
        return frozenset(name for name, schema in self._schemas.items() if schema.is_secret)

    def complete(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """``values`` with every default filled in, and all that is wrong with them."""
        problems = self._unknown_among(values)
        completed = dict(values)
        for name, declared in self.table.items():
            if name in values:
                problems += self.problems(name, values[name])
            elif "default" in declared:
                completed[name] = deepcopy(declared["default"])
            elif declared.get("required") is True:
                problems.append(f"parameter `{name}` is missing")
        return completed, problems

    def _unknown_among(self, names: Iterable[str]) -> list[str]:
        unknown = [name for name in names if name not in self.table]
        problems = [self.unknown(name) for name in unknown[:MAX_PROBLEMS]]
        if len(unknown) > MAX_PROBLEMS:
            problems.append(f"{len(unknown) - MAX_PROBLEMS} more parameters are unknown")
        return problems

    def problems(self, name: str, value: Any) -> list[str]:
        """What is wrong with ``value`` as the declared parameter ``name``."""
        found = self._schemas[name].problems(value)
        return [f"parameter `{name}`: {problem}" for problem in found]

    def unknown(self, name: str) -> str:
        """What to say of a parameter that is not declared."""
        if len(name) > _MAX_NAME:
            return f"parameter `{name[:_MAX_NAME]}...` is unknown: its name is too long"
        known = ", ".join(self.table) or "none"
        return (
            f"parameter `{name}` is unknown{did_you_mean(name, self.table) or '; known: ' + known}"
        )


def parameter_problems(name: str, declared: Mapping[str, Any]) -> Iterator[tuple[SchemaPath, str]]:
    """What is wrong with the declaration of one parameter: where in it, and a sentence."""
    for key in declared:
        if key not in _KEYWORDS and key not in _OWN and not key.startswith("x-"):
            hint = did_you_mean(key, [*_KEYWORDS, *_OWN])
            yield (key,), f"is no keyword of a parameter{hint or '; leave it out'}"
    for key in _OWN:
        value = declared.get(key, False)
        # A list is JSON Schema's own keyword: what a table as the value must have.
        if not isinstance(value, bool) and not (key == "required" and isinstance(value, list)):
            yield (key,), f"{value!r} does not fit; write true or false"
    found = list(schema_problems(_json_schema(declared)))
    yield from found
    if not found and "default" in declared:
        schema = Schema(_json_schema(declared), is_secret=declared.get("secret") is True)
        for problem in schema.problems(declared["default"]):
            yield ("default",), f"does not fit parameter `{name}` itself: {problem}"


def object_schema(
    parameters: Mapping[str, Mapping[str, Any]], *, allows_more: bool
) -> dict[str, Any]:
    """JSON Schema of a table that holds ``parameters``, and others where it ``allows_more``."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _json_schema(declared) for name, declared in parameters.items()},
        "required": list(Parameters(parameters).required),
    }
    return schema if allows_more else schema | {"additionalProperties": False}


def _json_schema(declared: Mapping[str, Any]) -> dict[str, Any]:
    """``declared`` without what is not JSON Schema."""
    schema = {key: value for key, value in declared.items() if key != "secret"}
    if not isinstance(schema.get("required", []), list):
        del schema["required"]
    return schema
