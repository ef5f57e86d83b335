"""Random sagas, many at a time: the real loop, whose owners die, over a database and agents."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.core import claims, tasks, timers
from sagabus.core.instance import InstanceState
from sagabus.definitions.holder import CatalogHolder
from sagabus.ports import Store
from tests.integration.random_sagas.agents import Agents, Outside
from tests.integration.random_sagas.clock import PatientClock
from tests.integration.random_sagas.judgement import Family
from tests.integration.random_sagas.operator import Operator
from tests.integration.random_sagas.workflows import HEAD, random_workflow
from tests.support.engine import Dynasty, running, shorten_grace
from tests.support.worlds import MemoryWorld

#: Calls before and after which owners die.
CALLS = (
    *("commit.before", "commit.after", "publish.before", "publish.middle", "publish.after"),
    *("ack.before", "ack.middle", "ack.after", "notify.before", "notify.after"),
    *("purge_task.before", "send_command.before", "send_result.before", "take_partition.after"),
)
LIFE_S = 0.3
#: How an instance fares: how much likelier than by the agents' table success is.
LUCKS = (0.3, 0.6, 2.0)
#: For so long everything goes wrong that can.
CHAOS_S = 5.0
#: Sagas begin within this time of each other; one that did nothing for so long does nothing more.
BEGIN_S = 0.8
QUIET_S = 5.0
ACTIVE = ("pending", "running", "waiting", "paused", "needs_operator", "compensating")


class Fate:
    """Owners live for a moment each, and die at the next step of a kind drawn by lot."""

    def __init__(self, seed: int, clock: PatientClock) -> None:
        self.is_over = False
        self._rng = Random(seed)
        self._clock = clock
        self._draw()

    def _draw(self) -> None:
        self._at_s = self._clock.seconds() + self._rng.expovariate(1 / LIFE_S)
        self._step = self._rng.choice(CALLS)

    def __call__(self, step: str) -> bool:
        late_s = self._clock.seconds() - self._at_s
        # A step that is rare is not waited for.
        if self.is_over or late_s < 0 or (step != self._step and late_s < LIFE_S):
            return False
        self._draw()
        return True


@dataclass
class Played:
    """What came of some seeds."""

    #: By seed, a sentence each.
    faults: dict[int, list[str]] = field(default_factory=dict)
    #: By seed, what happened where something is wrong.
    stories: dict[int, str] = field(default_factory=dict)
    deaths: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    orders: Counter[tuple[str, bool]] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Played") -> None:
        """Count both together."""
        self.faults |= other.faults
        self.stories |= other.stories
        self.deaths += other.deaths
        for name in ("ends", "runs", "orders", "causes"):
            getattr(self, name).update(getattr(other, name))

    def figures(self) -> str:
        """Counts, for people."""
        counts = (self.ends, self.causes, self.runs, self.orders)
        lines = [f"{self.deaths} owners died; {len(self.faults)} sagas with faults"]
        return "\n".join([*lines, *(str(sorted(each.items())) for each in counts)])


@asynccontextmanager
async def hurried_store(
    monkeypatch: pytest.MonkeyPatch, url: str = "mem://"
) -> AsyncIterator[Store]:
    """A real database, in memory or in files, in a process in which waiting is short."""
    shorten_grace(monkeypatch, 0.4)
    for module in (tasks, claims, timers):
        monkeypatch.setattr(module, "INTENT_WATCH", timedelta(seconds=0.3), raising=False)
    store = await SurrealStore.open(url, migrations=data_path("migrations"))
    yield store
    await store.close()


async def play(
    seeds: Sequence[int], directory: Path, store: Store, lucks: Sequence[float] = LUCKS
) -> Played:
    """Play the sagas of ``seeds`` side by side, and judge what each came to."""
    return await _Stage(seeds, directory, store, lucks).play()


class _Stage:
    def __init__(
        self, seeds: Sequence[int], directory: Path, store: Store, lucks: Sequence[float]
    ) -> None:
        self.seeds = seeds
        self.rng = Random(seeds[0])
        config = directory / f"from-{seeds[0]}.toml"
        self.texts = {seed: random_workflow(Random(seed), f"g{seed}", directory) for seed in seeds}
        config.write_text(HEAD + "\n".join(self.texts.values()))
        self.world = MemoryWorld()
        self.world.store = store
        self.clock = PatientClock()
        self.fate = Fate(seeds[0], self.clock)
        holder = CatalogHolder(config)
        finals = (
            (workflow.name, stage.name)
            for workflow in holder.current.definitions.values()
            for stage in workflow.stages.values()
            if stage.classification == "final"
        )
        self.outside = Outside(final_stages=frozenset(finals))
        self.agents = Agents(self.world.broker, self.clock, self.outside, seeds[0], lucks)
        self.dynasty = Dynasty(
            config,
            self.world,
            self.fate,
            holder=holder,
            seconds=self.clock.seconds,
            clock=self.clock.now,
        )
        self.operator = Operator(self.dynasty, self.outside, seeds[0])
        self._happened, self._happened_at = 0, 0.0

    async def play(self) -> Played:
        played = Played()
        async with running(
            self.clock.run, self.dynasty.reign, self.agents.work, self.operator.work
        ):
            people = [asyncio.ensure_future(self._one(seed)) for seed in self.seeds]
            try:
                while not (await self._is_over(people) or self._is_quiet()):
                    await asyncio.sleep(0.05)
                    if self.clock.seconds() > CHAOS_S:
                        self.fate.is_over = self.agents.is_calm = True
            finally:
                for person in people:
                    person.cancel()
                await asyncio.gather(*people, return_exceptions=True)
            self.fate.is_over = True
            await self._judge(played)
        played.deaths = self.dynasty.deaths
        played.runs, played.orders = self.outside.seen, self.operator.given
        played.causes = self.operator.met
        return played

    async def _one(self, seed: int) -> None:
        rng = Random(f"people {seed}")
        id_ = f"i{seed}"
        await asyncio.sleep(rng.random() * BEGIN_S)
        await self.dynasty.ask(
            lambda o: o.start(f"g{seed}", {"n": 1}, id=id_, by="ann", command=f"start-{seed}")
        )
        if rng.random() < 0.25:
            await asyncio.sleep(rng.random() * 0.8)
            await self.operator.meddle(id_)
        if rng.random() < 0.4:
            await self._until_ended(id_)
            await asyncio.sleep(rng.random() * 0.3)
            await self.operator.meddle(id_)

    async def _until_ended(self, id_: str) -> None:
        while True:
            row = await self.world.store.load_row(id_)
            if row is not None and row.status.is_terminal:
                return
            await asyncio.sleep(0.1)

    async def _is_over(self, people: Sequence["asyncio.Future[None]"]) -> bool:
        """Nothing is left to happen, seen twice in a row."""
        for person in people:
            if not person.done():
                return False
            person.result()
        for _ in range(2):
            await asyncio.sleep(0.05)
            if not self.agents.is_idle or await self.world.left():
                return False
            for status in ACTIVE:
                if (await self.world.store.list_instances(status=status, limit=1)).instances:
                    return False
        return True

    def _is_quiet(self) -> bool:
        """Nobody has done anything for long, and so nobody will."""
        happened = sum(map(len, self.outside.story.values()))
        if happened != self._happened:
            self._happened, self._happened_at = happened, self.clock.seconds()
        return self.clock.seconds() - self._happened_at > QUIET_S

    # --- the end ------------------------------------------------------------------------------

    async def _judge(self, played: Played) -> None:
        for seed in self.seeds:
            states = await self._family(f"i{seed}")
            definitions = {
                id_: await self.dynasty.ask(lambda o, row=state.row: o.definition_of(row))
                for id_, state in states.items()
            }
            played.ends.update(
                f"{'top' if each.row.parent is None else 'below'} {each.row.status.value}"
                f" {each.row.rollback}"
                for each in states.values()
            )
            faults = list(Family(states, definitions, self.outside).faults())
            if faults:
                played.faults[seed] = faults
                played.stories[seed] = await self._story(seed, states)

    async def _story(self, seed: int, states: Mapping[str, InstanceState]) -> str:
        lines = [self.texts[seed]]
        for id_, state in states.items():
            lines += [f"--- {id_} {state.row.status}, outside:", *self.outside.story[id_]]
            lines += [f"--- {id_}, history:"]
            for entry in await self.world.store.history(id_):
                lines += [f"{event['type']} {event['data']}" for event in entry.events]
        return "\n".join(lines)

    async def _family(self, root: str) -> dict[str, InstanceState]:
        found: dict[str, InstanceState] = {}
        waiting = [root]
        while waiting:
            id_ = waiting.pop()
            state = await self.world.store.load_instance(id_)
            if state is None:
                continue
            found[id_] = state
            waiting += [
                attempt.agent
                for tries in state.attempts.values()
                for attempt in tries
                if attempt.is_child and attempt.kind == "task" and attempt.agent
            ]
        return found
