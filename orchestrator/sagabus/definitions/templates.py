"""Values of a definition that may hold expressions: compiled once, rendered often.

Text that is one single ``{{ expression }}`` gives the expression's value as it is. In mixed text a
list, table, number or boolean appears as JSON, and null is an error. Tables and lists are templates
of their elements; one without any expression costs nothing to render.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, UndefinedError, nodes
from jinja2.environment import TemplateExpression

from sagabus.core.definition import Template, TemplateError
from sagabus.definitions.sandbox import LOOP_BUDGET, MAX_LOOP_STEPS, SANDBOX, bounded
from sagabus.definitions.template_values import MAX_LENGTH, CostError, json_of

MAX_TEMPLATE_LENGTH: Final = 65_536
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})
_MARKS = re.compile(r"\{\{|\{%|\{#")
_REFUSED_TAGS: Final[tuple[type[nodes.Node], ...]] = (
    nodes.Block,
    nodes.CallBlock,
    nodes.Extends,
    nodes.FromImport,
    nodes.Import,
    nodes.Include,
    nodes.Macro,
)


@dataclass(frozen=True, slots=True)
class Constant:
    """A value without any expression; whoever renders it must not change it."""

    value: Any

    def render(self, scope: Mapping[str, Any]) -> Any:
        """The value itself."""
        return self.value


@dataclass(frozen=True, slots=True)
class Text:
    """Text with at least one expression."""

    text: str
    key: str
    _program: "_Program" = field(repr=False, compare=False)

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Evaluate; see ``Template.render``."""
        names = {"stage": scope.get("task"), **scope, LOOP_BUDGET: [MAX_LOOP_STEPS]}
        try:
            return self._program.run(names)
        except Exception as error:  # whatever goes wrong comes of the expression or its data
            raise TemplateError(_reason(error), key=self.key, expression=_cut(self.text)) from error


@dataclass(frozen=True, slots=True)
class Table:
    """A table, some element of which is a template."""

    items: Mapping[str, Template]

    def render(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluate every element."""
        return {name: template.render(scope) for name, template in self.items.items()}


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list, some element of which is a template."""

    items: tuple[Template, ...]

    def render(self, scope: Mapping[str, Any]) -> list[Any]:
        """Evaluate every element."""
        return [template.render(scope) for template in self.items]


def has_expression(text: str) -> bool:
    """True when ``text`` is more than plain text."""
    return _MARKS.search(text) is not None


def compile_value(value: Any, key: str) -> Template:
    """Compile ``value``, which stands at ``key`` of the definition.

    Raises:
        TemplateError: an expression in it is not valid.
    """
    match value:
        case str() if has_expression(value):
            return Text(value, key, _compile_text(value, key))
        case dict():
            table = {name: compile_value(item, f"{key}.{name}") for name, item in value.items()}
            return Table(table) if _is_dynamic(table.values()) else Constant(value)
        case list():
            parts = tuple(compile_value(item, f"{key}[{i}]") for i, item in enumerate(value))
            return Sequence(parts) if _is_dynamic(parts) else Constant(value)
        case _:
            return Constant(value)


def parse_text(text: str) -> nodes.Template:
    """The syntax tree of ``text``.

    Raises:
        ValueError: it is not valid, or uses a tag that needs other templates.
    """
    if len(text) > MAX_TEMPLATE_LENGTH:
        raise ValueError(f"{len(text):,} characters; at most {MAX_TEMPLATE_LENGTH:,}")
    try:
        tree = SANDBOX.parse(text)
        tag = next(tree.find_all(_REFUSED_TAGS), None)
    except TemplateSyntaxError as error:
        raise ValueError(error.message) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if tag is not None:
        raise ValueError(f"the tag {type(tag).__name__.lower()} is not available here")
    return tree


class _Program(Protocol):
    def run(self, names: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Single:
    """One expression: its value keeps its type."""

    expression: TemplateExpression
    #: A plain path into the scope gives what is there, JSON already.
    is_path: bool

    def run(self, names: Mapping[str, Any]) -> Any:
        value = self.expression(names)
        return value if self.is_path and type(value) in _PLAIN else json_of(value)


@dataclass(frozen=True, slots=True)
class _Mixed:
    """Text around expressions, or statements: gives text."""

    template: JinjaTemplate

    def run(self, names: Mapping[str, Any]) -> str:
        parts: list[str] = []
        length = 0
        for part in self.template.generate(names):
            length += len(part)
            if length > MAX_LENGTH:
                raise CostError(f"a text of more than {MAX_LENGTH:,} characters")
            parts.append(part)
        return "".join(parts)


def _compile_text(text: str, key: str) -> _Program:
    try:
        return _compiled(text)
    except ValueError as error:
        raise TemplateError(str(error), key=key, expression=_cut(text)) from error


@lru_cache(maxsize=4_096)
def _compiled(text: str) -> _Program:
    try:
        return _compile(bounded(parse_text(text)))
    except TemplateSyntaxError as error:  # an unknown filter or test
        raise ValueError(error.message) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ValueError("nested too deeply") from error


def _compile(tree: nodes.Template) -> _Program:
    expression = _single_expression(tree)
    if expression is None:
        return _Mixed(SANDBOX.from_string(tree))
    body = nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)
    template = SANDBOX.from_string(nodes.Template([body], lineno=1))
    return _Single(TemplateExpression(template, undefined_to_none=False), _is_path(expression))


def _single_expression(tree: nodes.Template) -> nodes.Expr | None:
    match tree.body:
        case [nodes.Output(nodes=[nodes.Expr() as node])] if not isinstance(
            node, nodes.TemplateData
        ):
            return node
        case _:
            return None


def _is_path(node: nodes.Node) -> bool:
    match node:
        case nodes.Name():
            return True
        case nodes.Getattr(node=inner) | nodes.Getitem(node=inner, arg=nodes.Const()):
            return _is_path(inner)
        case _:
            return False


def _is_dynamic(parts: Iterable[Template]) -> bool:
    return not all(isinstance(part, Constant) for part in parts)


def _reason(error: Exception) -> str:
    match error:
        case UndefinedError():
            return error.message or "undefined"
        case ZeroDivisionError():
            return "division by zero"
        case RecursionError():
            return "nested too deeply"
        case CostError():
            return f"too much: {error}"
        case _:
            return str(error) or type(error).__name__


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."
