"""JSON Schema (draft 2020-12): values checked against it, and what it is checked for itself.

A schema is the operator's own text: it may refer to itself, and never to anything outside, which
would be fetched. Validators are made once, with the definition.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.schema_budget import BoundedValidator, TooMuchError, errors_of
from sagabus.definitions.shown import shown

TYPES: Final = ("string", "integer", "number", "boolean", "array", "object", "null")
#: Problems of one value that are worth telling.
MAX_PROBLEMS: Final = 20
_REFERENCES: Final = ("$ref", "$dynamicRef")
#: Under these, keys are names or data and no keywords.
_NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
_DATA: Final = frozenset({"const", "default", "enum", "examples"})
_WORDS: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "null",
}

SchemaPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """A compiled schema; see ``core.definition.JsonSchema``."""

    document: Mapping[str, Any]
    #: Problems never show the value.
    is_secret: bool = False
    _validator: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A registry of its own knows nothing and fetches nothing.
        validator = BoundedValidator(
            dict(self.document),
            registry=Registry(),
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        object.__setattr__(self, "_validator", validator)

    def problems(self, value: Any) -> list[str]:
        """Everything that is wrong with ``value``, a sentence each, ``MAX_PROBLEMS`` at most."""
        try:
            errors = list(islice(errors_of(self._validator, value), MAX_PROBLEMS))
        except TooMuchError as error:
            return [str(error)]
        except RecursionError:
            return ["the schema refers to itself without end, or the value is nested too deeply"]
        except (Unresolvable, re.error) as error:
            return [f"the schema itself cannot be used: {error}"]
        return [sentence for error in errors for sentence in _sentences(error, self.is_secret)]


def schema_problems(schema: Any) -> Iterator[tuple[SchemaPath, str]]:
    """What is wrong with ``schema`` itself: where in it, and a sentence."""
    if not isinstance(schema, dict):
        yield (), "does not fit; write a JSON Schema, a table"
        return
    try:
        if broken := list(_broken(schema)):
            yield from broken
        else:
            yield from _doubtful_keywords(schema)
    except RecursionError:
        yield (), "is nested too deeply"


def _broken(schema: dict[str, Any]) -> Iterator[tuple[SchemaPath, str]]:
    """Every word that is no type; else the first other thing that keeps it from being used."""
    are_known = True
    for path, keyword, value in _keywords(schema):
        named = value if isinstance(value, list) else [value]
        if keyword == "type" and (wrong := [one for one in named if one not in TYPES]):
            are_known = False
            hint = did_you_mean(str(wrong[0]), TYPES) or f"; there are {', '.join(TYPES)}"
            yield (*path, keyword), f"{wrong[0]!r} is not a type{hint}"
    try:
        if are_known:
            Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        yield tuple(error.absolute_path), f"not valid JSON Schema: {_cut(error.message)}"
    except OverflowError as error:  # a repetition in a pattern
        yield (), f"not valid JSON Schema: {error}"


def _doubtful_keywords(schema: dict[str, Any]) -> Iterator[tuple[SchemaPath, str]]:
    """What the schema of schemas does not look at: references and patterns."""
    resource: Resource[Any] = DRAFT202012.create_resource(schema)
    resolver = Registry().with_resource("", resource).resolver()
    for path, keyword, value in _keywords(schema):
        here = (*path, keyword)
        if keyword in _REFERENCES:
            if not str(value).startswith("#"):
                yield here, f"{value!r} stands outside the schema, and nothing is fetched"
                continue
            try:
                resolver.lookup(value)
            except Unresolvable:
                yield here, f"{value!r} names nothing in the schema"
        elif keyword == "$id":
            yield here, "a schema here has no address of its own; leave it out"
        elif keyword in {"pattern", "patternProperties"}:
            for pattern in [value] if isinstance(value, str) else list(value):
                if problem := _pattern_problem(pattern):
                    yield here, f"{pattern!r} is not a pattern: {problem}"


def _pattern_problem(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        return str(error)
    return None


def _keywords(schema: Any, path: SchemaPath = ()) -> Iterator[tuple[SchemaPath, str, Any]]:
    """Every keyword of ``schema`` and of the schemas in it, with the place of its schema."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _keywords(item, (*path, index))
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        yield path, key, value
        if key in _NAMED and isinstance(value, dict):
            for name, inner in value.items():
                yield from _keywords(inner, (*path, key, name))
        elif key not in _DATA:
            yield from _keywords(value, (*path, key))


def _sentences(error: ValidationError, is_secret: bool) -> Iterator[str]:
    where = ".".join(str(part) for part in error.absolute_path)
    text = _text(error, is_secret)
    yield f"`{where}`: {text}" if where else text


def _text(error: ValidationError, is_secret: bool) -> str:
    given = "the value" if is_secret else shown(error.instance)
    wanted: Any = error.validator_value
    match error.validator:
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return f"{given} does not fit; write {_either([_WORDS[kind] for kind in kinds])}"
        case "enum":
            return f"{given} is none of {_either([shown(one) for one in wanted])}"
        case "required":
            # One error per name, and only the message tells which.
            named = (name for name in wanted if error.message.startswith(f"{name!r} "))
            return f"`{next(named, '?')}` is missing"
        case "additionalProperties":
            return _unknown_properties(error)
        case "minimum":
            return f"{given} is too small; at least {wanted}"
        case "maximum":
            return f"{given} is too large; at most {wanted}"
        case "pattern":
            return f"{given} does not match the pattern {wanted}"
        case _ if is_secret:
            return f"the value does not fit its `{error.validator}`"
        case _:
            return _cut(error.message)


def _unknown_properties(error: ValidationError) -> str:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    given: Any = error.instance
    known = list(schema.get("properties", {}))
    unknown = [name for name in given if name not in known]
    if len(unknown) == 1:
        return f"`{unknown[0]}` is unknown{did_you_mean(unknown[0], known) or _there_are(known)}"
    return f"{', '.join(f'`{name}`' for name in unknown[:8])} are unknown{_there_are(known)}"


def _there_are(known: Sequence[str]) -> str:
    return f"; there are {', '.join(known)}" if known else "; there are none"


def _either(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _cut(text: str, length: int = 200) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
