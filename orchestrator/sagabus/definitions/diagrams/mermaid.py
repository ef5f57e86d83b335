"""A graph as a Mermaid flowchart, which GitHub and many documents draw."""

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

#: What means something within a quoted text, as entity codes.
_ESCAPES: Final = str.maketrans(
    {'"': "#quot;", "<": "#lt;", ">": "#gt;", "#": "#35;", "`": "#96;", "&": "#amp;"}
)


def mermaid(graph: Graph) -> str:
    """A flowchart from top to bottom; blocks are subgraphs."""
    lines = ["---", f"title: {_yaml(title_of(graph))}", "---", "flowchart TD"]
    lines += [f"    {line}" for line in _body(graph)]
    return "\n".join(lines) + "\n"


def _body(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.kind == "block":
            yield from _block(node, graph)
        elif node.block is None:
            yield _node(node, graph)
    for target in targets_beside_stages(graph):
        yield f'{_id(target)}(("{_escaped(target)}"))'
    for number, edge in enumerate(graph.edges):
        yield _edge(edge)
        width = 3 if edge.is_taken else 1
        yield f"linkStyle {number} stroke:{EDGE[edge.outcome]},stroke-width:{width}px"
    for node in graph.nodes:
        if node.status is not None:
            fill, line = of_status(node.status)
            yield f"style {_id(node.name)} fill:{fill},stroke:{line},color:{INK}"


def _block(node: Node, graph: Graph) -> Iterator[str]:
    yield f'subgraph {_id(node.name)}["{_caption(node, graph, " · ")}"]'
    yield "    direction LR"
    for child in graph.nodes:
        if child.block == node.name:
            yield f"    {_node(child, graph)}"
    yield "end"


def _node(node: Node, graph: Graph) -> str:
    caption = f'"{_caption(node, graph, "<br/>")}"'
    match node.kind:
        case "workflow":
            return f"{_id(node.name)}[[{caption}]]"
        case "inquiry":
            return f"{_id(node.name)}{{{{{caption}}}}}"
        case "core":
            return f"{_id(node.name)}({caption})"
        case _:
            return f"{_id(node.name)}[{caption}]"


def _caption(node: Node, graph: Graph, separator: str) -> str:
    words = [f"{_escaped(line)}" for line in [*details_of(node, graph), *progress_of(node)]]
    return separator.join([f"<b>{_escaped(node.name)}</b>", *words])


def _edge(edge: Edge) -> str:
    arrow = "-.->" if edge.outcome in DASHED else "-->"
    label = f'|"{_escaped(label_of(edge))}"|'
    return f"{_id(edge.source)} {arrow}{label} {_id(edge.target)}"


def _id(name: str) -> str:
    # `end`, `default`, `style` and others are words of Mermaid.
    return f"s_{name}"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
