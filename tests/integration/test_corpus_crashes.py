"""Every definition of the corpus on the real loop, whose owner dies at one step after another.

Without a death it goes as the script says, and as it goes on paper. With a death at any step,
before or after a commit, a message or an acknowledgement, it ends the same: nothing that was
claimed runs twice, and nothing is missing. A seeded part of the steps; all of them in the soak.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from sagabus.adapters.memory_kv import MemoryKeyValues
from sagabus.adapters.secret_box import SecretBox
from tests.corpus.actors import ROOT, Play
from tests.corpus.cases import cases_of, definitions
from tests.corpus.playing import (
    Played,
    inputs_of,
    perform,
    rows_of,
    unexpected,
    wrong_effects,
)
from tests.support import engine
from tests.support.engine import shorten_grace
from tests.support.worlds import MemoryWorld

#: Calls of store, bus and inbox that change something, or tell somebody.
CALLS = (
    *("commit", "publish", "ack", "notify", "purge_task", "send_command", "send_result"),
    *("put_payload", "get_payload", "delete_payloads", "get_many"),
)
#: Deaths here of each script: at any step, and before each of these.
SAMPLE = 3
RARE = {"send_command.before", "send_result.before", "put_payload.before", "purge_task.before"}
#: Runs side by side: with more of them nobody gets anywhere in time.
TOGETHER = 12

Step = tuple[str, int]

T = TypeVar("T")


class Fate:
    """Counts the steps of every owner; one of them may be the last of who takes it."""

    def __init__(self, last: Step | None = None) -> None:
        self._last = last
        self.steps: Counter[str] = Counter()

    def __call__(self, step: str) -> bool:
        self.steps[step] += 1
        return self._last == (step, self.steps[step])

    def possible(self) -> list[Step]:
        """Every step at which it could have ended."""
        return sorted(
            (step, number)
            for step, count in self.steps.items()
            if step.rpartition(".")[0] in CALLS
            for number in range(1, count + 1)
        )


#: The key-value store of a run: every owner of it finds the same, as in a database.
VALUES: ContextVar[MemoryKeyValues] = ContextVar("values")


async def run(it: Play, fate: Fate) -> Played:
    values = MemoryKeyValues(SecretBox(None))
    for key, value in it.case.script.kv.items():
        await values.set(key, value)
    VALUES.set(values)
    world = MemoryWorld(partitions=2 if it.paper.children else 1)
    try:
        return await perform(it, world, fate)
    finally:
        await world.close()


@dataclass(frozen=True)
class Calm:
    """A run in which nobody died, and where somebody could have."""

    it: Play
    played: Played
    steps: Sequence[Step]


async def go_well(it: Play) -> Calm:
    """Nobody dies: as the script says, and as on paper."""
    fate = Fate()
    calm = await run(it, fate)
    assert not unexpected(it, calm), it.case.id
    assert not wrong_effects(it, calm.effects), it.case.id
    if it.case.script.cancel_after is None:  # on paper what runs is not stopped
        states = {ROOT: calm.rehearsed.state, **calm.rehearsed.children}
        assert calm.end.rows == rows_of(it, it.states)
        assert inputs_of(states) == inputs_of(it.states)
    return Calm(it, calm, fate.possible())


async def die_at(calm: Calm, step: Step) -> int:
    """One death; gives how many there were: the step may never come."""
    played = await run(calm.it, Fate(step))
    place = f"{calm.it.case.id}: died at {step}"
    assert played.end == calm.played.end, place
    assert not wrong_effects(calm.it, played.effects), place
    return played.deaths


async def together(works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Their results, some of them at a time."""
    slots = asyncio.Semaphore(TOGETHER)

    async def one(work: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await work()

    return await asyncio.gather(*(one(work) for work in works))


async def die_everywhere(path: Path, choose: Callable[[Calm], Sequence[Step]]) -> int:
    """Deaths in all scripts of a definition; gives how many there were."""
    calms = await together([partial(go_well, Play.of(case)) for case in cases_of(path)])
    works = [partial(die_at, calm, step) for calm in calms for step in choose(calm)]
    return sum(await together(works))


def some(calm: Calm) -> list[Step]:
    """Where what is said to others is lost, once for each kind of it, and anywhere."""
    chance = random.Random(calm.it.case.id)
    by_call: dict[str, list[Step]] = {}
    for step in calm.steps:
        by_call.setdefault(step[0], []).append(step)
    rare = [chance.choice(steps) for call, steps in by_call.items() if call in RARE]
    return [*rare, *chance.sample(calm.steps, SAMPLE)]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every agent answers, sooner or later: on a busy machine none is to be taken for lost.
    shorten_grace(monkeypatch, 10)
    monkeypatch.setattr(engine, "MemoryKeyValues", lambda _: VALUES.get())


@pytest.mark.parametrize("path", definitions(), ids=lambda path: path.stem)
async def test_a_death_at_some_steps_changes_nothing(path: Path) -> None:
    assert await die_everywhere(path, some)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", definitions(), ids=lambda path: path.stem)
async def test_a_death_at_any_step_changes_nothing(path: Path) -> None:
    assert await die_everywhere(path, lambda calm: calm.steps)
