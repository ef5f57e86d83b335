"""Random workflows: the machine and the naive interpreter agree on every one, at every step.

A game is its seed; one that failed is played alone by
``SAGABUS_SEED=4711 pytest tests/unit/language/test_random_graphs.py -k one_seed``. What a failure
prints is that game made as small as it goes wrong, and the trace of both.
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.unit.language.playing import play

#: Seeds; what the loader refuses of them is not played.
GAMES = 1_500
CHUNK = 100
SOAK = 20_000


def play_all(seeds: Iterable[int], directory: Path) -> Counter[str]:
    """How many were refused, and what happened in the others."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        seen.update(play(seed, directory))
    return seen


@pytest.mark.parametrize("first", range(0, GAMES, CHUNK))
def test_both_agree_at_every_step(first: int, tmp_path: Path) -> None:
    seen = play_all(range(first, first + CHUNK), tmp_path)
    assert seen["refused"] <= CHUNK / 2, "too much is refused to be a test"


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(GAMES, GAMES + SOAK, SOAK // 10))
def test_both_agree_at_every_step_of_very_many(first: int, tmp_path: Path) -> None:
    play_all(range(first, first + SOAK // 10), tmp_path)


def test_one_seed_is_played_alone(tmp_path: Path) -> None:
    play(int(os.environ.get("SAGABUS_SEED", "0")), tmp_path)


def test_games_reach_everything_that_they_are_to_judge(tmp_path: Path) -> None:
    seen = play_all(range(500), tmp_path)
    assert 500 - seen["refused"] >= 250
    wanted = {
        *("completed", "failed", "rolled_back", "cancelled"),
        *("rollback none", "rollback full", "rollback partial"),
        *("error boom", "error timeout", "error rejected", "error approval_timeout"),
        *("error fail", "error unreachable_join", "error limit", "error template_error"),
        *("error no_decision", "error denied", "error cancelled"),
        *("stage skipped", "stage timed_out", "stage compensated", "stage compensation_failed"),
        *(
            "refused as impossible",
            "a handled failure",
            "a second arm",
            "a second pass",
            "a join",
            "a retry",
            "an on_end",
            "held after a final success",
            "something left",
        ),
    }
    assert not wanted - seen.keys(), f"never seen: {wanted - seen.keys()}"
