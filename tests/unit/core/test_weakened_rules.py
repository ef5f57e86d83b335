"""The schedules are worth something: each rule of the machine, weakened, makes some of them fail.

One rule is broken at a time, by replacing one function of the machine or of the simulated shell:

- results: matched by stage alone; matched without the attempt's number; a late success is dropped;
  is kept but not undone; is undone once only, though an undo ran before it; ends the task beside
  its successor;
- claims: granted for attempts that have ended; granted on top of an agent that presence lists;
  granted while presence is not known; granted while presence cannot tell of the first one yet; a
  second claim forgets that the first runner may have acted; a repeated claim does not begin its
  time anew; a claim while settling starts the work again;
- undoing: oldest stage first; the next stage does not wait; a late undo of a later stage is not
  waited for; what runs is not settled; silence is death before presence is known; what timed out,
  or was interrupted, has not acted; what was never claimed has; retries go on; failed compensations
  are forgotten; the end is not corrected after a late undo failed; ``halt`` is ignored; a parked
  undo stays parked when it is cancelled;
- final effects: a second claim runs one again; a failure that says nothing of it counts as one;
  silence ends one; it is sent again where it may be done; what was done before is undone though it
  has succeeded; what stands is not named; what is parked goes on sending;
- limits and people: slots are not counted; a command that comes twice is decided twice;
- shell: the state is not read again after a crash; timers are not set again; what has no answer is
  not sent again.

One file, because it is one list.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from sagabus.core import claims, operators, results, saga, stages, tasks, timers
from sagabus.core.instance import Attempt, Failure, InstanceStatus, TaskStatus
from sagabus.core.transition import Ignored
from sagabus.errors import InvariantError
from tests.unit.core.world import World

#: Weaker rules are found in far fewer.
SEEDS = 5000

Patch = pytest.MonkeyPatch


# --- results ----------------------------------------------------------------------------------


def results_are_matched_by_stage_alone(patch: Patch) -> None:
    receive = results.receive

    def by_stage(t, event):
        stage = event.task.split("-")[0]
        for tries in t.state.attempts.values():
            newest = tries[-1]
            if newest.stage == stage and newest.role == event.source and newest.is_unanswered:
                event = replace(event, task=newest.task, attempt=newest.attempt)
                break
        return receive(t, event)

    patch.setattr(results, "receive", by_stage)


def results_are_matched_without_the_attempt(patch: Patch) -> None:
    receive = results.receive

    def by_task(t, event):
        newest = t.state.current(event.task)
        return receive(t, replace(event, attempt=newest.attempt if newest else 1))

    patch.setattr(results, "receive", by_task)


def late_successes_are_dropped(patch: Patch) -> None:
    patch.setattr(results, "_late_result", lambda *_: Ignored("late"))


def late_successes_are_not_undone(patch: Patch) -> None:
    patch.setattr(saga, "undo_late", lambda *_: None)


def late_successes_are_undone_once_only(patch: Patch) -> None:
    undo_late = saga.undo_late

    def once(t, attempt):
        if t.state.current(f"{attempt.task}-undo-0") is None:
            undo_late(t, attempt)

    patch.setattr(saga, "undo_late", once)


def late_successes_end_the_task_beside_their_successor(patch: Patch) -> None:
    patch.setattr(saga, "undo_late", stages.task_succeeded)


# --- claims -----------------------------------------------------------------------------------


def claims_of_ended_attempts_are_granted(patch: Patch) -> None:
    receive = claims.receive

    def granted(t, event):
        attempt = t.state.find(event.task, event.attempt)
        if attempt is not None and not attempt.is_unanswered:
            return Ignored("granted", commands=(claims._answer(event, "run"),))
        return receive(t, event)

    patch.setattr(claims, "receive", granted)


def claims_are_granted_whatever(**known: bool) -> Callable[[Patch], None]:
    def weaken(patch: Patch) -> None:
        receive = claims.receive
        patch.setattr(claims, "receive", lambda t, event: receive(t, replace(event, **known)))

    return weaken


def claims_are_granted_while_presence_cannot_tell_yet(patch: Patch) -> None:
    patch.setattr(claims, "UNHEARD", timedelta())


def the_first_runner_is_forgotten(patch: Patch) -> None:
    patch.setattr(claims, "may_have_acted", lambda _: False)


def repeated_claims_do_not_begin_their_time(patch: Patch) -> None:
    def repeat(t, attempt, event):
        t.do(claims._answer(event, "run"))

    patch.setattr(claims, "_repeat", repeat)


def claims_while_settling_start_the_work_again(patch: Patch) -> None:
    patch.setattr(claims, "_forget", claims._run)


# --- undoing ----------------------------------------------------------------------------------


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
    patch.setattr(saga, "_may_send", lambda *_: True)


def late_undos_of_later_stages_are_not_waited_for(patch: Patch) -> None:
    patch.setattr(saga, "_may_send", lambda t, _: tasks.may_send(t))


def what_runs_is_not_settled(patch: Patch) -> None:
    def end_at_once(t, run, attempt):
        if attempt.retry:
            tasks.end_retry(t, attempt)
        else:
            tasks.close(t, attempt, TaskStatus.CANCELLED, is_acted=False)
        tasks.release(t, attempt)
        run.failed += 1

    patch.setattr(saga, "_settle", end_at_once)


def what_timed_out_has_not_acted(patch: Patch) -> None:
    patch.setattr(timers, "may_have_acted", lambda _: False)


def silence_is_death_before_presence_is_known(patch: Patch) -> None:
    patch.setattr(timers, "_only_presence_tells", lambda *_: False)


def what_was_interrupted_has_not_acted(patch: Patch) -> None:
    close = tasks.close

    def innocent(t, attempt, status, *, is_acted, error=None):
        close(t, attempt, status, is_acted=status is TaskStatus.SUCCEEDED, error=error)

    patch.setattr(results, "close", innocent)


def what_was_never_claimed_has_acted(patch: Patch) -> None:
    for module in (claims, saga, timers):
        patch.setattr(module, "may_have_acted", lambda _: True)


def retries_go_on_while_undoing(patch: Patch) -> None:
    patch.setattr(stages, "is_forward", lambda row: not row.status.is_terminal)


def failed_compensations_are_forgotten(patch: Patch) -> None:
    outcome = saga.outcome

    def forget(t):
        row = t.row
        row.failed_compensations.clear()
        for run in row.runs.values():
            run.undo_failed = 0
        return outcome(t)

    patch.setattr(saga, "outcome", forget)
    patch.setattr(saga, "effects_left", lambda _: [])


def the_end_is_not_corrected(patch: Patch) -> None:
    patch.setattr(saga, "correct_end", lambda *_, **__: None)


def a_cancelled_parked_undo_stays_parked(patch: Patch) -> None:
    cancel = operators.cancel

    def stay(t, event):
        if t.row.status is InstanceStatus.NEEDS_OPERATOR:
            return t.refuse(event.command, "parked")
        return cancel(t, event)

    patch.setattr(operators, "cancel", stay)


def halt_is_ignored(patch: Patch) -> None:
    proceed = saga.proceed

    def undo_all(t):
        if t.row.status is InstanceStatus.COMPENSATING and not t.row.active_runs:
            t.row.undo_order = t.row.ended_count if t.row.undo_order is None else t.row.undo_order
        proceed(t)

    patch.setattr(saga, "proceed", undo_all)


def slots_are_not_counted(patch: Patch) -> None:
    patch.setattr(stages, "may_send", lambda _: True)


def commands_are_decided_twice(patch: Patch) -> None:
    patch.setattr(operators, "_known_answer", lambda *_: None)


# --- final effects ----------------------------------------------------------------------------


def final_effects_are_as_any_other(patch: Patch) -> None:
    patch.setattr(Attempt, "is_intent", property(lambda _: False))


def silent_failures_of_final_effects_are_failures(patch: Patch) -> None:
    patch.setattr(results, "_is_unknown", lambda _: False)


def silence_ends_final_effects(patch: Patch) -> None:
    def end(t, attempt, event):
        failure = Failure("timeout", "no answer", attempt.stage, attempt.task)
        timers._expire(t, attempt, TaskStatus.TIMED_OUT, failure)

    patch.setattr(timers, "_watch_intent", end)


def final_effects_are_sent_again(patch: Patch) -> None:
    patch.setattr(Attempt, "may_be_sent_again", Attempt.is_unanswered)


def final_successes_do_not_hold_the_undo_back(patch: Patch) -> None:
    patch.setattr(saga, "_is_past_undoing", lambda _: False)


def what_stands_is_not_named(patch: Patch) -> None:
    patch.setattr(saga, "effects_left", lambda _: [])


def what_is_parked_goes_on_sending(patch: Patch) -> None:
    may_send = tasks.may_send

    def send(t):
        parked, t.row.parked = t.row.parked, []
        may = may_send(t)
        t.row.parked = parked
        return may

    patch.setattr(stages, "may_send", send)


# --- the shell --------------------------------------------------------------------------------


def the_state_is_not_read_again(patch: Patch) -> None:
    patch.setattr(World, "_read_again", lambda _: None)


def timers_are_not_set_again(patch: Patch) -> None:
    patch.setattr(timers, "timers_of", lambda _: [])


def nothing_is_sent_again(patch: Patch) -> None:
    patch.setattr(World, "_reconcile", lambda *_: None)


WEAKENED: list[Callable[[Patch], None]] = [
    results_are_matched_by_stage_alone,
    results_are_matched_without_the_attempt,
    late_successes_are_dropped,
    late_successes_are_not_undone,
    late_successes_are_undone_once_only,
    late_successes_end_the_task_beside_their_successor,
    claims_of_ended_attempts_are_granted,
    claims_are_granted_while_presence_cannot_tell_yet,
    the_first_runner_is_forgotten,
    repeated_claims_do_not_begin_their_time,
    claims_while_settling_start_the_work_again,
    stages_are_undone_oldest_first,
    the_next_stage_does_not_wait,
    late_undos_of_later_stages_are_not_waited_for,
    what_runs_is_not_settled,
    what_timed_out_has_not_acted,
    silence_is_death_before_presence_is_known,
    what_was_interrupted_has_not_acted,
    what_was_never_claimed_has_acted,
    retries_go_on_while_undoing,
    failed_compensations_are_forgotten,
    the_end_is_not_corrected,
    a_cancelled_parked_undo_stays_parked,
    halt_is_ignored,
    slots_are_not_counted,
    commands_are_decided_twice,
    final_effects_are_as_any_other,
    silent_failures_of_final_effects_are_failures,
    silence_ends_final_effects,
    final_effects_are_sent_again,
    final_successes_do_not_hold_the_undo_back,
    what_stands_is_not_named,
    what_is_parked_goes_on_sending,
    the_state_is_not_read_again,
    timers_are_not_set_again,
    nothing_is_sent_again,
]
for name, known in [
    ("claims_are_granted_though_another_agent_runs_it", {"is_running_elsewhere": False}),
    ("claims_are_granted_while_presence_is_not_known", {"is_presence_known": True}),
]:
    weaken = claims_are_granted_whatever(**known)
    weaken.__name__ = name
    WEAKENED.append(weaken)


@pytest.mark.parametrize("weaken", WEAKENED, ids=lambda weaken: weaken.__name__)
def test_schedules_find_that(weaken: Callable[[Patch], None], monkeypatch: Patch) -> None:
    weaken(monkeypatch)
    for seed in range(SEEDS):
        try:
            World(seed).play()
        except (AssertionError, InvariantError) as error:
            print(f"{weaken.__name__}: seed {seed}: {type(error).__name__}: {error}")
            return
    pytest.fail(f"{SEEDS} schedules, and none of them noticed")
