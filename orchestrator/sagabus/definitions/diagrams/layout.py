"""Places boxes in layers from top to bottom and finds a way for every edge between them.

Sources: Sugiyama, Tagawa, Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (1981); the order within a layer by Eades, Wormald, "Edge Crossings in Drawings of
Bipartite Graphs" (1994), with means in place of medians.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Final

GAP_X: Final = 34.0
GAP_Y: Final = 58.0
#: What an edge that passes a layer takes of its width.
LANE: Final = 22.0
_SWEEPS: Final = 8

Point = tuple[float, float]
#: A source and a target.
Link = tuple[str, str]
#: A box, or where a link (by its number) passes a layer (by its number).
_Item = str | tuple[int, int]


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of a box."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Way:
    """Where an edge passes; ``is_back`` goes upwards, around the boxes at the right."""

    points: tuple[Point, ...]
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Upper left corners of boxes, and the ways of the links in their order."""

    corners: Mapping[str, Point]
    ways: Sequence[Way]
    width: float
    height: float


def arrange(sizes: Mapping[str, Size], links: Sequence[Link]) -> Layout:
    """Place the boxes of ``sizes``, in whose order ties are decided, and the ``links``."""
    plan = _Plan(sizes, links)
    plan.find_back_links()
    plan.find_layers()
    plan.fill_layers()
    plan.order_layers()
    plan.place()
    return plan.layout()


