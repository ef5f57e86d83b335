"""Random sagas on the real loop: nothing final twice, nothing left unsaid, everybody gets an end.

Each seed is a workflow, its agents, who fail, hang, are killed and say things twice, and people who
meddle. Owners die at any step of the loop, over a real database; an operator brings what is parked
to its end, by commands alone. What really was done is known outside, and the instances' own word is
held against it.
"""

from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from sagabus.ports import Store
from tests.integration.random_sagas.playing import Played, hurried_store, play
from tests.support.trails import check_trails

#: Sagas side by side.
TOGETHER = 40
SEEDS = 160
MANY_SEEDS = 2000


@pytest.fixture
async def stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[list[Store]]:
    """Where sagas side by side are stored, in turn: in memory, and now and then in files."""
    url = f"surrealkv://{tmp_path / 'db'}"
    async with hurried_store(monkeypatch) as memory, hurried_store(monkeypatch, url) as files:
        yield [memory, memory, memory, files]


async def play_all(seeds: int, directory: Path, stores: Sequence[Store]) -> Played:
    played = Played()
    for first, store in zip(range(0, seeds, TOGETHER), cycle(stores)):
        played.add(await play(range(first, first + TOGETHER), directory, store))
    print(played.figures())
    for seed, story in played.stories.items():
        print(f"=== seed {seed}: {played.faults[seed]}\n{story}")
    for store in dict.fromkeys(stores):
        await check_trails(store)
    return played


def check_variety(played: Played) -> None:
    """The sagas are worth something: everything that can happen did."""
    assert played.causes.keys() >= {"intent_unknown", "compensation_failed", "after_final"}
    carried_out = {name for (name, is_done), number in played.orders.items() if is_done}
    assert carried_out >= {"resolve failed", "resolve succeeded", "skip", "retry", "cancel"}
    statuses = {end.split()[1] for end in played.ends}
    assert statuses >= {"completed", "failed", "rolled_back", "cancelled"}
    assert played.deaths > sum(played.ends.values()) / 40


async def test_random_sagas_keep_their_promises(tmp_path: Path, stores: list[Store]) -> None:
    played = await play_all(SEEDS, tmp_path, stores)
    assert not played.faults
    check_variety(played)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_two_thousand_random_sagas_keep_their_promises(
    tmp_path: Path, stores: list[Store]
) -> None:
    played = await play_all(MANY_SEEDS, tmp_path, stores)
    assert not played.faults
    check_variety(played)
