"""JSON Schema with a bound: what the check of one value may cost is counted before it is spent.

Schemas are the operator's own, values come from anywhere. The validators of jsonschema walk a value
without end where a schema branches and refers to itself, compare every element with every other,
and search long texts with patterns whose time grows with the square of their length.
"""

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

#: Keywords applied to values, and comparisons; some five microseconds each.
MAX_CHECKS: Final = 100_000
#: Longest text, and longest key, that is held against a pattern or a format.
MAX_MATCHED: Final = 4_096

#: Elements, characters or names that are looked at in the time of one check.
_LIGHT: Final = 64

_Check = Callable[[Any, Any, Any, Any], Any]

#: Keywords that look at everything in their value.
_BY_VALUE: Final = frozenset(
    {"dependentRequired", "dependentSchemas", "enum", "properties", "required"}
)
#: They look at every element, or at none.
_WALKING: Final = frozenset({"contains", "items"})
#: They look up another schema, or gather what is wrong in each of several.
_REFERRING: Final = frozenset({"$dynamicRef", "$ref", "anyOf", "oneOf"})
_MATCHING: Final = frozenset({"format", "pattern"})
_MATCHING_KEYS: Final = frozenset({"additionalProperties", "patternProperties"})


class TooMuchError(Exception):
    """The check would take too long; the text says what is too large."""


class _Budget:
    __slots__ = ("_left", "_weights")

    def __init__(self) -> None:
        self._left = MAX_CHECKS
        #: By identity: what is checked lives as long as the check.
        self._weights: dict[int, int] = {}

    def charge(self, checks: int) -> None:
        self._left -= checks
        if self._left < 0:
            raise TooMuchError(
                f"takes more than {MAX_CHECKS:,} checks against its schema; make it smaller"
            )

    def require(self, checks: int) -> None:
        """Refuse at once what will be charged in time."""
        if checks > self._left:
            self.charge(checks)

    def weight(self, value: Any) -> int:
        """About how long it takes to compare or to print ``value``, in checks."""
        if isinstance(value, str):
            return len(value) // _LIGHT
        if not isinstance(value, list | dict):
            return 0
        return self._nodes(value) // _LIGHT

    def _nodes(self, value: list[Any] | dict[str, Any]) -> int:
        if id(value) not in self._weights:
            items = value.values() if isinstance(value, dict) else value
            self._weights[id(value)] = len(value) + sum(
                self._nodes(item) if isinstance(item, list | dict) else self.weight(item)
                for item in items
            )
        return self._weights[id(value)]


_BUDGET: Final[ContextVar[_Budget]] = ContextVar("_BUDGET")


def errors_of(validator: Draft202012Validator, value: Any) -> Iterator[ValidationError]:
    """The errors of ``value``, found as they are asked for, with a budget for all of them.

    Raises:
        TooMuchError: it is used up.
    """
    token = _BUDGET.set(_Budget())
    try:
        yield from validator.iter_errors(value)
    finally:
        _BUDGET.reset(token)


def _counted(keyword: str, check: _Check) -> _Check:
    def counted(validator: Any, wanted: Any, instance: Any, schema: Any) -> Any:
        budget = _BUDGET.get()
        # An error prints the whole value.
        weight = budget.weight(instance)
        budget.charge(1 + weight + _price(keyword, wanted, instance, schema) * (1 + weight))
        if keyword in _WALKING and isinstance(instance, list | dict):
            budget.require(len(instance))
        return check(validator, wanted, instance, schema)

    return counted


def _price(keyword: str, wanted: Any, instance: Any, schema: Any) -> int:
    """What grows with the keyword's value, or with the elements that it looks at."""
    if keyword in _MATCHING:
        _check_matched(instance)
    elif keyword in _MATCHING_KEYS and isinstance(instance, dict):
        patterns = wanted if keyword == "patternProperties" else schema.get("patternProperties", ())
        for key in instance if patterns else ():
            _check_matched(key)
        return len(instance) * len(patterns)
    elif keyword in _BY_VALUE:
        return len(wanted) // _LIGHT
    elif keyword in _REFERRING:
        return 2
    return 0


def _check_matched(text: Any) -> None:
    if isinstance(text, str) and len(text) > MAX_MATCHED:
        raise TooMuchError(
            f"a text of {len(text):,} characters, and a pattern or format is asked for; "
            f"at most {MAX_MATCHED:,}"
        )


def _unique(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """``uniqueItems`` in one walk: jsonschema compares tables each with each other one."""
    if not wanted or not isinstance(instance, list):
        return
    seen: set[bytes] = set()
    for item in instance:
        text = orjson.dumps(_comparable(item), option=orjson.OPT_SORT_KEYS)
        if text in seen:
            yield ValidationError(f"{item!r} is there more than once")
            return
        seen.add(text)


def _comparable(value: Any) -> Any:
    """``value`` with numbers that are equal written in one way: 1.0 is 1."""
    match value:
        case float() if value.is_integer():
            return int(value) if abs(value) < 2**53 else value
        case Mapping():
            return {key: _comparable(item) for key, item in value.items()}
        case list():
            return [_comparable(item) for item in value]
        case _:
            return value


BoundedValidator: Final = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        keyword: _counted(keyword, _unique if keyword == "uniqueItems" else check)
        for keyword, check in Draft202012Validator.VALIDATORS.items()
    },
)
