"""Approval by several people, by somebody else, and with data that is filled in."""

from dataclasses import replace

import pytest

from sagabus.core.commands import AuthorizeTask
from sagabus.core.definition import Approval, Stage
from sagabus.core.events import ApprovalAnswered, PauseRequested, ResumeRequested, RetryRequested
from sagabus.core.machine import decide
from sagabus.definitions.json_schema import Schema
from tests.unit.core.scene import Says, Scene, seconds, sequence, stage

FORM = Schema(
    {
        "type": "object",
        "required": ["ticket"],
        "properties": {"ticket": {"type": "integer", "minimum": 1}},
        "additionalProperties": False,
    }
)
APPROVALS = Says(lambda scope: {"given": scope["approvals"]})
LATER = Says(lambda scope: {"given": scope["task"]["b"]["approvals"]})


def gated(started_by: str = "", **approval) -> Scene:
    flow = sequence(
        stage("a", undo=("devops",)),
        stage("b", approval=Approval(**approval), input=APPROVALS),
        stage("c", input=LATER),
    )
    scene = Scene(flow)
    scene.row.started_by = started_by
    return scene.start().succeed("a-1-0")


def test_two_different_people_have_to_approve() -> None:
    scene = gated(approvers=2)
    asked = scene.data("ApprovalRequested")
    assert (asked["approvers"], asked["self_approval"], asked["schema"]) == (2, True, None)
    first = scene.approve("b", by="ann")
    assert (first.ok, first.result["decision"], first.result["missing"]) == (True, None, 1)
    assert (scene.status, scene.sent) == ("waiting", ["a-1-0/1"])
    granted = {"stage": "b", "by": "ann", "reason": "because", "data": None, "missing": 1}
    assert scene.data("ApprovalGranted") == granted
    assert scene.run_of("b").gate.missing == 1
    last = scene.wait(60).approve("b", by="bob")
    assert (last.result["decision"], last.result["missing"]) == ("approved", 0)
    assert scene.data("ApprovalGranted") == granted | {"by": "bob", "missing": 0}
    gate = scene.run_of("b").gate
    assert (gate.decision, gate.by, gate.at, gate.missing) == ("approved", "ann, bob", scene.at, 0)
    assert [each.by for each in gate.approvals] == ["ann", "bob"]
    assert scene.sent[-1] == "b-1-0/1"
    late = scene.approve("b", by="cid")
    assert "was approved by ann, bob at 2030-01-01 00:01:00Z already" in late.message


def test_the_same_person_is_one_approver() -> None:
    scene = gated(approvers=3)
    scene.approve("b", by="ann")
    again = scene.approve("b", by=" ann ")
    assert (again.ok, again.code) == (False, "conflict")
    expected = "ann has approved already; 2 more approvals are needed, by somebody else"
    assert again.message == expected
    scene.approve("b", by="bob")
    again = scene.approve("b", by="bob")
    assert again.message == "bob has approved already; 1 more approval is needed, by somebody else"
    assert scene.run_of("b").gate.missing == 1
    assert scene.types.count("ApprovalGranted") == 2


def test_where_several_have_to_approve_each_says_who_it_is() -> None:
    refused = gated(approvers=2).approve("b", by=" ")
    assert (refused.ok, refused.code) == (False, "invalid_request")
    assert refused.message == (
        "stage 'b' is to be approved by 2 different people: say who you are, with SAGABUS_USER "
        "on the command line or `by` over HTTP"
    )
    assert gated().approve("b", by="").result["decision"] == "approved"


def test_a_repeated_approval_gets_its_first_answer_and_counts_once() -> None:
    scene = gated(approvers=2)
    first = scene.approve("b", "one", by="ann")
    assert scene.approve("b", "one", by="ann") == first
    assert scene.run_of("b").gate.missing == 1


def test_one_rejection_rejects_be_it_of_one_who_has_approved() -> None:
    scene = gated(approvers=2)
    scene.approve("b", by="ann")
    assert scene.approve("b", yes=False, by="ann").result["decision"] == "rejected"
    assert (scene.row.error.type, scene.run_of("b").gate.by) == ("rejected", "ann")


@pytest.mark.parametrize(("then", "error"), [("reject", "approval_timeout"), ("approve", None)])
def test_the_timeout_counts_whatever_approvals_are_missing(then, error) -> None:
    scene = gated(approvers=2, timeout=seconds(60), on_timeout=then)
    scene.approve("b", by="ann")
    scene.wait(60)
    assert (scene.row.error.type if scene.row.error else None) == error
    gate = scene.run_of("b").gate
    assert gate.decision == ("timed_out" if error else "approved")
    assert (gate.missing, [each.by for each in gate.approvals]) == (0, ["ann"])
    assert ("b-1-0/1" in scene.sent) == (error is None)


def test_who_started_it_may_not_approve_where_that_is_said_but_may_reject() -> None:
    scene = gated("ann", self_approval=False)
    refused = scene.approve("b", by="ann")
    assert (refused.ok, refused.code) == (False, "conflict")
    expected = "ann has started the instance: somebody else has to approve stage 'b'"
    assert refused.message == expected
    nobody = scene.approve("b", by="")
    assert nobody.code == "invalid_request"
    assert "to be approved by somebody else than ann: say who you are" in nobody.message
    assert scene.approve("b", by="bob").ok
    assert gated("ann", self_approval=False).approve("b", by="ann", yes=False).ok
    assert gated("ann").approve("b", by="ann").ok


