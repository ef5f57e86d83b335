"""Values of a definition that may hold expressions: compiled once, rendered often.

Text that is one single ``{{ expression }}`` gives the expression's value as it is. In mixed text a
list, table, number or boolean appears as JSON, and null is an error. Tables and lists are templates
of their elements; one without any expression costs nothing to render. A value has one budget.

``kv.get_secret(key)`` stands for itself in ``render_input`` and nowhere else: the value then holds
``[secret:key]`` where an agent will put the secret, and a ``SecretUse`` says where that is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, UndefinedError, nodes
from jinja2.environment import TemplateExpression

from sagabus.core.definition import SecretUse, TemplateError
from sagabus.core.kv import KEY_PATTERN, UnknownKeyError, is_key
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.sandbox import SANDBOX, bounded
from sagabus.definitions.template_budget import MAX_LENGTH, CostError
from sagabus.definitions.template_rendering import Rendering
from sagabus.definitions.template_secrets import SecretText, placed, placeholders
from sagabus.definitions.template_size import check_depth, check_size
from sagabus.definitions.template_values import json_of

_MAX_REASON_CHARS: Final = 500
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

Path = tuple[str | int, ...]


class _Value:
    """A value of a definition: implements ``sagabus.core.definition.InputTemplate``."""

    __slots__ = ()

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Evaluate over ``scope``; see ``Template.render``."""
        return self.evaluate(Rendering(scope), ())

    def render_input(self, scope: Mapping[str, Any]) -> tuple[Any, tuple[SecretUse, ...]]:
        """Evaluate over ``scope``; see ``InputTemplate.render_input``."""
        uses: list[SecretUse] = []
        return self.evaluate(Rendering(scope, uses), ()), tuple(uses)

    def evaluate(self, rendering: Rendering, path: Path) -> Any:
        """The value at ``path`` of the whole."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Constant(_Value):
    """A value without any expression; whoever renders it must not change it."""

    value: Any

    def evaluate(self, rendering: Rendering, path: Path) -> Any:
        """The value itself."""
        return self.value


@dataclass(frozen=True, slots=True)
class Text(_Value):
    """Text with at least one expression."""

    text: str
    key: str
    _program: "_Program" = field(repr=False, compare=False)

    def evaluate(self, rendering: Rendering, path: Path) -> Any:
        """Evaluate the expressions."""
        try:
            return self._program.run(rendering, path)
        except UnknownKeyError:  # no fault of the template: it is evaluated again
            raise
        except Exception as error:  # whatever goes wrong comes of the expression or its data
            raise TemplateError(_reason(error), key=self.key, expression=_cut(self.text)) from error


@dataclass(frozen=True, slots=True)
class Table(_Value):
    """A table, some element of which is a template."""

    items: Mapping[str, _Value]

    def evaluate(self, rendering: Rendering, path: Path) -> dict[str, Any]:
        """Evaluate every element."""
        return {
            name: value.evaluate(rendering, (*path, name)) for name, value in self.items.items()
        }


@dataclass(frozen=True, slots=True)
class Sequence(_Value):
    """A list, some element of which is a template."""

    items: tuple[_Value, ...]

    def evaluate(self, rendering: Rendering, path: Path) -> list[Any]:
        """Evaluate every element."""
        return [value.evaluate(rendering, (*path, index)) for index, value in enumerate(self.items)]


def has_expression(text: str) -> bool:
    """True when ``text`` is more than plain text."""
    return _MARKS.search(text) is not None


def compile_value(value: Any, key: str) -> _Value:
    """Compile ``value``, which stands at ``key`` of the definition.

    What is given back implements ``Template`` and ``InputTemplate``.

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
    check_size(text)
    try:
        tree = SANDBOX.parse(text)
    except TemplateSyntaxError as error:
        raise ValueError((error.message or "").rstrip(".")) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:  # Python's own bound on the digits of a number
        raise ValueError("a number of more digits than any value may have") from error
    check_depth(tree)
    _check_tags(tree)
    return tree


def uses_secrets(text: str) -> bool:
    """Whether ``text``, which is valid, reads a secret."""
    return "get_secret" in text and _reads_secrets(parse_text(text))


def _reads_secrets(tree: nodes.Template) -> bool:
    return any(node.attr == "get_secret" for node in tree.find_all(nodes.Getattr))


