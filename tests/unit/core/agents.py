"""The world of one schedule: a bus that may lose and repeat, and agents that claim, act and die.

The agents keep the protocol. What they really did, and when, is known here and nowhere else.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sagabus.core.commands import AnswerClaim, WithdrawTask
from sagabus.core.definition import Definition
from sagabus.core.events import ClaimReceived, Event, ResultReceived
from sagabus.core.instance import Attempt
from sagabus.core.tasks import GRACE, plan_of
from tests.unit.core.clock import BASE, Clock
from tests.unit.core.turn import Parked

ACK_WAIT_S = 10.0
BEAT_S = 2.0
PRESENCE_TTL_S = 6.0
ASK_AGAIN_S = 3.0

Key = tuple[str, int]
#: What an event is made of when it is read, given whether presence is known.
Message = Callable[[bool], Event | Parked]


@dataclass(slots=True, eq=False)
class Copy:
    """One message of an attempt on the bus."""

    attempt: Attempt
    is_resent: bool
    delivery: int = 0
    is_there: bool = True

    @property
    def key(self) -> Key:
        return self.attempt.task, self.attempt.attempt


@dataclass(slots=True, eq=False)
class Run:
    """One delivery in the hands of an agent of its own."""

    copy: Copy
    name: str
    is_answered: bool = False
    unheard: int = 0
    started: float | None = None
    #: Presence tells of it from then on.
    listed: float = 0.0
    died: float | None = None
    has_acted: bool = False
    #: The result is on its way; what is done is done.
    is_over: bool = False
    #: The result is in the inbox.
    is_stored: bool = False
    #: It cannot be interrupted.
    is_stuck: bool = False
    #: The bus forgot its result.
    is_forgotten: bool = False

    @property
    def is_done(self) -> bool:
        return self.is_over or self.died is not None


@dataclass(slots=True)
class Effects:
    """What really happened to the world, with the time."""

    #: By task id.
    done: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: Attempts that a person has told the outcome of, ``<task>/<attempt>``.
    resolved: set[str] = field(default_factory=set)
    #: By task id and entry of the compensation's roles.
    undone: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))


class Agents:
    """Bus and agents together."""

    def __init__(
        self,
        clock: Clock,
        definition: Definition,
        send: Callable[[Message, Callable[[], None] | None], None],
    ) -> None:
        self._clock = clock
        self._rng = clock.rng
        self._definition = definition
        #: Puts a message into the inbox; the second argument is told when it is there.
        self._send = send
        self._copies: dict[Key, list[Copy]] = defaultdict(list)
        self._runs: dict[Key, list[Run]] = defaultdict(list)
        self._by_name: dict[str, Run] = {}
        self._fail_rate = self._rng.choice((0.0, 0.1, 0.3))
        self._undo_fail_rate = self._rng.choice((0.0, 0.0, 0.2))
        self._max_deliver = self._rng.choice((2, 4, 10))
        self.effects = Effects()

    # --- what the orchestrator does -----------------------------------------------------------

    def publish(self, attempt: Attempt, *, is_resent: bool = False) -> None:
        """Put an attempt on the bus, which refuses what it holds already, unless it slips in."""
        assert not (is_resent and attempt.is_intent), f"{attempt.task} is final, and is sent again"
        held = [c for c in self._copies[attempt.task, attempt.attempt] if c.is_there]
        if (held and not self._clock.fault(0.05)) or self._clock.fault(0.03):
            return
        copies = 2 if self._clock.fault(0.08) else 1
        for _ in range(copies):
            copy = Copy(attempt, is_resent)
            self._copies[copy.key].append(copy)
            self._clock.later(self._rng.random() ** 4 * 8, self._deliver, copy)

    def answer(self, command: AnswerClaim) -> None:
        """Tell an agent the answer to its claim."""
        run = self._by_name[command.reply]
        # An agent that asks again and again is heard in the end.
        if run.unheard < 2 and self._clock.fault(0.15):
            run.unheard += 1
            return
        if run.is_done or run.is_answered:
            return
        run.is_answered = True
        match command.answer:
            case "run":
                self._begin(run)
            case "skip" | "hold":
                run.is_over = True
                run.copy.is_there = False
            case "later":
                run.is_over = True
                self._clock.later(PRESENCE_TTL_S, self._deliver, run.copy)

    def withdraw(self, command: WithdrawTask) -> None:
        """Take an attempt off the bus and tell its runner."""
        key = (command.attempt.task, command.attempt.attempt)
        if command.is_purged:
            for copy in self._copies[key]:
                copy.is_there = False
        for run in self._runs[key] if command.is_told else ():
            if not (run.is_done or run.is_stuck or self._clock.fault(0.1)):
                self._clock.later(self._rng.random(), self._hear_cancel, run)

    def running_since(self, key: Key, beside: Run | None = None) -> datetime | None:
        """What presence says: the newest beats, of agents that may be dead by now."""
        now = self._clock.now
        for run in self._runs[key]:
            if run is beside or run.started is None or not run.listed <= now or run.is_stored:
                continue
            if run.died is None or run.listed <= run.died > now - PRESENCE_TTL_S:
                return BASE + timedelta(seconds=run.started)
        return None

    def truth(self, key: Key) -> bool | None:
        """Whether an attempt had its effect; None: somebody is at it still."""
        runs = self._runs[key]
        if any(run.started is not None and not run.is_done for run in runs):
            return None
        return any(run.has_acted for run in runs)

    def check_given_up(self, attempt: Attempt) -> None:
        """What a timer ended had had its time, or its agent was gone."""
        timeout = plan_of(self._definition, attempt).timeout
        for run in self._runs[attempt.task, attempt.attempt]:
            if run.is_done or run.started is None:
                continue
            if not attempt.claim and self._clock.now < run.listed:
                continue  # nobody can know of it
            ran_s = self._clock.now - run.started
            is_over = timeout is not None and ran_s >= timeout.total_seconds()
            assert is_over, f"{attempt.task} was given up after {ran_s} s of {timeout}"

    # --- what agents do -----------------------------------------------------------------------

    def _deliver(self, copy: Copy) -> None:
        if not copy.is_there:
            return
        copy.delivery += 1
        run = Run(copy, f"r{len(self._by_name)}")
        self._runs[copy.key].append(run)
        self._by_name[run.name] = run
        if self._clock.fault(0.04):  # its heartbeats get lost
            self._clock.later(ACK_WAIT_S, self._deliver, copy)
        if copy.attempt.claim or copy.is_resent or copy.delivery > 1:
            if self._clock.fault(0.05):
                self._clock.later(self._rng.random() * 4, self._die, run)
            self._ask(run)
        else:
            self._begin(run)

    def _ask(self, run: Run) -> None:
        if run.is_done or run.is_answered:
            return
        if not self._clock.fault(0.05):
            self._tell_claim(run)
        if self._clock.fault(0.05):
            self._clock.later(self._rng.random() * 30, self._tell_claim, run)
        self._clock.later(ASK_AGAIN_S, self._ask, run)

    def _tell_claim(self, run: Run) -> None:
        self._send(partial(self._claim, run), None)

    def _claim(self, run: Run, is_presence_known: bool) -> ClaimReceived:
        attempt = run.copy.attempt
        is_elsewhere = is_presence_known and self.running_since(run.copy.key, run) is not None
        return ClaimReceived(
            at=self._clock.at,
            source=attempt.role,
            claim=run.name,
            task=attempt.task,
            attempt=attempt.attempt,
            agent=run.name,
            delivery=run.copy.delivery,
            reply=run.name,
            is_running_elsewhere=is_elsewhere,
            is_presence_known=is_presence_known,
            max_deliver=self._max_deliver,
        )

    def _begin(self, run: Run) -> None:
        now = self._clock.now
        run.started = now
        run.listed = now + self._rng.random() * BEAT_S
        attempt = run.copy.attempt
        if attempt.claim:
            for other in self._runs[run.copy.key]:
                is_gone = other.started is None or other.died is not None or other.is_forgotten
                assert other is run or is_gone, f"{attempt.task} is run twice, by live agents"
        self._work(run)

    def _work(self, run: Run) -> None:
        rng, later = self._rng, self._clock.later
        attempt = run.copy.attempt
        timeout = plan_of(self._definition, attempt).timeout
        limit_s = None if timeout is None else timeout.total_seconds()
        takes_s = rng.choice((0.2, 1.0, 9.0, 9.0 if limit_s else 40.0)) * (rng.random() + 0.05)
        fail_rate = self._fail_rate if attempt.kind == "task" else self._undo_fail_rate
        if self._clock.fault(0.15):  # it dies, before or after it acted
            later(takes_s * rng.random(), self._act, run)
            later(takes_s * rng.random(), self._die, run)
        elif limit_s is not None and self._clock.fault(0.25):  # it hangs far beyond its limit
            run.is_stuck = True
            takes_s = limit_s + GRACE.total_seconds() + rng.random() ** 3 * 40
            later(takes_s, self._act, run)
            later(takes_s, self._end, run, "succeeded")
        elif rng.random() < fail_rate:
            later(takes_s, self._end, run, "failed")
        else:
            later(takes_s * rng.random(), self._act, run)
            if limit_s is not None and takes_s > limit_s:
                later(limit_s, self._end, run, "timeout")
            else:
                later(takes_s, self._end, run, "succeeded")

    def _act(self, run: Run) -> None:
        if run.is_done:
            return
        attempt = run.copy.attempt
        run.has_acted = True
        if attempt.kind == "task":
            self.effects.done[attempt.task].append(self._clock.now)
            return
        task, _, entry = attempt.task.rpartition("-undo-")
        compensation = self._definition.stages[attempt.stage].compensation
        self.effects.undone[task, int(entry) % len(compensation.roles)].append(self._clock.now)

    def _die(self, run: Run) -> None:
        if run.is_done:
            return
        run.died = self._clock.now
        self._clock.later(ACK_WAIT_S, self._deliver, run.copy)

    def _hear_cancel(self, run: Run) -> None:
        # Some handlers cannot be interrupted.
        if not run.is_done and self._rng.random() < 0.7:
            self._end(run, "cancelled")

    def _end(self, run: Run, status: str) -> None:
        if run.is_done:
            return
        if not run.is_stuck and self._clock.fault(0.05):  # nobody hears of it
            self._die(run)
            return
        run.is_over = True
        if not run.is_stuck and self._clock.fault(0.03):
            run.is_forgotten = True
            run.is_stored = True
            run.copy.is_there = False
            return
        result = partial(self._result, run.copy.attempt, run.name, status, self._rng.random())
        self._send(result, partial(self._stored, run))
        if self._clock.fault(0.15):
            self._clock.later(self._rng.random() ** 3 * 200, self._send, result, None)

    def _stored(self, run: Run) -> None:
        run.is_stored = True
        run.copy.is_there = False

    def _result(
        self, attempt: Attempt, agent: str, status: str, luck: float, _: bool
    ) -> ResultReceived:
        outcome: dict[str, Any] = {}
        if status != "succeeded":
            outcome = {
                "error_type": "boom" if status == "failed" else status,
                "is_retryable": status != "cancelled" and luck < 0.8,
                "retry_after_s": 2.0 if luck < 0.1 else None,
            }
        return ResultReceived(
            at=self._clock.at,
            source=attempt.role,
            task=attempt.task,
            attempt=attempt.attempt,
            status="failed" if status == "timeout" else status,
            agent=agent,
            output={"by": agent},
            **outcome,
        )
