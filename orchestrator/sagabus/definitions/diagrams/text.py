"""A graph for a terminal: each stage with where it leads."""

from collections.abc import Iterator
from typing import Final

from sagabus.core.graph import Edge, Graph, Node
from sagabus.definitions.diagrams.captions import details_of, label_of, progress_of, title_of

#: Characters of a condition: a terminal breaks lines, a picture does not.
_LONGEST: Final = 200


def text(graph: Graph) -> str:
    """Each stage in the order in which it is written, with its edges below it."""
    lines = [title_of(graph), f"starts with {', '.join(graph.entry)}", ""]
    for node in graph.nodes:
        if node.block is None:
            lines += _stage(node, graph)
    return "\n".join(lines) + "\n"


def _stage(node: Node, graph: Graph) -> Iterator[str]:
    status = [f"[{line}]" for line in progress_of(node)]
    yield " · ".join([" ".join([node.name, *status]), *details_of(node, graph, _LONGEST)])
    if node.error:
        yield f"│  {node.error}"
    for child in graph.nodes:
        if child.block == node.name:
            yield from (f"│  {line}" for line in _stage(child, graph))
    edges = [edge for edge in graph.edges if edge.source == node.name]
    for number, edge in enumerate(edges, 1):
        yield f"{'└' if number == len(edges) else '├'}─ {_edge(edge)}"


def _edge(edge: Edge) -> str:
    arrow = "⇒" if edge.is_taken else "→"
    if edge.outcome == "needs":
        return f"needed by {arrow} {edge.target}"
    return f"{label_of(edge, _LONGEST)} {arrow} {edge.target}"
