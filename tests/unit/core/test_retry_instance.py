"""An instance that has failed goes on in place: what succeeded is kept, the rest runs anew."""

from typing import Any

from sagabus.core.definition import Choice, Route, Routes
from sagabus.core.events import CompensateRequested, RetryRequested
from sagabus.core.instance import ParentRef
from tests.unit.core.scene import Says, Scene, graph, leads_to, seconds, sequence, stage

UNDO = ("devops",)


def failed(**settings: Any) -> Scene:
    """a succeeded, b failed, c was not reached; nothing needed to be undone."""
    scene = Scene(sequence(stage("a"), stage("b"), stage("c"), **settings)).start()
    return scene.succeed("a-1-0", output="A").fail("b-1-0")


def test_what_succeeded_is_kept_and_the_rest_runs_in_a_new_pass() -> None:
    scene = failed()
    answer = scene.ask(RetryRequested)
    assert answer.result == {
        "id": "i1",
        "status": "running",
        "digest": "d",
        "kept": ["a"],
        "again": ["b"],
        "not_undone": [],
    }
    assert scene.sent == ["a-1-0/1", "b-1-0/1", "b-2-0/1"]
    assert scene.row.error is None
    assert scene.attempt("b-2-0").input["previous"] == {"a": "A"}
    scene.succeed("b-2-0", "c-1-0")
    assert scene.status == "completed"


def test_a_retry_is_recorded_with_who_and_why() -> None:
    scene = failed()
    scene.ask(RetryRequested, parameters={"size": 4})
    data = scene.data("WorkflowRetried")
    assert (data["by"], data["reason"], data["from"]) == ("ann", "because", None)
    assert (data["parameters"], data["definition"]) == (["size"], "d")
    assert scene.row.parameters == {"size": 4}


def test_the_same_command_retries_once() -> None:
    scene = failed()
    first = scene.ask(RetryRequested, command="one")
    scene.fail("b-2-0")
    assert scene.ask(RetryRequested, command="one") == first
    assert scene.status == "failed"


def test_what_was_undone_runs_again_with_all_that_descends_from_it() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"), stage("c"))
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0").fail("c-1-0").succeed("a-1-0-undo-0")
    assert scene.status == "rolled_back"
    answer = scene.ask(RetryRequested)
    assert (answer.result["kept"], answer.result["again"]) == ([], ["a", "b", "c"])
    assert scene.sent[-1] == "a-2-0/1"
    scene.succeed("a-2-0", "b-2-0", "c-2-0")
    assert (scene.status, scene.row.rollback) == ("completed", "none")


def test_a_retried_instance_that_fails_again_undoes_what_is_new_and_nothing_twice() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0").succeed("a-1-0-undo-0")
    scene.ask(RetryRequested)
    scene.succeed("a-2-0").fail("b-2-0").succeed("a-2-0-undo-0")
    assert [task for task in scene.sent if "undo" in task] == ["a-1-0-undo-0/1", "a-2-0-undo-0/1"]
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")


