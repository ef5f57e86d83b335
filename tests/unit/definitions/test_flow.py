"""The graph of a workflow: main line, entry, arms, joins, reach, and diamonds."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from typing import Any

import pytest

from sagabus.definitions.diamonds import find_diamonds
from sagabus.definitions.exclusive_arms import find_conflicts
from sagabus.definitions.flow import Flow
from sagabus.definitions.models import StageModel

Written = dict[str, dict[str, Any]]


def flow(stages: Written, order: Any = "written", on_end: str | None = None) -> Flow:
    models = [
        StageModel.model_validate({"name": name, "agents": ["r"], **keys})
        if "type" not in keys
        else StageModel.model_validate({"name": name, **keys})
        for name, keys in stages.items()
    ]
    return Flow(tuple(models), order, on_end)


def block(*names: str) -> dict[str, Any]:
    return {"type": "parallel", "stages": [{"name": name, "agents": ["r"]} for name in names]}


MAIN_LINES: list[tuple[Written, tuple[str, ...], dict[str, str]]] = [
    # Every stage of a plain list follows the one before it.
    ({"a": {}, "b": {}, "c": {}}, ("a", "b", "c"), {"a": "b", "b": "c"}),
    # A handler written below and named by a failure stays off the line.
    ({"a": {"on_failure": "h"}, "b": {}, "h": {}}, ("a", "b"), {"a": "b"}),
    # ... whatever kind of route names it.
    ({"a": {"on_timeout": "h"}, "h": {}, "b": {}}, ("a", "b"), {"a": "b"}),
    ({"a": {"on_failure": [{"do": "h"}]}, "h": {}}, ("a",), {}),
    # A success route of its own, a decision or `on_complete` ends the implied line there.
    ({"a": {"on_success": "c"}, "b": {}, "c": {}}, ("a", "b"), {}),
    ({"a": {"on_complete": "c"}, "b": {}, "c": {}}, ("a", "b"), {}),
    ({"a": {"decision": [{"default": "c"}]}, "b": {}, "c": {}}, ("a", "b"), {}),
    # What a decision replaces still names a stage: adding one never pulls a handler into the line.
    (
        {"a": {"on_success": "x", "decision": [{"default": "y"}]}, "x": {}, "y": {}, "b": {}},
        ("a", "b"),
        {},
    ),
    # A later stage naming an earlier one is a loop, and leaves the earlier one on the line.
    ({"a": {}, "b": {"on_failure": "a"}, "c": {}}, ("a", "b", "c"), {"a": "b", "b": "c"}),
    # So does a stage that names itself.
    ({"a": {}, "b": {"on_failure": "b"}}, ("a", "b"), {"a": "b"}),
    # One with needs is off the line; the line goes on past it.
    ({"a": {}, "n": {"needs": ["a"]}, "b": {}}, ("a", "b"), {"a": "b"}),
    # `end` and `fail` are no stages.
    ({"a": {"on_failure": "fail"}, "b": {}}, ("a", "b"), {"a": "b"}),
]


@pytest.mark.parametrize(("stages", "line", "implied"), MAIN_LINES)
def test_the_main_line_is_what_no_earlier_stage_names(
    stages: Written, line: tuple[str, ...], implied: dict[str, str]
):
    found = flow(stages)
    assert found.main_line == line
    assert found.next == implied
    assert found.entry == line[:1]


def test_the_stage_of_on_end_is_off_the_line_and_of_every_edge():
    found = flow({"a": {}, "notice": {}, "b": {}}, on_end="notice")
    assert (found.main_line, found.next) == (("a", "b"), {"a": "b"})
    assert found.reach["notice"] == {"notice"}
    assert "notice" not in found.reach["a"]


def test_one_added_route_changes_nothing_else():
    before = flow({"a": {}, "b": {}, "c": {}, "h": {}})
    after = flow({"a": {}, "b": {"on_failure": "h"}, "c": {}, "h": {}})
    assert before.next == {"a": "b", "b": "c", "c": "h"}
    assert after.next == {"a": "b", "b": "c"}


def test_a_graph_starts_wherever_nothing_leads():
    stages: Written = {"a": {"on_success": "c"}, "b": {}, "c": {}, "d": {"needs": ["a", "b"]}}
    found = flow(stages, "graph")
    assert found.entry == ("a", "b")
    assert found.next == {}
    assert found.arms == {"a": (), "b": (), "c": ("a",), "d": ("a", "b")}


def test_a_graph_that_is_one_circle_starts_nowhere():
    assert flow({"a": {"on_success": "b"}, "b": {"on_success": "a"}}, "graph").entry == ()


def test_arms_are_distinct_stages_by_whatever_way_they_lead():
    found = flow(
        {
            "a": {"on_success": ["j", "j"], "on_failure": "j", "on_complete": ["b"]},
            "b": {"decision": [{"when": "{{ true }}", "next": "j"}, {"default": "c"}]},
            "c": {},
            "j": {"join": "all"},
        }
    )
    assert found.arms["j"] == ("a", "b")
    assert found.join_of(found.by_name["j"]) == 2


def test_an_implied_edge_is_an_arm_too():
    found = flow({"a": {}, "b": {}, "c": {"on_failure": "b"}})
    assert found.arms["b"] == ("a", "c")


def test_needs_are_a_join_over_exactly_these():
    found = flow({"a": {}, "b": {}, "n": {"needs": ["a", "b"]}})
    assert (found.arms["n"], found.join_of(found.by_name["n"])) == (("a", "b"), 2)


def test_reach_follows_every_kind_of_edge_and_goes_into_blocks():
    found = flow(
        {
            "a": {"on_failure": "h"},
            "p": block("x", "y"),
            "b": {"on_success": "a"},
            "h": {"on_complete": "end"},
            "n": {"needs": ["p"]},
        }
    )
    everything = {"a", "p", "x", "y", "b", "h", "n"}
    assert found.reach["a"] == found.reach["b"] == everything
    assert found.reach["h"] == {"h"}
    assert found.reach["x"] == found.reach["p"] == everything
    assert found.reach["n"] == {"n"}


def test_what_a_join_waits_for_in_vain_cannot_start():
    found = flow(
        {
            "a": {"on_success": ["b", "j"]},
            "b": {"on_success": "end"},
            "dead": {"on_success": "j"},
            "j": {"join": "all"},
        }
    )
    assert found.startable() == {"a", "b"}


DIAMONDS: list[tuple[Written, list[tuple[str, str]]]] = [
    # Both ways from one fork meet.
    (
        {"a": {"on_success": ["b", "c"]}, "b": {"on_success": "d"}, "c": {"on_success": "d"}, "d": {}},
        [("d", "a")],
    ),
    # A direct way and one round about.
    ({"a": {"on_success": ["b", "d"]}, "b": {"on_success": "d"}, "d": {}}, [("d", "a")]),
    # `on_complete` fires beside the rest.
    (
        {"a": {"on_success": "b", "on_complete": "d"}, "b": {"on_success": "d"}, "d": {}},
        [("d", "a")],
    ),
    # A join is no mistake.
    (
        {
            "a": {"on_success": ["b", "c"]},
            "b": {"on_success": "d"},
            "c": {"on_success": "d"},
            "d": {"join": "all"},
        },
        [],
    ),
    # One line of a decision is taken.
    (
        {
            "a": {"decision": [{"when": "{{ 1 }}", "next": "b"}, {"default": "c"}]},
            "b": {"on_success": "d"},
            "c": {"on_success": "d"},
            "d": {},
        },
        [],
    ),
    # Conditions mostly exclude each other.
    (
        {
            "a": {
                "on_success": [{"when": "{{ 1 }}", "do": "b"}, {"when": "{{ 2 }}", "do": "c"}]
            },
            "b": {"on_success": "d"},
            "c": {"on_success": "d"},
            "d": {},
        },
        [],
    ),
    # Both ways run through one stage, which runs once.
    (
        {
            "a": {"on_success": ["b", "c"]},
            "b": {"on_success": "m"},
            "c": {"on_success": "m"},
            "m": {"join": "all", "on_success": "d"},
            "d": {},
        },
        [],
    ),
    # A loop back through the fork is the next pass.
    ({"a": {}, "b": {}, "c": {"on_success": [{"when": "{{ 1 }}", "do": "a"}, {"do": "d"}]}, "d": {}}, []),
    # Two failures in one handler.
    ({"a": {"on_success": ["b", "c"]}, "b": {"on_failure": "h"}, "c": {"on_failure": "h"}, "h": {}}, []),
]  # fmt: skip


@pytest.mark.parametrize(("stages", "expected"), DIAMONDS)
def test_a_stage_that_two_ways_of_one_fork_lead_to_is_found(
    stages: Written, expected: list[tuple[str, str]]
):
    assert list(find_diamonds(flow(stages))) == expected


def test_two_beginnings_are_a_fork():
    stages: Written = {"a": {"on_success": "c"}, "b": {"on_success": "c"}, "c": {}}
    assert list(find_diamonds(flow(stages, "graph"))) == [("c", "")]


def test_a_large_dense_graph_is_looked_at_in_moments():
    names = [f"s{i}" for i in range(300)]
    dense = flow({name: {"on_success": names} for name in names})
    assert dense.reach["s0"] == set(names)
    list(find_diamonds(dense))


def two_arms(first: dict[str, Any], **more: dict[str, Any]) -> Written:
    """A stage that leads to b and c, which both lead to a join."""
    return {
        "a": first,
        "b": {"on_success": "j"},
        "c": {"on_success": "j"},
        "j": {"join": "all"},
        **more,
    }


DECISION = [{"when": "{{ 1 }}", "next": "b"}, {"default": "c"}]
CONFLICTS: list[tuple[Written, list[tuple[str, str, tuple[str, str]]]]] = [
    (two_arms({"decision": DECISION}), [("j", "a", ("b", "c"))]),
    (two_arms({"on_success": "b", "on_failure": "c"}), [("j", "a", ("b", "c"))]),
    (two_arms({"on_failure": "b", "on_timeout": "c"}), [("j", "a", ("b", "c"))]),
    # The fork may be an arm itself.
    ({"a": {"on_success": "j", "on_failure": "b"}, "b": {"on_success": "j"}, "j": {"join": 2}}, [("j", "a", ("a", "b"))]),
    # What fires besides is there whatever the rest does.
    (two_arms({"decision": DECISION, "on_complete": "d"}, d={"on_success": "j"}) | {"j": {"join": 2}}, []),
    (two_arms({"decision": DECISION, "on_complete": "d"}, d={"on_success": "j"}), [("j", "a", ("b", "c"))]),
    (two_arms({"on_success": ["b", "c"]}), []),
    (two_arms({"on_success": [{"when": "{{ 1 }}", "do": "b"}, {"when": "{{ 2 }}", "do": "c"}]}), []),
    (two_arms({"decision": [{"when": "{{ 1 }}", "next": "b"}, {"default": "end"}]}, n={"needs": ["a", "b"]}) | {"j": {}, "c": {"needs": ["b"]}}, []),
    # A second way to one of the arms.
    (two_arms({"on_success": "b", "on_failure": "c", "on_complete": "d"}, d={"on_success": "b"}), []),
    # In a loop the other end comes in another pass.
    (two_arms({"decision": DECISION}) | {"b": {"on_success": ["j", "a"]}}, []),
    # So it does behind a loop, which leads to the fork again and again.
    ({"z": {"on_success": ["z", "a"]}} | two_arms({"on_success": "b", "on_failure": "c"}), []),
    # A stage that is skipped has arrived.
    (two_arms({"on_success": "b", "on_failure": "c", "when": "{{ 1 }}"}), []),
    # `needs`, too.
    ({"a": {"on_success": "b", "on_failure": "c"}, "b": {}, "c": {}, "n": {"needs": ["b", "c"]}}, [("n", "a", ("b", "c"))]),
]  # fmt: skip


@pytest.mark.parametrize(("stages", "expected"), CONFLICTS)
def test_a_join_of_arms_that_exclude_each_other_is_found(
    stages: Written, expected: list[tuple[str, str, tuple[str, str]]]
):
    assert [tuple(conflict) for conflict in find_conflicts(flow(stages))] == expected
