"""Instances in each status, brought there by the machine, in every way that commands tell apart."""

from datetime import timedelta
from typing import Any

from sagabus.core.definition import Approval, RetryPolicy
from sagabus.core.events import (
    CancelRequested,
    IntentResolved,
    RetryRequested,
    SkipRequested,
)
from tests.unit.core.scene import Scene, graph, leads_to, sequence, stage

UNDO = ("devops",)


def _wide() -> Scene:
    """a works, g waits for approval, q for an answer; z comes after a."""
    return Scene(
        graph(
            stage("a", undo=UNDO, routes=leads_to("z")),
            stage("g", approval=Approval()),
            stage("q", kind="inquiry"),
            stage("z", approval=Approval()),
            entry=("a", "g", "q"),
        )
    )


def _two(**settings: Any) -> Scene:
    return Scene(sequence(stage("a", undo=UNDO), stage("b"), **settings))


def _final(**settings: Any) -> Scene:
    flow = sequence(
        stage("a", undo=UNDO),
        stage("f", classification="final"),
        stage("x", classification="final"),
        **settings,
    )
    return Scene(flow).start().succeed("a-1-0")


def pending() -> Scene:
    return _wide()


def paused_before_it_began() -> Scene:
    scene = _wide()
    scene.pause()
    return scene


def running() -> Scene:
    return _wide().start()


def waiting() -> Scene:
    return running().succeed("a-1-0")


def paused() -> Scene:
    scene = running()
    scene.pause()
    return scene


def paused_before_a_retry() -> Scene:
    again = RetryPolicy(count=1, delay=timedelta(seconds=60))
    scene = Scene(sequence(stage("a", retry=again))).start().fail("a-1-0")
    scene.pause()
    return scene


def held() -> Scene:
    """Nobody knows whether the final stage f had its effect."""
    scene = _final()
    scene.claim("f-1-0")
    scene.wait(10)
    scene.claim("f-1-0", delivery=2)
    return scene


def held_and_paused() -> Scene:
    scene = held()
    scene.pause()
    return scene


def several_held() -> Scene:
    """Nobody knows it of two of the three tasks of the final stage f."""
    flow = sequence(
        stage("f", "devops", "devops", "devops", parallel=True, classification="final"),
        stage("x", classification="final"),
    )
    scene = Scene(flow).start()
    for task in ("f-1-0", "f-1-1"):
        scene.claim(task)
    scene.wait(10)
    for task in ("f-1-0", "f-1-1"):
        scene.claim(task, delivery=2)
    return scene.succeed("f-1-2")


def held_and_cancelled() -> Scene:
    """It is to be undone as soon as that is known."""
    scene = held()
    scene.cancel()
    return scene


def held_beside_a_retry() -> Scene:
    """Another stage is to be tried again, which waits until that is known."""
    again = RetryPolicy(count=1, delay=timedelta(seconds=60))
    flow = graph(stage("f", classification="final"), stage("a", retry=again), entry=("f", "a"))
    scene = Scene(flow).start()
    scene.claim("f-1-0")
    scene.wait(10)
    scene.fail("a-1-0").claim("f-1-0", delivery=2)
    return scene


def _tried_again(scene: Scene, task: str) -> Scene:
    """A final task whose first attempt may have had its effect is at its second one."""
    scene.claim(task)
    scene.wait(10)
    scene.claim(task, delivery=2)
    scene.ask(IntentResolved, scene.attempt(task).stage, "retry")
    return scene


def doubted_at_work() -> Scene:
    return _tried_again(_final(), "f-1-0")


def doubted_running() -> Scene:
    return doubted_at_work().succeed("f-1-0")


def doubted_paused() -> Scene:
    scene = doubted_running()
    scene.pause()
    return scene


def doubted_waiting() -> Scene:
    flow = sequence(
        stage("f", classification="final"),
        stage("g", classification="final", approval=Approval()),
    )
    return _tried_again(Scene(flow).start(), "f-1-0").succeed("f-1-0")


def doubted_undoing() -> Scene:
    return doubted_at_work().fail("f-1-0")


def doubted() -> Scene:
    """It failed, all else is undone, and the first attempt of f may have had its effect."""
    return doubted_undoing().succeed("a-1-0-undo-0")


def doubted_and_cancelled() -> Scene:
    scene = doubted_at_work()
    scene.cancel()
    return scene.succeed("a-1-0-undo-0")


def doubted_after_final() -> Scene:
    """It is held behind f, and the first attempt of x may have had its effect."""
    return _tried_again(_final().succeed("f-1-0"), "x-1-0").fail("x-1-0")


def doubted_and_completed() -> Scene:
    scene = doubted_after_final()
    scene.ask(SkipRequested, "x")
    return scene


def several_doubted() -> Scene:
    flow = sequence(stage("f", "devops", "devops", parallel=True, classification="final"))
    scene = Scene(flow).start()
    for task in ("f-1-0", "f-1-1"):
        _tried_again(scene, task)
    return scene.fail("f-1-0").fail("f-1-1")


def failed_after_finals() -> Scene:
    """Nothing of it can be undone."""
    flow = sequence(stage("f", classification="final"), stage("x", classification="final"))
    return Scene(flow).start().succeed("f-1-0").fail("x-1-0")


def failed_after_final() -> Scene:
    return _final().succeed("f-1-0").fail("x-1-0")


def undo_parked() -> Scene:
    flow = _two(saga_on_failed_undo="park").start().succeed("a-1-0").fail("b-1-0")
    return flow.fail("a-1-0-undo-0")


def given_up() -> Scene:
    """The engine failed on it."""
    return running().park()


def undoing() -> Scene:
    return _two().start().succeed("a-1-0").fail("b-1-0")


def undoing_paused() -> Scene:
    scene = undoing()
    scene.pause()
    return scene


def telling() -> Scene:
    """It has failed, and the stage of on_end runs."""
    flow = graph(stage("a"), stage("tell"), entry=("a",), on_end="tell")
    return Scene(flow).start().fail("a-1-0")


def completed() -> Scene:
    return _two().start().succeed("a-1-0", "b-1-0")


def completed_without() -> Scene:
    scene = _two().start()
    scene.claim("a-1-0")
    scene.ask(SkipRequested, "a")
    return scene.succeed("b-1-0", "a-1-0")


def completed_for_nothing() -> Scene:
    return Scene(sequence(stage("a"))).start().succeed("a-1-0")


def completed_partial() -> Scene:
    """What failed to be undone stands beside what a retry did anew."""
    scene = failed_partial()
    scene.ask(RetryRequested)
    return scene.succeed("a-2-0", "b-2-0")


def failed() -> Scene:
    """Nothing was undone."""
    return _two(saga_on_failure="halt").start().succeed("a-1-0").fail("b-1-0")


def failed_partial() -> Scene:
    return undoing().fail("a-1-0-undo-0")


def failed_for_nothing() -> Scene:
    return Scene(sequence(stage("a"))).start().fail("a-1-0")


def rolled_back() -> Scene:
    return undoing().succeed("a-1-0-undo-0")


def cancelled() -> Scene:
    scene = Scene(sequence(stage("a"))).start()
    scene.cancel()
    return scene


def cancelled_and_left() -> Scene:
    scene = _two().start().succeed("a-1-0")
    scene.ask(CancelRequested, is_undone=False)
    return scene


def cancelled_partial() -> Scene:
    scene = _two().start().succeed("a-1-0")
    scene.cancel()
    return scene.fail("a-1-0-undo-0")
