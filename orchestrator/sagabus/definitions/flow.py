"""The graph of a workflow: its edges, its main line, where it begins, and what leads where.

Reads the models as they stand: targets that name no stage are lint's to report, and are no edges.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from sagabus.core.definition import END, FAIL
from sagabus.definitions.keys import ROUTE_KEYS
from sagabus.definitions.models import RouteModel, StageModel, WorkflowModel

RESERVED = (END, FAIL)
#: When an edge is followed.
Cause = Literal["success", "failure", "timeout", "complete", "next", "needs"]


class Edge(NamedTuple):
    """``source`` can lead to ``target``."""

    source: str
    target: str
    cause: Cause
    #: Only where a condition holds.
    is_conditional: bool = False
    #: Number of the route or choice among those of its cause: edges of one line fire together.
    line: int = 0


def routes_of(stage: StageModel, key: str) -> Sequence[RouteModel]:
    """The routes under ``key``; of ``on_success`` none where a decision replaces them."""
    if key == "on_success" and stage.decision is not None:
        return ()
    routes: Sequence[RouteModel] | None = getattr(stage, key)
    return routes or ()


def targets_of(stage: StageModel) -> Iterator[str]:
    """Every target that a stage names, reserved words too, even where a decision replaces it."""
    for key in ROUTE_KEYS:
        for route in getattr(stage, key) or ():
            yield from route.do
    for choice in stage.decision or ():
        if choice.target is not None:
            yield choice.target


def has_success_route(stage: StageModel) -> bool:
    """True when it says itself where it leads after success."""
    return bool(stage.on_success or stage.decision or stage.on_complete)


@dataclass(frozen=True)
class Flow:
    """How the top-level stages of a workflow are connected."""

    stages: Sequence[StageModel]
    order: Literal["written", "graph"]
    on_end: str | None = None
    #: Of a workflow with mistakes: stages that may lead to others, too.
    unsure: frozenset[str] = frozenset()
    #: And stages that others may lead to, too, or that may wait for less.
    unplaced: frozenset[str] = frozenset()

    @classmethod
    def of(cls, workflow: WorkflowModel) -> "Flow":
        """The flow of a workflow whose stages' names are unique."""
        return cls(tuple(workflow.stages), workflow.order, workflow.on_end)

    @cached_property
    def by_name(self) -> Mapping[str, StageModel]:
        """Stages that routes can lead to: all of the top level but ``on_end``."""
        return {stage.name: stage for stage in self.stages if stage.name != self.on_end}

    @cached_property
    def main_line(self) -> tuple[str, ...]:
        """Stages that no earlier-written stage names and that need none, in written order."""
        named: set[str] = set()
        line: list[str] = []
        for stage in self.stages:
            if stage.name in self.by_name and stage.name not in named and stage.needs is None:
                line.append(stage.name)
            named.update(targets_of(stage))
        return tuple(line)

    @cached_property
    def next(self) -> Mapping[str, str]:
        """The implied edges: from a stage of the main line without success route to the next."""
        if self.order == "graph":
            return {}
        pairs = zip(self.main_line, self.main_line[1:], strict=False)
        return {one: two for one, two in pairs if not has_success_route(self.by_name[one])}

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every way from one stage to another, in written order."""
        found = [edge for stage in self.by_name.values() for edge in self._edges_from(stage)]
        found += [
            Edge(need, stage.name, "needs")
            for stage in self.by_name.values()
            for need in stage.needs or ()
        ]
        known = self.by_name
        return tuple(
            dict.fromkeys(edge for edge in found if edge.source in known and edge.target in known)
        )

    @cached_property
    def entry(self) -> tuple[str, ...]:
        """Stages that start with the workflow."""
        if self.order == "written":
            return self.main_line[:1]
        named = {target for stage in self.stages for target in targets_of(stage)}
        return tuple(
            name
            for name, stage in self.by_name.items()
            if name not in named and stage.needs is None
        )

    @cached_property
    def arms(self) -> Mapping[str, tuple[str, ...]]:
        """By stage: distinct stages that lead to it; of one with ``needs``, those."""
        found: dict[str, dict[str, None]] = {name: {} for name in self.by_name}
        for edge in self.edges:
            found[edge.target][edge.source] = None
        return {name: tuple(sources) for name, sources in found.items()}

    @cached_property
    def successors(self) -> Mapping[str, tuple[str, ...]]:
        """By stage: distinct stages that it leads to, those that need it too."""
        found: dict[str, dict[str, None]] = {name: {} for name in self.by_name}
        for edge in self.edges:
            found[edge.source][edge.target] = None
        return {name: tuple(targets) for name, targets in found.items()}

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """By stage: the stages in it."""
        return {
            stage.name: tuple(child.name for child in stage.stages or ()) for stage in self.stages
        }

    @cached_property
    def reach(self) -> Mapping[str, frozenset[str]]:
        """By stage: every stage that it can lead to, itself too; a block with its stages."""
        found: dict[str, frozenset[str]] = {}
        names = tuple(self.by_name)
        bits = {name: 1 << index for index, name in enumerate(names)}
        ways = {name: _mask(targets, bits) for name, targets in self.successors.items()}
        for name in names:
            reached = _closure(bits[name], [ways[one] for one in names])
            outer = [one for one in names if bits[one] & reached]
            whole = frozenset([*outer, *(child for one in outer for child in self.children[one])])
            found |= dict.fromkeys([name, *self.children[name]], whole)
        if self.on_end is not None and self.on_end in self.children:
            last = [self.on_end, *self.children[self.on_end]]
            found |= dict.fromkeys(last, frozenset(last))
        return found

    def closure(self, names: Iterable[str]) -> frozenset[str]:
        """Every stage that one of ``names`` can lead to, and these."""
        seen = set(names)
        open_ = list(seen)
        while open_:
            new = [target for target in self.successors[open_.pop()] if target not in seen]
            seen.update(new)
            open_ += new
        return frozenset(seen)

    def is_loop(self, name: str) -> bool:
        """True when the stage can lead to itself."""
        return any(name in self.reach[one] for one in self.successors[name])

    def join_of(self, stage: StageModel) -> int | None:
        """How many of its arms have to fire before ``stage`` starts; None: any one."""
        if stage.needs is not None:
            return len(set(stage.needs))
        return len(self.arms[stage.name]) if stage.join == "all" else stage.join

    def is_sure_before(self, name: str) -> bool:
        """True when what leads to the stage is known: mistakes stand elsewhere, or behind it."""
        return all(one == name or one in self.reach[name] for one in self.unsure) and not any(
            name in self.reach[one] for one in self.unplaced if one in self.reach
        )

    def startable(self, also: Collection[str] = ()) -> frozenset[str]:
        """Stages that can start at all: led to from the entry, a join by enough of its arms.

        ``also``: stages that are taken to start, besides those that are ``unplaced``.
        """
        found = {*self.entry, *((self.unplaced | {*also}) & self.by_name.keys())}
        open_ = list(found)
        fired: dict[str, set[str]] = {}
        while open_:
            source = open_.pop()
            if source in self.unsure:
                return frozenset(self.by_name)
            for target in self.successors[source]:
                arrived = fired.setdefault(target, set())
                arrived.add(source)
                wanted = self.join_of(self.by_name[target])
                if target not in found and len(arrived) >= (wanted or 1):
                    found.add(target)
                    open_.append(target)
        return frozenset(found)

    def _edges_from(self, stage: StageModel) -> Iterator[Edge]:
        causes: tuple[Cause, ...] = ("success", "failure", "timeout", "complete")
        for key, cause in zip(ROUTE_KEYS, causes, strict=True):
            for line, route in enumerate(routes_of(stage, key)):
                is_conditional = route.when is not None
                yield from (
                    Edge(stage.name, target, cause, is_conditional, line) for target in route.do
                )
        for line, choice in enumerate(stage.decision or ()):
            if choice.target is not None:
                yield Edge(stage.name, choice.target, "success", True, line)
        if stage.name in self.next:
            yield Edge(stage.name, self.next[stage.name], "next")


def _mask(names: Iterable[str], bits: Mapping[str, int]) -> int:
    return sum(bits[name] for name in names)


def _closure(start: int, ways: Sequence[int]) -> int:
    """Bits that lead on from ``start``, by the bits that each one leads to."""
    seen = open_ = start
    while open_:
        lowest = open_ & -open_
        new = ways[lowest.bit_length() - 1] & ~seen
        seen |= new
        open_ = (open_ ^ lowest) | new
    return seen
