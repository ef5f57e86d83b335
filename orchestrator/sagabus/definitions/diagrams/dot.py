"""A graph in the language of Graphviz."""

from collections.abc import Iterator
from typing import Final

from sagabus.core.graph import Edge, Graph, Node
from sagabus.definitions.diagrams.captions import (
    details_of,
    label_of,
    progress_of,
    targets_beside_stages,
    title_of,
)
from sagabus.definitions.diagrams.palette import DASHED, EDGE, INK, of_status

_HEAD: Final = """\
    rankdir=TB; bgcolor="transparent"; fontname="sans-serif"; labelloc=t; compound=true;
    node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];
    edge [fontname="sans-serif", fontsize=9];"""


def dot(graph: Graph) -> str:
    """A digraph; blocks are clusters, with a node of their own for their edges."""
    body = "\n".join(f"    {line}" for line in _body(graph))
    head = f"    label={_quoted(title_of(graph))};\n{_HEAD}"
    return f"digraph {_quoted(graph.workflow)} {{\n{head}\n{body}\n}}\n"


def _body(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.kind == "block":
            yield f"subgraph {_quoted(f'cluster_{node.name}')} {{"
            yield '    style=rounded; label="";'
            yield f"    {_node(node, graph)}"
            for child in graph.nodes:
                if child.block == node.name:
                    yield f"    {_node(child, graph)}"
                    # Keeps the block's own node above its stages.
                    ends = f"{_quoted(node.name)} -> {_quoted(child.name)}"
                    yield f"    {ends} [style=invis];"
            yield "}"
        elif node.block is None:
            yield _node(node, graph)
    for target in targets_beside_stages(graph):
        yield f"{_quoted(target)} [shape=circle, fontsize=9];"
    yield from map(_edge, graph.edges)


def _node(node: Node, graph: Graph) -> str:
    lines = [node.name, *details_of(node, graph), *progress_of(node)]
    fill, line = of_status(node.status)
    shape = {"workflow": ", peripheries=2", "inquiry": ", shape=hexagon", "block": ", shape=plain"}
    return (
        f"{_quoted(node.name)} [label={_quoted(chr(10).join(lines))}, "
        f'fillcolor="{fill}", color="{line}", fontcolor="{INK}"{shape.get(node.kind, "")}];'
    )


def _edge(edge: Edge) -> str:
    colour = EDGE[edge.outcome]
    style = ", style=dashed" if edge.outcome in DASHED else ""
    width = ", penwidth=2.5" if edge.is_taken else ""
    return (
        f"{_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(label_of(edge))}, "
        f'color="{colour}", fontcolor="{colour}"{style}{width}];'
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
