"""Jinja's filters and tests, each paid for before it works.

Dropped are those that draw at random, show Python's own notation, make HTML, or cost without bound.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import wraps
from inspect import signature
from typing import Any, Final

from jinja2 import Undefined, pass_context
from jinja2.filters import make_multi_attrgetter
from jinja2.runtime import Context
from jinja2.utils import _PassArg

from sagabus.definitions.template_budget import (
    CALL,
    ELEMENT,
    NODE,
    budget_of,
    check_length,
    check_measures,
    check_size,
)
from sagabus.definitions.template_filters import OWN_FILTERS
from sagabus.definitions.template_secrets import Secret, parts_of, refuse_secrets
from sagabus.definitions.template_values import text_of

Function = Callable[..., Any]

#: Inserted when a template is compiled, under names that no author writes.
COUNTED: Final = " counted"
JOINED: Final = " joined"
SLICED: Final = " sliced"
WEIGHED: Final = " weighed"

DROPPED_FILTERS: Final = frozenset(
    {"attr", "escape", "e", "forceescape", "format", "pprint", "random", "safe", "striptags"}
    | {"urlize", "xmlattr"}
)
#: They look at no element, or pay by themselves.
_FREE: Final = frozenset(
    {"append", "count", "d", "default", "first", "from_json", "indent", "items", "join", "last"}
    | {"length", "prepend", "replace", "string", "to_json", "tojson", "urlencode"}
)
#: They work on text, whatever they are given: units per character.
_TEXT: Final[Mapping[str, int]] = {
    "capitalize": 1,
    "center": 1,
    "lower": 1,
    "title": 30,
    "trim": 3,
    "truncate": 1,
    "upper": 1,
    "wordcount": 10,
    "wordwrap": 100,
}
#: They compare elements with each other, by an attribute that is the argument of this number.
_COMPARING: Final[Mapping[str, int]] = {
    "dictsort": 9,
    "groupby": 0,
    "max": 1,
    "min": 1,
    "sort": 2,
    "unique": 1,
}
#: Arguments that are a size or a word, and may not be large: so many of the first.
_MEASURES: Final[Mapping[str, int]] = {
    "center": 1,
    "groupby": 2,
    "indent": 1,
    "int": 2,
    "max": 2,
    "min": 2,
    "rejectattr": 1,
    "round": 2,
    "selectattr": 1,
    "slice": 1,
    "sort": 3,
    "sum": 1,
    "trim": 1,
    "truncate": 4,
    "unique": 2,
    "wordwrap": 4,
}
_MEASURE_NAMES: Final = frozenset(
    {"attribute", "base", "chars", "default", "end", "leeway", "length", "precision", "slices"}
    | {"width", "wrapstring"}
)
#: Their work grows faster than their text.
_SHORT_TEXT: Final = frozenset({"float", "int", "wordwrap"})


def filters_from(jinja: Mapping[str, Any]) -> dict[str, Any]:
    """Every filter, out of Jinja's own."""
    kept = {name: function for name, function in jinja.items() if name not in DROPPED_FILTERS}
    inserted: dict[str, Function] = {
        COUNTED: _counted,
        JOINED: _joined,
        SLICED: _sliced,
        WEIGHED: _weighed,
    }
    return {name: _paid(name, each) for name, each in (kept | dict(OWN_FILTERS)).items()} | inserted


def tests_from(jinja: Mapping[str, Any]) -> dict[str, Any]:
    """Every test, out of Jinja's own: each pays for a look at all it compares."""
    own: dict[str, Function] = {
        "divisibleby": _is_divisible_by,
        "even": lambda value: _is_divisible_by(value, 2),
        "lower": _is_lower,
        "odd": lambda value: not _is_divisible_by(value, 2),
        "upper": _is_upper,
    }
    return {name: _weighing(function) for name, function in (dict(jinja) | own).items()}


