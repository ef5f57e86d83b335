"""Random schedules of late, repeated, lost and reordered messages, of crashes and of dying agents.

A schedule is its seed. One that failed is played alone by
``SAGABUS_SEED=4711 pytest tests/unit/core/test_schedules.py -k one_seed``.
"""

import os

import pytest

from sagabus.core.transition import Ignored
from tests.unit.core.turn import decide_fully
from tests.unit.core.world import CRASH_POINTS, World, new_state

SCHEDULES = 20_000
CHUNK = 1_000


def play(seed: int, crash_at: tuple[int, str] | None = None) -> World:
    world = World(seed, crash_at)
    try:
        world.play()
    except Exception as error:
        crash = f", crashed at {crash_at}" if crash_at else ""
        raise AssertionError(f"seed {seed}{crash}: {type(error).__name__}: {error}") from error
    return world


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_every_promise_is_kept_whatever_happens(first: int) -> None:
    for seed in range(first, first + CHUNK):
        play(seed)


def test_one_seed_is_played_alone() -> None:
    seed = int(os.environ.get("SAGABUS_SEED", "0"))
    assert play(seed).events == play(seed).events


@pytest.mark.parametrize("seed", range(100_000, 100_012))
def test_a_crash_between_any_two_steps_breaks_no_promise(seed: int) -> None:
    turns = play(seed).turns
    for number in range(1, turns + 1):
        for point in CRASH_POINTS:
            play(seed, (number, point))


def test_the_same_events_lead_to_the_same_state() -> None:
    for seed in range(300):
        world = play(seed)
        state = new_state()
        for event in world.events:
            outcome = decide_fully(
                world.definition,
                state,
                event,
                is_denied=world.is_denied,
                is_refused=world.is_refused,
            )
            assert isinstance(outcome, Ignored) or outcome
        assert world.state is not None
        state.row.version = world.state.row.version  # these two are the store's
        state.row.chain = world.state.row.chain
        assert state == world.state, f"seed {seed}"


def test_schedules_reach_every_kind_of_end() -> None:
    ends = set()
    for seed in range(500):
        row = play(seed).state.row
        ends.add((row.status.value, row.rollback))
    assert ends >= {
        ("completed", "none"),
        ("rolled_back", "full"),
        ("failed", "none"),
        ("failed", "partial"),
        ("cancelled", "none"),
        ("cancelled", "full"),
        ("cancelled", "partial"),
    }
