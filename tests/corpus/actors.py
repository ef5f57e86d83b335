"""Agents and people who do in earnest what a script says, in the order that it has on paper.

The instance has the id that it has on paper, so that those below it have theirs, too: what was
sent on paper tells what each attempt is to be answered, and after which other one. So nothing is
left to chance but what was given up on paper while it ran.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from sagabus.core.instance import (
    Attempt,
    Instance,
    InstanceState,
    InstanceStatus,
    StageStatus,
)
from sagabus.ports import Store
from sagabus.rehearsal.answers import names_of
from sagabus.rehearsal.script import Outcome, Outcomes
from sagabus.rehearsal.simulator import Rehearsed
from sagabus_agents.wire import ErrorInfo
from tests.corpus.cases import Case, catalog_of
from tests.support.crew import Crew, command, result_data
from tests.support.worlds import Link, until

#: The id of an instance on paper.
ROOT = "rehearsal"
#: What takes longer on paper runs, in earnest, until it is stopped.
STUCK = timedelta(hours=1)
#: What the history calls the end of an attempt.
_ENDS = frozenset(
    {
        *("TaskCompleted", "TaskFailed", "CompensationCompleted", "CompensationFailed"),
        *("TaskRetryScheduled", "WorkflowParked"),
    }
)
_FORWARD = {InstanceStatus.PENDING, InstanceStatus.RUNNING, InstanceStatus.WAITING}

#: An attempt: instance, task, number.
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Play:
    """A script, and what came of it on paper."""

    case: Case
    paper: Rehearsed

    @classmethod
    def of(cls, case: Case) -> "Play":
        return cls(case, case.rehearse())

    @property
    def states(self) -> dict[str, InstanceState]:
        """Every instance on paper."""
        return {ROOT: self.paper.state, **self.paper.children}

    @cached_property
    def sent(self) -> dict[Key, Attempt]:
        """What was sent to agents."""
        return {
            (instance, attempt.task, attempt.attempt): attempt
            for instance, attempt in self.paper.sent
            if not (attempt.is_local or attempt.is_child)
        }

    @cached_property
    def plan(self) -> dict[Key, Outcome]:
        """How attempts end: those of one name in the order in which they were sent."""
        taken: Counter[tuple[str, str]] = Counter()
        plan: dict[Key, Outcome] = {}
        for (instance, task, number), attempt in self.sent.items():
            outcomes = self.outcomes(instance)
            name = next((each for each in names_of(attempt) if each in outcomes), None)
            if name is not None:
                listed = outcomes[name]
                plan[instance, task, number] = listed[min(taken[instance, name], len(listed) - 1)]
                taken[instance, name] += 1
        return plan

    @cached_property
    def ended(self) -> tuple[Key, ...]:
        """What ended in time, in this order."""
        told = (each for each in self.paper.happened if each.type in _ENDS)
        return tuple(
            dict.fromkeys(
                (each.instance, each.data["task"], each.data["attempt"])
                for each in told
                if each.data.get("attempt")  # else it was never sent, or is no attempt
            )
        )

    @cached_property
    def stuck(self) -> frozenset[Key]:
        """What ends when it is stopped, or nobody waits for it."""
        long = {key for key, outcome in self.plan.items() if outcome.takes > STUCK}
        return frozenset(long | (self.sent.keys() - set(self.ended)))

    @cached_property
    def doubtful(self) -> frozenset[Key]:
        """What was given up before its start was known.

        It may have run or not, and one that is sent again asks first, so that its start is known.
        """
        return frozenset(key for key in self.stuck if not self.sent[key].claim)

    @property
    def roles(self) -> frozenset[str]:
        """Roles that agents serve: all but those whose tasks nobody is to take."""
        untaken = {self.sent[key].role for key, each in self.plan.items() if each.untaken}
        return catalog_of(self.case.path).roles - untaken

    def outcomes(self, instance: str) -> Outcomes:
        """What the script says of an instance."""
        if instance == ROOT:
            return self.case.script.outcomes
        workflow = self.paper.children[instance].row.workflow
        return self.case.script.workflows.get(workflow, {})

    def is_over(self, state: InstanceState) -> bool:
        """Nothing more will happen to an instance, or it has come as far as on paper."""
        if state.row.status.is_terminal:
            return not state.row.open_attempts
        paper = self.states[state.row.id].row
        return state.row.status is paper.status and set(state.row.runs) == set(paper.runs)


@dataclass(slots=True, kw_only=True)
class Player(Crew):
    """Agents whose attempts end as the script says of each, in its order."""

    play: Play
    store: Store
    _after: Mapping[Key, Key] = field(init=False)

    def __post_init__(self) -> None:
        self._after = dict(zip(self.play.ended[1:], self.play.ended, strict=False))

    async def _run(self, key: Key) -> bytes | None:
        _, task, attempt = key
        if key in self.play.stuck:
            # A notice names no instance to the crew: that of a neighbour's task may be meant.
            notice = self._cancelled.setdefault((task, attempt), asyncio.Event())
            await until(lambda: self._row(key, lambda row: _is_stopping(row, notice.is_set())))
            if await self._row(key, lambda row: row.cancel_requested):
                return result_data(task, attempt, "cancelled", agent=self.id)
        elif key in self._after:
            await until(lambda: self._has_ended(self._after[key]))
        return self._result(task, attempt, self.play.plan.get(key, Outcome()))

    async def _row(self, key: Key, is_so: Callable[[Instance], bool]) -> bool:
        state = await self.store.load_instance(key[0])
        return state is not None and is_so(state.row)

    async def _has_ended(self, key: Key) -> bool:
        state = await self.store.load_instance(key[0])
        attempt = state.find(*key[1:]) if state is not None else None
        return attempt is not None and not attempt.is_unanswered

    def _result(self, task: str, attempt: int, outcome: Outcome) -> bytes:
        fields: dict[str, Any] = {"agent": self.id, "artifacts": outcome.artifacts}
        error = _error(outcome)
        if error is None:
            return result_data(task, attempt, output=outcome.output, **fields)
        return result_data(task, attempt, "failed", error=error, **fields)


def _is_stopping(row: Instance, is_told: bool) -> bool:
    """Nobody waits for what still runs; who runs it is told where somebody cancels."""
    return row.status not in _FORWARD and (is_told or not row.cancel_requested)


def _error(outcome: Outcome) -> ErrorInfo | None:
    if outcome.timeout:  # it is the agent that keeps the time
        return ErrorInfo(type="timeout", message="ran too long")
    if outcome.error is None:
        return None
    message = outcome.error.message or f"the script says {outcome.error.type}"
    return ErrorInfo(type=outcome.error.type, message=message, retryable=outcome.error.retryable)


@dataclass(slots=True)
class People:
    """Who approves, rejects, answers and cancels, once nothing else is under way."""

    play: Play
    store: Store
    link: Link
    crew: Player

    async def work(self) -> None:
        """Until cancelled."""
        while True:
            for instance in self.play.states:
                state = await self.store.load_instance(instance)
                if state is not None and state.row.status is InstanceStatus.WAITING:
                    await self._answer(instance, state)
            await asyncio.sleep(0.005)

    async def _answer(self, instance: str, state: InstanceState) -> None:
        asked: Counter[str] = Counter()
        for key, run in state.row.runs.items():
            outcomes = self.play.outcomes(instance).get(run.stage)
            if run.gate is None or outcomes is None:
                continue
            outcome = outcomes[min(asked[run.stage], len(outcomes) - 1)]
            asked[run.stage] += 1
            if run.status is StageStatus.WAITING and run.gate.is_question:
                await self._say(instance, key, "answer", stage=run.stage, data=outcome.answer)
            elif run.status is StageStatus.WAITING and outcome.approve is not None:
                await self._decide(instance, key, run.stage, outcome)

    async def _decide(self, instance: str, key: str, stage: str, outcome: Outcome) -> None:
        name = "approve" if outcome.approve else "reject"
        said: dict[str, Any] = {"stage": stage, "reason": outcome.reason}
        if outcome.data is not None:
            said["data"] = outcome.data
        for by in outcome.by:
            await self._say(instance, f"{key}-{by}", name, by=by, **said)

    async def cancel_in_time(self) -> None:
        """Cancel once all that is stuck has begun, or nothing is left to do but wait."""
        if self.play.case.script.cancel_after is not None:
            await until(self._is_time)
            await self._say(ROOT, "cancel", "cancel")

    async def _is_time(self) -> bool:
        stuck = {name_of(key) for key in self.play.stuck}
        if stuck:
            return stuck <= set(self.crew.effects)
        states = [await self.store.load_instance(each) for each in self.play.states]
        return any(
            each is not None and each.row.status is InstanceStatus.WAITING for each in states
        )

    async def _say(self, instance: str, id: str, name: str, **arguments: Any) -> None:
        reply = await command(self.link, instance, id, name, **arguments)
        assert reply.ok, reply.message


def name_of(key: Key) -> str:
    """What a crew calls an attempt."""
    instance, task, attempt = key
    return f"{instance} {task}#{attempt}"