def _paid(name: str, function: Function) -> Function:
    passes = _PassArg.from_obj(function)
    units = 0 if name in _FREE else ELEMENT
    measures = _MEASURES.get(name, 0)

    @wraps(function)
    def paid(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_secrets((value, *args, *kwargs.values()))
        budget = budget_of(context)
        budget.charge(CALL + NODE * len(args))
        check_measures(args[:measures])
        check_measures(each for key, each in kwargs.items() if key in _MEASURE_NAMES)
        if name in _SHORT_TEXT and isinstance(value, str):
            check_size(len(value))
        if name in _TEXT:
            value = text_of(value, budget)
            budget.charge(len(value) * _TEXT[name])
        elif units and not isinstance(value, Undefined):
            value = budget.handed(value, units)
        if name in _COMPARING:
            at = _COMPARING[name]
            named = kwargs.get("attribute", args[at] if at < len(args) else None)
            value = _comparable(context, value, named)
        return function(*_passed(passes, context), value, *args, **kwargs)

    return pass_context(paid)


def _weighing(function: Function) -> Function:
    passes = _PassArg.from_obj(function)
    is_comparing = passes is None and _takes_two(function)

    @wraps(function)
    def weighing(context: Context, value: Any, *args: Any) -> Any:
        budget = budget_of(context)
        budget.charge(CALL)
        refuse_secrets(args)
        if is_comparing:
            refuse_secrets((value,))
            for each in (value, *args):
                budget.weigh(each)
        elif isinstance(value, str):
            budget.charge(len(value) // 2)
        return function(*_passed(passes, context), value, *args)

    return pass_context(weighing)


def _takes_two(function: Function) -> bool:
    return len(signature(function).parameters) > 1


def _passed(passes: _PassArg | None, context: Context) -> tuple[Any, ...]:
    match passes:
        case None:
            return ()
        case _PassArg.context:
            return (context,)
        case _PassArg.eval_context:
            return (context.eval_ctx,)
        case _:
            return (context.environment,)


def _comparable(context: Context, value: Any, attribute: Any) -> Any:
    """``value``, with all that sorting it by ``attribute`` may compare paid for."""
    budget = budget_of(context)
    drawn = list(value) if isinstance(value, Iterator) else value
    rounds = len(drawn).bit_length() if isinstance(drawn, Sized) else 1
    keys_of = make_multi_attrgetter(context.environment, attribute)
    for each in drawn.values() if isinstance(drawn, Mapping) else drawn:
        budget.charge(ELEMENT)
        for key in keys_of(each):
            if isinstance(key, str):
                budget.charge(len(key))
            elif isinstance(key, list | tuple | dict):
                for _ in range(rounds):
                    budget.weigh(key)
    return drawn


@pass_context
def _counted(context: Context, items: Iterable[Any], units: int) -> Iterator[Any]:
    return budget_of(context).counted(items, units)


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    budget_of(context).weigh(value)
    return value


@pass_context
def _sliced(context: Context, value: Any) -> Any:
    return budget_of(context).handed(value, 1)


@pass_context
def _joined(context: Context, *values: Any) -> str | Secret:
    """``a ~ b``: a secret makes the whole a secret."""
    budget = budget_of(context)
    has_secret = any(type(value) is Secret for value in values)
    texts = [value if type(value) is Secret else text_of(value, budget) for value in values]
    length = sum(sum(map(len, parts_of(text))) for text in texts)
    check_length(length)
    budget.charge(CALL + length)
    if has_secret:
        return Secret(part for text in texts for part in parts_of(text))
    return "".join(map(str, texts))


def _is_divisible_by(value: Any, num: Any) -> bool:
    # Jinja's own would format a text.
    if not isinstance(value, int | float) or not isinstance(num, int | float):
        raise TypeError("only numbers are odd, even or divisible")
    return value % num == 0


def _is_lower(value: Any) -> bool:
    return isinstance(value, str) and value.islower()


def _is_upper(value: Any) -> bool:
    return isinstance(value, str) and value.isupper()
