"""Filters of our own, and some of Jinja's done otherwise: nothing is made before it is measured."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

import orjson
from jinja2 import Undefined, pass_context
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.utils import url_quote

from sagabus.definitions.template_budget import ELEMENT, budget_of, check_length
from sagabus.definitions.template_values import json_text, text_of


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Jinja's ``default``, which replaces null too."""
    is_absent = isinstance(value, Undefined) or value is None or (boolean and not value)
    return default_value if is_absent else value


@pass_context
def _append(context: Context, value: Any, end: Any) -> Any:
    """A text with ``end`` behind it; a list with one more element."""
    if isinstance(value, list):
        return [*value, end]
    return _added(context, value, end)


@pass_context
def _prepend(context: Context, value: Any, begin: Any) -> Any:
    """A text with ``begin`` before it; a list with one more element."""
    if isinstance(value, list):
        return [begin, *value]
    return _added(context, begin, value)


def _added(context: Context, left: Any, right: Any) -> str:
    budget = budget_of(context)
    first, second = text_of(left, budget), text_of(right, budget)
    check_length(len(first) + len(second))
    budget.charge(len(first) + len(second))
    return first + second


def _filter(value: Any, **wanted: Any) -> list[Any]:
    """The tables of a list whose keys have these values."""
    if not wanted:
        raise ValueError("filter needs what to look for; write filter(key=value)")
    return [
        item
        for item in value
        if isinstance(item, Mapping)
        and all(key in item and item[key] == right for key, right in wanted.items())
    ]


def _batch(
    value: Iterable[Any],
    linecount: int | None = None,
    fill_with: Any = None,
    *,
    size: int | None = None,
) -> list[list[Any]]:
    """Lists of ``size`` elements each, but for the last; ``fill_with`` fills that up."""
    wanted = linecount if size is None else size
    if not isinstance(wanted, int) or wanted < 1:
        raise ValueError("batch needs a size of at least 1; write batch(size=10)")
    items = iter(value)
    batches = list(iter(lambda: list(islice(items, wanted)), []))
    if batches and fill_with is not None:
        missing = wanted - len(batches[-1])
        check_length(missing)
        batches[-1] += [fill_with] * missing
    return batches


@pass_context
def _from_json(context: Context, value: Any) -> Any:
    """The value that a JSON text stands for."""
    if not isinstance(value, str):
        raise TypeError(f"from_json reads text, and this is {type(value).__name__} already")
    budget_of(context).charge(4 * len(value))
    return orjson.loads(value)


@pass_context
def _to_json(context: Context, value: Any) -> str:
    return json_text(value, budget_of(context))


@pass_context
def _string(context: Context, value: Any) -> str:
    return text_of(value, budget_of(context))


@pass_context
def _sum(
    context: Context, value: Iterable[Any], attribute: str | int | None = None, start: Any = 0
) -> Any:
    """Jinja's ``sum``, of numbers alone: one of lists takes the square of their number."""
    getter = make_attrgetter(context.environment, attribute)
    numbers = [start, *map(getter, value)]
    for number in numbers:
        if not isinstance(number, int | float):
            raise TypeError(f"sum adds numbers, and this is {type(number).__name__}")
    return sum(numbers)


@pass_context
def _urlencode(context: Context, value: Any) -> str:
    """Jinja's ``urlencode``: of a text, or of a table as a query."""
    budget = budget_of(context)
    pairs = value.items() if isinstance(value, Mapping) else [("", value)]
    texts = [(text_of(key, budget), text_of(each, budget)) for key, each in pairs]
    length = sum(len(key) + len(each) for key, each in texts)
    check_length(3 * length)
    budget.charge(ELEMENT * len(texts) + 20 * length)
    if not isinstance(value, Mapping):
        return url_quote(texts[0][1])
    quoted = ((url_quote(key, for_qs=True), url_quote(each, for_qs=True)) for key, each in texts)
    return "&".join(f"{key}={each}" for key, each in quoted)


@pass_context
def _indent(
    context: Context,
    value: Any,
    width: int | str = 4,
    first: bool = False,
    blank: bool = False,
) -> str:
    """Jinja's ``indent``, its length known before it is made."""
    margin = width if isinstance(width, str) else " " * width
    lines = text_of(value, budget_of(context)).splitlines()
    check_length(sum(map(len, lines)) + len(lines) * (1 + len(margin)))
    return "\n".join(
        margin + line if (first if index == 0 else blank or line) else line
        for index, line in enumerate(lines)
    )


@pass_context
def replace(context: Context, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Jinja's ``replace``, its length known before it is made."""
    budget = budget_of(context)
    text, old, new = text_of(value, budget), text_of(old, budget), text_of(new, budget)
    budget.charge(len(text) * 2)
    found = text.count(old)
    times = found if count is None or count < 0 else min(count, found)
    length = len(text) + times * max(0, len(new) - len(old))
    check_length(length)
    budget.charge(length + times)
    return text.replace(old, new, times)


@pass_context
def join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> str:
    """Jinja's ``join``, its length known before it is made."""
    budget = budget_of(context)
    getter = make_attrgetter(context.environment, attribute)
    texts = [text_of(getter(item), budget) for item in budget.counted(value, ELEMENT)]
    separator = text_of(d, budget)
    length = sum(map(len, texts)) + len(separator) * len(texts)
    check_length(length)
    budget.charge(length)
    return separator.join(texts)


OWN_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "append": _append,
    "batch": _batch,
    "d": _default,
    "default": _default,
    "filter": _filter,
    "from_json": _from_json,
    "indent": _indent,
    "join": join,
    "prepend": _prepend,
    "replace": replace,
    "string": _string,
    "sum": _sum,
    "to_json": _to_json,
    "tojson": _to_json,
    "urlencode": _urlencode,
}
