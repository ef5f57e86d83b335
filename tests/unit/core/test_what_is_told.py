"""What the history and an error say of where runs lead, and of what did not come."""

from sagabus.core.definition import Route, Routes
from tests.unit.core.scene import Says, Scene, core, graph, leads_to, stage


def one(value):
    return Says(lambda _: value)


def joining(c_routes, *, join=2):
    """``a`` leads to ``b`` and ``c``, and both of these, and ``x``, to ``d``."""
    return graph(
        stage("a", routes=leads_to("b", "c")),
        stage("b", routes=leads_to("d")),
        stage("c", routes=c_routes),
        core("e", routes=leads_to("x")),
        core("x", routes=leads_to("d")),
        stage("d", join=join, arms=("b", "c", "x")),
        entry=("a",),
        reach={
            "a": frozenset("abcd"),
            "b": frozenset("bd"),
            "c": frozenset("cd"),
            "d": frozenset("d"),
        },
    )


def test_a_join_that_cannot_start_names_what_became_of_each_arm() -> None:
    for outcome, said in (("succeed", "c led elsewhere"), ("fail", "c failed")):
        scene = Scene(joining(Routes(on_failure=(Route(("end",)),)), join=3)).start()
        scene.succeed("a-1-0")
        getattr(scene, outcome)("c-1-0")
        scene.succeed("b-1-0")
        assert scene.row.error is not None
        assert scene.row.error.message == (
            f"stage 'd' joins 3 of b, c, x, and {said}, nothing leads to x any more"
        )


def test_a_failure_that_is_handled_says_where_it_goes_on() -> None:
    scene = Scene(joining(Routes(on_failure=(Route(("e",)),)))).start()
    scene.succeed("a-1-0").fail("c-1-0")
    failed = scene.data("StageFailed")
    assert (failed["is_handled"], failed["next"]) == (True, ["e"])
    scene = Scene(joining(Routes())).start()
    scene.succeed("a-1-0").fail("c-1-0")
    failed = scene.data("StageFailed")
    assert (failed["is_handled"], failed.get("next")) == (False, None)


def test_variables_that_are_published_are_named() -> None:
    way = Route(("end",), publish=(("why", one("boom")),))
    flow = graph(
        stage("a", publish=(("n", one(1)), ("log", one([0]))), routes=leads_to("b")),
        stage("b", routes=Routes(on_failure=(way,))),
        entry=("a",),
    )
    scene = Scene(flow).start().succeed("a-1-0")
    assert scene.data("VariablesPublished") == {"stage": "a", "variables": ["n", "log"]}
    scene.fail("b-1-0")
    assert scene.data("VariablesPublished") == {"stage": "b", "variables": ["why"]}
    assert scene.row.vars == {"n": 1, "log": [0], "why": "boom"}
