"""How far an instance has come, on the graph of its definition."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sagabus.core.definition import Choice, Definition, Route, Routes, Stage
from sagabus.core.instance import (
    Failure,
    Instance,
    InstanceState,
    InstanceStatus,
    StageRun,
    StageStatus,
    run_key,
)
from sagabus.views.graphs import instance_graph, view_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Always:
    """A condition."""

    text = "{{ x }}"

    def render(self, scope: object) -> Any:
        raise AssertionError(scope)


def stage(name: str, **routes: Any) -> Stage:
    return Stage(name, ("r",), name, routes=Routes(**routes))


def to(*targets: str, when: Always | None = None) -> tuple[Route, ...]:
    return (Route(targets, when),)


FLOW = Definition(
    name="w",
    digest="d",
    entry=("a",),
    stages={
        one.name: one
        for one in (
            stage(
                *("a",),
                on_success=to("b"),
                on_failure=to("b", "fail"),
                on_timeout=to("late"),
                on_complete=to("log"),
            ),
            stage("b", decision=(Choice("a", Always()), Choice("log"), Choice("end"))),
            stage("late", on_success=to("end"), on_failure=to("last")),
            stage("log", next="last"),
            stage("last", on_success=to("end", when=Always())),
        )
    },
)


def run(
    name: str,
    status: StageStatus = StageStatus.SUCCEEDED,
    *parents: str,
    pass_: int = 1,
    error: str | None = None,
) -> StageRun:
    ended_at = None if status in {StageStatus.RUNNING, StageStatus.WAITING} else NOW
    failure = None if error is None else Failure(error, "no")
    return StageRun(name, pass_, status, NOW, ended_at, parents=list(parents), error=failure)


def taken(*runs: StageRun) -> set[tuple[str, str, str]]:
    graph = instance_graph(state(*runs), FLOW)
    return {(edge.source, edge.target, edge.outcome) for edge in graph.edges if edge.is_taken}


def state(*runs: StageRun) -> InstanceState:
    row = Instance("i", "w", "d", InstanceStatus.RUNNING, NOW, NOW)
    row.runs = {run_key(one.stage, one.pass_): one for one in runs}
    return InstanceState(row)


FAILED, RUNNING = StageStatus.FAILED, StageStatus.RUNNING


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run("a", RUNNING)], set()),
        ([run("a"), run("b", RUNNING, "a-1")], {("a", "b", "success")}),
        (
            [run("a", FAILED, error="Broken"), run("b", RUNNING, "a-1")],
            {("a", "b", "failure"), ("a", "fail", "failure")},
        ),
        (
            [run("a", StageStatus.TIMED_OUT, error="timeout"), run("late", RUNNING, "a-1")],
            {("a", "late", "timeout")},
        ),
        (
            [run("a"), run("b", RUNNING, "a-1"), run("log", RUNNING, "a-1")],
            {("a", "b", "success"), ("a", "log", "complete")},
        ),
        (
            [run("a"), run("b", StageStatus.SUCCEEDED, "a-1"), run("a", RUNNING, "b-1", pass_=2)],
            {("a", "b", "success"), ("b", "a", "decision")},
        ),
        (
            [run("a"), run("log", StageStatus.SKIPPED, "a-1"), run("last", RUNNING, "log-1")],
            {("a", "log", "complete"), ("log", "last", "next")},
        ),
        # Without routes of its own a timeout is a failure.
        (
            [run("late", StageStatus.TIMED_OUT, error="timeout"), run("last", RUNNING, "late-1")],
            {("late", "last", "failure")},
        ),
        # Undone: the error alone remembers how it had ended.
        (
            [
                run("a", StageStatus.COMPENSATED, error="timeout"),
                run("late", StageStatus.COMPENSATED, "a-1"),
            ],
            {("a", "late", "timeout"), ("late", "end", "success")},
        ),
        # Which way a condition went is not known without a stage that started.
        ([run("last")], set()),
        ([run("b")], set()),
    ],
)
def test_edges_that_an_instance_has_gone(
    runs: list[StageRun], expected: set[tuple[str, str, str]]
) -> None:
    assert taken(*runs) == expected


def test_nodes_show_the_newest_run() -> None:
    runs = [
        run("a", FAILED, error="Broken"),
        run("b", StageStatus.SUCCEEDED, "a-1"),
        run("a", RUNNING, "b-1", pass_=2),
    ]
    graph = instance_graph(state(*runs), FLOW)
    nodes = {node.name: (node.status, node.passes, node.error) for node in graph.nodes}
    assert nodes["a"] == ("running", 2, None)
    assert nodes["b"] == ("succeeded", 1, None)
    assert nodes["late"] == (None, 0, None)
    assert (graph.instance, graph.status) == ("i", "running")
    failed = instance_graph(state(runs[0]), FLOW)
    assert failed.nodes[0].error == "Broken: no"


def test_document_holds_everything_as_json() -> None:
    document = view_of(instance_graph(state(run("a")), FLOW)).model_dump(mode="json")
    assert document["entry"] == ["a"]
    assert document["nodes"][0]["status"] == "succeeded"
    assert document["edges"][0] == {
        "source": "a",
        "target": "b",
        "outcome": "success",
        "when": "",
        "is_taken": False,
    }
