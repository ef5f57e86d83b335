"""What a family promises: checked at every event, and at the end against what really happened.

One file, because each promise is noted at one place and judged at another.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sagabus.core.commands import CommandChild, DispatchTask, StartChild, UndoChild
from sagabus.core.definition import Compensation, Definition
from sagabus.core.instance import (
    Attempt,
    Instance,
    InstanceState,
    InstanceStatus,
    ParentRef,
    TaskStatus,
    child_id,
    task_id,
)
from sagabus.core.transition import Decision
from tests.unit.core.agents import Agents
from tests.unit.core.judgement import check_order, judge_finals, judge_given_up

S = InstanceStatus
#: By then what was asked has arrived, however often it was lost; or where nothing is lost.
BOUND_S = 300.0
SHORT_BOUND_S = 10.0


class Witness:
    """Sees every event of a family, and judges its end."""

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        peek: Callable[[str], InstanceState | None],
        *,
        is_lossless: bool,
    ) -> None:
        self._definitions = definitions
        self._bound_s = SHORT_BOUND_S if is_lossless else BOUND_S
        self._peek = peek
        self.paused_by_people: set[str] = set()
        self.parked_by_people: set[str] = set()
        #: Instances that were told to end, which ends their pause.
        self.cancelled: set[str] = set()
        #: Instances that told the one above something that was lost on the way.
        self.unheard: set[str] = set()
        self._started: Counter[str] = Counter()
        self._undone: Counter[str] = Counter()
        #: How instances ended for the first time, with what they gave.
        self._first_end: dict[str, tuple[InstanceStatus, Any]] = {}
        #: Since when instances do not go forward, or are paused, or have given up an attempt.
        self._stopped: dict[str, float] = {}
        self._paused: dict[str, float] = {}
        self._given_up: dict[tuple[str, str, int], float] = {}
        #: Undos of late successes, which come when they come.
        self._late: dict[str, set[str]] = {}
        #: Undos that were sent before somebody asked for the rest.
        self._before: dict[str, set[str]] = {}
        self._revised: set[str] = set()
        self._came_late: set[tuple[str, str]] = set()
        self.seen: Counter[str] = Counter()

    # --- at every event -----------------------------------------------------------------------

    def check_start(self, command: StartChild) -> None:
        """There is an attempt that a new child carries out, and it waits for it."""
        parent = command.parent
        above = self._peek(parent.instance)
        assert above is not None, "a child begins, and nothing is above it"
        attempt = above.find(parent.task, parent.attempt)
        assert attempt is not None, f"a child begins for {parent}, which was never made"
        assert child_id(parent.instance, parent.task, parent.attempt) == command.child
        assert attempt.is_unanswered, f"a child begins for {parent}, which has ended"

    def check_cancel(self, command: CommandChild) -> None:
        """What carries out the very last stage is left in peace, unless its time is over."""
        if command.by in self.parked_by_people:
            return  # a person may cancel what was parked at its very end
        above = self._peek(command.by)
        assert above is not None
        last = self._definitions[above.row.digest].on_end
        for tries in above.attempts.values():
            for attempt in tries:
                is_it = child_id(command.by, attempt.task, attempt.attempt) == command.child
                if is_it and attempt.stage == last:
                    assert attempt.error is not None, "the child of the last stage is cancelled"

    def check_event(self, state: InstanceState, decisions: Sequence[Decision], now: float) -> None:
        """What an instance does now it may do, whatever those above it do."""
        definition = self._definitions[state.row.digest]
        if state.row.status is S.NEEDS_OPERATOR:
            causes = {each.cause for each in state.row.parked}
            self.seen.update(f"parked: {cause}" for cause in causes)
            is_own = definition.saga_on_failed_undo == "park" or (
                definition.has_finals and "compensation_failed" not in causes
            )
            assert is_own or state.row.id in self.parked_by_people, "parked for no reason"
        self._check_undo(definition, state, decisions)
        # The undo of a late success does not wait.
        forward, others = _sent(decisions, self._late[state.row.id])
        if [stage for stage in forward if stage != definition.on_end]:
            self._check_wanted(state, now)
        if forward or others:
            self._check_unpaused(state, now)

    def _check_wanted(self, state: InstanceState, now: float) -> None:
        for above, attempt in self._line(state):
            where = f"{attempt.task}/{attempt.attempt}"
            assert attempt.is_unanswered, f"it goes forward, and {where} above has ended"
            row = above.row
            if self._definitions[row.digest].on_end == attempt.stage:
                return
            since = self._stopped.get(row.id, now)
            assert now - since < self._bound_s, f"it goes forward, {row.status} above since {since}"
            since = self._given_up.get((row.id, attempt.task, attempt.attempt), now)
            assert now - since < self._bound_s, f"it goes forward, {where} given up since {since}"

    def _check_unpaused(self, state: InstanceState, now: float) -> None:
        row = state.row
        assert row.paused is None, "it sends something while it is paused"
        for above, _ in self._line(state):
            if row.id in self.cancelled or row.id in self.paused_by_people:
                return
            row = above.row
            since = self._paused.get(row.id, now)
            assert now - since < self._bound_s, f"it sends something, paused above since {since}"

    def _line(self, state: InstanceState) -> Iterator[tuple[InstanceState, Attempt]]:
        """Those above, each with the attempt that is carried out below it."""
        parent = state.row.undo_parent or state.row.parent
        while parent is not None:
            above = self._peek(parent.instance)
            assert above is not None
            attempt = above.find(parent.task, parent.attempt)
            assert attempt is not None, f"{parent} was never made"
            yield above, attempt
            parent = above.row.undo_parent or above.row.parent

    def _check_undo(
        self, definition: Definition, state: InstanceState, decisions: Sequence[Decision]
    ) -> None:
        """Undone is what may have acted, strictly against the order of completion."""
        late = self._late.setdefault(state.row.id, set())
        opened: list[Attempt] = []
        for decision in decisions:
            if any(event["type"] == "UndoRequested" for event in decision.events):
                # It begins from the newest once more: what was sent before was in its order.
                self._before[state.row.id] = set(state.attempts) - {
                    task for task, _ in decision.attempts
                }
            new = [a for (_, n), a in decision.attempts.items() if n == 1 and a.kind != "task"]
            if any(event["type"] == "TaskCompletedLate" for event in decision.events):
                late.update(attempt.task for attempt in new)
            opened += new
        for position, undo in enumerate(opened):
            if undo.task in late or undo.created_at != state.row.updated_at:
                continue
            self._check_reason(definition, state, undo)
            passed = self._before.get(state.row.id, set()).union(late)
            check_order(state, undo, passed.union(each.task for each in opened[position:]))

    def _check_reason(self, definition: Definition, state: InstanceState, undo: Attempt) -> None:
        compensation = definition.stages[undo.stage].compensation
        assert compensation is not None, f"{undo.task} undoes what nothing undoes"
        task = task_id(undo.stage, undo.pass_, undo.index)
        tries = state.attempts[task]
        is_done = any(each.status is TaskStatus.SUCCEEDED for each in tries)
        is_may_be = any(each.claim_id or each.acted or each.started_at for each in tries)
        # Where something below is known to be left, a person may want that gone, too.
        is_wanted = compensation.compensate_self != "never" or state.row.undo_asked
        assert is_done or (is_may_be and is_wanted), f"{undo.task} is sent, and {task} never ran"

    def committed(self, row: Instance, decisions: Sequence[Decision], now: float) -> None:
        """Note what is stored now."""
        for decision in decisions:
            for event in decision.events:
                self._note(row, event)
            for key, attempt in decision.attempts.items():
                if attempt.is_child and attempt.is_unanswered and attempt.error is not None:
                    self._given_up.setdefault((row.id, *key), now)
        if row.status.is_terminal:
            self._first_end.setdefault(row.id, (row.status, dict(row.output)))
        _since(self._stopped, row.id, row.status is S.COMPENSATING and row.outcome is None, now)
        _since(self._paused, row.id, row.paused is not None, now)

    def _note(self, row: Instance, event: Mapping[str, Any]) -> None:
        type_ = event["type"]
        self.seen[type_] += 1
        if type_ == "WorkflowStarted":
            self._started[row.id] += 1
            assert self._started[row.id] == 1, f"{row.id} was started twice"
        elif type_ == "UndoRequested":
            self._undone[row.id] += 1
        elif type_ == "RollbackRevised":
            self._revised.add(row.id)
        elif type_ == "TaskCompletedLate":
            self._came_late.add((row.id, event["data"]["task"]))

    # --- at the end ---------------------------------------------------------------------------

    def judge(self, states: Sequence[InstanceState], agents: Mapping[str, Agents]) -> Counter[str]:
        """When nothing is left to happen: every promise was kept."""
        family = {state.row.id: state for state in states}
        for state in states:
            row = state.row
            where = "the top" if row.parent is None else f"{row.workflow} for {row.parent.task}"
            assert row.status.is_terminal, f"{where} hangs in {row.status}"
            assert row.open_attempts == row.in_flight == 0, f"{where} ended with open attempts"
            for tries in state.attempts.values():
                for attempt in tries:
                    if attempt.is_child:
                        self._judge_child(state, attempt, family)
            self._judge_asked(state, family, where)
            self._judge_undone(state, family, agents, where)
            self._judge_revised(row, family)
            self._judge_once(state)
            self._judge_finals(state, agents[row.id], where)
            self.seen[f"{'top' if row.parent is None else 'below'} {row.status.value}"] += 1
            self.seen[f"rollback {row.rollback}"] += 1
            self.seen["halted below"] += row.parent is not None and self._is_halted(row)
            self.seen["three levels"] += len(list(self._line(state))) > 1
        return self.seen

    def _judge_child(
        self, state: InstanceState, attempt: Attempt, family: Mapping[str, InstanceState]
    ) -> None:
        """Its end is the task's outcome."""
        self.seen[f"{attempt.kind} below {attempt.status.value}"] += 1
        self.seen["child tried again"] += attempt.attempt > 1
        where = f"{state.row.workflow} {attempt.task}/{attempt.attempt} {attempt.status}"
        if attempt.kind == "compensation":
            if attempt is state.current(attempt.task):
                self._judge_child_undone(state, attempt, family)
            return
        below = family.get(child_id(state.row.id, attempt.task, attempt.attempt))
        if below is None:
            assert attempt.status is not TaskStatus.SUCCEEDED, f"{where}, and nobody did it"
            return
        status, output = self._first_end[below.row.id]
        is_done = attempt.status is TaskStatus.SUCCEEDED
        assert is_done == (status is S.COMPLETED), f"{where}, and its child ended {status}"
        if is_done:
            assert attempt.output == output, f"{where}: {attempt.output}, not {output}"

    def _judge_asked(
        self, state: InstanceState, family: Mapping[str, InstanceState], where: str
    ) -> None:
        """What is undone was asked for, and once each time."""
        told = state.row.undo_parent
        if told is not None:
            undos = told.task.rpartition("-")[0]
            attempts = family[told.instance].attempts
            wanted = sum(len(attempts[task]) for task in attempts if task.startswith(undos))
            assert self._undone[state.row.id] <= wanted, f"{where} was undone more than once"

    def _judge_child_undone(
        self, state: InstanceState, undo: Attempt, family: Mapping[str, InstanceState]
    ) -> None:
        """Its newest undo tells how it is now, and what a person wanted gone was tried again."""
        where = f"{state.row.workflow} {undo.task}/{undo.attempt} {undo.status}"
        below = family.get(undo.agent or "")
        row = below.row if below is not None else None
        is_left = row is not None and (row.rollback == "partial" or bool(row.effects_left))
        if row is None or row.id not in self._revised:
            assert is_left == (undo.status is not TaskStatus.SUCCEEDED), f"{where}: {row}"
        if below is None or undo.attempt == 1:
            return
        self.seen["undone again below"] += undo.status is TaskStatus.SUCCEEDED
        for failed in below.row.failed_compensations if below.row.id not in self._revised else ():
            last = below.current(failed["task"])
            if last is not None and last.kind == "compensation" and _is_mendable(last, family):
                assert last.created_at >= undo.created_at, (
                    f"{where}: {last.task} is not tried again"
                )

    def _judge_undone(
        self,
        state: InstanceState,
        family: Mapping[str, InstanceState],
        agents: Mapping[str, Agents],
        where: str,
    ) -> None:
        """Who says that it is undone has left nothing, nor has anyone below it."""
        row = state.row
        if row.status is S.COMPLETED:
            self._judge_completed(state, agents[row.id])
        elif not self._is_halted(row) and row.rollback != "partial":
            left = list(self._standing(state, family, agents))
            assert not left, f"{where} says {row.status}, rollback {row.rollback}; left: {left}"

    def _judge_completed(self, state: InstanceState, agents: Agents) -> None:
        if state.row.undo_parent is None:
            assert not agents.effects.undone, "completed, and something was undone"
        if state.row.undo_order is None:
            judge_given_up(self._definitions[state.row.digest], state, agents.effects)
            self.seen["given up, and named"] += bool(state.row.effects_left)

    def _judge_revised(self, row: Instance, family: Mapping[str, InstanceState]) -> None:
        """Who is told that something is left after all says so too."""
        told = row.undo_parent or row.parent
        is_revised = row.rollback == "partial" and row.id in self._revised
        if told is not None and is_revised and row.id not in self.unheard:
            above = family[told.instance]
            named = [each["task"] for each in above.row.failed_compensations]
            # By the task, or by the undo of it that was told the same.
            is_named = any(f"{each}-undo-".startswith(f"{told.task}-undo-") for each in named)
            is_named = is_named or self._knew_it(above, told)
            assert is_named, f"{above.row.workflow} does not say what {told.task} left"

    def _knew_it(self, above: InstanceState, told: ParentRef) -> bool:
        """Whether it heard of that at the first end already, and does not hide it."""
        attempt = above.find(told.task, told.attempt)
        if attempt is None or attempt.kind != "task" or attempt.status is TaskStatus.SUCCEEDED:
            return False
        plan = self._definitions[above.row.digest].stages[attempt.stage].compensation
        is_meant = plan is None or plan.compensate_self == "never"
        is_meant = is_meant or above.row.status is S.COMPLETED
        is_left = any(each["task"] == told.task for each in above.row.effects_left)
        return attempt.acted and (is_meant or is_left)

    def _is_halted(self, row: Instance) -> bool:
        is_halting = self._definitions[row.digest].saga_on_failure == "halt"
        is_asked = row.cancel_requested or row.undo_asked or row.undo_parent is not None
        return row.status is S.FAILED and is_halting and not is_asked

    def _standing(
        self,
        state: InstanceState,
        family: Mapping[str, InstanceState],
        agents: Mapping[str, Agents],
    ) -> Iterator[str]:
        """What acted, was to be undone, and was not."""
        definition = self._definitions[state.row.digest]
        effects = agents[state.row.id].effects
        for task, times in effects.done.items():
            compensation = definition.stages[task.split("-")[0]].compensation
            if compensation is None or not self._is_meant(compensation, state, task):
                continue
            for entry in range(len(compensation.roles)):
                undone = effects.undone.get((task, entry), [])
                if not undone or max(undone) < max(times):
                    yield f"{state.row.workflow} {task} by {entry}"
        for task, tries in list(state.attempts.items()):
            compensation = definition.stages[tries[0].stage].compensation
            if not tries[0].is_child or tries[0].kind != "task" or compensation is None:
                continue
            for attempt in tries:
                below = family.get(child_id(state.row.id, task, attempt.attempt))
                is_done = attempt.status is TaskStatus.SUCCEEDED
                # That an end had to be revised is said once; it may be lost, and nobody asks again.
                is_known = below is not None and below.row.id not in self._revised
                if below is not None and is_known and self._is_to_undo(compensation, is_done):
                    yield from self._standing(below, family, agents)

    @staticmethod
    def _is_to_undo(plan: Compensation, is_done: bool) -> bool:
        return is_done or plan.compensate_self != "never"

    def _is_meant(self, plan: Compensation, state: InstanceState, task: str) -> bool:
        """Whether what acted is to be undone."""
        if plan.compensate_self != "never":
            return True
        if (state.row.id, task) in self._came_late and self._is_halted(state.row):
            return False  # its success was heard of when the end was told already
        return any(each.status is TaskStatus.SUCCEEDED for each in state.attempts.get(task, ()))

    def _judge_finals(self, state: InstanceState, agents: Agents, where: str) -> None:
        """What is final was done once, and is named where that was not what was wanted."""
        definition, row = self._definitions[state.row.digest], state.row
        judge_finals(definition, state, agents.effects)
        named = {each["task"] for each in row.effects_left}
        for task in agents.effects.done:
            if definition.stages[task.split("-")[0]].classification == "final":
                self.seen["final done"] += 1
                is_meant = row.status is S.COMPLETED and row.undo_order is None
                assert is_meant or task in named, f"{where}: {task} is final, and not named"

    def _judge_once(self, state: InstanceState) -> None:
        """One compensation by task and entry, unless its success came late."""
        definition = self._definitions[state.row.digest]
        late = self._late.get(state.row.id, set())
        for task, tries in state.attempts.items():
            if tries[0].kind == "compensation" and task not in late:
                compensation = definition.stages[tries[0].stage].compensation
                assert compensation is not None
                entry = int(task.rpartition("-")[2])
                is_first = entry < len(compensation.roles) or state.row.undo_asked
                assert is_first, f"{task}: undone more than once"
                in_time = [each for each in tries if not each.is_late]
                done = sum(each.status is TaskStatus.SUCCEEDED for each in in_time)
                # What was undone below may have left something after all, and is tried again then.
                assert done <= 1 or tries[0].is_child, f"{task} succeeded {done} times"


