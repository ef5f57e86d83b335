"""The graph of a workflow as a document: what it looks like, and how far an instance has come."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from sagabus.core.definition import END, FAIL, Definition
from sagabus.core.graph import Edge, Graph, Node, Outcome, graph_of
from sagabus.core.instance import InstanceState, StageRun, StageStatus
from sagabus.views.shared import View

_AFTER_SUCCESS: Final[frozenset[Outcome]] = frozenset(
    {"success", "decision", "default", "complete", "next", "needs"}
)
_AFTER_FAILURE: Final[frozenset[Outcome]] = frozenset({"failure", "complete"})
_AFTER_TIMEOUT: Final[frozenset[Outcome]] = frozenset({"timeout", "complete"})
_TIMEOUTS: Final = frozenset({"timeout", "start_timeout", "approval_timeout"})


class GraphView(View):
    """Stages and where they lead; of an instance also what has run and which way it went."""

    workflow: str
    digest: str
    instance: str | None
    #: Of the instance.
    status: str | None
    entry: list[str]
    on_end: str | None
    nodes: list[Node]
    edges: list[Edge]


def view_of(graph: Graph) -> GraphView:
    """The document of a graph."""
    return GraphView(
        workflow=graph.workflow,
        digest=graph.digest,
        instance=graph.instance,
        status=graph.status,
        entry=list(graph.entry),
        on_end=graph.on_end,
        nodes=list(graph.nodes),
        edges=list(graph.edges),
    )


def instance_graph(state: InstanceState, definition: Definition) -> Graph:
    """The graph of the definition that the instance runs on, with how far it has come."""
    row = state.row
    graph = graph_of(definition)
    newest: dict[str, StageRun] = {}
    passes: dict[str, int] = {}
    for run in sorted(row.runs.values(), key=lambda run: run.pass_):
        newest[run.stage] = run
        passes[run.stage] = passes.get(run.stage, 0) + 1
    own_timeouts = frozenset(
        stage.name for stage in definition.stages.values() if stage.routes.on_timeout is not None
    )
    taken = frozenset(_taken(graph, row.runs, newest, own_timeouts))
    return replace(
        graph,
        nodes=tuple(
            _with_run(node, newest[node.name], passes[node.name]) if node.name in newest else node
            for node in graph.nodes
        ),
        edges=tuple(replace(edge, is_taken=edge in taken) for edge in graph.edges),
        instance=row.id,
        status=row.status,
    )


def _with_run(node: Node, run: StageRun, passes: int) -> Node:
    error = None if run.error is None else f"{run.error.type}: {run.error.message}"
    return replace(node, status=run.status, error=error, passes=passes)


def _taken(
    graph: Graph,
    runs: Mapping[str, StageRun],
    newest: Mapping[str, StageRun],
    own_timeouts: frozenset[str],
) -> Iterator[Edge]:
    by_ends: dict[tuple[str, str], list[Edge]] = {}
    for edge in graph.edges:
        by_ends.setdefault((edge.source, edge.target), []).append(edge)
    for run in runs.values():
        for parent in (runs[key] for key in run.parents if key in runs):
            outcomes = _outcomes(parent, own_timeouts)
            for edge in by_ends.get((parent.stage, run.stage), ()):
                if outcomes is None or edge.outcome in outcomes:
                    yield edge
    # Nothing starts there: which way a condition went is not recorded.
    for edge in graph.edges:
        if edge.target in {END, FAIL} and not edge.when and edge.outcome != "default":
            source = newest.get(edge.source)
            if source is None or source.ended_at is None:
                continue
            outcomes = _outcomes(source, own_timeouts)
            if outcomes is not None and edge.outcome in outcomes:
                yield edge


def _outcomes(run: StageRun, own_timeouts: frozenset[str]) -> frozenset[Outcome] | None:
    """What its end can have fired; None: whatever there is, because it was skipped.

    Its status says later how the undo went; only the error remembers how it had ended.
    """
    if run.status is StageStatus.SKIPPED:
        return None
    if run.error is None:
        return _AFTER_SUCCESS
    is_own = run.error.type in _TIMEOUTS and run.stage in own_timeouts
    return _AFTER_TIMEOUT if is_own else _AFTER_FAILURE
