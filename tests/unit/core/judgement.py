"""What a saga promises, held against what really happened."""

from collections.abc import Mapping, Sequence
from typing import Any

from sagabus.core.commands import DispatchTask
from sagabus.core.definition import Compensation, Definition
from sagabus.core.instance import Attempt, InstanceState, InstanceStatus, TaskStatus, task_id
from sagabus.core.transition import Decision
from tests.unit.core.agents import Effects

S = InstanceStatus


def check_undo(
    definition: Definition, state: InstanceState, decisions: Sequence[Decision], late: set[str]
) -> None:
    """Undone is what may have acted, strictly against the order of completion.

    ``late`` collects undos of late successes, which come when they come.
    """
    opened = []
    for decision in decisions:
        new = [a.task for (_, n), a in decision.attempts.items() if n == 1 and a.kind != "task"]
        if any(event["type"] == "TaskCompletedLate" for event in decision.events):
            late.update(new)
        opened += new
    for decision in decisions:
        for command in decision.commands:
            if isinstance(command, DispatchTask) and command.attempt.kind == "compensation":
                _check_reason(definition, state, command.attempt)
                _check_finals(definition, state)
                if command.attempt.attempt == 1 and command.attempt.task not in late:
                    later = opened[opened.index(command.attempt.task) :]
                    check_order(state, command.attempt, late.union(later))


def _check_finals(definition: Definition, state: InstanceState) -> None:
    """Nothing is undone beside a final effect that is there, or may be, before a person says so."""
    if definition.saga_after_final == "compensate" or state.row.cancel_requested:
        return
    for task, tries in state.attempts.items():
        if tries[0].is_once:
            doubtful = [
                each for each in tries if each.status is TaskStatus.SUCCEEDED or each.is_held
            ]
            assert not doubtful, f"{task} is final and done, and what was before it is undone"


def _check_reason(definition: Definition, state: InstanceState, undo: Attempt) -> None:
    task = task_id(undo.stage, undo.pass_, undo.index)
    tries = state.attempts[task]
    compensation = definition.stages[undo.stage].compensation
    assert compensation is not None
    if compensation.compensate_self == "never":
        has_reason = any(each.status is TaskStatus.SUCCEEDED for each in tries)
    else:
        has_reason = any(each.claim_id or each.status is TaskStatus.SUCCEEDED for each in tries)
    assert has_reason, f"{undo.task} is sent, and {task} never ran"


def check_order(state: InstanceState, undo: Attempt, late: set[str]) -> None:
    """Nothing of a stage that ended later is in flight, and nothing of an earlier one was sent."""
    order = _order(state, undo)
    for task, tries in state.attempts.items():
        other = tries[-1]
        if other.kind == "task" or task == undo.task:
            continue
        if _order(state, other) > order:
            assert not other.is_open, f"{undo.task} is sent while {task} is in flight"
        elif _order(state, other) < order:
            assert task in late, f"{undo.task} is sent after {task}, and its stage ended later"


def _order(state: InstanceState, attempt: Attempt) -> int:
    return state.row.runs[f"{attempt.stage}-{attempt.pass_}"].ended_order


def judge_end(definition: Definition, state: InstanceState, effects: Effects) -> None:
    """When nothing is left to happen: every promise was kept."""
    row = state.row
    assert row.status.is_terminal, f"it hangs in {row.status}"
    assert row.open_attempts == 0, "it ended with open attempts"
    assert row.in_flight == 0
    judge_finals(definition, state, effects)
    if row.status is not S.COMPLETED:
        judge_left(definition, state, effects)
    if row.status is S.COMPLETED:
        _judge_completed(definition, state, effects)
        judge_given_up(definition, state, effects)
    elif definition.saga_on_failure == "halt" and not row.cancel_requested:
        assert not effects.undone, "it was to be left as it is"
    elif row.rollback != "partial":
        _judge_undone(definition, state, effects)


def judge_finals(definition: Definition, state: InstanceState, effects: Effects) -> None:
    """Each final effect is there once at most, and nobody but a person gave one up unknown."""
    for task, tries in state.attempts.items():
        if not tries[0].is_once:
            continue
        times = effects.done.get(task, ())
        assert len(times) <= 1, f"{task} is final, and was done at {times}"
        for attempt in tries:
            is_known = attempt.status in {TaskStatus.SUCCEEDED, TaskStatus.FAILED}
            is_told = f"{task}/{attempt.attempt}" in effects.resolved
            assert is_known or is_told or not attempt.claim_id, f"{task} was given up: {attempt}"


