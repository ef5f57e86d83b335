"""What ``why`` offers is permitted, in every status and in every way to stand there."""

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest

from sagabus.core.events import (
    ApprovalAnswered,
    CancelRequested,
    CompensateRequested,
    InquiryAnswered,
    IntentResolved,
    ResultSet,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import Answer, InstanceStatus, ParentRef
from sagabus.views.causes import Surroundings
from sagabus.views.why import causes_of
from tests.support.offered import check, commands_in
from tests.unit.core import standings
from tests.unit.core.scene import Scene

MAKES = [
    make
    for name, make in vars(standings).items()
    if getattr(make, "__module__", "") == standings.__name__ and not name.startswith("_")
]
AROUND = Surroundings()


def _value(option: str, words: list[str]) -> str | None:
    return words[words.index(option) + 1] if option in words else None


GIVE: dict[str, Callable[[Scene, list[str]], Answer]] = {
    "approve": lambda scene, words: scene.ask(ApprovalAnswered, words[0], True),
    "reject": lambda scene, words: scene.ask(ApprovalAnswered, words[0], False),
    "answer": lambda scene, words: scene.ask(InquiryAnswered, words[0], "yes"),
    "resume": lambda scene, _: scene.ask(ResumeRequested),
    "skip": lambda scene, words: scene.ask(SkipRequested, words[0]),
    "set-result": lambda scene, words: scene.ask(ResultSet, words[0], None),
    "resolve": lambda scene, words: scene.ask(
        IntentResolved,
        words[0],
        words[-1].removeprefix("--"),
        attempt=_value("--attempt", words),
        is_all="--all" in words,
    ),
    "compensate": lambda scene, words: scene.ask(CompensateRequested, _value("--stage", words)),
    "retry": lambda scene, words: scene.ask(RetryRequested, _value("--from", words)),
    "cancel": lambda scene, words: scene.ask(
        CancelRequested, is_undone="--no-compensate" not in words
    ),
}


def offered(scene: Scene) -> Iterator[tuple[str, list[str]]]:
    """Commands with what follows the id."""
    for cause in causes_of(scene.state, scene.definition, AROUND):
        for command, id, *rest in commands_in(cause.remedy):
            if command != "history" and id == "ID":
                yield command, rest


@pytest.mark.parametrize("is_below", [False, True], ids=["alone", "below"])
@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)
def test_what_is_offered_is_not_refused(make: Callable[[], Scene], is_below: bool) -> None:
    scene = make()
    if is_below:
        scene.row.parent = ParentRef("above", "x-1-0", 1)
    for command, words in offered(scene):
        tried = deepcopy(scene)
        answer = GIVE[command](tried, words)
        assert answer.ok, f"{command} {words}: {answer.message}"


@pytest.mark.parametrize("is_below", [False, True], ids=["alone", "below"])
@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)
def test_what_is_offered_can_be_given_as_it_is_printed(
    make: Callable[[], Scene], is_below: bool
) -> None:
    scene = make()
    if is_below:
        scene.row.parent = ParentRef("above", "x-1-0", 1)
    for cause in causes_of(scene.state, scene.definition, AROUND):
        check(cause.remedy_for("i1"))


def test_a_command_that_is_not_complete_is_found() -> None:
    assert [
        *commands_in("wait, or sagabus skip i1 one --reason TEXT (it is, x), sagabus list")
    ] == [
        ["skip", "i1", "one", "--reason", "TEXT"],
        ["list"],
    ]
    with pytest.raises(Exception, match="reason"):
        check("sagabus skip i1 one goes on")


def test_every_status_is_looked_at() -> None:
    assert {make().row.status for make in MAKES} == set(InstanceStatus)


