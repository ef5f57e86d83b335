"""Pictures of graphs: everything is in them, nothing in a name can break them."""

import random
import re
from itertools import pairwise
from time import perf_counter
from xml.etree import ElementTree

import pytest

from sagabus.core.graph import Edge, Graph, Node, Outcome
from sagabus.definitions.diagrams import FORMATS
from sagabus.definitions.diagrams.layout import GAP_Y, Size, arrange

OUTCOMES: tuple[Outcome, ...] = ("success", "failure", "timeout", "complete", "next", "needs")
HOSTILE = '{{ "</text><script>" ~ `a` ~ "|]--" }}'


def example() -> Graph:
    return Graph(
        workflow="shop.deploy",
        digest="d",
        entry=("build",),
        nodes=(
            Node("build", "agents", ("docker", "docker"), "image", is_gated=True, when=HOSTILE),
            Node("checks", "block"),
            Node("check_a", "agents", ("tester",), "check_a", block="checks"),
            Node("check_b", "core", (), "core.sleep", block="checks"),
            Node("merge", "agents", ("r",), "merge", join=2, arms=("build", "checks")),
            Node("ask", "inquiry"),
            Node("sub", "workflow", workflow="other.flow", undone_by=("other.flow",)),
            Node("tell", "agents", ("slack",), "tell", has_items=True, undone_by=("undoer",)),
        ),
        edges=(
            Edge("build", "checks", "next"),
            Edge("build", "merge", "success"),
            Edge("checks", "merge", "success"),
            Edge("checks", "fail", "failure"),
            Edge("merge", "ask", "next"),
            Edge("ask", "sub", "decision", "{{ vars.x == 1 }}"),
            Edge("ask", "end", "default"),
            Edge("ask", "ask", "failure", HOSTILE),
            Edge("sub", "build", "timeout"),
        ),
        on_end="tell",
    )


def ran(graph: Graph) -> Graph:
    """The same of an instance that has come to the question."""
    statuses = {"build": "succeeded", "checks": "failed", "ask": "waiting"}
    nodes = tuple(
        Node(
            **{
                **{name: getattr(node, name) for name in Node.__slots__},
                "status": statuses.get(node.name),
                "error": "Broken: <no>" if node.name == "checks" else None,
                "passes": 2 if node.name == "build" else 1,
            }
        )
        for node in graph.nodes
    )
    edges = tuple(
        Edge(edge.source, edge.target, edge.outcome, edge.when, edge.source == "build")
        for edge in graph.edges
    )
    return Graph("shop.deploy", "d", ("build",), nodes, edges, "tell", "run-1", "waiting")


@pytest.mark.parametrize("form", FORMATS)
def test_every_stage_and_what_is_special_about_it_is_drawn(form: str) -> None:
    drawn = FORMATS[form](example())
    for words in (
        *("build", "checks", "check_a", "check_b", "merge", "ask", "sub", "tell"),
        *("docker x 2", "needs approval", "waits for all of 2", "asks a person", "core.sleep"),
        *("workflow other.flow", "undoes itself", "undone by undoer", "for each item"),
        *("runs last", "end", "fail"),
        *("success", "failure", "timeout", "if vars.x == 1", "otherwise", "next"),
    ):
        assert words in drawn


@pytest.mark.parametrize("form", FORMATS)
def test_status_of_an_instance_is_drawn(form: str) -> None:
    drawn = FORMATS[form](ran(example()))
    for words in ("run-1", "succeeded", "failed", "waiting"):
        assert words in drawn
    assert drawn != FORMATS[form](example())


@pytest.mark.parametrize("graph", [example(), ran(example())], ids=["plain", "ran"])
def test_svg_is_sound_xml_without_scripts(graph: Graph) -> None:
    root = ElementTree.fromstring(FORMATS["svg"](graph))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "title", "style", "defs", "marker", "path", "rect", "circle", "text"}
    assert "</text><script>" in "".join(root.itertext())


