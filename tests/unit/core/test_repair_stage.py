"""A person ends a stage that does not get on: skipped, with a result given, or failed."""

from sagabus.core.commands import CommandChild
from sagabus.core.definition import Approval, Items, RetryPolicy, Route, Routes
from sagabus.core.events import FailRequested, ResultSet, SkipRequested
from tests.unit.core.scene import (
    NEVER,
    Says,
    Scene,
    graph,
    seconds,
    sequence,
    stage,
)

UNDO = ("devops",)
RETRY = RetryPolicy(count=2, delay=seconds(50), jitter=False)


def block(*children: str) -> Scene:
    flow = graph(
        stage("all", children=children, kind="block", routes=Routes(next="z")),
        *(stage(child, block="all") for child in children),
        stage("z"),
        entry=("all",),
    )
    return Scene(flow).start()


def test_a_skipped_stage_is_passed_over_and_what_it_sent_is_withdrawn() -> None:
    scene = Scene(sequence(stage("a"), stage("b"))).start()
    answer = scene.ask(SkipRequested, "a")
    assert answer.result == {"id": "i1", "status": "running", "stage": "a"}
    assert (scene.sent, scene.withdrawn) == (["a-1-0/1", "b-1-0/1"], ["a-1-0/1"])
    assert scene.run_of("a").status == "skipped"
    assert scene.data("StageSkipped") == {"stage": "a", "by": "ann", "reason": "because"}


def test_the_same_command_skips_once() -> None:
    scene = Scene(sequence(stage("a"), stage("b"))).start()
    first = scene.ask(SkipRequested, "a", command="one")
    assert scene.ask(SkipRequested, "a", command="one") == first
    assert scene.types.count("StageSkipped") == 1


def test_a_stage_that_waits_for_an_approval_can_be_skipped() -> None:
    scene = Scene(sequence(stage("a", approval=Approval()), stage("b"))).start()
    scene.ask(SkipRequested, "a")
    assert scene.sent == ["b-1-0/1"]
    assert "was withdrawn by ann" in scene.approve("a").message


def test_a_stage_between_two_attempts_can_be_skipped() -> None:
    scene = Scene(sequence(stage("a", retry=RETRY), stage("b"))).start().fail("a-1-0")
    scene.ask(SkipRequested, "a")
    assert scene.wait(100).sent == ["a-1-0/1", "b-1-0/1"]


def test_what_a_skipped_stage_may_have_done_is_undone_later() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.ask(SkipRequested, "a")
    scene.fail("b-1-0")
    # Not before it is over: it might act once more when it was undone.
    assert (scene.status, scene.sent[-1]) == ("compensating", "b-1-0/1")
    scene.result("a-1-0", status="cancelled", error_type="cancelled")
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_what_was_told_to_stop_and_is_silent_is_given_up_after_some_time() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO, retry=RETRY), stage("b"))).start()
    scene.claim("a-1-0")
    scene.ask(SkipRequested, "a")
    scene.succeed("b-1-0")
    assert scene.status == "running"
    scene.wait(20)
    assert (scene.status, scene.attempt("a-1-0").status) == ("completed", "unknown")


def test_what_was_told_to_stop_is_not_begun_again() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.ask(SkipRequested, "a")
    scene.wait(10)
    assert scene.claim("a-1-0", delivery=2) == "skip"
    assert scene.succeed("b-1-0").status == "completed"


def test_a_late_success_of_a_skipped_stage_is_recorded_and_changes_nothing() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.ask(SkipRequested, "a")
    scene.result("a-1-0", output={"vm": 7})
    assert (scene.attempt("a-1-0").output, scene.run_of("a").status) == ({"vm": 7}, "skipped")
    assert scene.succeed("b-1-0").status == "completed"


def test_a_skipped_block_ends_with_all_that_is_in_it() -> None:
    scene = block("x", "y").succeed("x-1-0")
    scene.ask(SkipRequested, "all")
    assert (scene.run_of("y").status, scene.withdrawn) == ("cancelled", ["y-1-0/1"])
    assert scene.sent[-1] == "z-1-0/1"


def test_a_skipped_stage_of_a_block_counts_as_ended() -> None:
    scene = block("x", "y").succeed("x-1-0")
    scene.ask(SkipRequested, "y")
    assert (scene.run_of("all").status, scene.sent[-1]) == ("succeeded", "z-1-0/1")


def test_a_result_given_by_hand_is_what_others_see() -> None:
    next_ = stage("b", input=Says(lambda scope: scope["task"]["a"]["result"]))
    scene = Scene(sequence(stage("a"), next_)).start()
    assert scene.ask(ResultSet, "a", {"vm": 7}).ok
    assert (scene.withdrawn, scene.run_of("a").status) == (["a-1-0/1"], "succeeded")
    assert scene.attempt("b-1-0").input == {"vm": 7}
    assert scene.data("StageResultSet")["next"] == ["b"]


