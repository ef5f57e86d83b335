"""A definition as nodes and edges: what diagrams draw and comparisons compare."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

from sagabus.core.definition import Definition, Route, Stage, StageKind, Template

#: When an edge is followed. ``next``: the main line goes on. ``needs``: the other stage waits.
Outcome = Literal[
    "success", "decision", "default", "failure", "timeout", "complete", "next", "needs"
]

#: What is followed although the stage has not done what it is for.
_AFTER_FAILURE: Final[frozenset[Outcome]] = frozenset({"failure", "timeout", "complete"})


@runtime_checkable
class Written(Protocol):
    """A template that knows what was written."""

    @property
    def text(self) -> str:
        """The text in the file."""


@dataclass(frozen=True, slots=True)
class Node:
    """A stage. The last three fields are an instance's: without one they stay as they are."""

    name: str
    kind: StageKind
    #: Who does it; none: the engine, another workflow, a person.
    roles: tuple[str, ...] = ()
    action: str = ""
    #: The workflow that carries it out.
    workflow: str | None = None
    #: The stage around it.
    block: str | None = None
    #: So many of ``arms`` start it; None: any does.
    join: int | None = None
    arms: tuple[str, ...] = ()
    is_gated: bool = False
    has_items: bool = False
    #: The condition without which it is skipped, as it is written.
    when: str = ""
    classification: str = "unclassified"
    #: Nothing final has happened before it: once it has succeeded, there is no way back.
    is_point_of_no_return: bool = False
    #: Roles that undo it; a sub-workflow undoes itself, and has its own name here.
    undone_by: tuple[str, ...] = ()
    #: Status of its newest run and why that failed, and how often it has run.
    status: str | None = None
    error: str | None = None
    passes: int = 0


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a stage leads: to another one, ``end`` or ``fail``."""

    source: str
    target: str
    outcome: Outcome
    #: The condition, as it is written.
    when: str = ""
    #: An instance has gone this way.
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow as nodes and edges, stages in the order in which they are written."""

    workflow: str
    digest: str
    entry: tuple[str, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    #: The stage that runs last whatever the end.
    on_end: str | None = None
    #: The instance and its status.
    instance: str | None = None
    status: str | None = None


def graph_of(definition: Definition) -> Graph:
    """Every stage and everywhere that it leads."""
    stages = definition.stages.values()
    edges = dict.fromkeys(edge for stage in stages for edge in _edges(stage))
    firsts = _first_finals(definition, edges)
    return Graph(
        workflow=definition.name,
        digest=definition.digest,
        entry=definition.entry,
        nodes=tuple(_node(stage, is_first=stage.name in firsts) for stage in stages),
        edges=tuple(edges),
        on_end=definition.on_end,
    )


def leads_of(definition: Definition) -> dict[str, frozenset[Edge]]:
    """By stage: where it leads."""
    leads: dict[str, set[Edge]] = {name: set() for name in definition.stages}
    for stage in definition.stages.values():
        for edge in _edges(stage):
            leads[edge.source].add(edge)
    return {name: frozenset(edges) for name, edges in leads.items()}


def ahead_of(definition: Definition, starts: Iterable[str]) -> set[str]:
    """Stages that may run from ``starts`` on, these among them, while nothing fails."""
    leads = leads_of(definition)
    found: set[str] = set()
    todo = list(starts)
    while todo:
        name = todo.pop()
        stage = definition.stages.get(name)  # END and FAIL are none
        if stage is None or name in found:
            continue
        found.add(name)
        todo += stage.children
        todo += (edge.target for edge in leads[name] if edge.outcome not in {"failure", "timeout"})
    return found


def _first_finals(definition: Definition, edges: Iterable[Edge]) -> set[str]:
    """Final stages that can be reached before any other one has succeeded."""
    if not definition.has_finals:
        return set()
    ways: dict[str, list[Edge]] = {}
    for edge in edges:
        ways.setdefault(edge.source, []).append(edge)
    found: set[str] = set()
    seen = set(definition.entry)
    todo = list(seen)
    while todo:
        name = todo.pop()
        stage = definition.stages.get(name)  # END and FAIL are none
        if stage is None:
            continue
        inside = [definition.stages[child] for child in stage.children] or [stage]
        finals = {each.name for each in inside if each.classification == "final"}
        found |= finals
        further = [
            edge.target
            for edge in ways.get(name, ())
            if edge.target not in seen and (not finals or edge.outcome in _AFTER_FAILURE)
        ]
        seen.update(further)
        todo += further
    return found


def _node(stage: Stage, *, is_first: bool) -> Node:
    return Node(
        name=stage.name,
        kind=stage.kind,
        roles=stage.roles if stage.kind == "agents" else (),
        action=stage.action,
        workflow=stage.workflow,
        block=stage.block,
        join=stage.join,
        arms=stage.arms,
        is_gated=stage.approval is not None,
        has_items=stage.items is not None,
        when=_text(stage.when),
        classification=stage.classification,
        is_point_of_no_return=is_first,
        undone_by=_undone_by(stage),
    )


def _undone_by(stage: Stage) -> tuple[str, ...]:
    if stage.compensation is None:
        return ()
    return stage.compensation.roles if stage.workflow is None else (stage.workflow,)


def _edges(stage: Stage) -> Iterator[Edge]:
    routes = stage.routes
    for choice in routes.decision:
        outcome: Outcome = "default" if choice.when is None else "decision"
        yield Edge(stage.name, choice.to, outcome, _text(choice.when))
    if not routes.decision:  # which replaces on_success
        yield from _of(stage, "success", routes.on_success)
    yield from _of(stage, "failure", routes.on_failure)
    yield from _of(stage, "timeout", routes.on_timeout or ())
    yield from _of(stage, "complete", routes.on_complete)
    if routes.next is not None:
        yield Edge(stage.name, routes.next, "next")
    if stage.has_needs:
        for needed in stage.arms:
            yield Edge(needed, stage.name, "needs")


def _of(stage: Stage, outcome: Outcome, routes: Iterable[Route]) -> Iterator[Edge]:
    for route in routes:
        for target in route.to:
            yield Edge(stage.name, target, outcome, _text(route.when))


def _text(template: Template | None) -> str:
    return template.text if isinstance(template, Written) else ""