def _is_mendable(did: Attempt, family: Mapping[str, InstanceState]) -> bool:
    """Whether anything that an attempt, or an undo, has left can be undone: not what is final."""
    below = family.get(did.agent or "")
    if below is None:
        return True  # an agent's
    left = [each["task"] for each in below.row.effects_left if each["class"] != "final"]
    failed = [each["task"] for each in below.row.failed_compensations]
    found = [below.current(task) for task in left + failed]
    return any(each is None or _is_mendable(each, family) for each in found)


def _since(times: dict[str, float], key: str, is_so: bool, now: float) -> None:
    if is_so:
        times.setdefault(key, now)
    else:
        times.pop(key, None)


def _sent(decisions: Sequence[Decision], late: set[str]) -> tuple[list[str], list[str]]:
    """Stages of which forward work is asked for, and those of which something is undone."""
    forward, others = [], []
    for decision in decisions:
        for command in decision.commands:
            if isinstance(command, DispatchTask):
                attempt = command.attempt
                if attempt.task not in late:
                    (forward if attempt.kind == "task" else others).append(attempt.stage)
            elif isinstance(command, StartChild):
                forward.append(command.parent.task.split("-")[0])
            elif isinstance(command, UndoChild):
                others.append(command.parent.task.split("-")[0])
    return forward, others
