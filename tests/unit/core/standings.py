"""Instances in each status, brought there by the machine, in every way that commands tell apart."""

from datetime import timedelta
from typing import Any

from sagabus.core.definition import Approval, RetryPolicy
from sagabus.core.events import CancelRequested, RetryRequested, SkipRequested
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
