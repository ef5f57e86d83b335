"""Finds joins that wait for arms of which only one can ever fire.

A stage that runs once ends in one way: success or failure, one line of its decision. Arms that lie
behind different ends of one stage cannot both fire, and a join that wants both would fail the
workflow as soon as one of them has.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from sagabus.definitions.dominators import Dominators
from sagabus.definitions.flow import Edge, Flow

_ROOT: Final = ""


class Conflict(NamedTuple):
    """``fork`` leads to one of ``arms``, and ``join`` wants more."""

    join: str
    fork: str
    arms: tuple[str, str]


def find_conflicts(flow: Flow) -> Iterator[Conflict]:
    """Joins, those by ``needs`` too, that can never be satisfied for that reason."""
    joins = {
        name: wanted
        for name, stage in flow.by_name.items()
        if (wanted := flow.join_of(stage)) is not None and wanted > 1
    }
    if not joins:
        return
    tree = Dominators(_by_outcome(flow), _ROOT)
    for join, wanted in joins.items():
        if join in tree.before:
            ends = _ends_behind(flow.arms[join], join, tree)
            behind_fork = _by_fork(ends)
            for fork in flow.by_name:
                behind = behind_fork.get(fork, {})
                if len(set(behind.values())) < 2 or _runs_again(flow, fork):
                    continue
                free = len(ends) - len(behind)
                if free + _most_together(behind.values()) < wanted:
                    yield Conflict(join, fork, _apart(behind))
                    break


def _runs_again(flow: Flow, name: str) -> bool:
    """Whether a stage stands in a loop, or behind one: it may end in another way each time."""
    return any(name in flow.reach[one] and flow.is_loop(one) for one in flow.by_name)


def _ends_behind(arms: Sequence[str], join: str, tree: Dominators) -> dict[str, dict[str, str]]:
    """By arm: the end that every way by it to ``join`` goes through, by the stage that ends so."""
    ways: dict[str, list[set[str]]] = {arm: [] for arm in arms}
    for node in tree.before[join]:
        arm = node.split(" ")[0]
        if arm in ways:
            ways[arm].append(set(tree.chain(node)))
    found = {}
    for arm, chains in ways.items():
        ends = set.intersection(*chains) if chains else set()
        # Sorted, so that a line of a decision, the closer end, comes after success itself.
        found[arm] = dict(node.split(" ") for node in sorted(ends) if " " in node)
    return found


def _by_fork(ends: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """By stage that ends: the end of it that each arm lies behind, of those that do."""
    found: dict[str, dict[str, str]] = {}
    for arm, forks in ends.items():
        for fork, end in forks.items():
            found.setdefault(fork, {})[arm] = end
    return found


def _most_together(ends: Collection[str]) -> int:
    return max((sum(_is_within(end, one) for one in ends) for end in ends), default=0)


def _is_within(end: str, other: str) -> bool:
    """True when what ends as ``end`` has ended as ``other``, too."""
    return end == other or end.startswith(f"{other}.")


def _apart(behind: Mapping[str, str]) -> tuple[str, str]:
    """Two arms behind ends that exclude each other."""
    for (one, end), (two, other) in combinations(behind.items(), 2):
        if not _is_within(end, other) and not _is_within(other, end):
            return one, two
    raise AssertionError("some ends exclude each other")


def _by_outcome(flow: Flow) -> dict[str, Sequence[str]]:
    """The graph with a node ``"stage end"`` for each way in which a stage can end."""
    graph: dict[str, list[str]] = {_ROOT: list(flow.entry)}
    for name in flow.by_name:
        graph[name] = []
    for edge in flow.edges:
        node = edge.source
        for end in _ends(edge, flow):
            before, node = node, f"{edge.source} {end}"
            if node not in graph:
                graph[node] = []
                graph[before].append(node)
        graph[node].append(edge.target)
    return dict(graph)


def _ends(edge: Edge, flow: Flow) -> Iterator[str]:
    """The ends of its source that ``edge`` is for, from the wider to the narrower."""
    stage = flow.by_name[edge.source]
    if edge.cause == "complete" or stage.when is not None:
        # Whatever the end; a stage that is skipped counts as arrived wherever it could lead.
        return
    if edge.cause in {"failure", "timeout"}:
        yield edge.cause
        return
    yield "success"
    if edge.cause == "success" and stage.decision is not None:
        yield f"success.{edge.line}"
