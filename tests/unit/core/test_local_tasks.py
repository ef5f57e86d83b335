"""Stages that need no agent: done at once, or when their time has come."""

from datetime import timedelta

from sagabus.core.definition import FAIL, Choice, Items, Route, Routes, Stage
from tests.unit.core.scene import Broken, Says, Scene, core, graph, sequence, stage


def says(value):
    return Says(lambda _: value)


def test_noop_and_echo_end_with_the_event_that_starts_them() -> None:
    flow = sequence(core("a"), core("b", "core.echo", input=says({"x": 1})), core("c"))
    scene = Scene(flow).start()
    assert scene.status == "completed"
    assert scene.attempt("a-1-0").output is None
    assert scene.attempt("b-1-0").output == {"x": 1}
    assert scene.sent == []


def test_a_sleep_lasts_as_long_as_it_says() -> None:
    flow = sequence(core("nap", "core.sleep", input=says({"duration": "2m"})), stage("after"))
    scene = Scene(flow).start().wait(119)
    assert scene.status == "running"
    assert scene.sent == []
    scene.wait(1)
    assert scene.sent == ["after-1-0/1"]


def test_a_sleep_until_an_instant_that_has_passed_ends_at_once() -> None:
    flow = sequence(core("nap", "core.sleep", input=says({"until": "2001-01-01T00:00:00Z"})))
    assert Scene(flow).start().wait(0).status == "completed"


def test_a_sleep_that_says_nothing_fails_by_name() -> None:
    for input_ in ({}, {"duration": "soon"}, {"until": "soon"}, {"seconds": 1, "duration": "1s"}):
        scene = Scene(sequence(core("nap", "core.sleep", input=says(input_)))).start()
        assert scene.status == "failed"
        assert scene.row.error.type == "bad_input"
        assert "core.sleep" in scene.row.error.message


def test_cancelling_ends_a_sleep_at_once_with_nothing_to_undo() -> None:
    flow = sequence(core("nap", "core.sleep", input=says({"seconds": 3600})))
    scene = Scene(flow).start()
    assert scene.cancel().ok
    assert (scene.status, scene.row.rollback) == ("cancelled", "none")
    assert scene.withdrawn == []


def test_a_long_list_of_local_tasks_does_not_end_in_one_event() -> None:
    items = Items(list=says(list(range(1_000))))
    flow = sequence(core("all", "core.echo", items=items), max_parallel_tasks=0)
    scene = Scene(flow).start()
    assert scene.status == "running"
    assert scene.run_of("all").succeeded == 100
    scene.wait(0)
    assert scene.status == "completed"


def test_a_loop_of_local_stages_ends_at_its_limit() -> None:
    back = Routes(on_success=(Route(("a",)),))
    flow = graph(core("a", routes=back), entry=("a",), max_passes=150)
    scene = Scene(flow).start().wait(0)
    assert scene.status == "failed"
    assert scene.row.error.type == "limit"
    assert "max_passes" in scene.row.error.message
    assert len(scene.row.runs) == 150


def test_a_loop_goes_on_until_its_decision_leaves_it() -> None:
    count = Says(lambda scope: scope["vars"].get("n", 0) + 1)
    again = Choice("a", Says(lambda scope: scope["vars"]["n"] < 5))
    flow = graph(
        core("a", publish=(("n", count),), routes=Routes(decision=(Choice("z"), again))),
        core("z"),
        entry=("a",),
    )
    scene = Scene(flow).start()
    assert scene.status == "completed"
    assert scene.row.vars == {"n": 5}
    assert list(scene.row.runs) == ["a-1", "a-2", "a-3", "a-4", "a-5", "z-5"]


def test_fail_as_the_only_target_fails_at_once() -> None:
    flow = graph(
        core("a", routes=Routes(on_success=(Route((FAIL,)),))), stage("b"), entry=("a", "b")
    )
    scene = Scene(flow).start()
    assert scene.row.error.type == "fail"
    assert scene.status == "failed"


def test_the_branches_fired_with_fail_run_to_their_end_first() -> None:
    flow = graph(
        stage("a", routes=Routes(on_failure=(Route((FAIL, "clean")),))),
        stage("clean"),
        entry=("a",),
    )
    scene = Scene(flow).start().fail("a-1-0")
    assert scene.status == "running"
    scene.succeed("clean-1-0")
    assert scene.status == "failed"
    assert scene.row.error.message == "boom!"
    assert scene.row.handled_failures == 1


def test_what_a_timer_of_a_sleep_finds_after_a_failure_is_ignored() -> None:
    flow = graph(
        core("nap", "core.sleep", input=says({"seconds": 5})), stage("b"), entry=("nap", "b")
    )
    scene = Scene(flow).start().fail("b-1-0").wait(10)
    assert scene.status == "failed"
    assert scene.run_of("nap").status == "cancelled"


def test_the_last_stage_runs_after_the_undo_and_changes_nothing() -> None:
    for has_failed in (False, True):
        flow = graph(
            stage("a", undo=("u",), routes=Routes(next="b")),
            stage("b"),
            stage("notify", input=Says(lambda scope: scope["error"])),
            entry=("a",),
            on_end="notify",
        )
        scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
        assert scene.status == "compensating"
        assert scene.sent[-1] == "a-1-0-undo-0/1"
        scene.succeed("a-1-0-undo-0")
        assert scene.status == "compensating"
        assert scene.sent[-1] == "notify-1-0/1"
        assert scene.attempt("notify-1-0").input["type"] == "boom"
        assert not scene.cancel().ok
        if has_failed:
            scene.fail("notify-1-0")
        else:
            scene.succeed("notify-1-0")
        assert scene.status == "rolled_back"
        assert scene.types[-1] == "WorkflowRolledBack"


def test_the_last_stage_of_a_success_sees_no_error() -> None:
    flow = graph(
        stage("a"),
        stage("notify", input=Says(lambda scope: {"error": scope["error"]})),
        entry=("a",),
        on_end="notify",
        workflow_timeout=timedelta(seconds=10),
    )
    scene = Scene(flow).start().succeed("a-1-0")
    assert scene.status == "running"
    assert scene.attempt("notify-1-0").input == {"error": None}
    scene.wait(60).fail("notify-1-0")
    assert (scene.status, scene.row.error) == ("completed", None)


def test_what_of_the_output_cannot_be_rendered_is_null() -> None:
    flow = sequence(
        stage("a"),
        output_map={
            "version": Says(lambda scope: scope["parameters"].get("version", 1)),
            "a": Says(lambda scope: scope["task"]["a"]["status"]),
            "none": Broken(),
        },
    )
    scene = Scene(flow).start().fail("a-1-0")
    assert scene.row.output == {"version": 1, "a": "failed", "none": None}


def test_two_loops_of_local_stages_both_come_to_their_end() -> None:
    def loop(name: str) -> Stage:
        go_on = Says(lambda scope: scope["vars"].get(name, 0) < 140)
        count = Says(lambda scope: scope["vars"].get(name, 0) + 1)
        decision = (Choice(name, go_on), Choice("end"))
        return core(name, publish=((name, count),), routes=Routes(decision=decision))

    flow = graph(loop("a"), loop("b"), loop("c"), entry=("a", "b", "c"), max_parallel_tasks=0)
    scene = Scene(flow).start().wait(0)
    assert scene.status == "completed"
    assert scene.row.vars == {"a": 140, "b": 140, "c": 140}
