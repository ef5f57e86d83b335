"""Damaged files are refused with sentences, or loaded and then harmless.

A failure names its seed: ``SAGABUS_SEED=4711 pytest tests/unit/hostile -k one_seed`` repeats it.
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest

from sagabus.rehearsal import simulator
from tests.unit.hostile.judging import MAX_EVENTS, judge
from tests.unit.hostile.mutations import mutated, sources

SOURCES = sources()
FILES = 1_000
CHUNK = 100
SOAK = 20_000


@pytest.fixture(autouse=True)
def few_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "MAX_EVENTS", MAX_EVENTS)


def judge_seed(seed: int, directory: Path) -> str:
    random = Random(seed)
    suffix, text = random.choice(SOURCES)
    path = directory / f"w{suffix}"
    path.write_bytes(mutated(text, random))
    try:
        return judge(path)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error


def judge_all(seeds: Iterable[int], directory: Path) -> Counter[str]:
    return Counter(judge_seed(seed, directory) for seed in seeds)


@pytest.mark.parametrize("first", range(0, FILES, CHUNK))
def test_a_damaged_file_is_refused_in_sentences_or_harmless(first: int, tmp_path: Path):
    seen = judge_all(range(first, first + CHUNK), tmp_path)
    assert min(seen["loaded"], seen["refused"]) > CHUNK / 20, "one of both is hardly tested"


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("first", range(FILES, FILES + SOAK, SOAK // 10))
def test_very_many_damaged_files(first: int, tmp_path: Path):
    judge_all(range(first, first + SOAK // 10), tmp_path)


@pytest.mark.skipif("SAGABUS_SEED" not in os.environ, reason="no seed is given")
def test_one_seed(tmp_path: Path):
    print(judge_seed(int(os.environ["SAGABUS_SEED"]), tmp_path))


@pytest.mark.parametrize(("suffix", "text"), SOURCES, ids=range(len(SOURCES)))
def test_every_file_that_is_damaged_is_sound_before(suffix: str, text: str, tmp_path: Path):
    path = tmp_path / f"w{suffix}"
    path.write_text(text, encoding="utf-8")
    judge(path)