@pytest.mark.parametrize(
    ("make", "commands"),
    [
        (standings.completed, []),
        (standings.completed_for_nothing, []),
        (standings.failed, ["retry", "compensate"]),
        (standings.failed_partial, ["retry", "compensate"]),
        (standings.failed_for_nothing, ["retry"]),
        (standings.rolled_back, ["retry"]),
        (standings.cancelled_and_left, ["retry", "compensate"]),
        (
            standings.failed_after_final,
            ["retry", "set-result", "skip", "cancel", "compensate", "cancel"],
        ),
        (standings.failed_after_finals, ["retry", "set-result", "skip", "cancel", "cancel"]),
        (
            standings.doubted_after_final,
            ["resolve", "resolve", "set-result", "skip", "cancel", "compensate", "cancel"],
        ),
        (standings.doubted, ["resolve", "resolve"]),
        (standings.doubted_and_cancelled, ["resolve", "resolve"]),
        (standings.doubted_and_completed, ["resolve", "resolve"]),
        (standings.several_doubted, 3 * ["resolve"]),
        (standings.doubted_waiting, ["approve", "reject"]),
        (standings.undo_parked, ["retry", "skip", "set-result"]),
        (standings.given_up, ["resume"]),
        (standings.held, 3 * ["resolve"]),
        (standings.several_held, 4 * ["resolve"]),
        (standings.held_and_cancelled, 2 * ["resolve"]),
        (standings.held_beside_a_retry, 3 * ["resolve"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_helps_is_offered(make: Callable[[], Scene], commands: list[str]) -> None:
    assert [command for command, _ in offered(make())] == commands


#: Every way to give a command, with the stage in place of ``S``.
EVERY = {
    "retry": [[]],
    "set-result": [["S"]],
    "skip": [["S"]],
    "resolve": [["S", "--failed"], ["S", "--succeeded"]],
    "cancel": [["--no-compensate"], []],
    "compensate": [[]],
}


@pytest.mark.parametrize("is_below", [False, True], ids=["alone", "below"])
@pytest.mark.parametrize(
    "make",
    [standings.failed_after_final, standings.failed_after_finals, standings.doubted_after_final],
)
def test_after_a_final_stage_all_that_is_accepted_is_offered(
    make: Callable[[], Scene], is_below: bool
) -> None:
    scene = make()
    if is_below:
        scene.row.parent = ParentRef("above", "x-1-0", 1)
    accepted = {
        (command, *(stage if word == "S" else word for word in words))
        for command, every in EVERY.items()
        for words in every
        for stage in scene.definition.stages
        if GIVE[command](deepcopy(scene), [stage if word == "S" else word for word in words]).ok
    }
    said = {"--output", "JSON", "--reason", "TEXT"}
    found = {
        (command, *(word for word in words if word not in said))
        for command, words in offered(scene)
    }
    assert found == accepted


def test_several_unknown_outcomes_of_a_stage_are_one_cause_that_one_word_settles() -> None:
    scene = standings.several_held()
    [cause] = causes_of(scene.state, scene.definition, AROUND)
    assert "(f-1-0/1, f-1-1/1)" in cause.message
    assert cause.ways_for("i1") == [
        "sagabus resolve i1 f --all --reason TEXT --succeeded "
        "(you found out that it had its effect)",
        "sagabus resolve i1 f --all --reason TEXT --failed (that it had none)",
        "sagabus resolve i1 f --all --reason TEXT --retry (sends it once more)",
        "sagabus resolve i1 f --attempt f-1-0/1 --reason TEXT --failed "
        "(that of one of them, as with the others)",
    ]
    scene.ask(IntentResolved, "f", "succeeded", attempt="f-1-1/1")
    [last] = causes_of(scene.state, scene.definition, AROUND)
    assert (last.task, "--a" in last.remedy) == ("f-1-0", False)


@pytest.mark.parametrize("make", [standings.held_beside_a_retry, standings.paused_before_a_retry])
def test_a_retry_that_nobody_begins_is_not_said_to_begin(make: Callable[[], Scene]) -> None:
    scene = make()
    assert any(tries[-1].retry for tries in scene.state.attempts.values())
    [cause] = causes_of(scene.state, scene.definition, AROUND)
    assert cause.cause in {"intent_unknown", "paused"}


def test_what_has_ended_below_another_instance_is_repaired_there() -> None:
    scene = standings.failed_partial()
    scene.row.parent = ParentRef("above", "x-1-0", 1)
    [cause] = causes_of(scene.state, scene.definition, AROUND)
    assert cause.remedy == (
        "sagabus set-result ID a --output JSON --reason TEXT (says that it was undone by hand), "
        "or sagabus why above, the instance that it carried out a stage of"
    )


def test_what_has_completed_below_another_instance_needs_nothing() -> None:
    scene = standings.completed()
    scene.row.parent = ParentRef("above", "x-1-0", 1)
    [cause] = causes_of(scene.state, scene.definition, AROUND)
    assert cause.remedy == ""


def test_of_what_has_completed_only_what_is_left_is_undone() -> None:
    [cause] = causes_of((scene := standings.completed_without()).state, scene.definition, AROUND)
    assert cause.remedy == "sagabus compensate ID --stage a (undoes what is left of it)"


def test_what_has_ended_says_how_and_why_once() -> None:
    scene = standings.failed_for_nothing()
    [cause] = causes_of(scene.state, scene.definition, AROUND)
    assert cause.message == "failed, rollback none: stage a: boom!"
