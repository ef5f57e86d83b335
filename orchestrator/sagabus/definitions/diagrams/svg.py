"""A graph as an SVG picture, readable on light and on dark pages, without any other program."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from math import hypot
from typing import Final
from unicodedata import east_asian_width

from sagabus.core.graph import Edge, Graph, Node
from sagabus.definitions.diagrams.captions import (
    details_of,
    label_of,
    progress_of,
    targets_beside_stages,
    title_of,
)
from sagabus.definitions.diagrams.layout import GAP_Y, Layout, Point, Size, Way, arrange
from sagabus.definitions.diagrams.palette import DASHED, EDGE, FAINT_INK, INK, of_status

#: Mean width of a letter, by size of the font; the bold ones of names are wider.
_LETTER: Final = 0.6
_BOLD_LETTER: Final = 0.68
_NAME: Final = 13.0
_DETAIL: Final = 11.0
_LABEL: Final = 10.5
_LINE: Final = 15.0
_PAD: Final = 10.0
_MARGIN: Final = 24.0
#: Of ``end`` and ``fail``.
_RADIUS: Final = 17.0
#: Stages of a block beside each other.
_PER_ROW: Final = 4
#: What no stage is named: where a run begins.
_START: Final = "(start)"
_STYLE: Final = (
    "text{font-family:system-ui,sans-serif}"
    f".n{{font-size:{_NAME}px;font-weight:600;fill:{INK}}}"
    f".d{{font-size:{_DETAIL}px;fill:{FAINT_INK}}}"
    f".l{{font-size:{_LABEL}px}}"
    ".t{font-size:14px;font-weight:600;fill:#7d8794}"
)
#: Where on its way a label may stand, the best place first.
_PLACES: Final = (0.5, 0.36, 0.64, 0.25, 0.75, 0.15, 0.85)


def svg(graph: Graph) -> str:
    """The picture; its background is transparent."""
    picture = _Picture(graph)
    picture.draw()
    title = escape(title_of(graph))
    width, height = picture.size.width, picture.size.height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{title}">'
    )
    return "\n".join(
        [
            head,
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            "<defs>",
            *map(_arrow, sorted(set(EDGE.values()))),
            "</defs>",
            *picture.parts,
            "</svg>\n",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Rectangle:
    x: float
    y: float
    width: float
    height: float

    def touches(self, other: "_Rectangle") -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(slots=True)
class _Picture:
    graph: Graph
    parts: list[str] = field(default_factory=list)
    size: Size = field(default_factory=lambda: Size(0, 0))
    #: What a label may not cover.
    taken: list[_Rectangle] = field(default_factory=list)

    def draw(self) -> None:
        graph = self.graph
        outer = [node for node in graph.nodes if node.block is None]
        sizes = {_START: Size(12, 12)}
        sizes |= {node.name: self._size(node) for node in outer if node.name != graph.on_end}
        # Everyone has an end of its own: else many edges would cross the whole picture.
        beside = set(targets_beside_stages(graph))
        ends = {_end(edge): edge.target for edge in graph.edges if edge.target in beside}
        sizes |= {name: Size(2 * _RADIUS, 2 * _RADIUS) for name in ends}
        links = [(_START, name) for name in graph.entry]
        links += [
            (edge.source, _end(edge) if edge.target in beside else edge.target)
            for edge in graph.edges
        ]
        layout = arrange(sizes, links)
        top = _MARGIN + 26
        for name, (x, y) in layout.corners.items():
            size = sizes[name]
            self.taken.append(_Rectangle(x + _MARGIN, y + top, size.width, size.height))
        bottom = self._draw_boxes(outer, layout, sizes, top)
        for name, target in ends.items():
            x, y = layout.corners[name]
            self._circle(target, (x + _MARGIN + _RADIUS, y + top + _RADIUS))
        ways = layout.ways[len(graph.entry) :]
        for _, way in zip(graph.entry, layout.ways, strict=False):
            self._line(_moved(way, top), EDGE["next"], "")
        for edge, way in zip(graph.edges, ways, strict=True):
            self._edge(edge, _moved(way, top))
        right = max([one.x + one.width for one in self.taken] + [layout.width + _MARGIN])
        self._text(_MARGIN, _MARGIN + 4, "t", title_of(graph))
        right = max(right, _MARGIN + _width(title_of(graph), 14, _BOLD_LETTER))
        self.size = Size(right + _MARGIN, bottom + _MARGIN)

    def _draw_boxes(
        self, outer: Sequence[Node], layout: Layout, sizes: dict[str, Size], top: float
    ) -> float:
        """Every box; the height of all."""
        bottom = top + layout.height
        x, y = layout.corners[_START]
        self.parts.append(
            f'<circle cx="{x + 6 + _MARGIN:.1f}" cy="{y + 6 + top:.1f}" r="6" fill="#7d8794"/>'
        )
        for node in outer:
            if node.name == self.graph.on_end:
                size = self._size(node)
                at = _Rectangle(_MARGIN, bottom + GAP_Y / 2, size.width, size.height)
                self.taken.append(at)
                self._box(node, at)
                bottom = at.y + at.height
            else:
                x, y = layout.corners[node.name]
                size = sizes[node.name]
                self._box(node, _Rectangle(x + _MARGIN, y + top, size.width, size.height))
        return bottom

    def _size(self, node: Node) -> Size:
        """What a stage needs; a block has its stages below its own lines."""
        lines = self._lines(node)
        width = max(
            [_width(node.name, _NAME, _BOLD_LETTER)]
            + [_width(line, _DETAIL, _LETTER) for line in lines]
        )
        size = Size(max(width + 2 * _PAD, 84), _PAD + 18 + _LINE * len(lines) + _PAD / 2)
        rows = self._rows(node)
        if not rows:
            return size
        inner = max(sum(one.width for _, one in row) + _PAD * (len(row) - 1) for row in rows)
        height = sum(max(one.height for _, one in row) + _PAD for row in rows)
        return Size(max(size.width, inner + 2 * _PAD), size.height + height)

    def _rows(self, node: Node) -> list[list[tuple[Node, Size]]]:
        children = [(one, self._size(one)) for one in self.graph.nodes if one.block == node.name]
        return [children[at : at + _PER_ROW] for at in range(0, len(children), _PER_ROW)]

    def _lines(self, node: Node) -> list[str]:
        return [*details_of(node, self.graph), *progress_of(node)]

    def _box(self, node: Node, at: _Rectangle) -> None:
        fill, line = of_status(node.status)
        is_block = node.kind == "block"
        shape = {"inquiry": 16, "core": 12}.get(node.kind, 5)
        dash = ' stroke-dasharray="5 4"' if is_block else ""
        error = f"<title>{escape(node.error)}</title>" if node.error else ""
        self.parts.append(
            f'<rect x="{at.x:.1f}" y="{at.y:.1f}" width="{at.width:.1f}" height="{at.height:.1f}" '
            f'rx="{shape}" fill="{fill}" stroke="{line}" stroke-width="1.3"{dash}>{error}</rect>'
        )
        if node.kind == "workflow":  # a frame within the frame
            self.parts.append(
                f'<rect x="{at.x + 3:.1f}" y="{at.y + 3:.1f}" width="{at.width - 6:.1f}" '
                f'height="{at.height - 6:.1f}" rx="3" fill="none" stroke="{line}"/>'
            )
        y = at.y + _PAD + 10
        self._text(at.x + _PAD, y, "n", node.name)
        for words in self._lines(node):
            y += _LINE
            self._text(at.x + _PAD, y, "d", words)
        y += _PAD
        for row in self._rows(node):
            x = at.x + _PAD
            for child, size in row:
                self._box(child, _Rectangle(x, y, size.width, size.height))
                x += size.width + _PAD
            y += max(size.height for _, size in row) + _PAD

    def _circle(self, name: str, at: Point) -> None:
        colour = EDGE["failure"] if name == "fail" else EDGE["next"]
        self.parts.append(
            f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{_RADIUS - 1:.0f}" '
            f'fill="#eef1f4" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{at[0]:.1f}" y="{at[1] + 4:.1f}" class="d" text-anchor="middle">'
            f"{name}</text>"
        )

    def _edge(self, edge: Edge, way: Way) -> None:
        colour = EDGE[edge.outcome]
        style = ' stroke-dasharray="5 4"' if edge.outcome in DASHED else ""
        self._line(way, colour, style + (' stroke-width="3"' if edge.is_taken else ""))
        words = label_of(edge)
        width = _width(words, _LABEL, _LETTER)
        at = self._free_place(way, width)
        self.taken.append(at)
        full = f"<title>{escape(edge.when)}</title>" if edge.when else ""
        self.parts.append(
            f'<text x="{at.x:.1f}" y="{at.y + _LABEL:.1f}" class="l" fill="{colour}">'
            f"{full}{escape(words)}</text>"
        )

    def _free_place(self, way: Way, width: float) -> _Rectangle:
        # Beside the line, on the side from which it bends away.
        (x, _), (to_x, _) = way.points[:2]
        beside = 0.0 if way.is_back else max(-9.0, min(9.0, (x - to_x) / 4))
        places = [
            _Rectangle(x + 5, y + beside - _LABEL / 2 - 2, width, _LABEL + 4)
            for x, y in (_point(way, share) for share in _PLACES)
        ]
        for place in places:
            if not any(place.touches(other) for other in self.taken):
                return place
        return places[0]

    def _line(self, way: Way, colour: str, style: str) -> None:
        thickness = "" if "stroke-width" in style else ' stroke-width="1.5"'
        self.parts.append(
            f'<path d="{_path(way)}" fill="none" stroke="{colour}"{thickness}{style} '
            f'marker-end="url(#a{colour[1:]})"/>'
        )

    def _text(self, x: float, y: float, style: str, words: str) -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(words)}</text>')


def _end(edge: Edge) -> str:
    return f"{edge.source} to {edge.target}"


def _arrow(colour: str) -> str:
    return (
        f'<marker id="a{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )


def _moved(way: Way, top: float) -> Way:
    return Way(tuple((x + _MARGIN, y + top) for x, y in way.points), way.is_back)


def _path(way: Way) -> str:
    points = way.points
    text = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    if way.is_back:
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            (x, y), (to_x, to_y) = _towards(corner, before), _towards(corner, after)
            text += f"L{x:.1f} {y:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {to_x:.1f} {to_y:.1f}"
        return f"{text}L{points[-1][0]:.1f} {points[-1][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (y + to_y) / 2
        text += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
    return text


def _towards(point: Point, other: Point) -> Point:
    """A little way from ``point``: where a round corner begins."""
    length = hypot(other[0] - point[0], other[1] - point[1])
    share = min(6.0, length / 2) / length if length else 0.0
    return point[0] + (other[0] - point[0]) * share, point[1] + (other[1] - point[1]) * share


def _point(way: Way, share: float) -> Point:
    """Where a way is after ``share`` of its first step, or of the upright one of a way back."""
    (x, y), (to_x, to_y) = way.points[2:4] if way.is_back else way.points[:2]
    if way.is_back:
        return x, y + (to_y - y) * share
    # Bernstein's polynomials: the second and third points of the curve have its ends' x.
    lean = share * share * (3 - 2 * share)
    middle = (y + to_y) / 2
    rest = 1 - share
    height = rest**3 * y + 3 * rest * share * middle + share**3 * to_y
    return x + (to_x - x) * lean, height


def _width(text: str, size: float, letter: float) -> float:
    letters = sum(2.0 if east_asian_width(char) in "WF" else 1.0 for char in text)
    return letters * size * letter
