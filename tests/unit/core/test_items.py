"""Fan-out: one task per item of a list, or per batch of it; and blocks of stages."""

import pytest

from sagabus.core.definition import Items, RetryPolicy, Route, Routes, Stage
from tests.unit.core.scene import Broken, Says, Scene, graph, sequence, stage


def says(value):
    return Says(lambda _: value)


def each_of(items, **settings):
    """A stage with one task per item, which is told its item and index."""
    how = {
        key: settings.pop(key)
        for key in ("batch_size", "concurrency", "fail_fast")
        if key in settings
    }
    given = Says(lambda scope: [scope["item"], scope["index"]])
    return stage("all", items=Items(list=says(items), **how), input=given, **settings)


def test_every_item_is_a_task_and_results_keep_their_order() -> None:
    scene = Scene(sequence(each_of(["x", "y", "z"]), stage("b", input=result_of("all")))).start()
    assert scene.sent == ["all-1-0/1", "all-1-1/1", "all-1-2/1"]
    assert [scene.attempt(f"all-1-{i}").input for i in range(3)] == [["x", 0], ["y", 1], ["z", 2]]
    for index in (2, 0, 1):
        scene.succeed(f"all-1-{index}", output=index * 10)
    assert scene.attempt("b-1-0").input == {"result": [0, 10, 20], "count": 3}


def result_of(name):
    def read(scope):
        found = scope["task"][name]
        return {"result": found["result"], "count": found["total_count"]}

    return Says(read)


def test_batches_are_lists_and_the_last_one_is_shorter() -> None:
    flow = sequence(each_of([1, 2, 3, 4, 5], batch_size=2), stage("b", input=result_of("all")))
    scene = Scene(flow).start()
    assert [scene.attempt(f"all-1-{i}").input for i in range(3)] == [
        [[1, 2], 0],
        [[3, 4], 1],
        [[5], 2],
    ]
    scene.succeed("all-1-0", "all-1-1", "all-1-2", output="ok")
    assert scene.attempt("b-1-0").input == {"result": ["ok"] * 3, "count": 5}


def test_no_more_than_the_concurrency_is_in_flight() -> None:
    scene = Scene(sequence(each_of(list(range(5)), concurrency=2), max_parallel_tasks=0)).start()
    assert len(scene.sent) == 2
    scene.succeed("all-1-1")
    assert scene.sent[2:] == ["all-1-2/1"]


def test_an_empty_list_succeeds_at_once_with_an_empty_result() -> None:
    scene = Scene(sequence(each_of([]), stage("b", input=result_of("all")))).start()
    assert scene.run_of("all").status == "succeeded"
    assert scene.attempt("b-1-0").input == {"result": [], "count": 0}


def test_all_items_run_even_if_one_fails_and_then_the_stage_fails() -> None:
    scene = Scene(sequence(each_of([1, 2, 3], concurrency=1, undo=("u",)))).start()
    scene.fail("all-1-0").succeed("all-1-1")
    assert scene.status == "running"
    scene.succeed("all-1-2")
    assert scene.status == "compensating"
    assert scene.sent[3:] == ["all-1-1-undo-0/1", "all-1-2-undo-0/1"]


def test_fail_fast_sends_no_more_after_the_first_failure() -> None:
    items = each_of([1, 2, 3, 4], concurrency=2, fail_fast=True)
    scene = Scene(sequence(items)).start().fail("all-1-1")
    assert scene.status == "running"
    scene.succeed("all-1-0")
    assert scene.status == "failed"
    assert scene.sent == ["all-1-0/1", "all-1-1/1"]


def test_a_failed_item_is_null_in_the_result_and_those_never_sent_too() -> None:
    flow = graph(
        each_of(
            [1, 2, 3],
            concurrency=1,
            fail_fast=True,
            routes=Routes(on_failure=(Route(("b",)),)),
        ),
        stage("b", input=result_of("all")),
        entry=("all",),
    )
    scene = Scene(flow).start().succeed("all-1-0", output="ok").fail("all-1-1")
    assert scene.attempt("b-1-0").input == {"result": ["ok", None, None], "count": 3}
    assert scene.row.handled_failures == 1


