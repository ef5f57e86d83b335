"""Each command in each status, cell by cell, on instances that the machine brought there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagabus.core.events import (
    ApprovalAnswered,
    CancelRequested,
    CompensateRequested,
    FailRequested,
    InquiryAnswered,
    IntentResolved,
    PauseRequested,
    ResultSet,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import Answer, InstanceStatus, ParentRef
from sagabus.core.permitted import COMMANDS, CommandName, cell, refusal
from sagabus.views.permitted import END, START, markdown
from tests.unit.core import standings as s
from tests.unit.core.scene import Scene

Make = Callable[[], Scene]

#: How each command is given, to a stage where it is about one.
GIVE: dict[CommandName, Callable[[Scene, str], Answer]] = {
    "approve": lambda scene, stage: scene.ask(ApprovalAnswered, stage, True),
    "reject": lambda scene, stage: scene.ask(ApprovalAnswered, stage, False),
    "answer": lambda scene, stage: scene.ask(InquiryAnswered, stage, "yes"),
    "pause": lambda scene, _: scene.ask(PauseRequested),
    "resume": lambda scene, _: scene.ask(ResumeRequested),
    "cancel": lambda scene, _: scene.ask(CancelRequested),
    "cancel_no_compensate": lambda scene, _: scene.ask(CancelRequested, is_undone=False),
    "skip": lambda scene, stage: scene.ask(SkipRequested, stage),
    "set_result": lambda scene, stage: scene.ask(ResultSet, stage, {"vm": 7}),
    "fail": lambda scene, stage: scene.ask(FailRequested, stage),
    "resolve": lambda scene, stage: scene.ask(IntentResolved, stage, "succeeded"),
    "retry": lambda scene, _: scene.ask(RetryRequested),
    "compensate": lambda scene, _: scene.ask(CompensateRequested),
}

ANSWERED: list[tuple[Make, str, bool]] = [
    (s.running, "g", True),
    (s.running, "z", False),
    (s.waiting, "g", True),
    (s.waiting, "a", False),
    (s.paused, "g", True),
    (s.paused, "z", False),
]
STUCK: list[tuple[Make, str, bool]] = [
    (s.running, "a", True),
    (s.running, "z", False),
    (s.waiting, "g", True),
    (s.waiting, "a", False),
    (s.paused, "a", True),
    (s.paused, "z", False),
    (s.given_up, "a", True),
    (s.telling, "tell", True),
    (s.telling, "a", False),
]
UNDONE: list[tuple[Make, str, bool]] = [
    (s.failed_after_final, "x", True),
    (s.failed_after_final, "a", False),
    (s.undo_parked, "a", True),
    (s.undo_parked, "b", False),
    (s.held, "f", False),
    (s.undoing, "a", True),
    (s.undoing, "b", False),
    (s.failed_partial, "a", True),
    (s.failed_partial, "b", False),
    (s.failed, "a", False),
    (s.cancelled_partial, "a", True),
    (s.cancelled_and_left, "a", False),
]
#: Instances, the stage that is named, and whether the command does something: more than the table's
#: plain cells say.
CASES: dict[CommandName, list[tuple[Make, str, bool]]] = {
    "approve": ANSWERED,
    "reject": ANSWERED,
    "answer": [(make, "q" if is_done else "g", is_done) for make, _, is_done in ANSWERED],
    "pause": [
        (s.held, "", True),
        (s.held_and_paused, "", False),
        (s.failed_after_final, "", True),
        (s.undo_parked, "", True),
        (s.given_up, "", True),
        (s.undoing, "", True),
        (s.undoing_paused, "", False),
    ],
    "resume": [
        (s.paused_before_it_began, "", True),
        (s.pending, "", False),
        (s.paused, "", True),
        (s.given_up, "", True),
        (s.held, "", False),
        (s.held_and_paused, "", True),
        (s.undoing_paused, "", True),
        (s.undoing, "", False),
    ],
    "cancel": [
        (s.held, "", True),
        (s.failed_after_final, "", True),
        (s.undo_parked, "", True),
        (s.undoing_paused, "", True),
        (s.undoing, "", False),
    ],
    "cancel_no_compensate": [
        (s.held, "", True),
        (s.failed_after_final, "", True),
        (s.undo_parked, "", True),
    ],
    "skip": [*STUCK, *UNDONE],
    "set_result": [
        *STUCK,
        *UNDONE,
        (s.completed_partial, "a", True),
        (s.completed_partial, "b", False),
        (s.completed, "a", False),
    ],
    "fail": [
        *STUCK,
        (s.held, "f", False),
        (s.undo_parked, "a", False),
        (s.undoing, "a", False),
    ],
    "resolve": [
        (s.held, "f", True),
        (s.doubted_after_final, "x", True),
        (s.given_up, "a", False),
        (s.doubted_waiting, "f", True),
        (s.waiting, "a", False),
        (s.doubted_undoing, "f", True),
        (s.undoing, "a", False),
        (s.doubted, "f", True),
        (s.failed, "a", False),
        (s.doubted_and_cancelled, "f", True),
        (s.cancelled, "a", False),
        (s.doubted_and_completed, "x", True),
        (s.completed, "a", False),
        (s.doubted_running, "f", True),
        (s.doubted_at_work, "f", False),
        (s.doubted_paused, "f", True),
        (s.paused, "a", False),
    ],
    "retry": [
        (s.failed_after_final, "", True),
        (s.undo_parked, "", True),
        (s.held, "", False),
        (s.given_up, "", False),
        (s.failed_partial, "", True),
    ],
    "compensate": [
        (s.failed_after_final, "", True),
        (s.undo_parked, "", True),
        (s.held, "", False),
        (s.given_up, "", False),
        (s.completed, "", True),
        (s.completed_for_nothing, "", False),
        (s.failed_partial, "", True),
        (s.failed_for_nothing, "", False),
        (s.cancelled_and_left, "", True),
        (s.cancelled_partial, "", True),
        (s.cancelled, "", False),
    ],
}
#: One instance of each status, and a stage that it has.
PLAIN: dict[InstanceStatus, tuple[Make, str]] = {
    InstanceStatus.PENDING: (s.pending, "a"),
    InstanceStatus.RUNNING: (s.running, "a"),
    InstanceStatus.WAITING: (s.waiting, "g"),
    InstanceStatus.PAUSED: (s.paused, "a"),
    InstanceStatus.NEEDS_OPERATOR: (s.given_up, "g"),
    InstanceStatus.COMPENSATING: (s.undoing, "a"),
    InstanceStatus.COMPLETED: (s.completed, "a"),
    InstanceStatus.FAILED: (s.failed, "a"),
    InstanceStatus.ROLLED_BACK: (s.rolled_back, "a"),
    InstanceStatus.CANCELLED: (s.cancelled, "a"),
}


def given(make: Make, command: CommandName, stage: str) -> tuple[Answer, Scene, list[str]]:
    """The answer, and the instance with what has happened to it."""
    scene = make()
    seen = len(scene.history)
    answer = GIVE[command](scene, stage)
    return answer, scene, [event["type"] for event in scene.history[seen:]]


@pytest.mark.parametrize("status", InstanceStatus)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_cell_is_what_happens(command: CommandName, status: InstanceStatus) -> None:
    make, stage = PLAIN[status]
    assert make().status == status
    found = cell(command, status)
    if found.is_permitted and found.text:
        cases = [each for each in CASES[command] if each[0]().status == status]
        assert {is_done for _, _, is_done in cases} == {True, False}, "a condition needs both"
        return
    answer, scene, types = given(make, command, stage)
    assert answer.ok is found.is_permitted, answer
    if answer.ok:
        assert types, "a command that is carried out is recorded"
    else:
        assert (answer.code, types, scene.status) == ("conflict", [], status)
        if command not in {"approve", "reject", "answer"}:  # there is more to say of a stage
            assert answer.message == refusal(command, scene.row)


@pytest.mark.parametrize(
    ("command", "make", "stage", "is_done"),
    [(command, *case) for command, cases in CASES.items() for case in cases],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_condition_of_a_cell_decides(
    command: CommandName, make: Make, stage: str, is_done: bool
) -> None:
    scene = make()
    assert cell(command, scene.row.status).is_permitted
    before = scene.row.status
    answer, scene, types = given(make, command, stage)
    assert answer.ok is is_done, answer
    if is_done:
        data = [event["data"] for event in scene.history if event["type"] in types]
        assert any(each.get("by") == "ann" and each.get("reason") for each in data), types
    else:
        assert (answer.code, types, scene.row.status) == ("conflict", [], before)
        assert answer.message
        assert answer.message[0].islower()


@pytest.mark.parametrize(
    ("command", "make", "stage"),
    [(command, make, stage) for command, cases in CASES.items() for make, stage, ok in cases if ok],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_command_that_comes_twice_is_carried_out_once(
    command: CommandName, make: Make, stage: str
) -> None:
    def give(scene: Scene) -> Answer:
        scene._commands = 1_000
        return GIVE[command](scene, stage)

    scene = make()
    first = give(scene)
    seq, sent = scene.row.seq, list(scene.sent)
    assert give(scene) == first
    assert (scene.row.seq, scene.sent) == (seq, sent)


@pytest.mark.parametrize("command", ["skip", "retry", "compensate"])
@pytest.mark.parametrize("make", [s.completed, s.failed, s.failed_partial, s.cancelled_partial])
def test_what_has_told_its_end_to_the_instance_above_is_left_alone(
    command: CommandName, make: Make
) -> None:
    scene = make()
    scene.row.parent = ParentRef("up", "x-1-0", 1)
    answer = GIVE[command](scene, "a")
    assert answer.code == "conflict"


def test_what_was_undone_by_hand_is_said_also_where_the_end_was_told() -> None:
    scene = s.failed_partial()
    scene.row.parent = ParentRef("up", "x-1-0", 1)
    scene.said.clear()
    assert GIVE["set_result"](scene, "a").ok
    [told] = scene.said
    assert (told.parent, told.has_left_effects) == (scene.row.parent, False)


def test_every_status_stands_in_the_table() -> None:
    assert set(PLAIN) == set(InstanceStatus)
    assert set(CASES) == set(GIVE) == set(COMMANDS)
    for command in COMMANDS:
        for status in InstanceStatus:
            found = cell(command, status)
            assert found.is_permitted or found.text


def test_the_guide_shows_the_table_that_the_machine_uses() -> None:
    text = Path("docs/operators.md").read_text()
    shown: Any = text[text.index(START) : text.index(END)]
    assert shown == markdown()[: -len(END) - 1], "run: python -m sagabus.views.permitted"
