"""The owner dies between any two steps of the loop, and nobody could tell from what came of it.

Every step of every batch, one after another, over the memory adapters; several deaths in one run
by seeded chance; a seeded part of both over a real server and a real database.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from sagabus.core.instance import InstanceState
from tests.support.crew import Crew
from tests.support.engine import Dynasty, ended, running, shorten_grace
from tests.support.scenarios import CONFIG, SCENARIOS, Stage, timeout
from tests.support.trails import check_trails
from tests.support.worlds import MemoryWorld, World, real_world, until

#: Named after the calls of store, bus and inbox.
POINTS = (
    "commit.before",
    "commit.after",
    "purge_task.before",
    "notify.before",
    "notify.after",
    "publish.before",
    "publish.middle",
    "publish.after",
    "ack.before",
    "ack.middle",
    "ack.after",
)


class Fate:
    """Decides at which steps owners die; counts the steps over all of them."""

    def __init__(self, dies: Callable[[str, int], bool] = lambda *_: False) -> None:
        self._dies = dies
        self.steps: Counter[str] = Counter()

    def __call__(self, step: str) -> bool:
        self.steps[step] += 1
        return self._dies(step, self.steps[step])


@dataclass
class End:
    """What is compared: everything but times, ids and how often somebody had to ask."""

    row: dict[str, Any]
    attempts: dict[str, list[tuple[Any, ...]]]
    history: list[str]
    effects: dict[str, int]
    undone: list[tuple[str, int, str, str]]


async def play(
    config: Path, world: World, scenario: Any, fate: Fate, number: int
) -> tuple[End, int]:
    instance = f"i{number}"
    dynasty = Dynasty(config, world, fate)
    stage = Stage(instance, world, dynasty, await world.link(), {})
    async with running(dynasty.reign):
        async with AsyncExitStack() as jobs:
            await scenario(stage, jobs)
            state = await ended(world.store, instance)

            async def is_quiet() -> bool:
                idle = all(crew.is_idle for crew in stage.crews) or scenario is timeout
                return idle and not await world.left()

            await until(is_quiet)
        fate_over = dynasty.deaths
        await check_events(world, instance)
        await check_trails(world.store)
        end = await end_of(world, state, stage.crews)
    return end, fate_over


async def check_events(world: World, instance: str) -> None:
    """Everything that happened was announced, under its own number."""
    stored = [
        (event["seq"], event["type"])
        for entry in await world.store.history(instance)
        for event in entry.events
    ]
    told = {
        (event["seq"], event["type"]) for event in map(orjson.loads, await world.events(instance))
    }
    assert told == set(stored)
    assert [seq for seq, _ in stored] == list(range(1, len(stored) + 1))


async def end_of(world: World, state: InstanceState, crews: list[Crew]) -> End:
    row = state.row
    history = [e for entry in await world.store.history(row.id) for e in entry.events]
    effects: Counter[str] = Counter()
    for crew in crews:
        effects += crew.effects
    undone = sorted(
        (undo.task, undo.attempt, str(undo.artifacts_to_undo), str(undo.original_context))
        for crew in crews
        for undo in crew.ran
        if undo.type == "compensation"
    )
    return End(
        row={
            "status": row.status,
            "rollback": row.rollback,
            "error": row.error and (row.error.type, row.error.stage, row.error.task),
            "failed": [each["task"] for each in row.failed_compensations],
            "in_flight": row.in_flight,
            "runs": {
                key: (run.status, run.total, run.succeeded, run.failed, run.undo_sent)
                for key, run in row.runs.items()
            },
            "answers": {key: (answer.ok, answer.code) for key, answer in row.answers.items()},
        },
        attempts={
            # Whether an unclaimed attempt that is sent again has run is not known.
            task: [(a.attempt, a.status, a.acted and a.claim, a.output) for a in tries]
            for task, tries in state.attempts.items()
        },
        # Two tasks run side by side: which of them is first is chance. A task that is sent again
        # is claimed, whatever its stage: then its start is known.
        history=sorted(
            f"{e['type']} {e['data'].get('task', '')}"
            for e in history
            if e["type"] != "TaskStarted"
        ),
        effects={name.split()[1]: count for name, count in effects.items()},
        undone=undone,
    )


def grace_of(scenario: Any) -> float:
    """Only one scenario waits for the end of the grace; in all others it must never be reached."""
    return 1.5 if scenario is timeout else 30


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "workflows.toml"
    path.write_text(CONFIG)
    return path


async def in_memory(config: Path, scenario: Any, fate: Fate, number: int = 1) -> tuple[End, int]:
    world = MemoryWorld()
    try:
        return await play(config, world, scenario, fate, number)
    finally:
        await world.close()


def at(point: str, number: int) -> Fate:
    return Fate(lambda step, count: step == point and count == number)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_death_at_any_one_step_changes_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch, scenario: Any
) -> None:
    shorten_grace(monkeypatch, grace_of(scenario))
    counting = Fate()
    expected, _ = await in_memory(config, scenario, counting)
    deaths = 0
    for point in POINTS:
        steps = range(1, counting.steps[point] + 1)
        ends = await asyncio.gather(
            *(in_memory(config, scenario, at(point, number)) for number in steps)
        )
        for number, (end, died) in zip(steps, ends, strict=True):
            assert end == expected, f"{point} {number}"
            deaths += died
    assert deaths > len(POINTS)


def by_chance(seed: int, probability: float) -> Fate:
    """Die at any step of any kind, taking over included."""
    chance = random.Random(seed)
    return Fate(lambda *_: chance.random() < probability)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_many_deaths_by_chance_change_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch, scenario: Any
) -> None:
    shorten_grace(monkeypatch, grace_of(scenario))
    expected, _ = await in_memory(config, scenario, Fate())
    runs = await asyncio.gather(
        *(in_memory(config, scenario, by_chance(seed, 0.04)) for seed in range(12))
    )
    for seed, (end, _) in enumerate(runs):
        assert end == expected, f"seed {seed}"
    assert sum(deaths for _, deaths in runs) > 12


@pytest.mark.parametrize("seed", [1, 2])
async def test_deaths_change_nothing_over_a_real_server_and_a_real_database(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    deaths = 0
    async with AsyncExitStack() as stack:
        world = await real_world(tmp_path, stack)
        for number, scenario in enumerate(SCENARIOS):
            shorten_grace(monkeypatch, grace_of(scenario))
            expected, _ = await in_memory(config, scenario, Fate())
            fate = by_chance(seed * 100 + number, 0.04)
            end, died = await play(config, world, scenario, fate, number)
            assert end == expected, scenario.__name__
            deaths += died
    assert deaths > len(SCENARIOS)