def _check_tags(tree: nodes.Template) -> None:
    tag = next(tree.find_all(_REFUSED_TAGS), None)
    if tag is not None:
        raise ValueError(f"the tag {type(tag).__name__.lower()} is not available here")
    if any(loop.recursive for loop in tree.find_all(nodes.For)):
        raise ValueError("a loop cannot be recursive here")
    _check_kv(tree)
    # They gather text, in which a secret could no longer be told from other text.
    gathering = next(tree.find_all((nodes.AssignBlock, nodes.FilterBlock)), None)
    if gathering is not None and _reads_secrets(tree):
        name = "set" if isinstance(gathering, nodes.AssignBlock) else "filter"
        raise ValueError(f"a secret cannot stand beside {{% {name} %}} ... {{% end{name} %}}")


def _check_kv(tree: nodes.Template) -> None:
    """``kv`` is only asked: what a template reads must be known before it is evaluated."""
    reads = [*kv_reads(tree, "get"), *kv_reads(tree, "get_secret")]
    if len(reads) != sum(name.name == "kv" for name in tree.find_all(nodes.Name)):
        raise ValueError("kv is read with kv.get(key, default=...) or kv.get_secret(key) only")
    for call in reads:
        for key in call.args[:1]:
            if isinstance(key, nodes.Const) and not (
                isinstance(key.value, str) and is_key(key.value)
            ):
                raise ValueError(f"{key.value!r} is no key; keys match {KEY_PATTERN}")


def kv_reads(tree: nodes.Template, method: str) -> Iterator[nodes.Call]:
    """Every ``kv.<method>(...)`` of a template."""
    for call in tree.find_all(nodes.Call):
        match call.node:
            case nodes.Getattr(node=nodes.Name(name="kv"), attr=attr) if attr == method:
                yield call


class _Program(Protocol):
    def run(self, rendering: Rendering, path: Path) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Single:
    """One expression: its value keeps its type."""

    expression: TemplateExpression
    #: A plain path into the scope gives what is there, JSON already.
    is_path: bool
    has_secrets: bool

    def run(self, rendering: Rendering, path: Path) -> Any:
        value = self.expression(rendering.names())
        if self.is_path and type(value) in _PLAIN:
            return value
        uses = rendering.uses if self.has_secrets else None
        found = json_of(value, rendering.budget, keeps_secrets=uses is not None)
        return found if uses is None else placed(found, path, uses)


@dataclass(frozen=True, slots=True)
class _Mixed:
    """Text around expressions, or statements: gives text."""

    template: JinjaTemplate

    def run(self, rendering: Rendering, path: Path) -> str:
        parts: list[str] = []
        length = 0
        for part in self.template.generate(rendering.names()):
            if type(part) is SecretText and rendering.uses is not None:
                part = placeholders(part.secret, path, rendering.uses, at=length)
            length += len(part)
            if length > MAX_LENGTH:
                raise CostError(f"a text of more than {MAX_LENGTH:,} characters")
            parts.append(part)
        rendering.budget.charge(length)
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
        raise ValueError(_unknown_word(text) or (error.message or "").rstrip(".")) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ValueError("nested too deeply") from error


def _unknown_word(text: str) -> str | None:
    """Which filter or test of ``text`` there is not, and which one is meant."""
    for kind, node, known in (
        ("filter", nodes.Filter, SANDBOX.filters),
        ("test", nodes.Test, SANDBOX.tests),
    ):
        for one in parse_text(text).find_all(node):
            if one.name not in known:
                # Those that are put in here have names that nobody can write.
                hint = did_you_mean(one.name, filter(str.isidentifier, known))
                return f'there is no {kind} "{one.name}"{hint or "; leave it out"}'
    return None


def _compile(tree: nodes.Template) -> _Program:
    expression = _single_expression(tree)
    if expression is None:
        return _Mixed(SANDBOX.from_string(tree))
    body = nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)
    template = SANDBOX.from_string(nodes.Template([body], lineno=1))
    program = TemplateExpression(template, undefined_to_none=False)
    return _Single(program, _is_path(expression), _reads_secrets(tree))


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


def _is_dynamic(parts: Iterable[_Value]) -> bool:
    return not all(isinstance(part, Constant) for part in parts)


def _reason(error: Exception) -> str:
    match error:
        case UndefinedError():
            reason = error.message or "undefined"
        case ZeroDivisionError():
            reason = "division by zero"
        case RecursionError():
            reason = "nested too deeply"
        case CostError():
            reason = f"too much: {error}"
        case _:
            reason = str(error) or type(error).__name__
    return reason if len(reason) <= _MAX_REASON_CHARS else f"{reason[:_MAX_REASON_CHARS]}..."


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."
