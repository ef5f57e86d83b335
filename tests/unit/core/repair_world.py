"""A schedule with operators who repair, by random commands that make sense or do not.

What they say is true: who gives a stage's result by hand has done its work, and who calls it undone
has undone it. An instance that is parked is brought on by their commands alone.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sagabus.core.commands import DispatchTask
from sagabus.core.definition import Definition
from sagabus.core.events import (
    CancelRequested,
    CompensateRequested,
    Event,
    FailRequested,
    PauseRequested,
    ResultSet,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import (
    InstanceState,
    InstanceStatus,
    StageStatus,
    TaskStatus,
    run_key,
    task_id,
)
from sagabus.core.transition import Decision
from tests.unit.core.agents import Effects
from tests.unit.core.judgement import (
    check_undo,
    is_to_be_undone,
    judge_finals,
    judge_given_up,
    judge_left,
)
from tests.unit.core.promises import Promises
from tests.unit.core.turn import Parked
from tests.unit.core.world import ASK_AGAIN_S, World

S = InstanceStatus
#: A command but for the moment and its id.
Make = Callable[[datetime, str], Event]
#: What shows that an operator has taken the instance out of its course.
REPAIRS = {
    "WorkflowRetried",
    "UndoRequested",
    "CompensationSkipped",
    "StageUndoneByHand",
    "StageSkipped",
    "StageResultSet",
}
#: After so many tries an operator who wants a parked instance to go on gives it up.
PATIENCE = 6


class RepairWorld(World):
    """A schedule in which operators meddle."""

    def __init__(self, seed: int, crash_at: tuple[int, str] | None = None) -> None:
        super().__init__(seed, crash_at)
        self._orders = 0
        self._retries_left = self.rng.choice((0, 1, 3))
        self._is_repaired = False
        self.promises = Promises()
        for _ in range(self.rng.choice((1, 2, 4, 8))):
            self.clock.later(self.rng.random() ** 2 * 150, self._meddle)

    @property
    def given(self) -> Counter[tuple[str, bool]]:
        """How often each command was carried out, and refused."""
        return Counter((name.split("-")[0], answer.ok) for name, answer in self._answers.items())

    # --- operators ------------------------------------------------------------------------------

    def _give(self, make: Make) -> None:
        self._orders += 1
        kind = type(make(self.clock.at, "")).__name__.removesuffix("Requested")
        name = f"{kind}-{self._orders}"
        self._ask(name, lambda _: make(self.clock.at, name))

    def _meddle(self) -> None:
        stage = self.rng.choice(list(self.definition.stages))
        self._give(self._any_command(stage))

    def _any_command(self, stage: str) -> Make:
        who = {"by": "ann", "reason": "because"}
        some = self.rng.choice((None, stage))
        kind = self.rng.randrange(9)
        if kind == 0:
            return lambda at, id_: SkipRequested(at, id_, stage, **who)
        if kind == 1:
            return lambda at, id_: ResultSet(at, id_, stage, {"by": "hand"}, **who)
        if kind == 2:
            return lambda at, id_: FailRequested(at, id_, stage, **who)
        if kind == 3:
            return lambda at, id_: RetryRequested(at, id_, some, **who)
        if kind == 4:
            return lambda at, id_: CompensateRequested(at, id_, some, **who)
        if kind == 5:
            is_undone = self.rng.random() < 0.5
            return lambda at, id_: CancelRequested(at, id_, **who, is_undone=is_undone)
        if kind == 6:
            return self._pause
        return lambda at, id_: RetryRequested(at, id_, None, **who)

    def _pause(self, at: datetime, id_: str) -> Event:
        return PauseRequested(at, id_, by="ann", reason="because")

    def _let_go_on(self) -> None:
        """A pause is ended in the end."""
        state = self.stored()
        if state is not None and state.row.paused is not None:
            self._give(lambda at, id_: ResumeRequested(at, id_, "ann", "because"))
            self.clock.later(2 * ASK_AGAIN_S, self._let_go_on)

    def _mend(self, tries: int) -> None:
        """See to a parked instance until it is not parked any more."""
        state = self.stored()
        if state is None or state.row.status is not S.NEEDS_OPERATOR:
            return
        others = [each for each in state.row.parked if each.cause != "intent_unknown"]
        if others:
            parked = self.rng.choice(others)
            self._give(self._remedy(parked.cause, parked.stage, is_last=tries > PATIENCE))
        self.clock.later(2 * ASK_AGAIN_S, self._mend, tries + 1)

    def _remedy(self, cause: str, stage: str | None, *, is_last: bool) -> Make:
        who = {"by": "ann", "reason": "because"}
        if cause == "invariant" and not is_last:
            return lambda at, id_: ResumeRequested(at, id_, **who)
        if cause == "compensation_failed" and stage is not None:
            if is_last or self.rng.random() < 0.3:
                return lambda at, id_: SkipRequested(at, id_, stage, **who)
            if self.rng.random() < 0.4:
                return lambda at, id_: ResultSet(at, id_, stage, **who)
            if self.rng.random() < 0.3:
                return lambda at, id_: CancelRequested(at, id_, **who)
            if self.rng.random() < 0.5:
                some = self.rng.choice((None, stage))
                return lambda at, id_: CompensateRequested(at, id_, some, **who)
            return lambda at, id_: RetryRequested(at, id_, stage, **who)
        if is_last:
            is_undone = self.rng.random() < 0.5
            return lambda at, id_: CancelRequested(at, id_, **who, is_undone=is_undone)
        return self._any_command(stage or self.rng.choice(list(self.definition.stages)))

    def _react(self, event: dict[str, Any]) -> None:
        type_ = event["type"]
        if type_ == "WorkflowParked" and self.rng.random() < 0.3:
            self.clock.later(self.rng.random() * 20, self._give, self._pause)
        if type_ == "WorkflowParked" and event["data"]["cause"] != "intent_unknown":
            self.clock.later(self.rng.random() * 20, self._mend, 0)
            return
        super()._react(event)
        if type_ == "WorkflowPaused":
            self.clock.later(self.rng.random() * 30 + 5, self._let_go_on)
        is_end = type_ in {"WorkflowSettled", "WorkflowRolledBack", "WorkflowCancelled"}
        if is_end and self._retries_left and self.rng.random() < 0.6:
            self._retries_left -= 1
            wait_s = self.rng.random() * 60
            self.clock.later(wait_s, self._give, self._any_command_after_the_end())

    def _any_command_after_the_end(self) -> Make:
        who = {"by": "ann", "reason": "because"}
        is_held = self.rng.random() < 0.3

        def hold(at: datetime, id_: str) -> PauseRequested | None:
            return PauseRequested(at, f"{id_}-hold", is_of_workflow=True) if is_held else None

        if self.rng.random() < 0.7:
            return lambda at, id_: RetryRequested(at, id_, None, **who, hold=hold(at, id_))
        some = self.rng.choice((None, *self.definition.stages))
        return lambda at, id_: CompensateRequested(at, id_, some, **who, hold=hold(at, id_))

    # --- what they did with their own hands -----------------------------------------------------

    def _commit(self, turn: Any) -> None:
        super()._commit(turn)
        for record in turn.records():
            self._is_repaired = self._is_repaired or record["type"] in REPAIRS
            if record["type"] == "StageResultSet":
                self._do_by_hand(record["data"]["stage"])
            elif record["type"] == "StageUndoneByHand":
                self._undo_by_hand(record["data"]["stage"])

    def _do_by_hand(self, stage: str) -> None:
        assert self.state is not None
        done = self.agents.effects.done
        for task, tries in self.state.attempts.items():
            newest = tries[-1]
            is_given = newest.status is TaskStatus.SUCCEEDED and newest.agent is None
            is_task = newest.stage == stage and newest.kind == "task"
            if is_task and is_given and not done.get(task):
                done[task].append(self.clock.now)

    def _undo_by_hand(self, stage: str) -> None:
        assert self.state is not None
        plan = self.definition.stages[stage].compensation
        assert plan is not None
        for run in self.state.row.runs.values():
            if run.stage == stage and run.is_undone_by_hand:
                for index in range(run.next_index):
                    for entry in range(len(plan.roles)):
                        task = task_id(run.stage, run.pass_, index)
                        self.agents.effects.undone[task, entry].append(self.clock.now)

    # --- what must hold all the same ------------------------------------------------------------

    def _foresee(self, event: Event | Parked) -> None:
        assert self.state is not None
        self.promises.foresee(self.definition, self.state, event)

    def _check_undo(self, decisions: Sequence[Decision]) -> None:
        assert self.state is not None
        self.promises.hear(self.state, decisions)
        if not self._is_repaired:
            types = {event["type"] for each in decisions for event in each.events}
            if not types & REPAIRS:
                check_undo(self.definition, self.state, decisions, self._late)
                return
        _note_late(decisions, self._late)
        for decision in decisions:
            for command in decision.commands:
                if isinstance(command, DispatchTask) and command.attempt.kind == "compensation":
                    tries = self.state.attempts[command.attempt.task]
                    is_done = any(each.status is TaskStatus.SUCCEEDED for each in tries)
                    assert not is_done, f"{command.attempt.task} is undone a second time"

    def _judge(self) -> None:
        assert self.state is not None
        judge_repaired(self.definition, self.state, self.agents.effects)


def _note_late(decisions: Sequence[Decision], late: set[str]) -> None:
    for decision in decisions:
        if any(event["type"] == "TaskCompletedLate" for event in decision.events):
            late.update(a.task for (_, n), a in decision.attempts.items() if n == 1)


def judge_repaired(definition: Definition, state: InstanceState, effects: Effects) -> None:
    """Whatever operators did: it has ended, and says truly what it left."""
    row = state.row
    assert row.status.is_terminal, f"it hangs in {row.status}"
    assert row.open_attempts == 0, "it ended with open attempts"
    assert row.in_flight == 0
    judge_finals(definition, state, effects)
    _judge_finals_of_stages(definition, effects)
    if row.status is S.COMPLETED:
        _judge_completed(definition, state, effects)
        if row.undo_order is None:
            judge_given_up(definition, state, effects)
    else:
        judge_left(definition, state, effects)
    if row.status is S.ROLLED_BACK or row.rollback == "full":
        left = [task for task in effects.done if _stands(definition, state, effects, task)]
        assert not left, f"{row.status}, rollback {row.rollback}, and {left} stand"
    _judge_undone_before(definition, state, effects)


def _judge_finals_of_stages(definition: Definition, effects: Effects) -> None:
    """A retry makes no final effect a second time."""
    done: Counter[tuple[str, str]] = Counter()
    for task, times in effects.done.items():
        stage, _, index = task.split("-")
        if definition.stages[stage].is_once:
            done[stage, index] += len(times)
    assert all(number <= 1 for number in done.values()), f"{done}"


def _judge_completed(definition: Definition, state: InstanceState, effects: Effects) -> None:
    standing = [run for run in state.row.runs.values() if not run.is_replaced]
    if all(run.status is not StageStatus.SKIPPED for run in standing):
        # Nothing here leads on under a condition.
        assert {run.stage for run in standing} == set(definition.stages), "completed half-way"
        assert len(standing) == len(definition.stages), "completed, and a stage ran twice"
    for run in state.row.runs.values():
        block = definition.stages[run.stage].block
        whole = run if block is None else state.row.runs[run_key(block, run.pass_)]
        if run.is_replaced or StageStatus.SKIPPED in {run.status, whole.status}:
            continue
        assert run.status is StageStatus.SUCCEEDED, f"completed, and {run.stage} is {run.status}"
        for index in range(len(definition.stages[run.stage].roles)):
            task = task_id(run.stage, run.pass_, index)
            assert effects.done[task], f"completed, and {task} never acted"
            undone = effects.undone.get((task, 0))
            assert not undone, f"completed, and {task} was undone"


def _judge_undone_before(definition: Definition, state: InstanceState, effects: Effects) -> None:
    """What was undone before a retry stays undone, whatever comes late."""
    for run in state.row.runs.values():
        if run.status is StageStatus.COMPENSATED and run.undo_next and not run.undo_failed:
            for index in range(run.next_index):
                task = task_id(run.stage, run.pass_, index)
                assert not _stands(definition, state, effects, task), f"{task} stands again"


def _stands(definition: Definition, state: InstanceState, effects: Effects, task: str) -> bool:
    times = effects.done.get(task)
    stage = definition.stages[task.split("-")[0]]
    if not times:
        return False
    if stage.classification == "final":
        return True
    if stage.compensation is None or not is_to_be_undone(stage.compensation, state, task):
        return False
    return any(
        max(effects.undone.get((task, entry), [0.0])) < max(times)
        for entry in range(len(stage.compensation.roles))
    )
