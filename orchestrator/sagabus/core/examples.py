"""Values that fit a JSON Schema: people see by them what is asked."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sagabus.core.definition import JsonSchema

#: Values in one example; schemas may refer to themselves.
_MAX_VALUES: Final = 200
_MAX_LENGTH: Final = 200
_TEXTS: Final = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "ann@example.org",
    "hostname": "host.example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example_of(form: JsonSchema | None) -> Any:
    """A value that ``form`` accepts; None where there is no form, or none was found."""
    if form is None:
        return None
    try:
        value = _Maker(form.document).value(form.document)
    except (_TooLargeError, OverflowError, ValueError):  # of numbers beyond what floats hold
        return None
    return None if form.problems(value) else value


def argument_of(form: JsonSchema | None) -> str:
    """What stands behind ``--data`` in a shell: an example that fits, else ``JSON``."""
    example = example_of(form)
    return "JSON" if example is None else shlex.quote(orjson.dumps(example).decode())


class _TooLargeError(Exception):
    """The example has too many values."""


class _Maker:
    """Makes one value. Most keywords are obeyed; whether all were, the validator says after."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._left = _MAX_VALUES

    def value(self, schema: Any) -> Any:
        schema = self._flat(schema)
        for keyword in ("const", "default"):
            if keyword in schema:
                return schema[keyword]
        for keyword in ("examples", "enum"):
            if schema.get(keyword):
                return schema[keyword][0]
        return self._made(schema)

    def _made(self, schema: Mapping[str, Any]) -> Any:
        match _type_of(schema):
            case "object":
                properties = schema.get("properties", {})
                names = schema.get("required") or properties
                return {name: self.value(properties.get(name)) for name in names}
            case "array":
                items = schema.get("prefixItems", [])
                more = int(schema.get("minItems", 1)) - len(items)
                items = [*items, *[schema.get("items")] * min(more, _MAX_VALUES)]
                return [self.value(each) for each in items]
            case "integer":
                return int(_number(schema))
            case "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return _text(schema)

    def _flat(self, schema: Any) -> Mapping[str, Any]:
        """With what it refers to, all that has to hold, and the first of what may."""
        self._left -= 1
        if self._left < 0:
            raise _TooLargeError
        flat: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        if reference := flat.get("$ref"):
            rest = {keyword: value for keyword, value in flat.items() if keyword != "$ref"}
            flat = _joined(self._lookup(reference), rest)
        alternatives = (flat[name][0] for name in ("anyOf", "oneOf") if name in flat)
        for part in [*flat.get("allOf", ()), *alternatives]:
            flat = _joined(flat, self._flat(part))
        return flat

    def _lookup(self, reference: str) -> Mapping[str, Any]:
        found: Any = self._document
        for part in reference.split("/")[1:]:
            found = found.get(part) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}


def _joined(schema: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    properties = {**schema.get("properties", {}), **part.get("properties", {})}
    required = [*schema.get("required", ()), *part.get("required", ())]
    return {**schema, **part, "properties": properties, "required": required}


def _type_of(schema: Mapping[str, Any]) -> str:
    named = schema.get("type")
    if named is None:
        return "object" if schema.get("properties") or schema.get("required") else "string"
    return str(named[0] if isinstance(named, list) else named)


def _text(schema: Mapping[str, Any]) -> str:
    text = _TEXTS.get(schema.get("format", ""), "TEXT")
    text = text.ljust(min(int(schema.get("minLength", 0)), _MAX_LENGTH), "-")
    return text[: int(schema.get("maxLength", _MAX_LENGTH))]


def _number(schema: Mapping[str, Any]) -> float:
    highest: float = min(1, schema.get("maximum", 1), schema.get("exclusiveMaximum", 2) - 1)
    number: float = schema.get("minimum", schema.get("exclusiveMinimum", highest - 1) + 1)
    step: float = schema.get("multipleOf", 0)
    return step * -(-number // step) if step else number  # rounded up to the next multiple
