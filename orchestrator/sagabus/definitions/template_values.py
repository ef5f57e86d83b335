"""What expressions give: plain JSON data or text, and never more than a template may cost."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from jinja2 import StrictUndefined, Undefined

#: Longest text or list that an expression may make in one step; also characters and values in all.
MAX_LENGTH: Final = 1_000_000
MAX_INTEGER_BITS: Final = 4_096


class CostError(Exception):
    """An expression asks for more than a template may cost."""


class Missing(StrictUndefined):
    """A name or key that is not there: an error wherever its value is used.

    What is below it is missing too, so that ``a.b.c | default(1)`` works whichever part is absent.
    """

    __slots__ = ("method",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The table's method of that name: ``x.items`` is a key, ``x.items()`` the method.
        self.method: Callable[..., Any] | None = None


def text_of(value: Any) -> str:
    """``value`` inside text: lists, tables, booleans and numbers as JSON.

    Raises:
        UndefinedError: it is missing.
        ValueError: it is null.
    """
    if isinstance(value, str | Undefined):
        return str(value)
    if value is None:
        raise ValueError("the value is null, and null has no text; use default(...)")
    return json_text(value)


def json_text(value: Any) -> str:
    """``value`` as JSON text."""
    return orjson.dumps(json_of(value)).decode()


def json_of(value: Any) -> Any:
    """``value`` as plain JSON data; what Jinja makes lazily is drawn.

    Raises:
        UndefinedError: it is, or holds, something missing.
        TypeError: it is nothing that JSON has.
        CostError: it is too large.
    """
    return _Walk().any(value)


def check_length(length: int) -> None:
    """Refuse a text or list of more than ``MAX_LENGTH`` elements."""
    if length > MAX_LENGTH:
        raise CostError(f"a text or list of {length:,} elements; at most {MAX_LENGTH:,}")


def check_product(left: Any, right: Any) -> None:
    """Refuse a repetition or product that is too large, before it is made."""
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int):
            check_length(len(value) * times)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def check_power(base: Any, exponent: Any) -> None:
    """Refuse a power that is too large, before it is made."""
    if isinstance(base, int) and isinstance(exponent, int):
        _check_bits(base.bit_length() * exponent)


def _check_bits(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise CostError(f"a number of about {bits:,} bits; at most {MAX_INTEGER_BITS:,}")


class _Walk:
    def __init__(self) -> None:
        self._left = MAX_LENGTH

    def any(self, value: Any) -> Any:
        self._left -= 1 + (len(value) if isinstance(value, str) else 0)
        if self._left < 0:
            raise CostError(f"more than {MAX_LENGTH:,} characters and values")
        if value is None or isinstance(value, bool | int | float):
            return self._scalar(value)
        if isinstance(value, str | Undefined):  # markup too
            return str(value)
        if isinstance(value, Mapping):
            return {text_of(key): self.any(item) for key, item in value.items()}
        if isinstance(value, Iterable):
            return [self.any(item) for item in value]
        name = getattr(value, "__name__", type(value).__name__)
        what = "is a function; call it with ()" if callable(value) else "is not JSON"
        raise TypeError(f"{name} {what}")

    @staticmethod
    def _scalar(value: float | None) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is not a number that JSON has")
        if isinstance(value, int) and value.bit_length() > 63:
            raise CostError("a number of more than 64 bits")
        return value
