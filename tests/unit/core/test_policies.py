"""Policies: asked once per attempt, before it leaves; a denial ends the workflow at once."""

from sagabus.core.commands import AuthorizeTask, DispatchTask
from sagabus.core.definition import Approval, RetryPolicy
from sagabus.core.events import PolicyDecided, StartRequested
from sagabus.core.machine import decide
from sagabus.core.transition import Decision
from tests.unit.core.scene import Scene, seconds, sequence, stage

UNDO = ("devops",)
RETRY = RetryPolicy(count=2, delay=seconds(1), jitter=False)


def guarded(*stages, denied: tuple[str, ...] = (), **settings) -> Scene:
    return Scene(sequence(*stages, has_policies=True, **settings), denied=denied).start()


def test_nothing_leaves_before_the_policies_have_decided() -> None:
    scene = Scene(sequence(stage("a", undo=UNDO), has_policies=True))
    asked = decide(scene.definition, scene.state, StartRequested(scene.at, "start"))
    assert isinstance(asked, Decision)
    assert not any(isinstance(command, DispatchTask) for command in asked.commands)
    (question,) = [each for each in asked.commands if isinstance(each, AuthorizeTask)]
    assert (question.action, question.stage) == ("execute-stage", "a")
    assert question.context == {
        "workflow": "flow",
        "workflow_id": "i1",
        "approved": False,
        "approved_by": [],
        "classification": "compensatable",
        "attempt": 1,
        "started_by": "",
    }
    answer = PolicyDecided(scene.at, "a-1-0", 1, is_allowed=True, policies=["p1", "p2"])
    allowed = decide(scene.definition, scene.state, answer)
    assert isinstance(allowed, Decision)
    assert any(isinstance(command, DispatchTask) for command in allowed.commands)
    assert scene.attempt("a-1-0").policies == ["p1", "p2"]


def test_policies_see_that_a_stage_was_approved() -> None:
    scene = Scene(sequence(stage("a", approval=Approval()), has_policies=True)).start()
    asked = []
    original = scene._carry_out
    scene._carry_out = lambda commands: (asked.extend(commands), original(commands))
    scene.approve("a")
    (question,) = [each for each in asked if isinstance(each, AuthorizeTask)]
    assert question.context["approved"] is True


def test_a_denied_stage_never_leaves_and_what_was_done_is_undone() -> None:
    scene = guarded(stage("a", undo=UNDO), stage("b", retry=RETRY), denied=("b-1-0",))
    scene.succeed("a-1-0")
    assert scene.sent == ["a-1-0/1", "a-1-0-undo-0/1"]
    assert (scene.row.error.type, scene.row.error.policies) == ("denied", ["p1"])
    assert scene.run_of("b").status == "denied"
    assert scene.data("StageDenied")["policies"] == ["p1"]
    assert scene.attempt("b-1-0").acted is False
    assert scene.succeed("a-1-0-undo-0").status == "rolled_back"


def test_a_denial_of_one_of_several_entries_takes_back_the_others() -> None:
    both = stage("a", "r1", "r2", "r3", parallel=True, undo=UNDO)
    scene = guarded(both, denied=("a-1-1",))
    assert (scene.status, scene.row.rollback, scene.sent) == ("failed", "none", [])
    assert scene.run_of("a").status == "denied"


def test_a_denial_of_a_later_entry_undoes_the_earlier_ones() -> None:
    scene = guarded(stage("a", "r1", "r2", undo=UNDO), denied=("a-1-1",)).succeed("a-1-0")
    assert scene.sent == ["a-1-0/1", "a-1-0-undo-0/1"]


def test_every_attempt_is_asked_for() -> None:
    scene = guarded(stage("a", retry=RETRY)).fail("a-1-0")
    scene.denied = {"a-1-0"}
    scene.wait(5)
    assert (scene.sent, scene.row.error.type) == (["a-1-0/1"], "denied")


def test_a_denied_retry_of_what_may_have_acted_is_undone() -> None:
    scene = guarded(stage("a", retry=RETRY, undo=UNDO)).fail("a-1-0", "timeout")
    scene.denied = {"a-1-0"}
    assert scene.wait(5).sent == ["a-1-0/1", "a-1-0-undo-0/1"]


def test_a_denied_compensation_has_failed_and_the_next_goes_on() -> None:
    scene = guarded(
        stage("a", undo=UNDO),
        stage("b", undo=UNDO, undo_retry=RETRY),
        stage("c"),
        denied=("b-1-0-undo-0",),
    )
    scene.succeed("a-1-0", "b-1-0").fail("c-1-0")
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    assert scene.run_of("b").status == "compensation_failed"
    scene.succeed("a-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("failed", "partial")
    assert scene.row.failed_compensations == [
        {
            "stage": "b",
            "task": "b-1-0-undo-0",
            "attempt": 1,
            "role": "devops",
            "error": {"type": "denied", "message": "no", "policies": ["p1"]},
        }
    ]


def test_the_history_names_the_policies_that_permitted_and_those_that_denied() -> None:
    scene = guarded(stage("a", undo=UNDO), stage("b"), denied=("b-1-0", "a-1-0-undo-0"))
    assert scene.data("TaskScheduled")["policies"] == scene.attempt("a-1-0").policies != []
    scene.succeed("a-1-0")
    assert scene.data("StageDenied")["policies"] == ["p1"]
    assert scene.data("CompensationFailed")["error"]["policies"] == ["p1"]
