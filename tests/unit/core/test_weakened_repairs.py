"""The schedules with operators are worth something: each rule of repair, weakened, fails some.

- retry: what was undone is kept; what is kept leads nowhere; a final effect may be made again; what
  was replaced counts as having run; the failure is not forgotten; what comes late of a replaced run
  is left;
- undoing: what was undone is undone again; no more than one stage is, though all is asked
  for; what is given up counts as undone; what failed is forgotten when it is tried again; a
  person's word is taken for what nobody undid;
- stages: what was withdrawn has not acted, or is not named; a final stage that may have acted is
  ended by hand;
- pauses: what comes late is undone all the same; what an operator settles goes on;
- commands: one that comes twice is decided twice; a refused one is not remembered.
"""

from collections.abc import Callable

import pytest

from sagabus.core import (
    effects,
    operators,
    pausing,
    repair_stage,
    repair_undo,
    reviving,
    routes,
    saga,
    tasks,
)
from sagabus.core.commands import AnswerCommand
from sagabus.core.instance import Answer, StageStatus
from sagabus.core.transition import Transition
from tests.unit.core.repair_world import RepairWorld

#: Weaker rules are found in far fewer.
SEEDS = 3000

Patch = pytest.MonkeyPatch


def what_was_undone_is_kept(patch: Patch) -> None:
    is_done = reviving._is_done

    def done(t, run):
        return is_done(t, run) or run.status is StageStatus.COMPENSATED

    patch.setattr(reviving, "_is_done", done)


def what_is_kept_leads_nowhere(patch: Patch) -> None:
    patch.setattr(reviving, "_fired", lambda *_: [])


def final_effects_are_made_again(patch: Patch) -> None:
    patch.setattr(reviving, "why_not_final", lambda *_: None)


def what_was_replaced_counts_as_having_run(patch: Patch) -> None:
    def standing(row, name, pass_):
        found = (key for key, run in row.runs.items() if run.stage == name and run.lap == pass_)
        return next(found, None)

    patch.setattr(routes, "standing", standing)


def what_comes_late_of_a_replaced_run_is_left(patch: Patch) -> None:
    by_now = saga._is_undone_by_now

    def left(t, run, candidate):
        return not run.is_replaced and by_now(t, run, candidate)

    patch.setattr(saga, "_is_undone_by_now", left)


def what_was_undone_is_undone_again(patch: Patch) -> None:
    again = repair_undo._start

    def start(t, event, stage):
        for run in t.row.runs.values():
            plan = t.stage(run.stage).compensation
            if plan is not None and not run.undo_in_flight:
                run.undo_again += [
                    f"{run.stage}-{run.pass_}-{index}-undo-0"
                    for index in range(run.undo_next)
                    if t.state.current(f"{run.stage}-{run.pass_}-{index}-undo-0")
                ]
        again(t, event, stage)

    patch.setattr(repair_undo, "_start", start)


def what_was_asked_of_one_stage_is_asked_of_no_more(patch: Patch) -> None:
    def alone(t, stage):
        return t.row.undo_only or stage

    patch.setattr(repair_undo, "undone_alone", alone)


def what_is_given_up_counts_as_undone(patch: Patch) -> None:
    patch.setattr(repair_undo, "give_up", repair_undo.believe)
    patch.setattr(RepairWorld, "_undo_by_hand", lambda *_: None)


def what_failed_is_forgotten(patch: Patch) -> None:
    patch.setattr(repair_undo, "_try_again", repair_undo._forget_failures)


def what_was_withdrawn_has_not_acted(patch: Patch) -> None:
    patch.setattr(repair_stage, "may_have_acted", lambda _: False)


def what_was_withdrawn_is_not_named(patch: Patch) -> None:
    patch.setattr(effects, "_is_done", lambda *_, **__: True)


def final_stages_that_may_have_acted_are_ended_by_hand(patch: Patch) -> None:
    patch.setattr(repair_stage, "_why_not", lambda *_: None)


def commands_are_decided_twice(patch: Patch) -> None:
    patch.setattr(operators, "_known_answer", lambda *_: None)


def refused_commands_are_not_remembered(patch: Patch) -> None:
    def refuse(t, command, message, code="conflict"):
        t.do(AnswerCommand(command, Answer(ok=False, code=code, message=message)))

    patch.setattr(Transition, "refuse", refuse)


def undos_that_come_late_do_not_wait_for_the_end_of_a_pause(patch: Patch) -> None:
    patch.setattr(tasks, "_keep_back", tasks.send)


def what_is_settled_ends_the_pause(patch: Patch) -> None:
    send_held_back = pausing.send_held_back

    def goes_on(t):
        t.row.paused = None
        send_held_back(t)

    patch.setattr(pausing, "send_held_back", goes_on)


WEAKENED: list[Callable[[Patch], None]] = [
    what_was_undone_is_kept,
    what_is_kept_leads_nowhere,
    final_effects_are_made_again,
    what_was_replaced_counts_as_having_run,
    what_comes_late_of_a_replaced_run_is_left,
    what_was_undone_is_undone_again,
    what_was_asked_of_one_stage_is_asked_of_no_more,
    what_is_given_up_counts_as_undone,
    what_failed_is_forgotten,
    what_was_withdrawn_has_not_acted,
    what_was_withdrawn_is_not_named,
    final_stages_that_may_have_acted_are_ended_by_hand,
    commands_are_decided_twice,
    refused_commands_are_not_remembered,
    undos_that_come_late_do_not_wait_for_the_end_of_a_pause,
    what_is_settled_ends_the_pause,
]


@pytest.mark.parametrize("weaken", WEAKENED, ids=lambda weaken: weaken.__name__)
def test_schedules_with_operators_find_that(
    weaken: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    weaken(monkeypatch)
    for seed in range(SEEDS):
        try:
            RepairWorld(seed).play()
        except Exception as error:
            print(f"{weaken.__name__}: seed {seed}: {type(error).__name__}: {error}")
            return
    pytest.fail(f"{SEEDS} schedules, and none of them noticed")
