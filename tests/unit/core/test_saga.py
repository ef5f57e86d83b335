"""Undoing: what, in which order, and what is said of it."""

import pytest

from tests.unit.core.scene import Broken, Says, Scene, graph, leads_to, seconds, sequence, stage

UNDO = ("devops",)


def test_failed_stage_undoes_finished_stages_newest_first() -> None:
    flow = sequence(
        stage("a", undo=UNDO), stage("b", undo=("backend",)), stage("c"), stage("d", undo=UNDO)
    )
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0", "c-1-0").fail("d-1-0")
    assert (scene.status, scene.sent[-1]) == ("compensating", "b-1-0-undo-0/1")
    assert scene.attempt("b-1-0-undo-0").role == "backend"
    assert scene.attempt("b-1-0-undo-0").action == "undo_b"
    scene.succeed("b-1-0-undo-0")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("rolled_back", "full")
    assert [scene.run_of(each).status for each in "abcd"] == [
        "compensated",
        "compensated",
        "succeeded",
        "failed",
    ]
    assert scene.types[-1] == "WorkflowRolledBack"


def test_the_failure_is_announced_before_anything_is_undone() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b"))).start()
    scene.succeed("a-1-0").fail("b-1-0")
    tail = scene.types[-4:]
    assert tail == ["TaskFailed", "StageFailed", "WorkflowFailed", "CompensationScheduled"]
    assert scene.data("WorkflowFailed") == {
        "error": {"type": "boom", "message": "boom!", "stage": "b"},
        "status": "compensating",
    }


def test_the_order_is_that_of_completion_not_of_the_definition() -> None:
    flow = graph(
        stage("a", undo=UNDO),
        stage("b", undo=UNDO, routes=leads_to("c")),
        stage("c"),
        entry=("a", "b"),
    )
    scene = Scene(flow).start().succeed("b-1-0", "a-1-0").fail("c-1-0")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    assert scene.succeed("a-1-0-undo-0").sent[-1] == "b-1-0-undo-0/1"


def test_what_still_runs_elsewhere_settles_first() -> None:
    flow = graph(stage("a", undo=UNDO), stage("b"), entry=("a", "b"))
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.fail("b-1-0")
    assert (scene.status, scene.row.undo_order) == ("compensating", None)
    assert scene.withdrawn == []
    scene.succeed("a-1-0")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    assert scene.run_of("a").status == "compensating"


def test_the_tasks_of_one_stage_are_undone_together_as_slots_allow() -> None:
    wide = stage("a", *["r"] * 3, parallel=True, undo=UNDO)
    scene = Scene(sequence(wide, stage("b"), max_parallel_tasks=2)).start()
    scene.succeed("a-1-0", "a-1-1", "a-1-2").fail("b-1-0")
    assert scene.sent[-2:] == ["a-1-0-undo-0/1", "a-1-1-undo-0/1"]
    scene.succeed("a-1-1-undo-0")
    assert scene.sent[-1] == "a-1-2-undo-0/1"


def test_the_finished_tasks_of_a_failed_stage_are_undone_too() -> None:
    wide = stage("a", "r1", "r2", "r3", parallel=True, undo=UNDO)
    scene = Scene(sequence(wide)).start().succeed("a-1-0").fail("a-1-1").succeed("a-1-2")
    assert scene.sent[-2:] == ["a-1-0-undo-0/1", "a-1-2-undo-0/1"]
    assert scene.succeed("a-1-0-undo-0", "a-1-2-undo-0").status == "rolled_back"


def test_every_compensation_role_undoes_every_task() -> None:
    scene = Scene(sequence(stage("a", "r1", "r2", undo=("x", "y")), stage("b"))).start()
    scene.succeed("a-1-0", "a-1-1").fail("b-1-0")
    undone = scene.sent[-4:]
    assert undone == [f"a-1-{index}-undo-{entry}/1" for index in (0, 1) for entry in (0, 1)]
    roles = [scene.attempt(each.removesuffix("/1")).role for each in undone]
    assert roles == ["x", "y", "x", "y"]


def test_with_nothing_to_undo_a_failed_instance_has_failed() -> None:
    scene = Scene(sequence(stage("a"), stage("b"))).start().succeed("a-1-0").fail("b-1-0")
    assert (scene.status, scene.row.rollback) == ("failed", "none")
    assert scene.data("WorkflowSettled")["rollback"] == "none"


def test_a_failed_compensation_is_named_and_the_next_goes_on() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b", undo=UNDO), stage("c"))).start()
    scene.succeed("a-1-0", "b-1-0").fail("c-1-0").fail("b-1-0-undo-0")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    (failed,) = scene.row.failed_compensations
    assert (failed["stage"], failed["task"]) == ("b", "b-1-0-undo-0")
    assert failed["error"] == {"type": "boom", "message": "boom!"}
    assert scene.run_of("b").status == "compensation_failed"