def test_what_nobody_known_has_started_anybody_may_approve() -> None:
    assert gated("", self_approval=False).approve("b", by="").result["decision"] == "approved"


def test_what_an_approver_fills_in_is_checked_kept_and_read_by_templates() -> None:
    scene = gated(approvers=2, form=FORM)
    assert scene.data("ApprovalRequested")["schema"] == FORM.document
    without = scene.approve("b")
    assert (without.ok, without.code) == (False, "invalid_request")
    assert without.message == (
        "the data of an approval of stage 'b' does not fit: `ticket` is missing; "
        'this fits: {"ticket":1}'
    )
    assert "0 is too small" in scene.approve("b", data={"ticket": 0}).message
    assert scene.run_of("b").gate.approvals == []
    assert scene.approve("b", data={"ticket": 7}).ok
    assert scene.data("ApprovalGranted")["data"] == {"ticket": 7}
    assert scene.approve("b", by="bob", data={"ticket": 8}).ok
    given = [
        {"by": "ann", "reason": "because", "data": {"ticket": 7}},
        {"by": "bob", "reason": "because", "data": {"ticket": 8}},
    ]
    assert scene.attempt("b-1-0").input == {"given": given}
    assert scene.succeed("b-1-0").attempt("c-1-0").input == {"given": given}


def test_data_is_left_out_where_nothing_is_required_and_refused_where_nothing_is_asked() -> None:
    scene = gated(form=Schema({"type": "object"}))
    assert scene.approve("b").ok
    assert scene.run_of("b").gate.approvals[0].data == {}
    refused = gated().approve("b", data={"ticket": 1})
    assert refused.code == "invalid_request"
    expected = "stage 'b' asks for no data with an approval: approve it without"
    assert refused.message == expected


def test_data_of_an_approval_is_small() -> None:
    scene = gated(form=Schema({}))
    refused = scene.approve("b", data="x" * 16_384)
    assert refused.message == (
        "the data of an approval of stage 'b' has 16386 bytes, of which 16384 are taken: give a "
        "reference instead"
    )
    assert scene.approve("b", data="x" * 16_382).ok


def test_while_it_is_paused_approvals_count_and_the_stage_starts_afterwards() -> None:
    scene = gated(approvers=2)
    scene.approve("b", by="ann")
    scene.ask(PauseRequested)
    assert scene.approve("b", by="bob").result["missing"] == 0
    assert scene.sent[-1] == "a-1-0/1"
    scene.ask(ResumeRequested)
    assert scene.sent[-1] == "b-1-0/1"


def test_after_a_retry_everybody_is_asked_anew() -> None:
    scene = gated(approvers=2)
    scene.approve("b", by="ann")
    scene.approve("b", by="bob", yes=False)
    scene.succeed("a-1-0-undo-0")
    assert scene.ask(RetryRequested).ok
    scene.succeed("a-2-0")
    assert scene.approve("b", by="ann").result["missing"] == 1
    assert scene.row.runs["b-2"].gate.missing == 1
    assert scene.row.runs["b-1"].gate.decision == "rejected"


def test_policies_see_everybody_who_approved() -> None:
    scene = gated(approvers=2)
    scene.definition = replace(scene.definition, has_policies=True)
    scene.approve("b", by="ann")
    outcome = decide(
        scene.definition, scene.state, ApprovalAnswered(scene.at, "x", "b", True, "bob")
    )
    (question,) = [each for each in outcome.commands if isinstance(each, AuthorizeTask)]
    assert (question.context["approved"], question.context["approved_by"]) == (True, ["ann", "bob"])


def test_an_approval_comes_before_the_question_of_its_stage() -> None:
    """An answer is no approval, and the time of the question is not that of the gate."""
    gate = Approval(approvers=2, timeout=seconds(60), on_timeout="approve")
    ask = Stage(
        "ask", (), "core.inquiry", kind="inquiry", approval=gate, timeout=seconds(60), form=FORM
    )
    scene = Scene(sequence(ask, stage("c", input=Says(lambda scope: scope["task"]["ask"])))).start()
    early = scene.answer("ask", {"ticket": 1})
    assert early.message == "stage 'ask' waits for approval: approve or reject it, then it asks"
    scene.approve("ask", by="ann")
    assert "InquiryAsked" not in scene.types
    scene.wait(60)
    assert scene.types[-2:] == ["ApprovalTimedOut", "InquiryAsked"]
    late = scene.approve("ask", by="bob")
    assert "asks a question: answer it instead of approving" in late.message
    assert scene.run_of("ask").gate.missing == 0
    assert scene.answer("ask", {"ticket": 1}).ok
    seen = scene.attempt("c-1-0").input
    assert (seen["result"], [each["by"] for each in seen["approvals"]]) == ({"ticket": 1}, ["ann"])


def test_a_question_behind_an_approval_ends_by_its_own_time() -> None:
    gate = Approval(on_timeout="approve")
    ask = Stage("ask", (), "core.inquiry", kind="inquiry", approval=gate, timeout=seconds(60))
    scene = Scene(sequence(ask)).start()
    scene.approve("ask")
    scene.wait(60)
    assert (scene.status, scene.row.error.type) == ("failed", "timeout")
