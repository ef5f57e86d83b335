"""The names that a template uses, checked against what will be there when it is rendered."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jinja2 import meta, nodes

from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.sandbox import SANDBOX
from sagabus.definitions.templates import has_expression, parse_text

#: What every template may name, and what only some places have.
SCOPES: Final = frozenset({"parameters", "vars", "task", "stage", "pack", "system", "kv"})
ITEM_SCOPES: Final = frozenset({"item", "index"})
ERROR_SCOPES: Final = frozenset({"error"})
APPROVAL_SCOPES: Final = frozenset({"approvals"})

#: Why a name that is known elsewhere is not there.
_WHERE: Final = {
    "item": "only the input of a stage with with_items has it",
    "index": "only the input of a stage with with_items has it",
    "error": "only routes after a failure, retry.on_error and the on_end stage have it; "
    "elsewhere read task.STAGE.error of the stage that failed",
    "approvals": "only the input and with_items of a stage with approval_required have it; "
    "elsewhere read task.STAGE.approvals",
    "vars": "variables are not there yet",
    "task": "no stage has run yet",
    "stage": "no stage has run yet",
}
_STAGE_KEYS: Final = ("result", "status", "error", "total_count", "approvals")
_SYSTEM_KEYS: Final = ("workflow_id", "execution_id", "workflow_name", "timestamp", "identity")
_ERROR_KEYS: Final = ("type", "message", "stage")
_DEFAULTS: Final = frozenset({"default", "d"})
_EXISTENCE: Final = frozenset({"defined", "undefined"})


@dataclass(frozen=True, slots=True)
class Visible:
    """What templates may name in one place of a definition.

    ``None`` for names that are not known when the definition is checked: any will do.
    """

    #: Stages that may have run when the template is rendered.
    earlier: Sequence[str]
    #: Every stage of the workflow.
    known: Sequence[str]
    #: Of all ``..._SCOPES``, what this place has.
    scopes: frozenset[str] = SCOPES
    #: Declared parameters.
    parameters: Collection[str] | None = None
    #: Variables that the workflow sets anywhere.
    vars: Collection[str] | None = None
    #: Settings of the pack.
    pack_config: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class _Access:
    """An access by constant names: ``("task", "build", "result")``."""

    path: tuple[str, ...]
    #: It may be missing: it stands under ``default(...)`` or ``is defined``.
    is_optional: bool


def texts_of(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text with an expression in ``value``, and where it stands."""
    match value:
        case str() if has_expression(value):
            yield path, value
        case dict():
            for key, item in value.items():
                yield from texts_of(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from texts_of(item, (*path, index))


def keys_with_expressions(value: Any) -> Iterator[str]:
    """Keys in ``value`` that look like expressions, which only values can be."""
    if isinstance(value, dict):
        yield from (key for key in value if isinstance(key, str) and has_expression(key))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        yield from keys_with_expressions(item)


def check_names(text: str, visible: Visible) -> list[str]:
    """What is wrong with the names in ``text``, which is valid; a sentence each."""
    names, accesses = _names_in(text)
    problems = [_unknown_scope(name, visible) for name in sorted(names - visible.scopes)]
    for access in accesses:
        if access.path[0] in names & visible.scopes and not access.is_optional:
            problems += filter(None, [_check_access(access.path, visible)])
    return list(dict.fromkeys(problems))


@lru_cache(maxsize=4_096)
def _names_in(text: str) -> tuple[frozenset[str], list[_Access]]:
    """The variables of ``text`` that it does not set itself, and the accesses to their parts."""
    tree = parse_text(text)
    names = meta.find_undeclared_variables(tree) - SANDBOX.globals.keys()
    return frozenset(names), list(_accesses(tree, is_optional=False))


def _accesses(node: nodes.Node, *, is_optional: bool) -> Iterator[_Access]:
    path = _path(node)
    if len(path) > 1:
        yield _Access(path, is_optional)
    for child in node.iter_child_nodes():
        is_asked = _makes_optional(node) and child is getattr(node, "node", None)
        is_part = isinstance(node, nodes.Getattr | nodes.Getitem) and child is node.node
        yield from _accesses(child, is_optional=is_asked or (is_part and is_optional))


def _makes_optional(node: nodes.Node) -> bool:
    match node:
        case nodes.Filter(name=name):
            return name in _DEFAULTS
        case nodes.Test(name=name):
            return name in _EXISTENCE
        case _:
            return False


def _unknown_scope(name: str, visible: Visible) -> str:
    if name in _WHERE:
        return f"`{name}` is not there: {_WHERE[name]}"
    there = ", ".join(sorted(visible.scopes))
    hint = did_you_mean(name, sorted(visible.scopes)) or f"; there are {there}"
    return f"`{name}` is not a name that templates know{hint}"


def _check_access(path: tuple[str, ...], visible: Visible) -> str | None:
    match path:
        case ["task" | "stage" as scope, name]:
            return _check_stage(scope, name, visible)
        case ["task" | "stage" as scope, name, key]:
            return _known(f"{scope}.{name}", key, _STAGE_KEYS, "a stage has no")
        case ["system", key]:
            return _known("system", key, _SYSTEM_KEYS)
        case ["error", key]:
            return _known("error", key, _ERROR_KEYS)
        case ["parameters", key]:
            return _known("parameters", key, visible.parameters, "the workflow declares no")
        case ["vars", key]:
            return _known("vars", key, visible.vars, "the workflow sets no variable")
        case ["pack", key]:
            return _known("pack", key, ("config",))
        case ["pack", "config", key]:
            return _known("pack.config", key, visible.pack_config, "the pack has no setting")
        case _:
            return None


def _known(owner: str, key: str, known: Collection[str] | None, missing: str = "") -> str | None:
    if known is None or key in known:
        return None
    there_are = f"; there are {', '.join(known)}" if known else "; there is none at all"
    hint = did_you_mean(key, list(known)) or there_are
    said = f": {missing} `{key}`" if missing else " does not exist"
    return f"`{owner}.{key}`{said}{hint}"


def _check_stage(scope: str, name: str, visible: Visible) -> str | None:
    if name in visible.earlier:
        return None
    there_are = ", ".join(visible.earlier)
    if name in visible.known:
        seen = f"only the earlier stages are there: {there_are}" if there_are else "it is the first"
        return f"`{scope}.{name}` has not run when this stage starts; {seen}"
    hint = did_you_mean(name, visible.known)
    return f"`{scope}.{name}` names no stage{hint or '; stages are ' + ', '.join(visible.known)}"


def _path(node: nodes.Node) -> tuple[str, ...]:
    """``("task", "build", "result")`` of an access by constant names, else nothing."""
    match node:
        case nodes.Name(name=name):
            return (name,)
        case (
            nodes.Getattr(node=inner, attr=key)
            | nodes.Getitem(node=inner, arg=nodes.Const(value=str(key)))
        ):
            before = _path(inner)
            return (*before, key) if before else ()
        case _:
            return ()
