"""Finds stages that two arms can lead to in one pass, where only the first would count.

A fork is a set of stages that start together. From it two ways lead to a stage that share nothing
but this stage exactly when the stage's immediate dominator is the fork itself (Menger). Followed is
what fires on success: that two failures end in one handler is no mistake.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from sagabus.definitions.dominators import Dominators
from sagabus.definitions.flow import Edge, Flow

#: Edges looked at before the search is given up: warnings are not worth seconds.
_BUDGET: Final = 300_000
_ROOT: Final = ""


def find_diamonds(flow: Flow) -> Iterator[tuple[str, str]]:
    """Stages without join that both ways of a fork lead to, and the stage that forks.

    The fork is empty where it is the beginning of the workflow.
    """
    edges = [edge for edge in flow.edges if edge.cause not in {"failure", "timeout"}]
    successors: dict[str, list[str]] = {name: [] for name in flow.by_name}
    for edge in edges:
        successors[edge.source].append(edge.target)
    seen: set[str] = set()
    budget = _BUDGET
    for fork, targets in _forks(flow, edges):
        budget -= len(edges)
        if budget < 0:
            return
        for target in _meeting_points(targets, successors, without=fork):
            if target not in seen and flow.join_of(flow.by_name[target]) is None:
                seen.add(target)
                yield target, fork


def _forks(flow: Flow, edges: Sequence[Edge]) -> Iterator[tuple[str, frozenset[str]]]:
    """Sets of stages that start together.

    Of conditions at one stage at most one is taken to hold: mostly they exclude each other.
    """
    if len(flow.entry) > 1:
        yield _ROOT, frozenset(flow.entry)
    by_source: dict[str, list[Edge]] = {}
    for edge in edges:
        by_source.setdefault(edge.source, []).append(edge)
    for source, own in by_source.items():
        always = {edge.target for edge in own if not edge.is_conditional}
        choices: dict[tuple[str, int], set[str]] = {}
        for edge in own:
            if edge.is_conditional:
                choices.setdefault((edge.cause, edge.line), set()).add(edge.target)
        for choice in choices.values() or [set()]:
            targets = frozenset(always | choice)
            if len(targets) > 1:
                yield source, targets


def _meeting_points(
    targets: Collection[str], successors: Mapping[str, Sequence[str]], *, without: str
) -> Iterator[str]:
    graph: dict[str, list[str]] = {
        name: [one for one in after if one != without]
        for name, after in successors.items()
        if name != without
    }
    graph[_ROOT] = [one for one in targets if one != without]
    tree = Dominators(graph, _ROOT)
    for name in tree.order:
        if name != _ROOT and tree.immediate[name] == _ROOT:
            # An arm that comes from the stage itself is a loop, and no second way.
            arms = [arm for arm in tree.before[name] if name not in tree.chain(arm)]
            if len(arms) > 1:
                yield name
