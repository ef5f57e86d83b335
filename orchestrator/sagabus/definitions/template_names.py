"""The names that a template uses, checked against what will be there when it is rendered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jinja2 import meta, nodes

from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.sandbox import SANDBOX
from sagabus.definitions.templates import has_expression, parse_text

_SCOPES: Final = ("parameters", "task", "stage", "system")
_NOT_BUILT: Final = frozenset({"vars", "pack", "kv", "item", "index", "error"})
_STAGE_KEYS: Final = ("result", "status", "error", "total_count")
_SYSTEM_KEYS: Final = ("workflow_id", "execution_id", "workflow_name", "timestamp", "identity")


@dataclass(frozen=True, slots=True)
class VisibleStages:
    """What ``task.<stage>`` may name in one place of a definition."""

    #: Have run when the template is rendered.
    earlier: Sequence[str]
    #: Every stage of the workflow.
    known: Sequence[str]


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
        yield from (key for key in value if has_expression(key))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        yield from keys_with_expressions(item)


def check_names(text: str, stages: VisibleStages) -> list[str]:
    """What is wrong with the names in ``text``, which is valid; a sentence each."""
    names, accesses = _names_in(text)
    problems = [_unknown_scope(name) for name in sorted(names.difference(_SCOPES))]
    problems += filter(None, (_check_access(path, stages) for path in accesses))
    return list(dict.fromkeys(problems))


@lru_cache(maxsize=4_096)
def _names_in(text: str) -> tuple[frozenset[str], list[tuple[str, ...]]]:
    """The variables of ``text``, and the accesses to their parts by constant names."""
    tree = parse_text(text)
    names = meta.find_undeclared_variables(tree) - SANDBOX.globals.keys()
    found = tree.find_all((nodes.Getattr, nodes.Getitem))
    return frozenset(names), [_path(node) for node in found]


def _unknown_scope(name: str) -> str:
    if name in _NOT_BUILT:
        return f"`{name}` is not built yet"
    hint = did_you_mean(name, _SCOPES) or f"; there are {', '.join(_SCOPES)}"
    return f"`{name}` is not a name that templates know{hint}"


def _check_access(path: tuple[str, ...], stages: VisibleStages) -> str | None:
    match path:
        case ["task" | "stage" as scope, name]:
            return _check_stage(scope, name, stages)
        case ["task" | "stage" as scope, name, key] if key not in _STAGE_KEYS:
            hint = did_you_mean(key, _STAGE_KEYS) or f"; there are {', '.join(_STAGE_KEYS)}"
            return f"`{scope}.{name}.{key}`: a stage has no `{key}`{hint}"
        case ["system", key] if key not in _SYSTEM_KEYS:
            hint = did_you_mean(key, _SYSTEM_KEYS) or f"; there are {', '.join(_SYSTEM_KEYS)}"
            return f"`system.{key}` does not exist{hint}"
        case _:
            return None


def _check_stage(scope: str, name: str, stages: VisibleStages) -> str | None:
    if name in stages.earlier:
        return None
    there_are = ", ".join(stages.earlier)
    if name in stages.known:
        seen = f"only the earlier stages are there: {there_are}" if there_are else "it is the first"
        return f"`{scope}.{name}` has not run when this stage starts; {seen}"
    hint = did_you_mean(name, stages.known)
    return f"`{scope}.{name}` names no stage{hint or '; stages are ' + ', '.join(stages.known)}"


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
