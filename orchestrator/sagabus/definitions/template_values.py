"""What expressions give: plain JSON data or text, paid for as it is made."""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

import orjson
from jinja2 import StrictUndefined, Undefined

from sagabus.definitions.template_budget import MAX_LENGTH, NODE, Budget, CostError
from sagabus.definitions.template_secrets import Secret

_MAX_INTEGER: Final = 2**63 - 1


class Missing(StrictUndefined):
    """A name or key that is not there: an error wherever its value is used.

    What is below it is missing too, so that ``a.b.c | default(1)`` works whichever part is absent.
    """

    __slots__ = ("method",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The table's method of that name: ``x.items`` is a key, ``x.items()`` the method.
        self.method: Callable[..., Any] | None = None

    @property
    def _undefined_message(self) -> str:
        table = self._undefined_obj
        if not isinstance(table, Mapping):
            return super()._undefined_message
        known = ", ".join(sorted(short(name) for name in islice(table, 8)))
        missing = f"there is no `{short(self._undefined_name)}`"
        return f"{missing}, only {known}" if known else f"{missing}: the table is empty"


def short(value: Any) -> str:
    """A name or key as a message shows it."""
    text = str(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def text_of(value: Any, budget: Budget) -> str:
    """``value`` inside text: lists, tables, booleans and numbers as JSON.

    Raises:
        UndefinedError: it is missing.
        ValueError: it is null.
    """
    if type(value) is str:
        return value
    if isinstance(value, str | Undefined):
        return str(value)
    if value is None:
        raise ValueError("the value is null, and null has no text; use default(...)")
    return json_text(value, budget)


def json_text(value: Any, budget: Budget) -> str:
    """``value`` as JSON text."""
    text = orjson.dumps(json_of(value, budget)).decode()
    budget.charge(len(text) // 4)
    return text


def json_of(value: Any, budget: Budget, *, keeps_secrets: bool = False) -> Any:
    """``value`` as plain JSON data; what Jinja makes lazily is drawn.

    Raises:
        UndefinedError: it is, or holds, something missing.
        TypeError: it is nothing that JSON has.
        SecretError: it holds a secret, and ``keeps_secrets`` is false.
        CostError: it is too large.
    """
    return _Walk(budget, keeps_secrets).any(value)


class _Walk:
    __slots__ = ("_budget", "_keeps_secrets", "_left")

    def __init__(self, budget: Budget, keeps_secrets: bool) -> None:
        self._budget = budget
        self._keeps_secrets = keeps_secrets
        self._left = MAX_LENGTH

    def any(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            self._spend(len(value))
            return value
        if kind is int and -_MAX_INTEGER <= value <= _MAX_INTEGER:
            return value
        if kind is list or kind is tuple:
            self._begin(len(value), NODE)
            return [self.any(item) for item in value]
        if kind is dict:
            self._begin(len(value), 2 * NODE)
            return {self._key(key): self.any(item) for key, item in value.items()}
        if value is None or kind is bool:
            return value
        return self._other(value)

    def _other(self, value: Any) -> Any:
        if type(value) is Secret:
            return value if self._keeps_secrets else str(value)
        if isinstance(value, Mapping):
            self._begin(len(value), 2 * NODE)
            return {self._key(key): self.any(item) for key, item in value.items()}
        if isinstance(value, str | Undefined):  # markup too
            return self.any(str(value))
        if isinstance(value, Iterable):
            return self.any(list(self._budget.counted(value, NODE)))
        if isinstance(value, int | float):
            return _number(value)
        name = getattr(value, "__name__", type(value).__name__)
        what = "is a function; call it with ()" if callable(value) else "is not JSON"
        raise TypeError(f"{name} {what}")

    def _begin(self, size: int, units: int) -> None:
        # Paid before it is looked at: a list may hold the same large one many times.
        self._budget.charge(3 * NODE + size * units)
        self._spend(1 + size)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise CostError(f"more than {MAX_LENGTH:,} characters and values")

    def _key(self, key: Any) -> str:
        text = key if type(key) is str else text_of(key, self._budget)
        self._spend(len(text))
        return text


def _number(value: float) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number that JSON has")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise CostError("a number of more than 64 bits")
    return value
