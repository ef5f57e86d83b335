"""What is written at a stage and at an edge, whatever the form of the picture."""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from sagabus.core.graph import Edge, Graph, Node

#: Longer conditions are cut in a picture; the file has them whole.
MAX_CONDITION: Final = 44
_SINGLE = re.compile(r"\{\{(.*)\}\}", re.DOTALL)


def details_of(node: Node, graph: Graph, longest: int = MAX_CONDITION) -> list[str]:
    """Who does it, and everything that is special about it, a few words each.

    ``longest``: characters of a condition.
    """
    return [
        *_who(node),
        *_special(node, longest),
        *(["runs last, whatever the end"] * (node.name == graph.on_end)),
    ]


def progress_of(node: Node) -> list[str]:
    """Where it stands, of an instance, and how often it has run: not its pass, which may skip."""
    if node.status is None:
        return []
    return [f"{node.status}, {node.passes} runs" if node.passes > 1 else node.status]


def label_of(edge: Edge, longest: int = MAX_CONDITION) -> str:
    """Its outcome, and up to ``longest`` characters of the condition."""
    match edge.outcome:
        case "decision":
            return f"if {condition(edge.when, longest)}"
        case "default":
            return "otherwise"
        case outcome:
            return f"{outcome} if {condition(edge.when, longest)}" if edge.when else outcome


def condition(text: str, longest: int) -> str:
    """A condition without its braces, on one line, cut."""
    single = _SINGLE.fullmatch(text.strip())
    line = " ".join((single[1] if single else text).split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def targets_beside_stages(graph: Graph) -> list[str]:
    """``end`` and ``fail``, where an edge leads there."""
    names = {node.name for node in graph.nodes}
    return list(dict.fromkeys(edge.target for edge in graph.edges if edge.target not in names))


def title_of(graph: Graph) -> str:
    """The workflow, and the instance with its status."""
    if graph.instance is None:
        return graph.workflow
    return f"{graph.workflow} {graph.instance}: {graph.status}"


def _who(node: Node) -> Iterator[str]:
    match node.kind:
        case "agents":
            counted = [(role, len(list(same))) for role, same in groupby(node.roles)]
            yield ", ".join(role if n == 1 else f"{role} x {n}" for role, n in counted)
            if node.action != node.name:
                yield f"action {node.action}"
        case "core":
            yield node.action
        case "workflow":
            yield f"workflow {node.workflow}"
        case "inquiry":
            yield "asks a person"
        case "block":
            yield "together"


def _special(node: Node, longest: int) -> Iterator[str]:
    if node.when:
        yield f"when {condition(node.when, longest)}"
    if node.join is not None:
        yield f"waits for {'all' if node.join == len(node.arms) else node.join} of {len(node.arms)}"
    if node.is_gated:
        yield "needs approval"
    if node.has_items:
        yield "for each item"
    if node.is_point_of_no_return:
        yield "final: the point of no return"
    elif node.classification in {"read_only", "final"}:
        yield node.classification
    if node.undone_by and node.kind == "workflow":
        yield "undoes itself"
    elif node.undone_by:
        yield f"undone by {', '.join(dict.fromkeys(node.undone_by))}"