def test_what_a_replaced_run_left_is_undone_with_the_rest() -> None:
    flow = sequence(
        stage("a", undo=UNDO), stage("b", undo=UNDO), stage("c"), saga_on_failure="halt"
    )
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0").fail("c-1-0")
    scene.ask(RetryRequested, "b")
    scene.succeed("b-2-0")
    scene.cancel()
    scene.succeed("b-2-0-undo-0", "b-1-0-undo-0", "a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "full")


def test_a_stage_can_be_named_from_which_all_runs_again() -> None:
    scene = Scene(sequence(stage("a"), stage("b"), stage("c"))).start()
    scene.succeed("a-1-0", "b-1-0").fail("c-1-0")
    answer = scene.ask(RetryRequested, "b")
    assert (answer.result["kept"], answer.result["again"]) == (["a"], ["b", "c"])
    scene.succeed("b-2-0", "c-2-0")
    assert scene.status == "completed"


def test_a_failure_that_was_handled_is_kept() -> None:
    routes = Routes(on_failure=(Route(("h",)),))
    flow = graph(
        stage("a", routes=routes), stage("h", routes=leads_to("z")), stage("z"), entry=("a",)
    )
    scene = Scene(flow).start().fail("a-1-0").succeed("h-1-0").fail("z-1-0")
    scene.ask(RetryRequested)
    assert scene.sent[-1] == "z-2-0/1"
    scene.succeed("z-2-0")
    assert (scene.status, scene.row.handled_failures) == ("completed", 1)


def test_a_join_takes_the_arms_that_are_kept() -> None:
    flow = graph(
        stage("a", routes=leads_to("z")),
        stage("b", routes=leads_to("z")),
        stage("z", join=2, arms=("a", "b")),
        entry=("a", "b"),
        reach={name: frozenset((name, "z")) for name in "abz"},
    )
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    scene.ask(RetryRequested)
    assert scene.sent[2:] == ["b-2-0/1"]
    scene.succeed("b-2-0")
    assert scene.sent[-1] == "z-1-0/1"
    assert scene.succeed("z-1-0").status == "completed"


def test_a_join_that_failed_starts_again_from_its_arms() -> None:
    flow = graph(
        stage("a", routes=leads_to("z")),
        stage("b", routes=leads_to("z")),
        stage("z", join=2, arms=("a", "b")),
        entry=("a", "b"),
        reach={name: frozenset((name, "z")) for name in "abz"},
    )
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0").fail("z-1-0")
    scene.ask(RetryRequested)
    assert scene.sent[-1] == "z-2-0/1"
    assert scene.row.arrived == {}


def test_the_second_arm_of_a_diamond_starts_nothing_twice() -> None:
    flow = graph(
        stage("a", routes=leads_to("b", "c")),
        stage("b", routes=leads_to("z")),
        stage("c", routes=leads_to("z")),
        stage("z"),
        entry=("a",),
    )
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0", "c-1-0").fail("z-1-0")
    scene.ask(RetryRequested)
    assert scene.sent[4:] == ["z-2-0/1"]
    scene = Scene(flow).start().succeed("a-1-0", "c-1-0", "z-1-0").fail("b-1-0")
    scene.ask(RetryRequested)
    scene.succeed("b-2-0")
    assert (scene.status, scene.sent[4:]) == ("completed", ["b-2-0/1"])


def test_the_other_arm_leads_there_when_the_first_runs_again() -> None:
    flow = graph(
        stage("b", routes=leads_to("z")),
        stage("c", routes=leads_to("z")),
        stage("z"),
        entry=("b", "c"),
    )
    scene = Scene(flow).start().succeed("b-1-0", "c-1-0").fail("z-1-0")
    scene.ask(RetryRequested, "b")
    assert scene.sent[3:] == ["b-2-0/1", "z-2-0/1"]


def test_a_loop_goes_on_in_the_round_in_which_it_failed() -> None:
    choices = (Choice("a", Says(lambda scope: scope["task"]["a"]["result"] == "more")), Choice("z"))
    flow = graph(stage("a", routes=Routes(decision=choices)), stage("z"), entry=("a",))
    scene = Scene(flow).start().succeed("a-1-0", output="more").fail("a-2-0")
    scene.ask(RetryRequested)
    assert (scene.sent[-1], scene.row.runs["a-3"].lap) == ("a-3-0/1", 2)
    scene.succeed("a-3-0", output="more")
    assert (scene.sent[-1], scene.row.runs["a-4"].lap) == ("a-4-0/1", 3)
    scene.succeed("a-4-0", output="done")
    assert scene.sent[-1].startswith("z-")


def test_what_was_replaced_does_not_count_towards_the_limit_of_runs() -> None:
    flow = graph(stage("a", routes=leads_to("b")), stage("b"), entry=("a",), max_passes=1)
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    scene.ask(RetryRequested)
    scene.succeed("b-2-0")
    assert scene.status == "completed"


def test_a_run_that_led_to_fail_runs_again() -> None:
    flow = graph(stage("a"), stage("b", routes=leads_to("fail")), entry=("a", "b"))
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0")
    assert scene.status == "failed"
    assert scene.ask(RetryRequested).result["again"] == ["b"]


def test_a_decision_that_named_no_way_is_taken_anew_with_what_the_stage_gave() -> None:
    choices = (Choice("z", Says(lambda scope: scope["parameters"]["size"] > 9)),)
    flow = graph(stage("a", routes=Routes(decision=choices)), stage("z"), entry=("a",))
    scene = Scene(flow).start().succeed("a-1-0")
    assert scene.row.error.type == "no_decision"
    assert scene.ask(RetryRequested, parameters={"size": 10}).ok
    assert scene.sent == ["a-1-0/1", "z-1-0/1"]


def test_a_retry_that_changes_nothing_fails_again_at_once() -> None:
    choices = (Choice("z", Says(lambda scope: scope["parameters"]["size"] > 9)),)
    flow = graph(stage("a", routes=Routes(decision=choices)), stage("z"), entry=("a",))
    scene = Scene(flow).start().succeed("a-1-0")
    assert scene.ask(RetryRequested).result["status"] == "failed"
    assert scene.row.error.type == "no_decision"


def test_what_succeeded_while_the_instance_failed_leads_on() -> None:
    flow = graph(
        stage("a", undo=UNDO, routes=leads_to("z")),
        stage("b"),
        stage("z"),
        entry=("a", "b"),
        saga_on_failure="halt",
    )
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.fail("b-1-0").succeed("a-1-0")
    assert scene.status == "failed"
    assert scene.ask(RetryRequested).result["kept"] == ["a"]
    assert scene.sent[2:] == ["b-2-0/1", "z-1-0/1"]


def test_the_last_stage_runs_again_at_the_end() -> None:
    flow = graph(stage("a"), stage("tell"), entry=("a",), on_end="tell")
    scene = Scene(flow).start().fail("a-1-0").succeed("tell-1-0")
    scene.ask(RetryRequested)
    scene.succeed("a-2-0", "tell-2-0")
    assert (scene.status, scene.sent[-1]) == ("completed", "tell-2-0/1")


def test_the_time_of_the_workflow_begins_anew() -> None:
    scene = Scene(sequence(stage("a"), workflow_timeout=seconds(60))).start().wait(70)
    assert scene.status == "failed"
    scene.ask(RetryRequested)
    assert scene.wait(50).status == "running"
    assert scene.wait(20).status == "failed"


def test_a_cancelled_instance_can_go_on() -> None:
    scene = Scene(sequence(stage("a"), stage("b"))).start().succeed("a-1-0")
    scene.cancel()
    scene.ask(RetryRequested)
    assert scene.succeed("b-2-0").status == "completed"


def test_an_instance_that_carries_out_a_stage_is_not_retried() -> None:
    scene = Scene(sequence(stage("a")))
    scene.row.parent = ParentRef("up", "x-1-0", 1)
    scene.start().fail("a-1-0")
    assert (
        scene.ask(RetryRequested).message
        == "the instance carried out a stage of instance 'up', which knows its end: repair that"
    )


def test_wrong_places_to_start_from_are_named() -> None:
    scene = failed()
    assert scene.ask(RetryRequested, "x").message == "workflow 'flow' has no stage 'x'"
    assert scene.ask(RetryRequested, "c").message == "stage 'c' has not begun: retry without it"


def test_a_late_success_of_what_was_undone_is_undone_too() -> None:
    flow = sequence(stage("a", undo=UNDO, timeout=seconds(5)), stage("b"))
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.wait(100).succeed("a-1-0-undo-0")
    assert scene.status == "rolled_back"
    scene.ask(RetryRequested)
    scene.result("a-1-0")
    assert scene.sent[-2:] == ["a-2-0/1", "a-1-0-undo-1/1"]
    scene.succeed("a-1-0-undo-1", "a-2-0", "b-1-0")
    assert scene.status == "completed"


def test_a_block_runs_again_whole() -> None:
    flow = graph(
        stage("all", children=("x", "y"), kind="block"),
        stage("x", block="all"),
        stage("y", block="all"),
        entry=("all",),
    )
    scene = Scene(flow).start().succeed("x-1-0").fail("y-1-0")
    scene.ask(RetryRequested)
    scene.succeed("x-2-0", "y-2-0")
    assert (scene.status, scene.row.runs["all-2"].status) == ("completed", "succeeded")


def test_templates_see_the_runs_that_count() -> None:
    def read(scope: Any) -> Any:
        return scope["task"]["b"]["result"]

    flow = sequence(stage("a"), stage("b"), stage("c", input=Says(read)), stage("z"))
    scene = Scene(flow).start().succeed("a-1-0").succeed("b-1-0", output=1)
    scene.succeed("c-1-0").fail("z-1-0")
    scene.ask(RetryRequested, "b")
    scene.succeed("b-2-0", output=2)
    assert scene.attempt("c-2-0").input == 2


def test_a_failed_undo_blocks_no_retry_and_stays_named() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0").fail("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert scene.ask(RetryRequested).result["not_undone"] == ["a"]
    scene.succeed("a-2-0", "b-2-0")
    assert (scene.status, scene.row.rollback) == ("completed", "partial")
    assert len(scene.row.failed_compensations) == 1


def test_naming_a_stage_whose_undo_failed_tries_that_again() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"))
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0").fail("a-1-0-undo-0")
    assert scene.ask(RetryRequested, "a").result["undoing"] == "a"
    assert scene.sent[-1] == "a-1-0-undo-0/2"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert scene.ask(CompensateRequested).code == "conflict"