def test_a_compensation_reads_what_its_task_gave() -> None:
    template = Says(lambda scope: scope["task"]["a"]["result"]["vm"])
    scene = Scene(sequence(stage("a", undo=UNDO, undo_input=template), stage("b"))).start()
    scene.succeed("a-1-0", output={"vm": 7}).fail("b-1-0")
    assert scene.attempt("a-1-0-undo-0").input == 7


def test_a_compensation_that_cannot_be_rendered_has_failed_and_the_next_goes_on() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b", undo=UNDO, undo_input=Broken()), stage("c"))
    scene = Scene(flow).start().succeed("a-1-0", "b-1-0").fail("c-1-0")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert scene.row.failed_compensations[0]["error"] == {
        "type": "template_error",
        "message": "input.vm: 'vm' is undefined in '{{ vm }}'",
    }


@pytest.mark.parametrize(
    ("compensate_self", "error", "is_undone"),
    [
        ("unknown", "boom", False),
        ("unknown", "timeout", True),
        ("never", "boom", False),
        ("never", "timeout", False),
        ("always", "boom", True),
        ("always", "timeout", True),
    ],
)
def test_a_task_that_did_not_succeed_is_undone_as_its_stage_says(
    compensate_self: str, error: str, is_undone: bool
) -> None:
    scene = Scene(sequence(stage("a", undo=UNDO, undo_compensate_self=compensate_self))).start()
    scene.fail("a-1-0", error)
    assert (scene.sent[-1] == "a-1-0-undo-0/1") is is_undone
    assert scene.status == ("compensating" if is_undone else "failed")


@pytest.mark.parametrize("compensate_self", ["unknown", "never", "always"])
def test_a_task_that_never_began_is_never_undone(compensate_self: str) -> None:
    waits = stage("a", undo=UNDO, start_timeout=seconds(1), undo_compensate_self=compensate_self)
    scene = Scene(sequence(waits)).start().wait(1)
    assert (scene.status, scene.sent) == ("failed", ["a-1-0/1"])


def test_a_halting_workflow_undoes_nothing() -> None:
    flow = sequence(stage("a", undo=UNDO), stage("b"), saga_on_failure="halt")
    scene = Scene(flow).start().succeed("a-1-0").fail("b-1-0")
    assert (scene.status, scene.row.rollback) == ("failed", "none")
    assert scene.sent == ["a-1-0/1", "b-1-0/1"]


def test_a_halting_workflow_settles_all_the_same() -> None:
    flow = graph(stage("a", undo=UNDO), stage("b"), entry=("a", "b"), saga_on_failure="halt")
    scene = Scene(flow).start()
    scene.claim("a-1-0")
    scene.fail("b-1-0")
    assert scene.status == "compensating"
    assert scene.succeed("a-1-0").status == "failed"


def parked(**settings) -> Scene:
    flow = sequence(
        stage("a", undo=UNDO),
        stage("b", undo=UNDO, **settings),
        stage("c"),
        saga_on_failed_undo="park",
    )
    return Scene(flow).start().succeed("a-1-0", "b-1-0").fail("c-1-0")


def test_a_failed_undo_may_wait_for_an_operator() -> None:
    scene = parked().fail("b-1-0-undo-0")
    assert (scene.status, scene.run_of("b").status) == ("needs_operator", "compensation_failed")
    told = scene.data("WorkflowParked")
    assert (told["cause"], told["stage"]) == ("compensation_failed", "b")
    assert told["message"] == "compensation of stage 'b' failed: boom!"
    assert scene.wait(1e6).sent[-1] == "b-1-0-undo-0/1"


def test_an_undo_that_cannot_be_rendered_may_wait_for_an_operator_too() -> None:
    scene = parked(undo_input=Broken())
    assert (scene.status, scene.sent[-1]) == ("needs_operator", "c-1-0/1")


def test_a_cancel_is_the_way_out_of_a_parked_undo() -> None:
    scene = parked().fail("b-1-0-undo-0")
    answer = scene.cancel()
    assert (answer.ok, answer.result["status"]) == (True, "compensating")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
    assert scene.row.error.type == "boom"


def test_a_second_failed_undo_parks_again_and_is_cancelled_again() -> None:
    scene = parked().fail("b-1-0-undo-0")
    scene.cancel()
    scene.fail("a-1-0-undo-0")
    assert scene.status == "needs_operator"
    assert scene.cancel().ok is True
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")


def test_undos_on_their_way_end_while_the_instance_is_parked() -> None:
    flow = sequence(
        stage("z", undo=UNDO),
        stage("a", "r1", "r2", parallel=True, undo=UNDO),
        stage("b"),
        saga_on_failed_undo="park",
    )
    scene = Scene(flow).start().succeed("z-1-0", "a-1-0", "a-1-1").fail("b-1-0")
    scene.fail("a-1-0-undo-0").succeed("a-1-1-undo-0")
    assert (scene.status, scene.sent[-1]) == ("needs_operator", "a-1-1-undo-0/1")
    scene.cancel()
    assert scene.succeed("z-1-0-undo-0").status == "cancelled"
