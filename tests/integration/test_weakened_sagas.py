"""The random sagas are worth something: each rule, broken, makes some of them fail.

One rule is broken at a time, by replacing one function of the machine or of the store:

- final effects: a second claim runs one again; an outcome that nobody knows counts as a failure; a
  retry of the instance makes them again; they are not named;
- undoing: a compensation that failed counts as done, or is forgotten; whoever ran a task first and
  died has not acted; a success that comes late is left; what nobody knows is not named;
- operators: what they say of an unknown outcome changes nothing; the next owner does not know what
  is parked.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sagabus.adapters import surreal_reload
from sagabus.core import claims, intents, results, reviving, saga
from sagabus.core.commands import AnswerCommand
from sagabus.core.instance import Answer, Attempt, TaskStatus
from sagabus.ports import Store
from tests.integration.random_sagas.playing import hurried_store, play

#: Sagas side by side, and how often they are tried.
TOGETHER = 40
TRIES = 30
#: Little goes well.
LUCKS = (0.15, 0.3)

Patch = pytest.MonkeyPatch


@pytest.fixture
async def store(monkeypatch: Patch) -> AsyncIterator[Store]:
    async with hurried_store(monkeypatch) as store:
        yield store


def what_is_final_is_run_again(patch: Patch) -> None:
    patch.setattr(Attempt, "is_intent", property(lambda _: False))


def what_is_final_and_unknown_has_failed(patch: Patch) -> None:
    patch.setattr(results, "_hold", results._fail)


def what_is_final_is_made_again_by_a_retry(patch: Patch) -> None:
    done = reviving._is_done
    patch.setattr(reviving, "why_not_final", lambda *_: None)
    patch.setattr(
        reviving,
        "_is_done",
        lambda t, run: t.stage(run.stage).classification != "final" and done(t, run),
    )


def undos_that_failed_count_as_done(patch: Patch) -> None:
    def undo_failed(t, attempt, failure, **_):
        attempt.status = TaskStatus.SUCCEEDED
        saga.undo_succeeded(t, attempt)

    patch.setattr(saga, "undo_failed", undo_failed)


def what_nobody_knows_is_not_named(patch: Patch) -> None:
    left = saga.effects_left
    patch.setattr(saga, "effects_left", lambda t: [each for each in left(t) if each["is_certain"]])


def what_is_final_is_not_named(patch: Patch) -> None:
    left = saga.effects_left

    def compensatable(t):
        return [each for each in left(t) if each["class"] != "final"]

    patch.setattr(saga, "effects_left", compensatable)


def failed_undos_are_forgotten(patch: Patch) -> None:
    def count_failure(t, run, *_, **__):
        run.undo_failed += 1

    patch.setattr(saga, "count_failure", count_failure)
    patch.setattr(saga, "effects_left", lambda _: [])


def the_first_runner_has_not_acted(patch: Patch) -> None:
    patch.setattr(claims, "may_have_acted", lambda _: False)


def what_comes_late_is_not_undone(patch: Patch) -> None:
    patch.setattr(saga, "undo_late", lambda *_: None)


def what_is_resolved_stays_parked(patch: Patch) -> None:
    def resolve(t, event):
        t.do(AnswerCommand(event.command, Answer(ok=True)))

    patch.setattr(intents, "resolve", resolve)


def a_new_owner_does_not_know_what_is_parked(patch: Patch) -> None:
    load = surreal_reload.load_instance

    def load_instance(text):
        row = load(text)
        row.status, row.parked, row.parked_in = row.phase, [], None
        return row

    patch.setattr(surreal_reload, "load_instance", load_instance)


WEAKENED: list[Callable[[Patch], None]] = [
    what_is_final_is_run_again,
    what_is_final_and_unknown_has_failed,
    what_is_final_is_made_again_by_a_retry,
    undos_that_failed_count_as_done,
    what_nobody_knows_is_not_named,
    what_is_final_is_not_named,
    failed_undos_are_forgotten,
    the_first_runner_has_not_acted,
    what_comes_late_is_not_undone,
    what_is_resolved_stays_parked,
    a_new_owner_does_not_know_what_is_parked,
]


#: Found at once, by nearly any forty.
QUICK = {what_is_final_is_run_again, undos_that_failed_count_as_done, what_is_resolved_stays_parked}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "weaken",
    [
        pytest.param(each, id=each.__name__, marks=[] if each in QUICK else [pytest.mark.soak])
        for each in WEAKENED
    ],
)
async def test_random_sagas_find_that(
    weaken: Callable[[Patch], None], monkeypatch: Patch, tmp_path: Path, store: Store
) -> None:
    weaken(monkeypatch)
    for first in range(0, TRIES * TOGETHER, TOGETHER):
        try:
            faults = (await play(range(first, first + TOGETHER), tmp_path, store, LUCKS)).faults
        except AssertionError as error:
            print(f"{weaken.__name__}: from seed {first}: {error}: {error.__cause__}")
            return
        if faults:
            print(f"{weaken.__name__}: {faults}")
            return
    pytest.fail(f"{TRIES * TOGETHER} random sagas, and none of them noticed")
