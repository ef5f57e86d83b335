"""Going forward: stages in order, entries together or one after another, slots, inputs."""

import pytest

from sagabus.core.definition import RetryPolicy
from tests.unit.core.scene import Broken, Says, Scene, graph, leads_to, seconds, sequence, stage

RETRY = RetryPolicy(count=2, delay=seconds(2), backoff="constant", jitter=False)


def test_stages_of_a_sequence_run_one_after_another() -> None:
    scene = Scene(sequence(stage("a"), stage("b"), stage("c"))).start()
    assert scene.sent == ["a-1-0/1"]
    scene.succeed("a-1-0")
    assert scene.sent == ["a-1-0/1", "b-1-0/1"]
    scene.succeed("b-1-0", "c-1-0")
    assert (scene.status, scene.row.rollback) == ("completed", "none")
    assert scene.row.ended_at == scene.at
    assert scene.types[0] == "WorkflowStarted"
    assert scene.types[-1] == "WorkflowCompleted"


def test_a_second_start_is_ignored() -> None:
    scene = Scene(sequence(stage("a"))).start()
    sent = list(scene.sent)
    scene.start()
    assert scene.sent == sent


def test_a_workflow_without_stages_is_completed_at_once() -> None:
    assert Scene(graph(entry=())).start().status == "completed"


def test_entries_run_one_after_another_unless_parallel() -> None:
    scene = Scene(sequence(stage("a", "devops", "backend", "devops"))).start()
    assert scene.sent == ["a-1-0/1"]
    scene.succeed("a-1-0")
    assert scene.sent == ["a-1-0/1", "a-1-1/1"]
    assert scene.attempt("a-1-1").role == "backend"


def test_sequential_entries_stop_at_the_first_failure() -> None:
    scene = Scene(sequence(stage("a", "devops", "backend", "tester"))).start()
    scene.succeed("a-1-0").fail("a-1-1")
    assert scene.sent == ["a-1-0/1", "a-1-1/1"]
    assert scene.status == "failed"


def test_parallel_entries_run_together() -> None:
    scene = Scene(sequence(stage("a", "r1", "r2", "r3", parallel=True), stage("b"))).start()
    assert scene.sent == ["a-1-0/1", "a-1-1/1", "a-1-2/1"]
    scene.succeed("a-1-2", "a-1-0")
    assert len(scene.sent) == 3
    scene.succeed("a-1-1")
    assert scene.sent[-1] == "b-1-0/1"


def test_parallel_entries_all_run_before_the_stage_fails() -> None:
    scene = Scene(sequence(stage("a", "r1", "r2", "r3", parallel=True, max_parallel=1))).start()
    scene.fail("a-1-0")
    assert scene.status == "running"
    scene.succeed("a-1-1").fail("a-1-2", "worse")
    assert scene.status == "failed"
    assert scene.row.error.type == "boom"


def test_at_most_max_parallel_entries_run_together() -> None:
    scene = Scene(sequence(stage("a", *["r"] * 5, parallel=True, max_parallel=2))).start()
    assert scene.sent == ["a-1-0/1", "a-1-1/1"]
    scene.succeed("a-1-1")
    assert scene.sent == ["a-1-0/1", "a-1-1/1", "a-1-2/1"]


def test_slots_are_shared_by_all_stages_of_an_instance_oldest_first() -> None:
    flow = graph(
        stage("a", *["r"] * 3, parallel=True),
        stage("b", *["r"] * 2, parallel=True),
        entry=("a", "b"),
        max_parallel_tasks=2,
    )
    scene = Scene(flow).start()
    assert scene.sent == ["a-1-0/1", "a-1-1/1"]
    scene.succeed("a-1-0")
    assert scene.sent[-1] == "a-1-2/1"
    scene.succeed("a-1-1")
    assert scene.sent[-1] == "b-1-0/1"
    scene.succeed("a-1-2", "b-1-0", "b-1-1")
    assert scene.status == "completed"


def test_a_task_between_two_attempts_keeps_its_slot() -> None:
    flow = graph(stage("a", retry=RETRY), stage("b"), entry=("a", "b"), max_parallel_tasks=1)
    scene = Scene(flow).start()
    scene.fail("a-1-0")
    assert scene.sent == ["a-1-0/1"]
    scene.wait(10)
    assert scene.sent == ["a-1-0/1", "a-1-0/2"]


def test_without_a_limit_everything_runs_at_once() -> None:
    flow = sequence(stage("a", *["r"] * 30, parallel=True), max_parallel_tasks=0)
    assert len(Scene(flow).start().sent) == 30


def test_a_stage_leads_to_several_and_the_workflow_ends_with_the_last_branch() -> None:
    flow = graph(stage("a", routes=leads_to("b", "c")), stage("b"), stage("c"), entry=("a",))
    scene = Scene(flow).start().succeed("a-1-0")
    assert scene.sent[1:] == ["b-1-0/1", "c-1-0/1"]
    scene.succeed("c-1-0")
    assert scene.status == "running"
    scene.succeed("b-1-0")
    assert scene.status == "completed"


