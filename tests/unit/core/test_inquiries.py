"""Questions to people: an answer that fits the form is the stage's result."""

from typing import ClassVar

from sagabus.core.definition import Route, Routes, Stage
from tests.unit.core.scene import Says, Scene, graph, seconds, sequence, stage


class Form:
    document: ClassVar = {"required": ["ok"], "properties": {"ok": {"const": True}}}

    def problems(self, value):
        return [] if value == {"ok": True} else ["`ok` is missing"]


def inquiry(**settings) -> Stage:
    return Stage("ask", (), "core.inquiry", kind="inquiry", form=Form(), **settings)


def test_a_question_waits_for_an_answer_that_fits_its_form() -> None:
    prompt = Says(lambda scope: f"size {scope['parameters']['size']}?")
    after = stage("after", input=Says(lambda scope: scope["task"]["ask"]["result"]))
    scene = Scene(sequence(inquiry(prompt=prompt), after)).start()
    assert scene.status == "waiting"
    asked = scene.data("InquiryAsked")
    assert (asked["prompt"], asked["schema"]) == ("size 3?", Form.document)
    refused = scene.answer("ask", {})
    assert (refused.ok, refused.code) == (False, "invalid_request")
    assert scene.status == "waiting"
    assert not scene.approve("ask").ok
    assert scene.answer("ask", {"ok": True}).ok
    assert scene.attempt("ask-1-0").input == {"prompt": "size 3?", "schema": Form.document}
    assert scene.attempt("after-1-0").input == {"ok": True}
    late = scene.answer("ask", {"ok": True})
    assert (late.ok, late.code) == (False, "conflict")
    assert "answered by ann" in late.message


def test_the_same_answer_command_is_answered_as_before() -> None:
    scene = Scene(sequence(inquiry(), stage("after"))).start()
    first = scene.answer("ask", {"ok": True}, "c1")
    assert scene.answer("ask", {"ok": True}, "c1") == first


def test_a_question_nobody_answers_in_time_goes_down_its_timeout_route() -> None:
    flow = graph(
        inquiry(timeout=seconds(60), routes=Routes(on_timeout=(Route(("b",)),))),
        stage("b"),
        entry=("ask",),
    )
    scene = Scene(flow).start().wait(60)
    assert scene.run_of("ask").status == "timed_out"
    assert scene.sent == ["b-1-0/1"]
    assert "timed out" in scene.answer("ask", {"ok": True}).message


def test_a_stage_that_asks_nothing_takes_no_answer() -> None:
    scene = Scene(sequence(stage("a"))).start()
    assert "asks no question" in scene.answer("a", 1).message
    assert "has no stage" in scene.answer("zzz", 1).message
