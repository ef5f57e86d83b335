"""An undo below that fails late: whoever is above says so, however it ends, whatever came first."""

from sagabus.core.commands import TellParent
from sagabus.core.definition import RetryPolicy
from sagabus.core.events import EndAsked
from sagabus.core.instance import ParentRef
from tests.unit.core.family_scene import Family, child_stage
from tests.unit.core.scene import Says, Scene, seconds, sequence, stage

AGAIN = RetryPolicy(count=1, delay=seconds(1), jitter=False)
BELOW = sequence(stage("x", undo=("u",), timeout=seconds(5)))
ABOVE = ParentRef("top", "m-1-0", 1)


def named(scene: Scene) -> list[str]:
    """What the instance says was not undone."""
    return [each["task"] for each in scene.row.failed_compensations]


def completed() -> Scene:
    """An instance in the middle that has completed: its stage was carried out by another one."""
    flow = sequence(child_stage(), output_map={"of": Says(lambda scope: 7)})
    scene = Scene(flow)
    scene.row.parent = ABOVE
    scene.start().succeed("sub-1-0")
    assert scene.status == "completed"
    scene.said.clear()
    return scene


def test_an_instance_that_completes_names_what_an_earlier_try_has_left() -> None:
    family = Family(sequence(child_stage(retry=AGAIN)), BELOW)
    first = family.child()
    first.claim("x-1-0")
    first.wait(60).succeed("x-1-0-undo-0")
    family.deliver().scene.wait(90)
    family.deliver()
    first.result("x-1-0")
    first.fail("x-1-0-undo-1")
    assert (first.status, first.row.rollback) == ("failed", "partial")
    family.deliver().child(attempt=2).succeed("x-1-0")
    family.deliver()
    assert (family.scene.status, family.scene.row.rollback) == ("completed", "partial")
    assert named(family.scene) == ["sub-1-0"]
    said = family.scene.data("WorkflowCompleted")
    assert (said["rollback"], said["failed_compensations"]) == (
        "partial",
        family.scene.row.failed_compensations,
    )


def test_a_completed_instance_whose_end_is_revised_has_still_completed() -> None:
    scene = completed()
    assert scene.result("sub-1-0", status="failed", has_left_effects=True) is None
    assert (scene.status, scene.row.rollback) == ("completed", "partial")
    told = TellParent(ABOVE, "succeeded", {"of": 7}, has_left_effects=True, seq=scene.row.seq)
    assert scene.said == [told]


def test_who_asks_how_it_ended_hears_of_what_is_left() -> None:
    scene = completed()
    scene.result("sub-1-0", status="failed", has_left_effects=True)
    scene.said.clear()
    assert scene.decide(EndAsked(scene.at, ABOVE)) == "told_again"
    told = TellParent(ABOVE, "succeeded", {"of": 7}, has_left_effects=True, seq=scene.row.seq)
    assert scene.said == [told]


def test_a_success_that_left_something_below_counts_as_both_and_once() -> None:
    scene = Scene(sequence(child_stage(), stage("after"))).start()
    assert scene.result("sub-1-0", output={"of": 7}, has_left_effects=True) is None
    assert scene.attempt("sub-1-0").output == {"of": 7}
    assert scene.result("sub-1-0", has_left_effects=True) == "duplicate_result"
    scene.succeed("after-1-0")
    assert (scene.status, scene.row.rollback) == ("completed", "partial")
    assert named(scene) == ["sub-1-0"]


def test_a_success_that_left_something_below_parks_where_failed_undos_do() -> None:
    flow = sequence(child_stage(), stage("after"), saga_on_failed_undo="park")
    scene = Scene(flow).start()
    scene.result("sub-1-0", has_left_effects=True)
    assert scene.status == "needs_operator"
    assert scene.cancel().ok
    scene.result("sub-1-0-undo-0")
    assert (scene.status, scene.row.rollback) == ("cancelled", "partial")