def judge_left(definition: Definition, state: InstanceState, effects: Effects) -> None:
    """What stands is named, and what is called certain is there."""
    row = state.row
    named = {each["task"]: each for each in row.effects_left}
    assert len(named) == len(row.effects_left)
    if row.status is S.ROLLED_BACK:
        assert not named
    for each in named.values():
        assert not each["is_certain"] or _is_there(definition, effects, each), f"{each}: gone"
    for task, times in effects.done.items():
        stage = definition.stages[task.split("-")[0]]
        if stage.classification == "final":
            assert task in named, f"{row.status}, and the final {task} is not named"
        if stage.compensation is None or not is_to_be_undone(stage.compensation, state, task):
            continue
        for entry in range(len(stage.compensation.roles)):
            is_undone = max(effects.undone.get((task, entry), [0.0])) >= max(times)
            assert is_undone or task in named, f"{row.status}, and {task} is left and not named"


def _is_there(definition: Definition, effects: Effects, named: Mapping[str, Any]) -> bool:
    """Whether a task was done, and not undone after that by each role that is to."""
    times = effects.done.get(named["task"])
    plan = definition.stages[named["stage"]].compensation
    if not times or plan is None:
        return bool(times)
    entries = range(len(plan.roles))
    return min(max(effects.undone.get((named["task"], e), [0.0])) for e in entries) < max(times)


def judge_given_up(definition: Definition, state: InstanceState, effects: Effects) -> None:
    """A completed instance names what was done, and of which it has not heard when it counted."""
    named = {each["task"]: each["is_certain"] for each in state.row.effects_left}
    for task, tries in state.attempts.items():
        stage = definition.stages[tries[0].stage]
        if tries[0].kind != "task" or stage.kind != "agents":
            continue
        is_replaced = state.row.runs[f"{tries[0].stage}-{tries[0].pass_}"].is_replaced
        is_told = any(each.status is TaskStatus.SUCCEEDED and not each.is_late for each in tries)
        is_given = any(each.status is TaskStatus.SUCCEEDED and not each.agent for each in tries)
        times, plan = effects.done.get(task, ()), stage.compensation
        assert not named.get(task) or times, f"{task} is called certain, and was never done"
        if is_told and not is_given and not is_replaced:
            assert task not in named, f"{task} is meant to stand, and is named"
        elif times and not is_told and plan is not None and is_to_be_undone(plan, state, task):
            entries = range(len(plan.roles))
            undone = [max(effects.undone.get((task, each), [0.0])) for each in entries]
            assert min(undone) >= max(times) or task in named, f"{task} is left and not named"
        elif times and not is_told and stage.classification == "final":
            assert task in named, f"{task} is final, was given up, and is not named"


def _judge_completed(definition: Definition, state: InstanceState, effects: Effects) -> None:
    assert not effects.undone, "completed, and something was undone"
    assert {run.stage for run in state.row.runs.values()} == set(definition.stages)
    for run in state.row.runs.values():
        for index in range(len(definition.stages[run.stage].roles)):
            assert effects.done[task_id(run.stage, 1, index)], f"{run.stage} {index} never acted"


def _judge_undone(definition: Definition, state: InstanceState, effects: Effects) -> None:
    """Nothing that acted is left standing, as far as the definition wants it undone."""
    for task, times in effects.done.items():
        stage = definition.stages[task.split("-")[0]]
        if stage.compensation is None or not is_to_be_undone(stage.compensation, state, task):
            continue
        for entry in range(len(stage.compensation.roles)):
            undone = effects.undone.get((task, entry), [])
            assert undone, f"{state.row.status}, and {task} was never undone by entry {entry}"
            assert max(undone) >= max(times), f"{task} acted after its last undo by entry {entry}"


def is_to_be_undone(compensation: Compensation, state: InstanceState, task: str) -> bool:
    is_success = any(each.status is TaskStatus.SUCCEEDED for each in state.attempts[task])
    return is_success or compensation.compensate_self != "never"