@dataclass(slots=True)
class _Plan:
    sizes: Mapping[str, Size]
    links: Sequence[Link]
    #: Numbers of the links that leave, and that meet, a box.
    out: dict[str, list[int]] = field(default_factory=dict)
    into: dict[str, list[int]] = field(default_factory=dict)
    #: Numbers of the links that go up.
    back: set[int] = field(default_factory=set)
    level: dict[str, int] = field(default_factory=dict)
    layers: list[list[_Item]] = field(default_factory=list)
    #: Neighbours in the layer above, and below.
    above: dict[_Item, list[_Item]] = field(default_factory=dict)
    below: dict[_Item, list[_Item]] = field(default_factory=dict)
    centre: dict[_Item, float] = field(default_factory=dict)
    tops: list[float] = field(default_factory=list)

    def find_back_links(self) -> None:
        """Those that close a circle, as a walk in the boxes' order meets them."""
        self.out = {name: [] for name in self.sizes}
        self.into = {name: [] for name in self.sizes}
        for number, (source, target) in enumerate(self.links):
            self.out[source].append(number)
            self.into[target].append(number)
        done: set[str] = set()
        for root in self.sizes:
            path: list[tuple[str, list[int]]] = []
            on_path: set[str] = set()
            if root not in done:
                path, on_path = [(root, list(self.out[root]))], {root}
                done.add(root)
            while path:
                name, left = path[-1]
                if not left:
                    path.pop()
                    on_path.discard(name)
                    continue
                number = left.pop(0)
                target = self.links[number][1]
                if target in on_path:
                    self.back.add(number)
                elif target not in done:
                    done.add(target)
                    on_path.add(target)
                    path.append((target, list(self.out[target])))

    def find_layers(self) -> None:
        """Every box one layer below the lowest that leads to it."""
        self.level = dict.fromkeys(self.sizes, 0)
        arms = {
            name: sum(number not in self.back for number in numbers)
            for name, numbers in self.into.items()
        }
        ready = [name for name, count in arms.items() if not count]
        while ready:
            name = ready.pop()
            for number in self.out[name]:
                if number not in self.back:
                    target = self.links[number][1]
                    self.level[target] = max(self.level[target], self.level[name] + 1)
                    arms[target] -= 1
                    if not arms[target]:
                        ready.append(target)
        self.layers = [[] for _ in range(max(self.level.values(), default=0) + 1)]
        for name in self.sizes:
            self.layers[self.level[name]].append(name)

    def fill_layers(self) -> None:
        """What passes a layer on its way down has a place in it."""
        for number, (source, target) in enumerate(self.links):
            if number in self.back:
                continue
            chain: list[_Item] = [source]
            for level in range(self.level[source] + 1, self.level[target]):
                self.layers[level].append((number, level))
                chain.append((number, level))
            chain.append(target)
            for upper, lower in pairwise(chain):
                self.below.setdefault(upper, []).append(lower)
                self.above.setdefault(lower, []).append(upper)

    def order_layers(self) -> None:
        """Neighbours near each other: fewer crossings."""
        for sweep in range(_SWEEPS):
            is_down = sweep % 2 == 0
            around = self.above if is_down else self.below
            layers = self.layers if is_down else self.layers[::-1]
            for fixed, moved in pairwise(layers):
                place = {item: float(position) for position, item in enumerate(fixed)}
                own = {item: float(position) for position, item in enumerate(moved)}
                mean = {
                    item: _mean([place[one] for one in around.get(item, [])], own[item])
                    for item in moved
                }
                moved.sort(key=mean.__getitem__)

    def place(self) -> None:
        """Every item as near to the middle of its neighbours as the others in its layer allow."""
        for layer in self.layers:
            edge = 0.0
            for item in layer:
                width = self._width(item)
                self.centre[item] = edge + width / 2
                edge += width + GAP_X
        for sweep in range(_SWEEPS):
            is_down = sweep % 2 == 0
            for layer in self.layers if is_down else self.layers[::-1]:
                around = self.above if is_down else self.below
                wanted = [
                    _mean([self.centre[one] for one in around.get(item, [])], self.centre[item])
                    for item in layer
                ]
                self._settle(layer, wanted)
        left = min(self.centre[item] - self._width(item) / 2 for item in self.centre)
        self.centre = {item: at - left for item, at in self.centre.items()}
        top = 0.0
        for layer in self.layers:
            self.tops.append(top)
            top += max(map(self._height, layer)) + GAP_Y

    def _settle(self, layer: Sequence[_Item], wanted: Sequence[float]) -> None:
        # The mean of two placings that keep every distance keeps it too.
        room = [
            (self._width(one) + self._width(other)) / 2 + GAP_X for one, other in pairwise(layer)
        ]
        right, left = list(wanted), list(wanted)
        for index in range(1, len(layer)):
            right[index] = max(right[index], right[index - 1] + room[index - 1])
        for index in range(len(layer) - 2, -1, -1):
            left[index] = min(left[index], left[index + 1] - room[index])
        for item, one, other in zip(layer, right, left, strict=True):
            self.centre[item] = (one + other) / 2

    def layout(self) -> Layout:
        """What was found."""
        corners = {
            name: (self.centre[name] - size.width / 2, self.tops[self.level[name]])
            for name, size in self.sizes.items()
        }
        right = max(
            (self.centre[item] + self._width(item) / 2 for item in self.centre), default=0.0
        )
        ways: list[Way] = []
        lane = right
        for number in range(len(self.links)):
            source, target = self.links[number]
            if source == target:
                beside = self.centre[source] + self.sizes[source].width / 2 + GAP_X / 2
                ways.append(self._way_back(number, corners, beside))
            elif number in self.back:
                lane += LANE
                ways.append(self._way_back(number, corners, lane))
            else:
                ways.append(self._way_down(number, corners))
        bottom = max((y + self.sizes[name].height for name, (_, y) in corners.items()), default=0.0)
        return Layout(corners, ways, lane, bottom)

    def _way_down(self, number: int, corners: Mapping[str, Point]) -> Way:
        source, target = self.links[number]
        points = [
            (
                self._port(number, source, is_out=True),
                corners[source][1] + self.sizes[source].height,
            )
        ]
        for level in range(self.level[source] + 1, self.level[target]):
            centre = self.centre[number, level]
            points += [(centre, self.tops[level]), (centre, self._bottom_of(level))]
        points.append((self._port(number, target, is_out=False), corners[target][1]))
        return Way(tuple(points))

    def _way_back(self, number: int, corners: Mapping[str, Point], lane: float) -> Way:
        """Between the layers to a lane at the right, up, and between the layers to the target."""
        source, target = self.links[number]
        apart = 5.0 * (number % 5)  # several do not hide each other
        leave = self._bottom_of(self.level[source]) + 9 + apart
        arrive = self.tops[self.level[target]] - 13 - apart
        from_x = self._port(number, source, is_out=True)
        to_x = self._port(number, target, is_out=False)
        return Way(
            (
                (from_x, corners[source][1] + self.sizes[source].height),
                (from_x, leave),
                (lane, leave),
                (lane, arrive),
                (to_x, arrive),
                (to_x, corners[target][1]),
            ),
            is_back=True,
        )

    def _port(self, number: int, name: str, *, is_out: bool) -> float:
        """Where it leaves or meets the box: beside the box's other links, in their order."""
        others = self.out[name] if is_out else self.into[name]
        others = sorted(others, key=lambda other: (self._far_end(other, is_out=is_out), other))
        share = (others.index(number) + 1) / (len(others) + 1)
        return self.centre[name] + (share - 0.5) * self.sizes[name].width * 0.8

    def _far_end(self, number: int, *, is_out: bool) -> float:
        source, target = self.links[number]
        if number in self.back:
            return inf
        if abs(self.level[target] - self.level[source]) > 1:
            level = self.level[source] + 1 if is_out else self.level[target] - 1
            return self.centre[number, level]
        return self.centre[target if is_out else source]

    def _bottom_of(self, level: int) -> float:
        return self.tops[level] + max(map(self._height, self.layers[level]))

    def _width(self, item: _Item) -> float:
        return self.sizes[item].width if isinstance(item, str) else LANE

    def _height(self, item: _Item) -> float:
        return self.sizes[item].height if isinstance(item, str) else 0.0


def _mean(numbers: Sequence[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default
