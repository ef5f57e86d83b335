"""After a restore a final effect is sent on the word of an operator, or of news heard since."""

from sagabus.core.definition import Items, RetryPolicy, Routes
from sagabus.core.events import DatabaseRestored, IntentResolved, RetryRequested
from sagabus.core.intents import intents_of
from sagabus.core.restoring import MAY_BE_DONE
from tests.unit.core.scene import Says, Scene, graph, leads_to, seconds, sequence, stage

RETRY = RetryPolicy(count=3, delay=seconds(5), jitter=False)
ONCE = {"classification": "final", "retry": RETRY}


def restored(scene: Scene) -> Scene:
    """Some time after the backup was made."""
    scene.at += seconds(1)
    assert scene.decide(DatabaseRestored(scene.at)) is None
    scene.at += seconds(1)
    return scene


def resolve(scene: Scene, outcome: str, name: str = "charge", **more: str) -> None:
    assert scene.ask(IntentResolved, name, outcome, **more).ok


def held(scene: Scene) -> list[str]:
    return [f"{each.task}/{each.attempt}" for each in intents_of(scene.state) if each.is_held]


def failed_once() -> Scene:
    """The backup was made while the second attempt was planned."""
    return Scene(sequence(stage("charge", **ONCE))).start().fail("charge-1-0")


def test_a_retry_that_was_planned_at_the_backup_is_held() -> None:
    scene = restored(failed_once()).wait(10)
    assert (scene.sent, held(scene)) == (["charge-1-0/1"], ["charge-1-0/2"])
    [parked] = scene.row.parked
    assert parked.cause == "intent_unknown"
    assert MAY_BE_DONE in parked.message


def test_what_an_operator_wants_sent_is_sent_and_what_fails_then_is_tried_again() -> None:
    scene = restored(failed_once()).wait(10)
    resolve(scene, "retry")
    assert scene.sent[1:] == ["charge-1-0/3"]
    scene.fail("charge-1-0").wait(50)
    assert scene.sent[1:] == ["charge-1-0/3", "charge-1-0/4"]
    assert not scene.row.parked


def test_a_failure_heard_since_of_what_was_open_settles_it() -> None:
    scene = Scene(sequence(stage("charge", **ONCE))).start()
    assert scene.claim("charge-1-0") == "run"
    restored(scene)
    assert held(scene) == ["charge-1-0/1"]
    scene.fail("charge-1-0").wait(50)
    assert scene.sent == ["charge-1-0/1", "charge-1-0/2"]
    assert not scene.row.parked


def test_a_second_restore_forgets_what_was_heard_after_the_first() -> None:
    scene = restored(failed_once()).wait(10)
    resolve(scene, "retry")
    restored(scene.fail("charge-1-0")).wait(50)
    assert scene.sent[1:] == ["charge-1-0/3"]
    assert held(scene) == ["charge-1-0/4"]


def test_every_item_that_may_be_done_is_held_whatever_became_of_it_before() -> None:
    charge = stage("charge", items=Items(list=Says(lambda _: list("abcd")), concurrency=3), **ONCE)
    scene = Scene(sequence(charge)).start().succeed("charge-1-0").fail("charge-1-1")
    before = ["charge-1-0/1", "charge-1-1/1", "charge-1-2/1", "charge-1-3/1"]
    assert scene.sent == before
    restored(scene).wait(10)
    assert held(scene) == ["charge-1-2/1", "charge-1-3/1"]
    resolve(scene, "succeeded", attempt="charge-1-2/1")
    resolve(scene, "succeeded", attempt="charge-1-3/1")
    scene.wait(10)
    assert held(scene) == ["charge-1-1/2"]
    resolve(scene, "succeeded")
    assert (scene.status, scene.sent) == ("completed", before)


def test_what_a_loop_comes_round_to_is_held_in_every_pass() -> None:
    charge = stage("charge", classification="final", routes=Routes(next="ship"))
    ship = stage("ship", classification="final", routes=leads_to("charge"))
    scene = restored(Scene(graph(charge, ship, entry=("charge",))).start())
    for task in ("charge-1-0", "ship-1-0", "charge-2-0"):
        assert held(scene) == [f"{task}/1"]
        resolve(scene, "succeeded", task.partition("-")[0])
    assert scene.sent == ["charge-1-0/1"]


def test_a_final_stage_that_an_operator_called_failed_is_held_when_it_runs_anew() -> None:
    scene = restored(failed_once()).wait(10)
    resolve(scene, "failed")
    assert scene.status == "failed"
    assert scene.ask(RetryRequested).ok
    assert (scene.sent, held(scene)) == (["charge-1-0/1"], ["charge-2-0/1"])
