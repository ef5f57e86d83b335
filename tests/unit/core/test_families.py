"""Random families of instances, with owners that die and messages lost, repeated and late.

A family is its seed. One that failed is played alone by
``SAGABUS_SEED=4711 pytest tests/unit/core/test_families.py -k one_seed``; what a failure prints
ends with the last that happened.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from sagabus.core import (
    children,
    claims,
    effects,
    operators,
    pausing,
    repair_undo,
    results,
    saga,
    subworkflows,
    tasks,
    timers,
)
from sagabus.core.commands import TellParent
from sagabus.core.instance import InstanceStatus, TaskStatus, child_id
from sagabus.core.transition import Ignored
from sagabus.errors import InvariantError
from tests.unit.core.families import FamilyWorld
from tests.unit.core.family_owner import Owner

FAMILIES = 500
CHUNK = 100
SOAK = 20_000


def play(seed: int) -> Counter[str]:
    world = FamilyWorld(seed)
    try:
        return world.play()
    except Exception as error:
        why = f"seed {seed}: {type(error).__name__}: {error}"
        raise AssertionError(f"{why}\n{world.story()}\n{why}") from error


@pytest.mark.parametrize("first", range(0, FAMILIES, CHUNK))
def test_every_promise_of_a_family_is_kept(first: int) -> None:
    for seed in range(first, first + CHUNK):
        play(seed)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(FAMILIES, FAMILIES + SOAK, SOAK // 10))
def test_every_promise_of_very_many_families_is_kept(first: int) -> None:
    for seed in range(first, first + SOAK // 10):
        play(seed)


def test_one_seed_is_played_alone() -> None:
    seed = int(os.environ.get("SAGABUS_SEED", "0"))
    assert play(seed) == play(seed)


def test_families_reach_everything_that_they_are_to_judge() -> None:
    seen = sum((play(seed) for seed in range(150)), Counter())
    wanted = {
        *(f"top {end}" for end in ("completed", "failed", "rolled_back", "cancelled")),
        *(f"below {end}" for end in ("completed", "failed", "rolled_back", "cancelled")),
        *("rollback none", "rollback full", "rollback partial"),
        *(f"task below {end}" for end in ("succeeded", "failed", "timed_out", "cancelled")),
        *("compensation below succeeded", "compensation below failed", "child tried again"),
        *("undone again below", "given up, and named"),
        *(f"parked: {cause}" for cause in ("intent_unknown", "after_final", "compensation_failed")),
        *("final done", "IntentResolved"),
        *("InquiryAsked", "InquiryAnswered", "InquiryTimedOut"),
        *("WorkflowPaused", "WorkflowResumed", "WorkflowParked"),
        *("UndoRequested", "TaskCompletedLate", "halted below", "three levels"),
    }
    assert not wanted - seen.keys(), f"never seen: {wanted - seen.keys()}"


# --- each of these rules, weakened, makes some of the families fail -------------------------------

Patch = pytest.MonkeyPatch


def who_hears_nothing_does_not_ask_again(patch: Patch) -> None:
    patch.setattr(subworkflows, "ask_again", lambda *_: [])


def who_asks_again_does_not_cancel_again(patch: Patch) -> None:
    patch.setattr(subworkflows, "ask_again", lambda *given: [subworkflows.ask(*given)])


def what_carries_out_the_last_stage_is_cancelled(patch: Patch) -> None:
    def eager(definition, state, attempt):
        asked = [subworkflows.ask(definition, state, attempt)]
        if attempt.kind == "task" and state.row.status is InstanceStatus.COMPENSATING:
            asked.append(subworkflows.cancel(state, attempt, "it is over"))
        return asked

    patch.setattr(subworkflows, "ask_again", eager)


def an_end_is_told_once(patch: Patch) -> None:
    patch.setattr(children, "tell_again", lambda *_: Ignored("told"))


def an_undo_is_answered_once(patch: Patch) -> None:
    undo = children.undo

    def once(t, event):
        ignored = undo(t, event)
        return ignored and replace(ignored, commands=())

    patch.setattr(children, "undo", once)


def an_undo_is_answered_before_it_is_done(patch: Patch) -> None:
    undo = children.undo

    def hasty(t, event):
        ignored = undo(t, event)
        if ignored is None and not t.row.status.is_terminal:
            t.do(TellParent(event.parent, "succeeded"))
        return ignored

    patch.setattr(children, "undo", hasty)


def an_undo_that_failed_below_is_not_tried_again(patch: Patch) -> None:
    start_over = repair_undo.start_over

    def once(t, stage=None, *, is_asked=True):
        start_over(t, stage, is_asked=is_asked and t.row.undo_parent is None)

    patch.setattr(repair_undo, "start_over", once)


def an_older_undo_is_a_newer_one(patch: Patch) -> None:
    patch.setattr(children, "_age", lambda _: 0)


def what_is_final_is_not_named(patch: Patch) -> None:
    effects_left = saga.effects_left
    patch.setattr(
        saga,
        "effects_left",
        lambda t: [each for each in effects_left(t) if each["class"] != "final"],
    )


def what_is_final_is_not_held(patch: Patch) -> None:
    for module in (claims, results, timers):
        patch.setattr(module, "hold", lambda *_: None)


def an_undo_is_refused(patch: Patch) -> None:
    def refuse(t, event):
        return Ignored("no", commands=(TellParent(event.parent, "succeeded"),))

    patch.setattr(children, "undo", refuse)


def the_first_child_of_a_task_is_undone(patch: Patch) -> None:
    child_of = subworkflows.child_of

    def first(state, attempt):
        if attempt.kind == "task":
            return child_of(state, attempt)
        return child_id(state.row.id, attempt.task.rpartition("-undo-")[0], 1)

    patch.setattr(subworkflows, "child_of", first)


def what_a_child_left_is_not_told(patch: Patch) -> None:
    patch.setattr(TellParent, "__init__", _clean(TellParent.__init__))


def _clean(init: Callable[..., None]) -> Callable[..., None]:
    def clean(self, parent, status, output=None, error=None, **_):
        init(self, parent, status, output, error)

    return clean


def what_a_halted_child_left_stays(patch: Patch) -> None:
    patch.setattr(saga, "is_halted", lambda t: t.definition.saga_on_failure == "halt")


def a_child_is_not_waited_for(patch: Patch) -> None:
    settle = saga._settle

    def impatient(t, run, attempt):
        settle(t, run, attempt)
        if attempt.is_child and attempt.is_open:
            tasks.close(t, attempt, TaskStatus.CANCELLED, is_acted=False)
            tasks.release(t, attempt)
            run.failed += 1

    patch.setattr(saga, "_settle", impatient)


def a_child_is_not_cancelled(patch: Patch) -> None:
    patch.setattr(saga, "withdraw", lambda *_, **__: None)


def a_late_child_is_given_up_at_once(patch: Patch) -> None:
    def at_once(t, attempt):
        error = saga.Failure("timeout", "too slow", attempt.stage, attempt.task)
        timers._expire(t, attempt, TaskStatus.TIMED_OUT, error)

    patch.setattr(timers, "_end_child", at_once)


def the_end_is_told_before_it_is_undone(patch: Patch) -> None:
    begin = saga.begin

    def hasty(t, failure):
        begin(t, failure)
        if t.row.parent is not None:
            t.do(TellParent(t.row.parent, "failed", error=failure))

    patch.setattr(saga, "begin", hasty)


def each_try_is_the_same_child(patch: Patch) -> None:
    patch.setattr(subworkflows, "child_id", lambda instance, task, _: child_id(instance, task, 1))


def a_pause_is_not_passed_on(patch: Patch) -> None:
    patch.setattr(pausing, "pass_on", lambda *_: [])
    patch.setattr(pausing, "follow", lambda *_, **__: False)


def a_pause_that_was_lost_stays_lost(patch: Patch) -> None:
    for module in (children, pausing):
        patch.setattr(module, "follow", lambda *_, **__: False)


def stages_are_undone_oldest_first(patch: Patch) -> None:
    end_run = saga.end_run

    def backwards(t, run, status, error=None):
        end_run(t, run, status, error)
        for each in t.row.runs.values():
            if each.ended_at is not None and each is not run:
                each.ended_order += 1
        run.ended_order = 1

    patch.setattr(saga, "end_run", backwards)


def the_next_stage_does_not_wait(patch: Patch) -> None:
    undo_run = saga._undo_run

    def impatient(t, run):
        undo_run(t, run)
        return True

    patch.setattr(saga, "_undo_run", impatient)
    patch.setattr(saga, "_may_send", lambda t, _: tasks.may_send(t))


def what_was_given_up_is_not_named(patch: Patch) -> None:
    patch.setattr(effects, "_is_done", lambda *_, **__: True)


def what_is_not_undone_is_not_named(patch: Patch) -> None:
    outcome = saga.outcome

    def forget(t):
        row = t.row
        row.failed_compensations.clear()
        for run in row.runs.values():
            run.undo_failed = 0
        return outcome(t)

    patch.setattr(saga, "outcome", forget)
    patch.setattr(saga, "effects_left", lambda _: [])


def a_cancelled_child_stays_paused(patch: Patch) -> None:
    cancel = operators.cancel

    def stay(t, event):
        paused = t.row.paused
        ignored = cancel(t, event)
        t.row.paused = paused
        return ignored

    patch.setattr(operators, "cancel", stay)


def nothing_stored_is_read_again(patch: Patch) -> None:
    patch.setattr(Owner, "_read_again", lambda _: None)


WEAKENED: list[Callable[[Patch], None]] = [
    who_hears_nothing_does_not_ask_again,
    who_asks_again_does_not_cancel_again,
    what_carries_out_the_last_stage_is_cancelled,
    an_end_is_told_once,
    an_undo_is_answered_once,
    an_undo_is_answered_before_it_is_done,
    an_undo_that_failed_below_is_not_tried_again,
    an_older_undo_is_a_newer_one,
    what_is_final_is_not_named,
    what_is_final_is_not_held,
    an_undo_is_refused,
    the_first_child_of_a_task_is_undone,
    what_a_child_left_is_not_told,
    what_a_halted_child_left_stays,
    a_child_is_not_waited_for,
    a_child_is_not_cancelled,
    a_late_child_is_given_up_at_once,
    the_end_is_told_before_it_is_undone,
    each_try_is_the_same_child,
    a_pause_is_not_passed_on,
    a_pause_that_was_lost_stays_lost,
    stages_are_undone_oldest_first,
    the_next_stage_does_not_wait,
    what_was_given_up_is_not_named,
    what_is_not_undone_is_not_named,
    a_cancelled_child_stays_paused,
    nothing_stored_is_read_again,
]


@pytest.mark.parametrize("weaken", WEAKENED, ids=lambda weaken: weaken.__name__)
def test_families_find_that(weaken: Callable[[Patch], None], monkeypatch: Patch) -> None:
    for seed in range(2 * FAMILIES):
        with monkeypatch.context() as patch:
            weaken(patch)
            try:
                FamilyWorld(seed).play()
            except (AssertionError, InvariantError) as error:
                why = error
            else:
                continue
        play(seed)  # it is the rule that is missing, and nothing else
        print(f"{weaken.__name__}: seed {seed}: {type(why).__name__}: {why}")
        return
    pytest.fail(f"{2 * FAMILIES} families, and none of them noticed")
