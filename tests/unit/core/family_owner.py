"""An owner in a careless world: it dies, and what it says is lost, said twice, or said too late.

It keeps the promises of the real shell: decide, commit, carry out, acknowledge; then ask again for
what has no answer. What one instance says to another is an entry in the inbox of the other's owner.
What one owner says arrives in that order, unless it had lost its partition before it said it.

One file, because a death may come between any two of its steps.
"""

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from functools import partial

from sagabus.core import subworkflows, timers
from sagabus.core.commands import (
    AnswerClaim,
    AnswerCommand,
    Command,
    CommandChild,
    DispatchTask,
    SetTimer,
    StartChild,
    TellParent,
    UndoChild,
    WithdrawTask,
)
from sagabus.core.events import (
    AttemptTimerFired,
    CancelRequested,
    EndAsked,
    Event,
    GateTimerFired,
    MoreToSend,
    PauseRequested,
    ResultReceived,
    ResumeRequested,
    StartRequested,
    UndoRequested,
    WorkflowTimerFired,
)
from sagabus.core.instance import Failure, Instance, InstanceState, InstanceStatus
from sagabus.core.transition import Decision, Ignored
from sagabus.ports import Batch
from tests.unit.core.agents import Message
from tests.unit.core.clock import Clock
from tests.unit.core.invariants import check_counters, check_decisions
from tests.unit.core.turn import Parked, decide_fully
from tests.unit.core.world import CRASH_POINTS, at_once

TOP = "top"
RECONCILE_S = 20.0
ASK_AGAIN_S = 5.0
PRESENCE_KNOWN_S = 4.0

ForChild = StartChild | UndoChild | CommandChild
Neighbourly = StartChild | UndoChild | CommandChild | TellParent
#: What stands in an inbox: what happens to an instance, or what another one says to it.
Entry = tuple[str, Message | ForChild]
#: An instance with what it asks for.
Said = tuple[str, Command]
_BY_NAME = {"cancel": CancelRequested, "pause": PauseRequested, "resume": ResumeRequested}


