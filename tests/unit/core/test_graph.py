"""A definition as nodes and edges."""

from dataclasses import dataclass
from typing import Any

import pytest

from sagabus.core.definition import (
    Approval,
    Choice,
    Compensation,
    Definition,
    Items,
    Route,
    Routes,
    Stage,
)
from sagabus.core.graph import Edge, Outcome, graph_of


@dataclass(frozen=True)
class Words:
    """A template that is only looked at."""

    text: str

    def render(self, scope: object) -> Any:
        raise AssertionError(scope)

    render_input = render


def edges_of(routes: Routes, **settings: Any) -> list[tuple[str, Outcome, str]]:
    stage = Stage("a", ("r",), "a", routes=routes, **settings)
    graph = graph_of(Definition("w", "d", {"a": stage}, ("a",)))
    return [(edge.target, edge.outcome, edge.when) for edge in graph.edges]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (Routes(next="b"), [("b", "next", "")]),
        (Routes(on_success=(Route(("b", "end")),)), [("b", "success", ""), ("end", "success", "")]),
        (
            Routes(on_failure=(Route(("b",), Words("{{ x }}")), Route(("fail",)))),
            [("b", "failure", "{{ x }}"), ("fail", "failure", "")],
        ),
        (Routes(on_timeout=()), []),
        (Routes(on_timeout=(Route(("b",)),)), [("b", "timeout", "")]),
        (Routes(on_complete=(Route(("a",)),)), [("a", "complete", "")]),
        (
            Routes(
                on_success=(Route(("lost",)),),
                decision=(Choice("b", Words("{{ x }}")), Choice("end")),
            ),
            [("b", "decision", "{{ x }}"), ("end", "default", "")],
        ),
        (Routes(on_success=(Route(("b",)), Route(("b",)))), [("b", "success", "")]),
    ],
)
def test_every_route_is_an_edge(routes: Routes, expected: list[tuple[str, Outcome, str]]) -> None:
    assert edges_of(routes) == expected


def test_what_is_needed_leads_to_who_needs_it() -> None:
    a, b = Stage("a", ("r",), "a"), Stage("b", ("r",), "b")
    c = Stage("c", ("r",), "c", join=2, arms=("a", "b"), has_needs=True)
    graph = graph_of(Definition("w", "d", {"a": a, "b": b, "c": c}, ("a", "b")))
    assert graph.edges == (Edge("a", "c", "needs"), Edge("b", "c", "needs"))
    assert (graph.nodes[2].join, graph.nodes[2].arms) == (2, ("a", "b"))


def test_what_is_special_about_a_stage_stands_at_its_node() -> None:
    stages = [
        Stage(
            *("a", ("r", "r"), "act"),
            items=Items(Words("{{ x }}")),
            when=Words("{{ y }}"),
            approval=Approval(),
            classification="compensatable",
            compensation=Compensation(("undoer",), "act"),
        ),
        Stage("block", (), "", kind="block", children=("child",)),
        Stage("child", ("_core",), "core.sleep", kind="core", block="block"),
        Stage(
            *("sub", ("_workflow",), ""),
            kind="workflow",
            workflow="other",
            compensation=Compensation(("_workflow",), ""),
        ),
    ]
    definition = Definition("w", "d", {one.name: one for one in stages}, ("a",), on_end="sub")
    a, block, child, sub = graph_of(definition).nodes
    assert (a.roles, a.action, a.when, a.undone_by) == (("r", "r"), "act", "{{ y }}", ("undoer",))
    assert a.is_gated
    assert a.has_items
    assert (block.kind, child.block) == ("block", "block")
    assert (child.roles, sub.roles, sub.workflow) == ((), (), "other")
    assert sub.undone_by == ("other",)


def finals_of(*stages: Stage) -> list[str]:
    definition = Definition("w", "d", {one.name: one for one in stages}, (stages[0].name,))
    return [node.name for node in graph_of(definition).nodes if node.is_point_of_no_return]


def final(name: str, routes: Routes, **settings: Any) -> Stage:
    return Stage(name, ("r",), name, routes=routes, classification="final", **settings)


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        ([Stage("a", ("r",), "a", routes=Routes(next="f")), final("f", Routes())], ["f"]),
        ([final("f", Routes(next="g")), final("g", Routes())], ["f"]),
        # The first has failed, so that nothing final has happened.
        (
            [
                final("f", Routes(next="h", on_failure=(Route(("g",)),))),
                final("g", Routes()),
                final("h", Routes()),
            ],
            ["f", "g"],
        ),
        (
            [
                Stage("a", ("r",), "a", routes=Routes(on_success=(Route(("f", "g")),))),
                final("f", Routes(next="g")),
                final("g", Routes(on_success=(Route(("f",)),))),
            ],
            ["f", "g"],
        ),
        ([Stage("a", ("r",), "a", routes=Routes(on_success=(Route(("end", "fail")),)))], []),
    ],
)
def test_the_first_final_stages_are_the_points_of_no_return(
    stages: list[Stage], names: list[str]
) -> None:
    assert finals_of(*stages) == names


def test_a_final_stage_in_a_block_is_a_point_of_no_return() -> None:
    block = Stage("b", (), "", kind="block", children=("c",), routes=Routes(next="f"))
    assert finals_of(block, final("c", Routes(), block="b"), final("f", Routes())) == ["c"]


def test_stages_are_counted_by_class() -> None:
    block = Stage("b", (), "", kind="block", children=("c",))
    stages = [block, final("c", Routes(), block="b"), Stage("d", ("r",), "d")]
    definition = Definition("w", "d", {one.name: one for one in stages}, ("b",))
    assert definition.effect_classes == {"unclassified": 1, "final": 1}
