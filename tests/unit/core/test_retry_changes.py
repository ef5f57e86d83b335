"""A retry with other parameters or another definition: what fits what has run, and what follows."""

from dataclasses import replace
from typing import Any

from sagabus.core.definition import Route, Routes, TemplateError
from sagabus.core.events import RetryRequested
from tests.unit.core.scene import Says, Scene, graph, sequence, stage


def failed(**settings: Any) -> Scene:
    """a succeeded, b failed, c was not reached; nothing needed to be undone."""
    scene = Scene(sequence(stage("a"), stage("b"), stage("c"), **settings)).start()
    return scene.succeed("a-1-0", output="A").fail("b-1-0")


def switch(scene: Scene, *stages: Any, digest: str = "e") -> Any:
    """Retry with another definition."""
    return scene.ask(RetryRequested, definition=replace(sequence(*stages), digest=digest))


def test_parameters_that_do_not_fit_are_refused() -> None:
    class Schema:
        def complete(self, values: Any) -> Any:
            return values, [f"unknown parameter {name!r}" for name in values if name == "sise"]

    scene = failed(parameters=Schema())
    answer = scene.ask(RetryRequested, parameters={"sise": 3})
    assert (answer.code, answer.message) == (
        "invalid_request",
        "workflow 'flow': unknown parameter 'sise'",
    )
    assert scene.row.parameters == {"size": 3}


def test_a_corrected_definition_takes_over() -> None:
    scene = failed()
    answer = switch(scene, stage("a"), stage("b", "backend"), stage("c"))
    assert (answer.result["digest"], scene.row.digest) == ("e", "e")
    assert scene.attempt("b-2-0").role == "backend"


def test_what_is_kept_leads_where_the_corrected_definition_says() -> None:
    scene = failed()
    result = switch(scene, stage("a"), stage("new"), stage("b"), stage("c")).result
    assert (result["kept"], result["again"]) == (["a"], ["b", "new"])
    assert scene.sent[2:] == ["new-1-0/1"]
    scene.succeed("new-1-0")
    assert scene.sent[3:] == ["b-2-0/1"]


INSTEAD = "retry with the one that it has, or start a new instance"


def test_a_new_stage_is_named_where_what_runs_anew_leads_to_it_without_a_failure() -> None:
    scene = failed()
    mend = Routes(on_failure=(Route(("mend",)),), next="c")
    stages = (
        stage("a", routes=Routes(next="b")),
        stage("b", routes=mend),
        stage("c", routes=Routes(on_complete=(Route(("all",)),))),
        stage("all", kind="block", children=("x", "y")),
        *(stage(each, block="all") for each in "xy"),
        stage("mend"),
        stage("tell"),
    )
    flow = replace(graph(*stages, entry=("a",), on_end="tell"), digest="e")
    result = scene.ask(RetryRequested, definition=flow).result
    assert result["again"] == ["b", "all", "x", "y", "tell"]


def test_a_definition_that_does_not_fit_what_has_run_is_refused() -> None:
    scene = failed()
    assert (
        switch(scene, stage("b"), stage("c")).message
        == f"stage 'a' has run, and the new definition has no such stage: {INSTEAD}"
    )
    two = stage("a", "devops", "backend")
    assert (
        switch(scene, two, stage("b")).message
        == f"stage 'a' is kept, and has other tasks in the new definition: {INSTEAD}"
    )
    assert (scene.status, scene.row.digest) == ("failed", "d")


def test_variables_begin_anew_where_nothing_is_kept() -> None:
    table = Says(lambda scope: {"n": scope["parameters"]["size"]})
    up = stage("a", publish=(("n", Says(lambda scope: scope["vars"]["n"] + 1)),))
    scene = Scene(sequence(up, stage("b"), vars=table)).start().succeed("a-1-0").fail("b-1-0")
    scene.ask(RetryRequested)
    assert scene.row.vars == {"n": 4}
    scene.fail("b-2-0")
    scene.ask(RetryRequested, "a", parameters={"size": 7})
    assert scene.row.vars == {"n": 7}


def test_a_template_that_fails_in_a_retry_fails_the_workflow() -> None:
    def vars_(scope: Any) -> Any:
        if scope["parameters"]["size"] == 9:
            raise TemplateError("no", key="vars", expression="{{ x }}")
        return {}

    scene = failed(vars=Says(vars_))
    assert scene.ask(RetryRequested, parameters={"size": 9}).result["status"] == "failed"
    assert scene.row.error.type == "template_error"
