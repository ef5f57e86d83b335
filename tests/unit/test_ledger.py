"""The ledger: an entry per attempt, with the words of those who count steps."""

from sagabus.core.events import ResultSet
from sagabus.views.ledger import ledger_of
from tests.unit.core.scene import Scene, sequence, stage

UNDO = ("devops",)


def steps(scene: Scene) -> dict[str, str]:
    return {f"{each.task}/{each.attempt}": each.step_status for each in ledger_of(scene.state)}


def echo_echo_fail() -> Scene:
    echo = [stage(name, undo=UNDO) for name in ("first", "second")]
    scene = Scene(sequence(*echo, stage("third"))).start()
    return scene.succeed("first-1-0", "second-1-0").fail("third-1-0")


def test_two_steps_that_were_undone_are_compensated_and_the_third_failed() -> None:
    scene = echo_echo_fail()
    assert steps(scene)["second-1-0/1"] == "completed"
    scene.succeed("second-1-0-undo-0", "first-1-0-undo-0")
    assert steps(scene) == {
        "first-1-0/1": "compensated",
        "second-1-0/1": "compensated",
        "third-1-0/1": "failed",
        "second-1-0-undo-0/1": "completed",
        "first-1-0-undo-0/1": "completed",
    }


def test_a_step_whose_compensation_failed_is_never_called_compensated() -> None:
    scene = echo_echo_fail().fail("second-1-0-undo-0").succeed("first-1-0-undo-0")
    found = steps(scene)
    assert (found["first-1-0/1"], found["second-1-0/1"]) == ("compensated", "completed")
    assert found["second-1-0-undo-0/1"] == "failed"


def test_what_was_undone_by_hand_is_compensated_and_its_undos_keep_what_came_of_them() -> None:
    fan = stage("fan", "devops", "devops", parallel=True, undo=UNDO)
    scene = Scene(sequence(fan, stage("check"), saga_on_failed_undo="park")).start()
    scene.succeed("fan-1-0", "fan-1-1").fail("check-1-0")
    scene.succeed("fan-1-0-undo-0").fail("fan-1-1-undo-0")
    before = steps(scene)
    assert (before["fan-1-0/1"], before["fan-1-1/1"]) == ("compensated", "completed")
    assert scene.ask(ResultSet, "fan", None).ok
    assert steps(scene) == {**before, "fan-1-1/1": "compensated"}
    assert (before["fan-1-0-undo-0/1"], before["fan-1-1-undo-0/1"]) == ("completed", "failed")


def test_what_is_on_its_way_is_running() -> None:
    scene = Scene(sequence(stage("a"), stage("b"))).start()
    assert steps(scene) == {"a-1-0/1": "running"}
    scene.claim("a-1-0")
    assert steps(scene) == {"a-1-0/1": "running"}


def test_every_attempt_has_an_entry_and_all_of_a_task_have_one_idempotency_key() -> None:
    scene = echo_echo_fail()
    found = ledger_of(scene.state)
    names = [(each.task, each.attempt) for each in found]
    assert len(names) == len(set(names)) == 4
    [first] = [each for each in found if each.task == "first-1-0"]
    assert first.idempotency_key == f"{scene.row.id}:first-1-0"
    assert (first.kind, first.role, first.status) == ("task", "devops", "succeeded")
    assert first.duration_s is not None
    [failed] = [each for each in found if each.task == "third-1-0"]
    assert failed.error is not None
    assert failed.error.type == "boom"
