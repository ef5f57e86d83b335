"""Jinja2, sandboxed: what an expression may name, call and cost.

Definitions are trusted; the parameters and results they read are not. So whatever an expression can
make large in one step (repetition, powers, padding, ranges, loops) is bounded before it is done.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, Final

import orjson
from jinja2 import Undefined, nodes, pass_context, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sagabus.definitions.template_values import (
    CostError,
    Missing,
    check_length,
    check_power,
    check_product,
    json_text,
    text_of,
)

MAX_LOOP_STEPS: Final = 100_000
#: Largest number that sizes, widths and precisions may take.
MAX_SIZE: Final = 10_000
#: Under a name that no expression can spell.
LOOP_BUDGET: Final = " loop budget"

_TEXT_METHODS = frozenset(
    {"capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha"}
    | {"isdigit", "islower", "isnumeric", "isspace", "isupper", "lower", "lstrip", "partition"}
    | {"removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit", "rstrip"}
    | {"split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"}
)
_METHODS: Final[tuple[tuple[type, frozenset[str]], ...]] = (
    (str, _TEXT_METHODS),
    (list, frozenset({"count", "index"})),
    (tuple, frozenset({"count", "index"})),
)
_TABLE_METHODS: Final = frozenset({"get", "items", "keys", "values"})

#: They draw at random, show Python's own notation, make HTML, or cost without bound.
_DROPPED_FILTERS: Final = frozenset(
    {"attr", "escape", "e", "forceescape", "format", "pprint", "random", "safe", "striptags"}
    | {"urlize", "xmlattr"}
)
_SIZED_FILTERS: Final = ("batch", "center", "indent", "round", "slice", "truncate", "wordwrap")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every template."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(undefined=Missing, finalize=text_of, autoescape=False)
        self.globals = {"range": self.globals["range"], "dict": dict}
        for name in _DROPPED_FILTERS:
            del self.filters[name]
        for name in _SIZED_FILTERS:
            self.filters[name] = _sized(self.filters[name])
        self.filters |= {
            "counted": _counted,
            "d": _default,
            "default": _default,
            "from_json": orjson.loads,
            "join": _join,
            "replace": _replace,
            "string": text_of,
            "to_json": json_text,
            "tojson": json_text,
        }

    def getattr(self, obj: Any, attribute: str) -> Any:
        """The key of that name; else a permitted method."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping):
            return self._key(obj, attribute)
        if isinstance(obj, LoopContext):
            return super().getattr(obj, attribute)
        if isinstance(obj, str) and attribute in {"replace", "join"}:
            return _bound_method(obj, attribute)
        if any(isinstance(obj, kind) and attribute in names for kind, names in _METHODS):
            return getattr(obj, attribute)
        return self.undefined(f"{_kind(obj)} has no `{attribute}`")

    def getitem(self, obj: Any, argument: Any) -> Any:
        """The key, or the element."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping):
            return self._key(obj, argument)
        if isinstance(obj, str | list | tuple | range) and isinstance(argument, int | slice):
            try:
                return obj[argument]
            except IndexError:
                return self.undefined(f"there is no element {argument}, only {len(obj)}")
        return self.undefined(f"{_kind(obj)} has no `{argument}`")

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method or ``range``; ``x.items()`` where ``items`` is no key of x."""
        if isinstance(obj, Missing):
            obj = obj.method or str(obj)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Bound the operators that can make much out of little."""
        match operator:
            case "*":
                check_product(left, right)
            case "**":
                check_power(left, right)
            case "%" if isinstance(left, str):
                raise SecurityError("% does not format text here; join it with ~")
            case "+" if isinstance(left, str | list) and isinstance(right, str | list):
                check_length(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def _key(self, table: Mapping[Any, Any], key: Any) -> Any:
        try:
            return table[key]
        except (KeyError, TypeError):
            known = ", ".join(sorted(str(name) for name in list(table)[:8])) or "nothing"
            missing = Missing(f"there is no `{key}`, only {known}")
            missing.method = getattr(table, key) if key in _TABLE_METHODS else None
            return missing


def bounded(tree: nodes.Template) -> nodes.Template:
    """``tree`` with every loop counted and every ``~`` joining texts by ``text_of``."""
    for loop in tree.find_all(nodes.For):
        loop.iter = _filtered(loop.iter, "counted")
    for concat in tree.find_all(nodes.Concat):
        concat.nodes = [_filtered(node, "string") for node in concat.nodes]
    return tree


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _sized(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        # The first two are, at most, Jinja's own context and the value.
        for number in (*args[1:], *kwargs.values()):
            if isinstance(number, int) and abs(number) > MAX_SIZE:
                raise CostError(f"a size of {number:,}; at most {MAX_SIZE:,}")
        return function(*args, **kwargs)

    return checked


@pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    budget: list[int] = context[LOOP_BUDGET]
    for item in items:
        budget[0] -= 1
        if budget[0] < 0:
            raise CostError(f"more than {MAX_LOOP_STEPS:,} loop steps")
        yield item


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Jinja's ``default``, which replaces null too."""
    is_absent = isinstance(value, Undefined) or value is None or (boolean and not value)
    return default_value if is_absent else value


def _replace(value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    times = text.count(old) if count < 0 else min(count, text.count(old))
    check_length(len(text) + times * max(0, len(new) - len(old)))
    return text.replace(old, new, count)


@pass_environment
def _join(environment: Sandbox, value: Any, d: Any = "", attribute: Any = None) -> str:
    getter = make_attrgetter(environment, attribute) if attribute is not None else lambda item: item
    texts = [text_of(getter(item)) for item in value]
    separator = text_of(d)
    check_length(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _bound_method(text: str, name: str) -> Callable[..., str]:
    if name == "replace":
        return lambda old, new, count=-1: _replace(text, old, new, count)
    return lambda items: _join(SANDBOX, items, text)


SANDBOX: Final = Sandbox()