class Owner:
    """Serves the instances of one partition, and dies now and then."""

    def __init__(self, world, number: int) -> None:
        self._world = world
        self._clock = world.clock
        self._rng = world.clock.rng
        self._number = number
        self._epoch = self._batch = 0
        self._is_up = self._is_reconciling = False
        self._presence_known_at = 0.0
        self._inbox: deque[Entry] = deque()
        self.states: dict[str, InstanceState] = {}
        #: By owner: when what was said to it last arrives.
        self._arrives: dict[int, float] = {}

    # --- the inbox ----------------------------------------------------------------------------

    def arrive(self, entry: Entry) -> None:
        self._inbox.append(entry)
        self._read_inbox()

    def _read_inbox(self) -> None:
        while self._is_up and self._inbox:
            limit = min(self._rng.choice((1, 2, 9)), len(self._inbox))
            entries = [self._inbox.popleft() for _ in range(limit)]
            if not self._turn(entries):
                self._inbox.extendleft(reversed(entries))

    # --- taking the partition -----------------------------------------------------------------

    def come_up(self) -> None:
        store = self._world.store
        claim = at_once(store.take_partition(self._number))
        is_first = self._epoch == 0
        self._epoch, self._batch = claim.epoch, claim.batch
        self._is_up, self._is_reconciling = True, False
        self._presence_known_at = 0.0 if is_first else self._clock.now + PRESENCE_KNOWN_S
        self._read_again()
        self._read_inbox()
        if self._is_up:
            for instance, state in self.states.items():
                for timer in timers.timers_of(state):
                    self._set_timer(instance, timer)
            self._reconcile(self._epoch)

    def _read_again(self) -> None:
        """What is in memory may be half decided: what is stored is right."""
        self.states.clear()
        for row in at_once(self._world.store.load_active(self._number)).instances:
            self._bring(row.id)

    def known(self, instance: str) -> InstanceState | None:
        """What is in memory, if anybody is there."""
        return self.states.get(instance) if self._is_up else None

    def _bring(self, instance: str) -> InstanceState | None:
        if instance not in self.states:
            state = self._world.stored(instance)
            if state is None:
                return None
            self.states[instance] = state
        return self.states[instance]

    def _crash(self) -> None:
        self._is_up = False
        self._clock.later(self._rng.choice((0.5, 5.0, 60.0)) * self._rng.random(), self.come_up)

    # --- timers -------------------------------------------------------------------------------

    def _set_timer(self, instance: str, timer: SetTimer) -> None:
        delay_s = max(0.0, (timer.at - self._clock.at).total_seconds())
        late_s = self._rng.random() ** 6 * 3
        self._clock.later(delay_s + late_s, self._fire, instance, timer, self._epoch)

    def _fire(self, instance: str, timer: SetTimer, epoch: int) -> None:
        if self._is_up and epoch == self._epoch and instance in self.states:
            self._turn([(instance, partial(self._timer_event, instance, timer))])

    def _timer_event(self, instance: str, timer: SetTimer, is_presence_known: bool) -> Event:
        at = self._clock.at
        match timer.kind:
            case "workflow":
                return WorkflowTimerFired(at)
            case "gate":
                return GateTimerFired(at, timer.key)
            case "more":
                return MoreToSend(at)
            case "due":
                return AttemptTimerFired(at, timer.key, timer.attempt)
            case "attempt":
                agents = self._world.agents[instance]
                key = (timer.key, timer.attempt)
                since = agents.running_since(key) if is_presence_known else None
                return AttemptTimerFired(at, timer.key, timer.attempt, since, is_presence_known)

    # --- asking again -------------------------------------------------------------------------

    def _reconcile(self, epoch: int) -> None:
        """Ask again for all that has no answer, as long as there is something."""
        if not self._is_up or epoch != self._epoch:
            return
        self._is_reconciling = False
        world = self._world
        for instance, state in list(self.states.items()):
            definition = world.definition_of(state)
            for tries in state.attempts.values():
                attempt = tries[-1]
                if attempt.is_unanswered and attempt.is_child:
                    for command in subworkflows.ask_again(definition, state, attempt):
                        self._carry_out(instance, command)
                elif attempt.may_be_sent_again and not attempt.is_local:
                    world.agents[instance].publish(attempt, is_resent=True)
        self._keep_reconciling()

    def _keep_reconciling(self) -> None:
        rows = [state.row for state in self.states.values()]
        is_needed = any(row.open_attempts or not row.status.is_terminal for row in rows)
        if is_needed and not self._is_reconciling:
            self._is_reconciling = True
            self._clock.later(RECONCILE_S, self._reconcile, self._epoch)

    # --- one batch ----------------------------------------------------------------------------

    def _turn(self, entries: Sequence[Entry]) -> bool:
        """Decide, commit, carry out; False when it died before it could acknowledge."""
        said: list[Said] = []
        decisions: dict[str, list[Decision]] = {}
        order = list(dict.fromkeys(instance for instance, _ in entries))
        for instance, message in sorted(entries, key=lambda entry: order.index(entry[0])):
            event = self._event(instance, message, said)
            if event is not None:
                self._decide(instance, event, decisions, said)
        point = self._rng.choice(CRASH_POINTS) if self._clock.fault(0.04) else None
        if point == "decided":
            self._crash()
            return False
        self._commit(decisions)
        ends = {"committed": 0, "half carried out": len(said) // 2}
        count = ends.get(point or "", len(said))
        for instance, command in said[:count]:
            self._carry_out(instance, command)
        self._world.witness.unheard.update(
            instance for instance, command in said[count:] if isinstance(command, TellParent)
        )
        if point is not None and self._rng.random() < 0.3:
            # It says the rest when it wakes up, and does not know that it has lost its partition.
            late_s = self._rng.random() * 60
            self._clock.later(late_s, self._say_late, said[count:], self._epoch)
        self._world.react(decisions)
        if point is not None:
            self._crash()
        return point is None

    def _event(
        self, instance: str, message: Message | ForChild, said: list[Said]
    ) -> Event | Parked | None:
        state = self._bring(instance)
        at = self._clock.at
        if not isinstance(message, ForChild):
            event = message(self._clock.now >= self._presence_known_at)
            if state is None and isinstance(event, StartRequested):
                self._new(instance, Instance(TOP, TOP, TOP, InstanceStatus.PENDING, at, at))
                return event
            return event if state is not None else None
        match message:
            case StartChild() if state is None:
                return self._start(message, said)
            case StartChild():
                return EndAsked(at, message.parent, message.is_paused)
            case UndoChild() if state is None:
                said.append((instance, TellParent(message.parent, "succeeded")))
            case UndoChild():
                return UndoRequested(
                    at,
                    f"{instance}-undo",
                    message.parent,
                    message.is_paused,
                    message.is_asked,
                    self._world.hold(instance, at),
                )
            case CommandChild() if state is not None:
                return _BY_NAME[message.name](at, message.command, message.by, message.reason)
        return None

    def _start(self, message: StartChild, said: list[Said]) -> Event | None:
        if self._world.is_refused(message.child):
            failure = Failure("bad_input", "its parameters do not fit")
            said.append((message.child, TellParent(message.parent, "failed", error=failure)))
            return None
        at = self._clock.at
        row = Instance(
            message.child,
            message.workflow,
            message.digest,
            InstanceStatus.PENDING,
            at,
            at,
            parameters=deepcopy(message.parameters),
            started_by=message.by,
            trace=message.trace,
            parent=message.parent,
            root=message.root,
        )
        self._world.witness.check_start(message)
        self._new(message.child, row)
        return StartRequested(at, "start", message.is_paused)

    def _new(self, instance: str, row: Instance) -> None:
        self.states[instance] = InstanceState(row)
        self._world.meet(row)

    def _decide(
        self,
        instance: str,
        event: Event | Parked,
        decisions: dict[str, list[Decision]],
        said: list[Said],
    ) -> None:
        world, state = self._world, self.states[instance]
        definition = world.definition_of(state)
        before, seq = state.row.phase, state.row.seq
        awaited = None
        if isinstance(event, AttemptTimerFired):
            awaited = state.find(event.task, event.attempt)
            awaited = awaited if awaited is not None and awaited.is_unanswered else None
        outcome = decide_fully(
            definition, state, event, is_denied=world.never, is_refused=world.never
        )
        world.trace.append((self._clock.now, instance, event, outcome, state.row.status))
        if isinstance(event, CancelRequested):
            world.witness.cancelled.add(instance)
        if isinstance(outcome, Ignored):
            said += [(instance, command) for command in outcome.commands]
            return
        decisions.setdefault(instance, []).extend(outcome)
        said += [(instance, command) for decision in outcome for command in decision.commands]
        if awaited is not None and not awaited.is_unanswered and awaited.claim:
            world.agents[instance].check_given_up(awaited)
        check_decisions(before, state, outcome, seq)
        check_counters(definition, state)
        world.witness.check_event(state, outcome, self._clock.now)

    def _commit(self, decisions: dict[str, list[Decision]]) -> None:
        rows, attempts, items = [], {}, []
        for instance, made in decisions.items():
            row = self.states[instance].row
            row.version += 1
            rows.append(row)
            for decision in made:
                for key, attempt in decision.attempts.items():
                    attempts[instance, *key] = attempt
                items += [(instance, run, each) for run, each in decision.items.items()]
        if not rows:
            return
        self._batch += 1
        changed = [(key[0], attempt) for key, attempt in attempts.items() if attempt.has_row]
        batch = Batch(self._number, self._epoch, self._batch, 0, rows, changed, [], items)
        at_once(self._world.store.commit(batch))
        self._keep_reconciling()
        for row in rows:
            self._world.witness.committed(row, decisions[row.id], self._clock.now)
            if row.status.is_terminal and row.open_attempts == 0:
                del self.states[row.id]

    # --- carrying out -------------------------------------------------------------------------

    def _say_late(self, said: Sequence[Said], epoch: int) -> None:
        for instance, command in said:
            if isinstance(command, Neighbourly) and epoch != self._epoch:
                self._world.hear(self._entry(instance, command))

    def _carry_out(self, instance: str, command: Command) -> None:
        world = self._world
        match command:
            case DispatchTask():
                # What was sent and settled within the batch never leaves.
                if command.attempt.is_unanswered:
                    world.agents[instance].publish(command.attempt)
            case WithdrawTask():
                world.agents[instance].withdraw(command)
            case AnswerClaim():
                world.agents[instance].answer(command)
            case SetTimer():
                self._set_timer(instance, command)
            case AnswerCommand():
                answer = deepcopy(command.answer)
                first = world.answers.setdefault((instance, command.command), answer)
                assert first == answer, f"{command.command}: first {first}, then {answer}"
            case StartChild() | UndoChild() | CommandChild() | TellParent():
                if isinstance(command, CommandChild) and command.name == "cancel":
                    world.witness.check_cancel(command)
                is_said = self._say(self._entry(instance, command))
                if isinstance(command, TellParent) and not is_said:
                    world.witness.unheard.add(instance)

    def _entry(self, instance: str, command: Neighbourly) -> Entry:
        if isinstance(command, TellParent):
            return command.parent.instance, partial(_result, command, instance, self._clock)
        return command.child, command

    def _say(self, entry: Entry) -> bool:
        if self._clock.fault(0.06):
            return False
        owner = self._world.owner_of(entry[0])
        delay_s = self._rng.random() ** 8 * (60 if self._clock.fault(0.05) else 1)
        # Behind what was said before, whatever is lost in the last digit of a sum.
        at = max(self._arrives.get(owner._number, 0.0) + 1e-6, self._clock.now + delay_s)
        self._arrives[owner._number] = at
        for _ in range(2 if self._clock.fault(0.06) else 1):
            self._clock.later(at - self._clock.now, self._world.hear, entry)
        return True


def _result(told: TellParent, instance: str, clock: Clock, _: bool) -> ResultReceived:
    error = told.error or Failure("failed", "it did not complete")
    is_done = told.status == "succeeded"
    return ResultReceived(
        at=clock.at,
        source="_workflow",
        task=told.parent.task,
        attempt=told.parent.attempt,
        status=told.status,
        agent=instance,
        output=deepcopy(told.output),
        error_type="" if is_done else error.type,
        error_message="" if is_done else error.message,
        has_left_effects=told.has_left_effects,
        left=told.left,
        seq=told.seq,
    )