def test_svg_boxes_do_not_overlap_and_stay_inside() -> None:
    root = ElementTree.fromstring(FORMATS["svg"](example()))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [
        tuple(float(one.attrib[key]) for key in ("x", "y", "width", "height"))
        for one in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(boxes) == 9  # a sub-workflow has two
    for x, y, w, h in boxes:
        assert 0 < x < x + w < width
        assert 0 < y < y + h < height
    for one in boxes:
        for other in boxes:
            assert one is other or apart(one, other) or inside(one, other) or inside(other, one)


def apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return (
        one[0] + one[2] <= other[0]
        or other[0] + other[2] <= one[0]
        or one[1] + one[3] <= other[1]
        or other[1] + other[3] <= one[1]
    )


def inside(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return (
        other[0] <= one[0]
        and other[1] <= one[1]
        and one[0] + one[2] <= other[0] + other[2]
        and one[1] + one[3] <= other[1] + other[3]
    )


def test_mermaid_and_dot_quote_what_is_written() -> None:
    drawn = FORMATS["mermaid"](example())
    assert "<script>" not in drawn
    for line in drawn.splitlines():
        assert line.count('"') in {0, 2}
    for line in FORMATS["dot"](example()).splitlines():
        assert len(re.findall(r'(?<!\\)"', line)) % 2 == 0


def test_text_draws_a_stage_of_a_block_in_it() -> None:
    lines = FORMATS["text"](ran(example())).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("checks [failed"))
    assert lines[at + 1 : at + 6] == [
        "│  Broken: <no>",
        "│  check_a · tester",
        "│  check_b · core.sleep",
        "├─ success → merge",
        "└─ failure → fail",
    ]
    assert "build [succeeded, 2 runs]" in lines[3]
    assert "├─ next ⇒ checks" in lines
    for name in ("svg", "mermaid", "dot"):
        assert "succeeded, 2 runs" in FORMATS[name](ran(example()))


@pytest.mark.parametrize("seed", range(40))
def test_any_graph_can_be_drawn(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"stage_{number}" for number in range(rng.randint(1, 30))]
    edges = tuple(
        Edge(rng.choice(names), rng.choice([*names, "end", "fail"]), rng.choice(OUTCOMES))
        for _ in range(rng.randint(0, 60))
    )
    nodes = tuple(Node(name, "agents", ("r",), name) for name in names)
    graph = Graph("w", "d", (names[0],), nodes, edges)
    for draw in FORMATS.values():
        assert draw(graph) == draw(graph)
    ElementTree.fromstring(FORMATS["svg"](graph))


@pytest.mark.parametrize("seed", range(40))
def test_layout_keeps_boxes_apart_and_goes_down(seed: int) -> None:
    rng = random.Random(seed)
    sizes = {
        f"s{number}": Size(rng.uniform(40, 200), rng.uniform(30, 150))
        for number in range(rng.randint(1, 25))
    }
    links = [(rng.choice(list(sizes)), rng.choice(list(sizes))) for _ in range(rng.randint(0, 50))]
    layout = arrange(sizes, links)
    boxes = [
        (x, y, sizes[name].width, sizes[name].height) for name, (x, y) in layout.corners.items()
    ]
    assert all(apart(one, other) for one in boxes for other in boxes if one is not other)
    for (source, target), way in zip(links, layout.ways, strict=True):
        if not way.is_back:
            assert layout.corners[source][1] < layout.corners[target][1]
            assert all(upper[1] <= lower[1] for upper, lower in pairwise(way.points))
        assert way.points[-1][1] == layout.corners[target][1]


def test_chain_is_one_straight_column() -> None:
    sizes = {name: Size(width, 40) for name, width in (("a", 80), ("b", 200), ("c", 60))}
    layout = arrange(sizes, [("a", "b"), ("b", "c")])
    centres = {layout.corners[name][0] + size.width / 2 for name, size in sizes.items()}
    assert max(centres) - min(centres) < 0.001
    assert [layout.corners[name][1] for name in sizes] == [0, 40 + GAP_Y, 80 + 2 * GAP_Y]


def test_500_stages_are_drawn_in_a_moment() -> None:
    names = [f"stage_{number}" for number in range(500)]
    edges = [Edge(one, other, "next") for one, other in pairwise(names)]
    edges += [Edge(name, "fail", "failure") for name in names]
    nodes = tuple(Node(name, "agents", ("r",), name) for name in names)
    began = perf_counter()
    assert FORMATS["svg"](Graph("w", "d", ("stage_0",), nodes, tuple(edges)))
    assert perf_counter() - began < 5


@pytest.mark.parametrize("form", FORMATS)
def test_the_point_of_no_return_is_marked(form: str) -> None:
    nodes = (
        Node("pay", "agents", ("bank",), "pay", classification="final", is_point_of_no_return=True),
        Node("tell", "agents", ("post",), "tell", classification="final"),
    )
    picture = FORMATS[form](Graph("w", "d", ("pay",), nodes, (Edge("pay", "tell", "next"),)))
    assert picture.count("final: the point of no return") == 1
    assert picture.count("final") == 2