def test_a_result_given_by_hand_stands_beside_the_attempts_of_agents() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.claim("a-1-0")
    scene.ask(ResultSet, "a", {"vm": 7})
    scene.result("a-1-0", 1, output={"vm": 8})
    assert [each.output for each in scene.state.attempts["a-1-0"]] == [{"vm": 8}, {"vm": 7}]
    scene.fail("b-1-0")
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_tasks_that_gave_something_keep_it() -> None:
    three = stage("a", "devops", "backend", "tester", parallel=True)
    scene = Scene(sequence(three, stage("b"))).start().succeed("a-1-1", output="own")
    scene.ask(ResultSet, "a", "given")
    results = [scene.attempt(f"a-1-{index}").output for index in range(3)]
    assert results == ["given", "own", "given"]
    assert scene.row.in_flight == 1


def test_entries_that_were_not_sent_get_the_result_too() -> None:
    scene = Scene(sequence(stage("a", "devops", "backend"), stage("b"))).start()
    scene.ask(ResultSet, "a", 1)
    assert (scene.attempt("a-1-1").output, scene.sent[-1]) == (1, "b-1-0/1")


def test_a_result_for_what_waits_for_approval_needs_none() -> None:
    scene = Scene(sequence(stage("a", approval=Approval()), stage("b"))).start()
    assert scene.ask(ResultSet, "a", 1).ok
    assert scene.sent == ["b-1-0/1"]


def test_no_result_is_given_where_it_would_mean_nothing() -> None:
    listed = stage("a", items=Items(Says(lambda _: [1])), approval=Approval())
    scene = Scene(sequence(listed)).start()
    assert "has not made its list yet" in scene.ask(ResultSet, "a", 1).message
    assert "set the results of those" in block("x").ask(ResultSet, "all", 1).message
    asked = stage("q", kind="inquiry")
    scene = Scene(sequence(asked)).start()
    assert "answer it instead" in scene.ask(ResultSet, "q", 1).message


def test_too_many_results_are_not_given_at_once() -> None:
    many = stage("a", items=Items(Says(lambda _: list(range(300)))))
    scene = Scene(sequence(many)).start()
    assert "300 tasks without a result" in scene.ask(ResultSet, "a", 1).message
    assert scene.ask(SkipRequested, "a").ok


def test_a_stage_failed_by_hand_fires_its_routes() -> None:
    routes = Routes(on_failure=(Route(("h",)),))
    scene = Scene(graph(stage("a", routes=routes), stage("h"), entry=("a",))).start()
    assert scene.ask(FailRequested, "a").ok
    assert (scene.sent[-1], scene.run_of("a").error.type) == ("h-1-0/1", "failed_by_operator")
    assert scene.run_of("a").error.message == "failed by ann: because"
    assert scene.succeed("h-1-0").row.handled_failures == 1


def test_a_stage_failed_by_hand_fails_the_workflow_where_nothing_handles_it() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b", retry=RETRY))).start()
    scene.succeed("a-1-0")
    assert scene.ask(FailRequested, "b").result["status"] == "compensating"
    assert scene.succeed("a-1-0-undo-0").status == "rolled_back"


def test_the_last_stage_can_be_skipped_while_the_instance_fails() -> None:
    flow = graph(stage("a"), stage("tell"), entry=("a",), on_end="tell")
    scene = Scene(flow).start().fail("a-1-0")
    assert scene.status == "compensating"
    assert scene.ask(SkipRequested, "tell").result["status"] == "failed"


def test_the_last_stage_can_be_failed_by_hand() -> None:
    flow = graph(stage("a"), stage("tell"), entry=("a",), on_end="tell")
    scene = Scene(flow).start().succeed("a-1-0")
    scene.ask(FailRequested, "tell")
    assert scene.status == "completed"


def test_an_instance_that_carries_out_a_skipped_stage_is_cancelled() -> None:
    flow = sequence(
        stage("a", "_workflow", kind="workflow", workflow="w", workflow_digest="d", retry=NEVER),
        stage("b"),
    )
    scene = Scene(flow).start()
    scene.ask(SkipRequested, "a")
    said = scene.said[-1]
    assert isinstance(said, CommandChild)
    assert (said.name, said.is_undone) == ("cancel", True)
    assert scene.sent == ["b-1-0/1"]


def test_what_was_seen_must_still_be_the_newest() -> None:
    scene = Scene(sequence(stage("a", retry=RETRY), stage("b"))).start().fail("a-1-0").wait(100)
    assert (
        scene.ask(SkipRequested, "a", "a-1-0/1").message
        == "a-1-0/1 was seen, and a-1-0/2 is newer: look again"
    )
    assert scene.ask(SkipRequested, "a", "a-1-0/2").ok


def test_a_stage_that_is_not_under_way_is_left_alone() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start().succeed("a-1-0")
    assert (
        scene.ask(SkipRequested, "a").message
        == "stage 'a' has ended, it is succeeded: name one that is under way, b"
    )
    assert scene.ask(FailRequested, "x").message == "workflow 'flow' has no stage 'x'"
    scene = Scene(sequence(stage("a"), stage("b"))).start()
    assert scene.ask(ResultSet, "b", 1).message == (
        "stage 'b' has not begun: name one that is under way, a"
    )


def test_a_stage_is_skipped_while_the_instance_is_paused() -> None:
    scene = Scene(sequence(stage("a"), stage("b"))).start()
    scene.pause()
    assert scene.ask(SkipRequested, "a").result["status"] == "paused"
    scene.resume()
    assert scene.sent[-1] == "b-1-0/1"
