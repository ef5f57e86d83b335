"""A command for a stage that it does not fit says what would be accepted instead, and that is."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from sagabus.core.events import FailRequested, ResultSet, RetryRequested, SkipRequested
from tests.unit.core import standings
from tests.unit.core.scene import Scene
from tests.unit.test_why import MAKES

GIVE: dict[str, Callable[[Scene, str], str | None]] = {
    "skip": lambda scene, stage: scene.ask(SkipRequested, stage).message,
    "set": lambda scene, stage: scene.ask(ResultSet, stage, None).message,
    "fail": lambda scene, stage: scene.ask(FailRequested, stage).message,
}


@pytest.mark.parametrize("command", GIVE)
@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)
def test_what_a_refusal_names_is_accepted(make: Callable[[], Scene], command: str) -> None:
    scene = make()
    for stage in scene.definition.stages:
        message = GIVE[command](deepcopy(scene), stage) or ""
        if "retry" in message:
            assert scene.ask(RetryRequested).ok, message
        _, is_undo, failed = message.partition(" one whose compensation failed, ")
        if is_undo:
            name = "skip" if "skip one" in message else "set"
            assert GIVE[name](deepcopy(scene), failed) is None, message


@pytest.mark.parametrize(
    ("make", "stage", "what"),
    [
        (standings.completed_partial, "b", "set the result of one whose compensation failed, a"),
        (standings.failed_partial, "b", "skip one whose compensation failed, a"),
        (standings.failed, "b", "the instance is failed, retry it"),
        (
            standings.doubted,
            "f",
            "stage 'f' is final and may have had its effect: find out and resolve it before it can "
            "run again",
        ),
        (
            standings.failed_after_final,
            "a",
            "the instance needs an operator, ask why: that says what can be done",
        ),
        (standings.undoing, "b", "wait until the instance, which is compensating, has ended"),
        (standings.waiting, "a", "name one that is under way, g, q, z"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_refusal_says_what_else_to_do(make: Callable[[], Scene], stage: str, what: str) -> None:
    message = GIVE["set"](make(), stage)
    assert str(message).endswith(f": {what}")


def test_a_completed_instance_is_not_to_be_retried() -> None:
    for make in (standings.completed, standings.doubted_and_completed):
        message = GIVE["set"](make(), "a")
        assert message == (
            "stage 'a' has ended, it is succeeded: the instance is completed: start a new one"
        )
