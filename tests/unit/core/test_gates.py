"""Approval: three outcomes, each once."""

from sagabus.core.definition import Approval
from sagabus.core.events import PauseRequested, ResumeRequested
from tests.unit.core.scene import Says, Scene, graph, leads_to, seconds, sequence, stage

UNDO = ("devops",)


def gated(**approval) -> Scene:
    gate = Approval(prompt=Says(lambda _: "Ship it?"), **approval)
    scene = Scene(sequence(stage("a", undo=UNDO), stage("b", approval=gate), stage("c"))).start()
    return scene.succeed("a-1-0")


def test_a_gate_waits_and_holds_no_agent() -> None:
    scene = gated()
    assert (scene.status, scene.row.in_flight, scene.sent) == ("waiting", 0, ["a-1-0/1"])
    assert scene.data("ApprovalRequested") == {
        "stage": "b",
        "prompt": "Ship it?",
        "due_at": None,
        "schema": None,
        "approvers": 1,
        "self_approval": True,
    }
    assert scene.wait(1e7).status == "waiting"


def test_an_approved_stage_runs_and_who_when_why_is_kept() -> None:
    scene = gated().wait(60)
    answer = scene.approve("b")
    assert (answer.ok, answer.result["decision"]) == (True, "approved")
    gate = scene.run_of("b").gate
    assert (gate.decision, gate.by, gate.at, gate.reason) == (
        "approved",
        "ann",
        scene.at,
        "because",
    )
    assert (scene.status, scene.sent[-1]) == ("running", "b-1-0/1")


def test_a_rejected_stage_never_leaves_and_what_was_done_is_undone() -> None:
    scene = gated()
    answer = scene.approve("b", yes=False)
    assert (answer.ok, answer.result["decision"]) == (True, "rejected")
    assert scene.row.error.type == "rejected"
    assert scene.row.error.message == "rejected by ann: because"
    assert scene.sent == ["a-1-0/1", "a-1-0-undo-0/1"]
    assert scene.succeed("a-1-0-undo-0").status == "rolled_back"


def test_nobody_answers_and_the_stage_is_rejected() -> None:
    scene = gated(timeout=seconds(60)).wait(59)
    assert scene.status == "waiting"
    scene.wait(1)
    assert scene.row.error.type == "approval_timeout"
    assert scene.run_of("b").gate.decision == "timed_out"
    assert scene.run_of("b").status == "timed_out"
    assert scene.data("ApprovalTimedOut") == {"stage": "b", "is_approved": False}


def test_nobody_answers_and_the_stage_is_approved() -> None:
    scene = gated(timeout=seconds(60), on_timeout="approve").wait(60)
    assert scene.sent[-1] == "b-1-0/1"
    assert (scene.run_of("b").gate.decision, scene.run_of("b").gate.by) == ("approved", "timeout")
    assert scene.data("ApprovalTimedOut") == {"stage": "b", "is_approved": True}


def test_an_answer_in_time_beats_the_timeout() -> None:
    scene = gated(timeout=seconds(60))
    scene.approve("b")
    assert scene.wait(100).status == "running"


def test_a_second_answer_is_a_conflict_that_names_the_first() -> None:
    scene = gated()
    scene.approve("b")
    answer = scene.approve("b", yes=False)
    assert (answer.ok, answer.code) == (False, "conflict")
    expected = "stage 'b' was approved by ann at 2030-01-01 00:00:00Z already"
    assert answer.message == expected
    assert scene.sent[-1] == "b-1-0/1"


def test_a_repeated_command_gets_its_first_answer() -> None:
    scene = gated()
    first = scene.approve("b", "one")
    assert scene.approve("b", "one") == first
    assert scene.types.count("ApprovalGranted") == 1
    refused = scene.approve("c", "two")
    scene.succeed("b-1-0")
    assert scene.approve("c", "two") == refused


def test_a_command_id_that_was_answered_is_taken_for_no_other_command() -> None:
    scene = gated()
    assert scene.ask(PauseRequested, command="one", asked="pause-1").ok
    first = scene.replies[-1]
    other = scene.ask(ResumeRequested, command="one", asked="resume-2")
    assert (other.code, other.message) == (
        "conflict",
        "this command id (Idempotency-Key) was given with 'pause' before, and that was answered: "
        "give 'resume' another one",
    )
    more = scene.ask(PauseRequested, command="one", asked="pause-3")
    assert "was given with 'pause' with other arguments before" in str(more.message)
    assert scene.status == "paused"
    assert scene.ask(PauseRequested, command="one", asked="pause-1") == first


def test_an_answer_of_an_older_version_is_that_of_whatever_comes_under_its_id() -> None:
    scene = gated()
    assert scene.ask(PauseRequested, command="one").ok
    assert scene.ask(PauseRequested, command="one", asked="pause-1").ok
    assert scene.status == "paused"


def test_answers_that_make_no_sense_are_refused_clearly() -> None:
    gate = Approval()
    flow = sequence(stage("a"), stage("b", approval=gate), stage("c", approval=gate))
    scene = Scene(flow).start()
    assert scene.approve("b").message == "stage 'b' is not reached yet: answer when it waits"
    assert scene.approve("a").message == "stage 'a' asks for no approval"
    assert scene.approve("x").message == "workflow 'flow' has no stage 'x'"
    scene.cancel()
    assert scene.approve("b").message == "the instance is cancelled: nothing to answer"


def test_an_instance_waits_only_when_nothing_else_is_in_flight() -> None:
    flow = graph(stage("a"), stage("b", approval=Approval()), entry=("a", "b"))
    scene = Scene(flow).start()
    assert scene.status == "running"
    scene.succeed("a-1-0")
    assert scene.status == "waiting"
    scene.approve("b")
    assert scene.succeed("b-1-0").status == "completed"


def test_two_gates_are_answered_each_by_itself() -> None:
    gate = Approval()
    flow = graph(
        stage("a", routes=leads_to("b", "c")),
        stage("b", approval=gate),
        stage("c", approval=gate),
        entry=("a",),
    )
    scene = Scene(flow).start().succeed("a-1-0")
    scene.approve("c")
    assert scene.sent[-1] == "c-1-0/1"
    scene.approve("b", yes=False)
    assert (scene.run_of("b").status, scene.run_of("c").status) == ("failed", "cancelled")


def test_a_row_says_when_it_wakes_by_itself() -> None:
    scene = gated(timeout=seconds(60))
    assert scene.row.wake_at == scene.at + seconds(60)
    scene.approve("b")
    assert scene.row.wake_at is None


def test_a_gate_of_a_cancelled_instance_is_gone() -> None:
    scene = gated(timeout=seconds(60))
    scene.cancel()
    scene.wait(100)
    assert scene.run_of("b").status == "cancelled"
    assert "ApprovalTimedOut" not in scene.types
    assert scene.succeed("a-1-0-undo-0").status == "cancelled"
