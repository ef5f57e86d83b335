"""One schedule: the shell's part around the machine, which crashes, and people with commands.

Order and promises are those of the real shell: decide, commit, carry out, acknowledge. After a
crash the state is what the store holds, and what was not acknowledged comes again.

One file, because the order of its steps is what is simulated.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar
from zlib import crc32

from sagabus.adapters.memory_store import MemoryStore
from sagabus.core import timers
from sagabus.core.commands import (
    AnswerClaim,
    AnswerCommand,
    Command,
    DispatchTask,
    SetTimer,
    WithdrawTask,
)
from sagabus.core.definition import Definition
from sagabus.core.events import (
    ApprovalAnswered,
    AttemptTimerFired,
    CancelRequested,
    Event,
    GateTimerFired,
    IntentResolved,
    MoreToSend,
    StartRequested,
    WorkflowTimerFired,
)
from sagabus.core.instance import (
    Answer,
    Attempt,
    Instance,
    InstanceState,
    InstanceStatus,
    StageStatus,
)
from sagabus.core.transition import Decision, Ignored
from sagabus.ports import Batch
from tests.unit.core.agents import Agents, Message
from tests.unit.core.clock import BASE, Clock
from tests.unit.core.invariants import check_counters, check_decisions
from tests.unit.core.judgement import check_undo, judge_end
from tests.unit.core.random_definitions import random_definition
from tests.unit.core.turn import Parked, Turn, decide_fully

T = TypeVar("T")

ID = "i1"
RECONCILE_S = 20.0
ASK_AGAIN_S = 5.0
PRESENCE_KNOWN_S = 4.0
CRASH_POINTS = ("decided", "committed", "half carried out", "carried out")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits: the memory store's are such."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the memory store waited for something")


def new_state() -> InstanceState:
    """An instance that is about to start."""
    row = Instance(ID, "flow", "d", InstanceStatus.PENDING, BASE, BASE, parameters={"size": 3})
    return InstanceState(row)


def _timed(state: InstanceState, event: Event | Parked) -> Attempt | None:
    """The attempt without a result that a timer is about, if it is about one."""
    if not isinstance(event, AttemptTimerFired):
        return None
    attempt = state.find(event.task, event.attempt)
    return attempt if attempt is not None and attempt.is_unanswered else None


class World:
    """A schedule. ``crash_at`` = (batch number, crash point): it crashes there besides."""

    def __init__(self, seed: int, crash_at: tuple[int, str] | None = None) -> None:
        self.seed = seed
        self.clock = Clock(seed)
        self.rng = self.clock.rng
        self.definition: Definition = random_definition(self.rng)
        self.agents = Agents(self.clock, self.definition, self._send)
        self.store = MemoryStore()
        self.state: InstanceState | None = None
        #: Every event that was decided and stored, in order.
        self.events: list[Event | Parked] = []
        #: Batches decided so far.
        self.turns = 0
        self._crash_at = crash_at
        self._late: set[str] = set()
        self._epoch = self._batch = 0
        self._inbox: deque[Message] = deque()
        self._is_up = False
        self._presence_known_at = 0.0
        self._is_reconciling = False
        self._answers: dict[str, Answer] = {}
        self._deny_percent = self.rng.choice((0, 4))
        self._refuse_percent = self.rng.choice((0, 0, 0, 3))

    def play(self) -> None:
        """Run it to its end and judge the end."""
        self._come_up()
        self._ask("start", lambda _: StartRequested(self.clock.at, "start"))
        if self.rng.random() < 0.2:
            self.clock.later(self.rng.random() ** 2 * 60, self._cancel, "cancel")
        if self.rng.random() < 0.05:
            self.clock.later(self.rng.random() * 10, self._answer_gate, "early", "s1", "ann")
        if self.rng.random() < 0.03:
            self.clock.later(self.rng.random() * 20, self._send, self._park, None)
        self.clock.run()
        assert self.state is not None
        assert self.state == self.stored(), "memory and store disagree"
        self._judge()

    def _judge(self) -> None:
        assert self.state is not None
        judge_end(self.definition, self.state, self.agents.effects)

    def _check_undo(self, decisions: Sequence[Decision]) -> None:
        assert self.state is not None
        check_undo(self.definition, self.state, decisions, self._late)

    def _foresee(self, event: Event | Parked) -> None:
        """An event is about to be decided."""

    def _park(self, _: bool) -> Parked:
        return Parked(self.clock.at)

    def is_denied(self, task: str, attempt: int) -> bool:
        """What the policies say, always the same of the same."""
        return self._percent("policy", task, attempt) < self._deny_percent

    def is_refused(self, task: str, attempt: int) -> bool:
        """Whether the bus finds it too large."""
        return self._percent("bus", task, attempt) < self._refuse_percent

    def _percent(self, *what: object) -> int:
        return crc32(repr((self.seed, what)).encode()) % 100

    # --- people -------------------------------------------------------------------------------

    def _ask(self, name: str, message: Message) -> None:
        """A person asks until there is an answer, and now and then once more."""
        is_started = name == "start" and self.stored() is not None
        if (is_started or name in self._answers) and self.rng.random() < 0.9:
            return
        if not self.clock.fault(0.1):
            self._send(message, None)
        self.clock.later(ASK_AGAIN_S, self._ask, name, message)

    def _cancel(self, name: str) -> None:
        self._ask(name, lambda _: CancelRequested(self.clock.at, name, "ann"))

    def _answer_gate(self, name: str, stage: str, by: str) -> None:
        is_yes = self.rng.random() < 0.8
        self._ask(name, lambda _: ApprovalAnswered(self.clock.at, name, stage, is_yes, by))
        self.clock.later(4 * ASK_AGAIN_S, self._answer_again, name, stage, by)

    def _answer_again(self, name: str, stage: str, by: str) -> None:
        """While it needs an operator it takes no answers: a refused one is given once more."""
        answer = self._answers.get(name)
        state = self.stored()
        runs = [] if state is None else state.row.runs.values()
        is_waiting = any(
            run.stage == stage and run.status is StageStatus.WAITING and run.ended_at is None
            for run in runs
        )
        if is_waiting and (not answer or not answer.ok):
            self._answer_gate(f"{name}-again", stage, by)

    def _react(self, event: dict[str, Any]) -> None:
        name = f"{event['type']}-{event['seq']}"
        if event["type"] == "ApprovalRequested":
            for by in ("ann", "bob")[: event["data"]["approvers"]]:
                wait_s = self.rng.random() * 20
                stage = event["data"]["stage"]
                self.clock.later(wait_s, self._answer_gate, f"{name}-{by}", stage, by)
        elif event["type"] == "IntentResolved":
            self.agents.effects.resolved.add(f"{event['data']['task']}/{event['data']['attempt']}")
        elif event["type"] == "WorkflowParked":
            data, wait_s = event["data"], self.rng.random() * 20
            is_unknown = data["cause"] == "intent_unknown"
            if is_unknown:
                self.clock.later(wait_s, self._resolve, name, data["task"], data["attempt"])
            if not is_unknown or self.rng.random() < 0.2:
                self.clock.later(wait_s, self._cancel, name)

    def _resolve(self, name: str, task: str, number: int) -> None:
        """A person looks what became of a final effect, and says so until it is known."""
        state = self.stored()
        attempt = state.find(task, number) if state is not None else None
        if attempt is None or not attempt.is_held:
            return
        has_acted = self.agents.truth((task, number))
        if has_acted is not None:
            outcome = "succeeded" if has_acted else self.rng.choice(("failed", "retry"))
            command = f"{name}-{self.clock.now}"
            names = (command, attempt.stage, outcome, None, f"{task}/{number}", "ann")
            self._send(lambda _: IntentResolved(self.clock.at, *names), None)
        self.clock.later(ASK_AGAIN_S, self._resolve, name, task, number)

    # --- the inbox ----------------------------------------------------------------------------

    def _send(self, message: Message, on_stored: Callable[[], None] | None) -> None:
        delay_s = self.rng.random() ** 8 * (60 if self.clock.fault(0.05) else 2)
        self.clock.later(delay_s, self._arrive, message, on_stored)

    def _arrive(self, message: Message, on_stored: Callable[[], None] | None) -> None:
        if on_stored is not None:
            on_stored()
        self._inbox.append(message)
        self._read_inbox()

    def _read_inbox(self) -> None:
        while self._is_up and self._inbox:
            limit = min(self.rng.choice((1, 2, 9)), len(self._inbox))
            messages = [self._inbox.popleft() for _ in range(limit)]
            if not self._turn(messages):
                self._inbox.extendleft(reversed(messages))

    # --- owning the instance ------------------------------------------------------------------

    def _come_up(self) -> None:
        claim = at_once(self.store.take_partition(0))
        self._epoch, self._batch = claim.epoch, claim.batch
        self._is_up = True
        if self.turns:
            self._presence_known_at = self.clock.now + PRESENCE_KNOWN_S
        self._read_again()
        self._is_reconciling = False
        # What waits in the inbox comes before any timer that is due.
        self._read_inbox()
        if self._is_up and self.state is not None:
            for timer in timers.timers_of(self.state):
                self._set_timer(timer)
            self._reconcile(self._epoch)

    def _read_again(self) -> None:
        """What is in memory may be half decided: what is stored is right."""
        self.state = self.stored()

    def stored(self) -> InstanceState | None:
        """What the store holds."""
        return at_once(self.store.load_instance(ID))

    def _crash(self) -> None:
        self._is_up = False
        self.clock.later(self.rng.choice((0.5, 5.0, 60.0)) * self.rng.random(), self._come_up)

    def _set_timer(self, timer: SetTimer) -> None:
        delay_s = max(0.0, (timer.at - self.clock.at).total_seconds())
        self.clock.later(delay_s + self.rng.random() ** 6 * 3, self._fire, timer, self._epoch)

    def _fire(self, timer: SetTimer, epoch: int) -> None:
        if not self._is_up or epoch != self._epoch:
            return
        self._turn([partial(self._timer_event, timer)])

    def _timer_event(self, timer: SetTimer, is_presence_known: bool) -> Event:
        match timer.kind:
            case "workflow":
                return WorkflowTimerFired(self.clock.at)
            case "gate":
                return GateTimerFired(self.clock.at, timer.key)
            case "more":
                return MoreToSend(self.clock.at)
            case "due":
                return AttemptTimerFired(self.clock.at, timer.key, timer.attempt)
            case "attempt":
                key = (timer.key, timer.attempt)
                since = self.agents.running_since(key) if is_presence_known else None
                return AttemptTimerFired(
                    self.clock.at, timer.key, timer.attempt, since, is_presence_known
                )

    def _reconcile(self, epoch: int) -> None:
        """Send again what has no answer, for as long as there is something."""
        if not self._is_up or epoch != self._epoch or self.state is None:
            return
        self._is_reconciling = False
        for tries in self.state.attempts.values():
            if tries[-1].may_be_sent_again:
                self.agents.publish(tries[-1], is_resent=True)
        self._keep_reconciling(self.state.row)

    def _keep_reconciling(self, row: Instance) -> None:
        if not self._is_reconciling and (row.open_attempts or not row.status.is_terminal):
            self._is_reconciling = True
            self.clock.later(RECONCILE_S, self._reconcile, self._epoch)

    # --- one batch ----------------------------------------------------------------------------

    def _turn(self, messages: Sequence[Message]) -> bool:
        """Decide, commit, carry out; False when it crashed before it could acknowledge."""
        self.turns += 1
        is_known = self.clock.now >= self._presence_known_at
        events = [message(is_known) for message in messages]
        turn = self._decide(events)
        crash = self._crash_point()
        if crash is None and self.rng.random() < 0.08:
            self._decide_again(events)
        if crash != "decided":
            self._commit(turn)
            commands = turn.commands
            ends = {"committed": 0, "half carried out": len(commands) // 2}
            for command in commands[: ends.get(crash or "", len(commands))]:
                self._carry_out(command)
            for record in turn.records():
                self._react(record)
        if crash is not None:
            self._crash()
        return crash is None

    def _crash_point(self) -> str | None:
        if self._crash_at is not None and self._crash_at[0] == self.turns:
            return self._crash_at[1]
        return self.rng.choice(CRASH_POINTS) if self.clock.fault(0.06) else None

    def _decide(self, events: Sequence[Event | Parked]) -> Turn:
        turn = Turn()
        for event in events:
            if self.state is None:
                if not isinstance(event, StartRequested):
                    continue
                self.state = new_state()
            turn.events.append(event)
            status, seq = self.state.row.phase, self.state.row.seq
            awaited = _timed(self.state, event)
            self._foresee(event)
            outcome = decide_fully(
                self.definition,
                self.state,
                event,
                is_denied=self.is_denied,
                is_refused=self.is_refused,
            )
            if isinstance(outcome, Ignored):
                turn.repeats += outcome.commands
                if not turn.decisions:
                    assert self.state == self.stored(), f"{outcome} changed the state"
                continue
            turn.decisions += outcome
            if awaited is not None and not awaited.is_unanswered:
                self.agents.check_given_up(awaited)
            check_decisions(status, self.state, outcome, seq)
            check_counters(self.definition, self.state)
            self._check_undo(outcome)
        return turn

    def _decide_again(self, events: Sequence[Event | Parked]) -> None:
        """Thrown away before the commit and decided again, it comes to the same."""
        before = self.state
        self._read_again()
        self._decide(events)
        self.state, again = before, self.state
        assert again == before, "the same events on the same state were decided otherwise"

    def _commit(self, turn: Turn) -> None:
        self.events += turn.events
        if self.state is None or not turn.decisions:
            return
        row = self.state.row
        row.version += 1
        self._batch += 1
        changed = [(ID, attempt) for attempt in turn.attempts if attempt.has_row]
        at_once(self.store.commit(Batch(0, self._epoch, self._batch, 0, [row], changed)))
        self._keep_reconciling(row)

    def _carry_out(self, command: Command) -> None:
        match command:
            case DispatchTask():
                # What was sent and settled within the batch never leaves.
                if command.attempt.is_unanswered:
                    self.agents.publish(command.attempt)
            case WithdrawTask():
                self.agents.withdraw(command)
            case AnswerClaim():
                self.agents.answer(command)
            case SetTimer():
                self._set_timer(command)
            case AnswerCommand():
                answer = deepcopy(command.answer)
                assert self._answers.setdefault(command.command, answer) == answer