def test_a_single_item_is_tried_again_by_itself() -> None:
    scene = Scene(sequence(each_of([1, 2], retry=RetryPolicy(count=1)))).start()
    scene.succeed("all-1-0").fail("all-1-1").wait(10)
    assert scene.sent == ["all-1-0/1", "all-1-1/1", "all-1-1/2"]
    scene.succeed("all-1-1")
    assert scene.status == "completed"


@pytest.mark.parametrize("value", [None, "abc", 3, {"a": 1}, True])
def test_what_is_no_list_fails_by_name(value) -> None:
    scene = Scene(sequence(each_of(value))).start()
    assert scene.row.error.type == "template_error"
    assert "with_items" in scene.row.error.message


def test_too_long_a_list_names_the_limit() -> None:
    scene = Scene(sequence(each_of([1, 2, 3]), max_items=2)).start()
    assert scene.row.error.type == "limit"
    assert "max_items" in scene.row.error.message


def test_a_list_that_cannot_be_evaluated_fails_the_workflow() -> None:
    flow = sequence(stage("all", items=Items(list=Broken())))
    assert Scene(flow).start().row.error.type == "template_error"


def test_without_input_an_item_is_told_with_the_parameters() -> None:
    scene = Scene(sequence(stage("all", items=Items(list=says(["x"]))))).start()
    assert scene.attempt("all-1-0").input == {
        "size": 3,
        "previous": {},
        "item": "x",
        "index": 0,
    }


def test_ten_thousand_items_cost_the_row_no_more_than_one() -> None:
    scene = Scene(sequence(each_of(list(range(10_000))))).start()
    assert scene.row.open == {}
    assert len(scene.state.items["all-1"]) == 10_000
    assert len(scene.sent) == 10


def test_a_block_ends_when_all_in_it_have_and_gives_a_map() -> None:
    flow = graph(
        block("both", "x", "y", routes=Routes(next="b")),
        stage("x", block="both"),
        stage("y", block="both"),
        stage("b", input=result_of("both")),
        entry=("both",),
    )
    scene = Scene(flow).start()
    assert scene.sent == ["x-1-0/1", "y-1-0/1"]
    scene.succeed("y-1-0", output=2)
    assert scene.run_of("both").status == "running"
    scene.succeed("x-1-0", output=1)
    assert scene.attempt("b-1-0").input["result"] == {"x": 1, "y": 2}


def block(name, *children, **settings):
    return Stage(name, (), name, kind="block", children=children, **settings)


def test_a_block_fails_when_all_have_ended_and_its_route_handles_that() -> None:
    flow = graph(
        block("both", "x", "y", routes=Routes(on_failure=(Route(("b",)),))),
        stage("x", block="both", undo=("u",)),
        stage("y", block="both"),
        stage("b"),
        entry=("both",),
    )
    scene = Scene(flow).start().fail("y-1-0")
    assert scene.status == "running"
    scene.succeed("x-1-0")
    assert scene.run_of("both").status == "failed"
    assert scene.run_of("both").is_handled
    scene.succeed("b-1-0")
    assert (scene.status, scene.row.handled_failures) == ("completed", 1)


def test_what_succeeded_in_a_failed_block_is_undone() -> None:
    flow = graph(
        block("both", "x", "y"),
        stage("x", block="both", undo=("u",)),
        stage("y", block="both"),
        entry=("both",),
    )
    scene = Scene(flow).start().fail("y-1-0").succeed("x-1-0").succeed("x-1-0-undo-0")
    assert scene.status == "rolled_back"


def test_a_long_list_is_sent_in_portions_so_that_others_have_their_turn() -> None:
    scene = Scene(sequence(each_of(list(range(1_000)), undo=("u",)), max_parallel_tasks=0)).start()
    assert len(scene.sent) == 256
    scene.wait(0)
    assert len(scene.sent) == 1_000


def test_a_long_list_is_undone_in_portions_too() -> None:
    flow = sequence(each_of(list(range(600)), undo=("u",)), stage("b"), max_parallel_tasks=0)
    scene = Scene(flow).start().wait(0)
    scene.succeed(*(f"all-1-{index}" for index in range(600)))
    scene.fail("b-1-0")
    undone = [task for task in scene.sent if "-undo-" in task]
    assert len(undone) == 256
    scene.wait(0)
    undone = [task for task in scene.sent if "-undo-" in task]
    assert len(undone) == 600
