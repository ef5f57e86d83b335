"""Jinja2, sandboxed: what an expression may name, call and cost.

Definitions are trusted; the parameters and results they read are not. So whatever an expression can
make large (repetition, powers, padding, ranges, loops, comparisons) is paid for before it is done.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2 import Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from sagabus.definitions.template_budget import (
    CALL,
    MAX_INTEGER_BITS,
    Budget,
    budget_of,
    check_operands,
)
from sagabus.definitions.template_filters import join, replace
from sagabus.definitions.template_keys import KeyLookup
from sagabus.definitions.template_paying import (
    COUNTED,
    DROPPED_FILTERS,
    JOINED,
    SLICED,
    WEIGHED,
    filters_from,
    tests_from,
)
from sagabus.definitions.template_secrets import Secret, output, refuse_secrets
from sagabus.definitions.template_values import Missing, short, text_of

_TEXT_METHODS = frozenset(
    {"capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha"}
    | {"isdigit", "islower", "isnumeric", "isspace", "isupper", "lower", "lstrip", "partition"}
    | {"removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit", "rstrip"}
    | {"split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"}
)
#: Their work may be the product of both lengths.
_SLOW_METHODS: Final = frozenset(
    {"lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"}
)
_METHODS: Final[tuple[tuple[type, frozenset[str]], ...]] = (
    (str, _TEXT_METHODS),
    (list, frozenset({"count", "index"})),
    (tuple, frozenset({"count", "index"})),
    (KeyLookup, frozenset({"get", "get_secret"})),
)
_TABLE_METHODS: Final = frozenset({"get", "items", "keys", "values"})
_LOOP_NAMES: Final = frozenset(
    {"changed", "cycle", "depth", "depth0", "first", "index", "index0", "last", "length"}
    | {"nextitem", "previtem", "revindex", "revindex0"}
)
#: Units of one turn of a loop, and of what its body does at each; the rest pays when it is called.
_TURN: Final = 60
_OUTPUT: Final = 70
_CHEAP: Final = (nodes.Const, nodes.TemplateData, nodes.Output)
_LOOKUP: Final = (nodes.Getattr, nodes.Getitem)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every template."""

    intercepted_binops = frozenset({"*", "**", "%", "+", "-", "/", "//"})

    def __init__(self) -> None:
        # Not optimized: that takes time which grows with the square of the depth of an expression,
        # and evaluates what the definition says before anyone renders it.
        super().__init__(undefined=Missing, finalize=_finalize, autoescape=False, optimized=False)
        self.globals = {"range": self.globals["range"], "dict": dict}
        self.filters.update(filters_from(self.filters))
        for name in DROPPED_FILTERS:
            del self.filters[name]
        self.tests.update(tests_from(self.tests))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """The key of that name; else a permitted method."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping):
            return self._key(obj, attribute)
        if isinstance(obj, LoopContext):
            return self._of_loop(obj, attribute)
        refuse_secrets((obj,))
        if isinstance(obj, str) and attribute in {"replace", "join"}:
            return _bound_method(obj, attribute)
        if any(isinstance(obj, kind) and attribute in names for kind, names in _METHODS):
            return getattr(obj, attribute)
        if attribute in getattr(obj, "_fields", ()):  # what groupby gives
            return getattr(obj, attribute)
        return self.undefined(f"{_kind(obj)} has no `{attribute}`")

    def getitem(self, obj: Any, argument: Any) -> Any:
        """The key, or the element."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping):
            return self._key(obj, argument)
        refuse_secrets((obj,))
        if isinstance(obj, str | list | tuple | range) and isinstance(argument, int | slice):
            try:
                return obj[argument]
            except IndexError:
                return self.undefined(f"there is no element {argument}, only {len(obj)}")
        return self.undefined(f"{_kind(obj)} has no `{short(argument)}`")

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method or ``range``; ``x.items()`` where ``items`` is no key of x."""
        if isinstance(obj, Missing):
            obj = obj.method or str(obj)
        refuse_secrets((obj, *args, *kwargs.values()))
        _pay_for_call(budget_of(context), obj, (*args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Bound the operators that can make much out of little."""
        refuse_secrets((left, right))
        if operator == "%" and isinstance(left, str):
            raise SecurityError("% does not format text here; join it with ~")
        check_operands(budget_of(context), operator, left, right)
        return super().call_binop(context, operator, left, right)

    def _of_loop(self, loop: LoopContext, attribute: str) -> Any:
        if attribute in _LOOP_NAMES:
            return getattr(loop, attribute)
        return self.undefined(f"loop has no `{attribute}`")

    def _key(self, table: Mapping[Any, Any], key: Any) -> Any:
        try:
            return table[key]
        except (KeyError, TypeError):
            missing = Missing(obj=table, name=key)
            if isinstance(key, str) and key in _TABLE_METHODS:
                missing.method = getattr(table, key)
            return missing


def bounded(tree: nodes.Template) -> nodes.Template:
    """``tree`` with all that goes beyond one step paid for: loops, ``~``, comparisons, slices.

    Raises:
        ValueError: it writes a number that is too large.
    """
    _check_numbers(tree)
    paying: nodes.Template = _Paying().visit(tree)
    return paying


class _Paying(NodeTransformer):
    """Puts filters that pay around what costs."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's name
        units = _TURN + sum(map(_units, node.find_all(nodes.Node)))
        self.generic_visit(node)
        node.iter = _filtered(node.iter, COUNTED, nodes.Const(units))
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filtered(node.node, SLICED)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        node.expr = _weighed(node.expr)
        for operand in node.ops:
            operand.expr = _weighed(operand.expr)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        first, *rest = node.nodes
        return _filtered(first, JOINED, *rest)


def _units(node: nodes.Node) -> int:
    if isinstance(node, _LOOKUP):
        return 70
    return 5 if isinstance(node, _CHEAP) else 15


def _check_numbers(tree: nodes.Template) -> None:
    for const in tree.find_all(nodes.Const):
        if isinstance(const.value, int) and const.value.bit_length() > MAX_INTEGER_BITS:
            raise ValueError("a number of more digits than any value may have")


def _weighed(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _filtered(node, WEIGHED)


def _filtered(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _pay_for_call(budget: Budget, function: Any, args: tuple[Any, ...]) -> None:
    budget.charge(CALL)
    for arg in args:
        budget.weigh(arg)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, str):
        sizes = [len(arg) for arg in args if isinstance(arg, str)]
        is_slow = function.__name__ in _SLOW_METHODS
        budget.charge(len(owner) * (2 + (sum(sizes) // 4 if is_slow else 0)))
    elif isinstance(owner, list | tuple):
        budget.weigh(owner)


@pass_context
def _finalize(context: Context, value: Any) -> str:
    budget = budget_of(context)
    budget.charge(_OUTPUT)
    return output(value) if type(value) is Secret else text_of(value, budget)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _bound_method(text: str, name: str) -> Callable[..., str]:
    @pass_context
    def replaced(context: Context, old: Any, new: Any, count: int = -1) -> str:
        return replace(context, text, old, new, count)

    @pass_context
    def joined(context: Context, items: Any) -> str:
        return join(context, items, text)

    return replaced if name == "replace" else joined


SANDBOX: Final = Sandbox()
