"""Agents that act, fail, hang and are killed, and the world that they act on.

They keep the protocol. What they really did is known here and nowhere else: an agent that is going
to be killed does what it does at once, one that lives tells of what it did, sooner or later.
"""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

from sagabus.adapters.memory_broker import MemoryBroker
from sagabus_agents import wire
from sagabus_agents.wire import ClaimAnswer, ClaimMessage, ClaimVerdict, TaskMessage, TaskType
from tests.integration.random_sagas.clock import STEP_S, PatientClock
from tests.integration.random_sagas.workflows import ROLES
from tests.support.crew import result_data
from tests.support.engine import HURRY
from tests.support.worlds import MemoryLink, Taken

AGENTS = 4
BEAT_S = wire.PRESENCE_INTERVAL_S / HURRY
ASK_AGAIN_S = 0.15
#: After so long a task comes again whose agent is gone.
ACK_WAIT_S = 0.15
#: How a run goes, and how often of a thousand in an instance of middling luck.
FATES = {
    "succeed": 730,
    "fail": 110,
    "die before": 45,
    "die after": 45,
    "not know": 30,
    "hang": 60,
}
UNKNOWN = ("unknown_outcome", "timeout", "bad_result", "agent_lost")

Key = tuple[str, str, int]


@dataclass(slots=True)
class Outside:
    """What was really done, each at its number in the order of everything."""

    #: By instance and task.
    done: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    #: By instance, task and number of the undo.
    undone: dict[tuple[str, str, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    #: Those of the tasks that nobody can take back.
    finals: set[tuple[str, str]] = field(default_factory=set)
    acted: set[Key] = field(default_factory=set)
    at_work: Counter[Key] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    #: By workflow and stage.
    final_stages: frozenset[tuple[str, str]] = frozenset()
    #: By instance, in order, for whoever has to find a fault.
    story: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def act(self, message: TaskMessage) -> None:
        """A task has its effect, or a compensation takes one back."""
        instance, task = message.workflow_id, message.task
        self.acted.add((instance, task, message.attempt))
        self.story[instance].append(f"{task}#{message.attempt} acts")
        if message.type is TaskType.COMPENSATION:
            task, _, number = task.rpartition("-undo-")
            self.undone[instance, task, int(number)].append(next(self._numbers))
        else:
            self.done[instance, task].append(next(self._numbers))
            if (message.workflow, message.stage_name) in self.final_stages:
                self.finals.add((instance, task))

    def undo_by_hand(self, instance: str, stage: str) -> bool:
        """A person takes back whatever a stage of an instance did.

        False: it cannot be taken back, or somebody is at it.
        """

        def is_meant(where: str, task: str) -> bool:
            return where == instance and task.split("-")[0] == stage

        is_busy = any(is_meant(key[0], key[1]) for key, number in self.at_work.items() if number)
        meant = [key for key in self.done if is_meant(*key)]
        if is_busy or not self.finals.isdisjoint(meant):
            return False
        for where, task in meant:
            self.story[where].append(f"{task} is undone by hand")
            for number in range(2):
                self.undone[where, task, number].append(next(self._numbers))
        return True

    def stands(self, instance: str, task: str, undos: int) -> bool:
        """Whether an effect is there that ``undos`` roles are to undo; 0: it cannot be undone."""
        times = self.done.get((instance, task))
        if not times or not undos:
            return bool(times)
        last = [0] * undos
        for (where, what, number), undone in self.undone.items():
            if (where, what) == (instance, task):
                last[number % undos] = max(last[number % undos], *undone)
        return min(last) < max(times)


class Agents:
    """All agents of all roles, on a bus in memory."""

    def __init__(
        self,
        broker: MemoryBroker,
        clock: PatientClock,
        outside: Outside,
        seed: int,
        lucks: Sequence[float],
    ) -> None:
        self.outside = outside
        #: From then on nothing goes wrong any more.
        self.is_calm = False
        self._clock = clock
        self._lucks = lucks
        self._broker = broker
        self._link = MemoryLink(broker)
        self._seed = seed
        self._rng = Random(seed)
        self._ids = [f"agent-{seed}-{number}" for number in range(AGENTS)]
        #: What each agent has in hand, with its deliveries, and what it says that it runs.
        self._held: dict[tuple[str, Key], list[Taken]] = {}
        self._running: dict[str, dict[Key, datetime]] = {agent: {} for agent in self._ids}
        self._answers: dict[str, asyncio.Future[ClaimVerdict]] = {}
        self._cancelled: set[Key] = set()
        self._later = 0

    @property
    def is_idle(self) -> bool:
        """Nobody has anything in hand, and nothing is said again later."""
        return not self._held and not self._later

    async def work(self) -> None:
        """Until cancelled."""
        ends = [self._broker.subscribe("sagabus.cancel.*", self._on_cancel)]
        ends += [self._broker.subscribe(f"_INBOX.{id_}", self._on_answer) for id_ in self._ids]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat())
                for role in ROLES:
                    group.create_task(self._pull(role, group))
        finally:
            for end in ends:
                end()

    async def _beat(self) -> None:
        while True:
            for agent in self._ids:
                await self._announce(agent)
            await asyncio.sleep(BEAT_S)

    async def _announce(self, agent: str) -> None:
        running = [
            wire.RunningAttempt(instance=i, task=t, attempt=a, started_at=at)
            for (i, t, a), at in self._running[agent].items()
        ]
        message = wire.PresenceMessage(
            agent=agent, roles=list(ROLES), slots=99, free=9, running=running
        )
        await self._link.notify(wire.presence_subject(agent), message.model_dump_json().encode())

    async def _pull(self, role: str, group: asyncio.TaskGroup) -> None:
        while True:
            taken = await self._link.take(role)
            if taken is None:
                await asyncio.sleep(0.005)
                continue
            message = taken.message
            key = (message.workflow_id, message.task, message.attempt)
            agent = self._rng.choice(self._ids)
            if not self.is_calm and self._rng.random() < 0.05:  # it was not heard of in time
                group.create_task(self._come_again(taken, ACK_WAIT_S * self._rng.random()))
            held = self._held.setdefault((agent, key), [])
            held.append(taken)
            if len(held) == 1:
                group.create_task(self._handle(agent, key, group))

    async def _come_again(self, taken: Taken, wait_s: float) -> None:
        self._later += 1
        await asyncio.sleep(wait_s)
        await taken.give_back()
        self._later -= 1

    # --- one task in the hands of one agent ---------------------------------------------------

    async def _handle(self, agent: str, key: Key, group: asyncio.TaskGroup) -> None:
        taken = self._held[agent, key][0]
        message = taken.message
        verdict = ClaimVerdict.RUN
        if message.claim or message.resent or taken.delivery > 1:
            verdict = await self._claim(agent, taken)
        is_told = True
        if verdict is ClaimVerdict.LATER:
            await asyncio.sleep(0.03)
            is_told = False
        elif verdict is ClaimVerdict.RUN:
            is_told = await self._run(agent, key, message, group)
        for each in self._held.pop((agent, key)):
            if is_told:
                await each.ack()
            else:
                group.create_task(self._come_again(each, ACK_WAIT_S * self._rng.random()))

    async def _claim(self, agent: str, taken: Taken) -> ClaimVerdict:
        message = taken.message
        claim = ClaimMessage(
            claim=uuid.uuid4().hex,
            task=message.task,
            attempt=message.attempt,
            agent=agent,
            delivery=taken.delivery,
            reply=f"_INBOX.{agent}",
        )
        data = claim.model_dump_json().encode()
        answer: asyncio.Future[ClaimVerdict] = asyncio.get_running_loop().create_future()
        self._answers[claim.claim] = answer
        while not answer.done():
            if self.is_calm or self._rng.random() > 0.05:
                await self._link.send(message.workflow_id, message.role, data)
            await asyncio.wait([answer], timeout=ASK_AGAIN_S)
        return answer.result()

    async def _run(
        self, agent: str, key: Key, message: TaskMessage, group: asyncio.TaskGroup
    ) -> bool:
        """Work on it; False where the agent is killed, and tells nobody."""
        outside = self.outside
        outside.at_work[key] += 1
        self._running[agent][key] = datetime.now(UTC)
        fate, rng = self._fate_of(key)
        outside.seen[f"{message.type.value}: {fate}"] += 1
        story = outside.story[message.workflow_id]
        story.append(f"{agent} runs {message.task}#{message.attempt}: {fate}")
        try:
            if fate.startswith("die"):
                if fate == "die after":
                    outside.act(message)
                await self._announce(agent)
                await asyncio.sleep(rng.random() * 0.05)
                return False
            await self._announce(agent)
            takes_s = rng.random() ** 2 * 0.06
            if fate == "hang":
                takes_s = 0.3 + rng.random() ** 2 * 1.2
            data = await self._work(agent, key, message, fate, takes_s, rng)
        finally:
            del self._running[agent][key]
            outside.at_work[key] -= 1
        await self._link.send(message.workflow_id, message.role, data)
        story.append(f"{agent} has told of {message.task}#{message.attempt}")
        if not self.is_calm and rng.random() < 0.12:
            group.create_task(self._say_again(message, data, rng.random() * 0.5))
        return True

    async def _work(
        self, agent: str, key: Key, message: TaskMessage, fate: str, takes_s: float, rng: Random
    ) -> bytes:
        """The result."""
        task, attempt = message.task, message.attempt
        # Some cannot be interrupted.
        is_deaf = rng.random() < 0.5
        ends_at = self._clock.seconds() + takes_s
        while self._clock.seconds() < ends_at:
            await asyncio.sleep(STEP_S)
            if key in self._cancelled and not is_deaf:
                return result_data(task, attempt, "cancelled", agent=agent)
        error: dict[str, Any] = {"type": "Broken", "message": "no", "retryable": rng.random() < 0.7}
        if fate == "fail":
            return result_data(task, attempt, "failed", agent=agent, error=error)
        if fate == "not know":
            if rng.random() < 0.5:
                self.outside.act(message)
            error["type"] = rng.choice(UNKNOWN)
            return result_data(task, attempt, "failed", agent=agent, error=error)
        self.outside.act(message)
        await asyncio.sleep(0.05 * rng.random())
        return result_data(task, attempt, agent=agent, output={"by": agent})

    def _fate_of(self, key: Key) -> tuple[str, Random]:
        rng = Random(f"{self._seed} {key} {self.outside.seen.total()}")
        if self.is_calm:
            return "succeed", rng
        luck = Random(f"{self._seed} {key[0]}").choice(self._lucks)
        weights = [FATES["succeed"] * luck, *list(FATES.values())[1:]]
        return rng.choices(list(FATES), weights)[0], rng

    async def _say_again(self, message: TaskMessage, data: bytes, wait_s: float) -> None:
        self._later += 1
        await asyncio.sleep(wait_s)
        await self._link.send(message.workflow_id, message.role, data)
        self._later -= 1

    def _on_answer(self, _: str, data: bytes) -> None:
        answer = ClaimAnswer.model_validate_json(data)
        waiting = self._answers.get(answer.claim)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.answer)

    def _on_cancel(self, subject: str, data: bytes) -> None:
        cancel = wire.CancelMessage.model_validate_json(data)
        self._cancelled.add((subject.rpartition(".")[2], cancel.task, cancel.attempt))