def test_the_second_arm_of_a_diamond_starts_nothing() -> None:
    flow = graph(
        stage("a", routes=leads_to("c")),
        stage("b", routes=leads_to("c")),
        stage("c"),
        entry=("a", "b"),
    )
    scene = Scene(flow).start().succeed("a-1-0")
    assert scene.sent.count("c-1-0/1") == 1
    scene.succeed("b-1-0", "c-1-0")
    assert scene.sent.count("c-1-0/1") == 1
    assert scene.status == "completed"


def test_a_stage_without_input_gets_the_parameters_and_what_came_before() -> None:
    scene = Scene(sequence(stage("a"), stage("b", "r1", "r2", parallel=True), stage("c"))).start()
    assert scene.attempt("a-1-0").input == {"size": 3, "previous": {}}
    scene.succeed("a-1-0", output={"vm": 7})
    assert scene.attempt("b-1-1").input == {"size": 3, "previous": {"a": {"vm": 7}}}
    scene.succeed("b-1-1", output="two").succeed("b-1-0", output="one")
    assert scene.attempt("c-1-0").input == {"size": 3, "previous": {"b": ["one", "two"]}}


def test_a_template_reads_parameters_results_and_the_system() -> None:
    def read(scope):
        return [
            scope["parameters"]["size"],
            scope["task"]["a"]["result"],
            scope["stage"]["a"]["status"],
            scope["task"]["a"]["total_count"],
            scope["task"]["a"]["error"],
            scope["system"]["workflow_id"],
            list(scope["task"]),
        ]

    scene = Scene(sequence(stage("a"), stage("b", input=Says(read)))).start()
    scene.succeed("a-1-0", output=42)
    assert scene.attempt("b-1-0").input == [3, 42, "succeeded", 1, None, "i1", ["a", "b"]]


def test_the_result_of_a_retried_task_is_that_of_the_attempt_that_succeeded() -> None:
    scene = Scene(sequence(stage("a", retry=RETRY), stage("b"))).start()
    scene.fail("a-1-0").wait(10).succeed("a-1-0", output="second")
    assert scene.attempt("b-1-0").input["previous"] == {"a": "second"}


def test_a_broken_template_fails_the_workflow_and_says_where() -> None:
    scene = Scene(sequence(stage("a", undo=("devops",)), stage("b", input=Broken()))).start()
    scene.succeed("a-1-0")
    assert scene.row.error.type == "template_error"
    assert scene.row.error.stage == "b"
    assert scene.row.error.message == "input.vm: 'vm' is undefined in '{{ vm }}'"
    assert scene.sent[-1] == "a-1-0-undo-0/1"


def test_a_broken_template_of_a_second_entry_settles_the_first() -> None:
    calls = []

    def first_only(_):
        calls.append(1)
        return "x" if len(calls) == 1 else Broken().render({})

    flow = sequence(stage("a", "r1", "r2", parallel=True, input=Says(first_only)))
    scene = Scene(flow).start()
    assert scene.status == "failed"
    assert scene.sent == []
    assert scene.attempt("a-1-0").status == "cancelled"


def test_a_task_too_large_for_the_bus_fails_the_workflow_at_once() -> None:
    scene = Scene(sequence(stage("a", undo=("devops",)), stage("b", retry=RETRY)))
    scene.refused = {"b-1-0"}
    scene.start().succeed("a-1-0")
    assert scene.row.error.type == "bad_input"
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    assert scene.attempt("b-1-0").acted is False


def test_a_compensation_too_large_for_the_bus_is_a_failed_compensation() -> None:
    retry = {"undo_retry": RETRY}
    scene = Scene(sequence(stage("a", undo=("devops",), **retry), stage("b")))
    scene.refused = {"a-1-0-undo-0"}
    scene.start().succeed("a-1-0").fail("b-1-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert scene.row.failed_compensations[0]["error"]["type"] == "bad_input"


@pytest.mark.parametrize("task", ["a-1-0", "zzz", "a-1-7"])
def test_a_result_of_an_attempt_that_was_never_sent_is_dead(task: str) -> None:
    scene = Scene(sequence(stage("a"))).start()
    assert scene.result("a-1-0", task=task, attempt=9) == "unknown_task"


def test_a_result_of_another_role_is_dead() -> None:
    scene = Scene(sequence(stage("a"))).start()
    assert scene.result("a-1-0", source="backend") == "foreign_role"
    assert scene.status == "running"


def test_a_result_counts_once() -> None:
    scene = Scene(sequence(stage("a", "r", "r"))).start().succeed("a-1-0")
    assert scene.result("a-1-0") == "duplicate_result"
    assert scene.result("a-1-0", status="failed") == "duplicate_result"
    assert scene.run_of("a").succeeded == 1


def test_the_agents_clock_cannot_start_a_task_before_it_was_sent() -> None:
    scene = Scene(sequence(stage("a"))).start().wait(5)
    scene.result("a-1-0", started_at=scene.at.replace(year=1999))
    assert scene.attempt("a-1-0").started_at == scene.attempt("a-1-0").created_at
