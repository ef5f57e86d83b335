"""Random schedules in which operators repair, by commands that make sense or do not.

A schedule that failed is played alone by
``SAGABUS_SEED=4711 pytest tests/unit/core/test_repair_schedules.py -k one_seed``.
"""

import os
from collections import Counter

import pytest

from tests.unit.core.repair_world import RepairWorld
from tests.unit.core.world import CRASH_POINTS

SCHEDULES = 2_000
CHUNK = 500


def play(seed: int, crash_at: tuple[int, str] | None = None) -> RepairWorld:
    world = RepairWorld(seed, crash_at)
    try:
        world.play()
    except Exception as error:
        crash = f", crashed at {crash_at}" if crash_at else ""
        raise AssertionError(f"seed {seed}{crash}: {type(error).__name__}: {error}") from error
    return world


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_operators_bring_every_instance_to_a_true_end(first: int) -> None:
    for seed in range(first, first + CHUNK):
        play(seed)


def test_one_seed_is_played_alone() -> None:
    seed = int(os.environ.get("SAGABUS_SEED", "0"))
    assert play(seed).events == play(seed).events


@pytest.mark.parametrize("seed", range(200_000, 200_003))
def test_a_crash_between_any_two_steps_breaks_no_promise(seed: int) -> None:
    turns = play(seed).turns
    for number in range(1, turns + 1):
        for point in CRASH_POINTS:
            play(seed, (number, point))


def test_schedules_reach_every_command_both_ways() -> None:
    given: Counter[tuple[str, bool]] = Counter()
    for seed in range(400):
        given += play(seed).given
    kinds = {"Skip", "ResultSet", "Fail", "Retry", "Compensate", "Cancel", "Pause", "Resume"}
    for kind in kinds:
        for is_ok in (True, False):
            assert given[kind, is_ok], f"{kind}, {is_ok}: never"
