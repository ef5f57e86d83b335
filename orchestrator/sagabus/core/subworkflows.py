"""What an instance asks of the instances that carry out its stages; their side is ``children``."""

from typing import Literal

from sagabus.core.commands import CommandChild, StartChild, UndoChild
from sagabus.core.definition import Definition
from sagabus.core.instance import (
    Attempt,
    InstanceState,
    InstanceStatus,
    ParentRef,
    TaskStatus,
    child_id,
    task_id,
)
from sagabus.errors import InvariantError


def child_of(state: InstanceState, attempt: Attempt) -> str:
    """The instance that carries out an attempt, or that its compensation is to undo."""
    if attempt.kind == "task":
        return child_id(state.row.id, attempt.task, attempt.attempt)
    if attempt.agent is not None:
        return attempt.agent
    task = task_id(attempt.stage, attempt.pass_, attempt.index)
    tries = state.attempts[task]
    # None has carried out what a person gave the result of.
    done = [each for each in tries if each.status is TaskStatus.SUCCEEDED and each.agent]
    acted = [each for each in tries if each.acted]
    return child_id(state.row.id, task, (done or acted or tries)[-1].attempt)


def ask(definition: Definition, state: InstanceState, attempt: Attempt) -> StartChild | UndoChild:
    """What is asked for ``attempt``; to ask the same again changes nothing.

    Raises:
        InvariantError: no workflow carries out its stage.
    """
    row = state.row
    child = child_of(state, attempt)
    parent = ParentRef(row.id, attempt.task, attempt.attempt)
    if attempt.kind == "compensation":
        # Nothing but a person, or news that came late, has an undo by another instance tried again.
        is_first = attempt.task.endswith("-undo-0") and attempt.attempt == 1
        is_asked = row.undo_asked or not is_first
        return UndoChild(child, parent, row.paused is not None, is_asked)
    stage = definition.stages[attempt.stage]
    if stage.workflow is None or stage.workflow_digest is None:
        raise InvariantError(f"stage {stage.name!r} names no workflow", instance_id=row.id)
    return StartChild(
        child=child,
        parent=parent,
        workflow=stage.workflow,
        digest=stage.workflow_digest,
        parameters=attempt.input,
        root=row.root or row.id,
        trace=row.trace,
        by=row.started_by,
        is_paused=row.paused is not None,
        restored_at=row.restored_at,
    )


def ask_again(
    definition: Definition, state: InstanceState, attempt: Attempt
) -> list[StartChild | UndoChild | CommandChild]:
    """Everything that was asked for an attempt without an answer."""
    asked: list[StartChild | UndoChild | CommandChild] = [ask(definition, state, attempt)]
    row = state.row
    # Not what carries out the very last stage, which runs while the status still is that.
    is_undone = row.phase is InstanceStatus.COMPENSATING and row.outcome is None
    is_given_up = attempt.error is not None or is_undone
    if attempt.kind == "task" and is_given_up:
        asked.append(cancel(state, attempt, "the instance above ends"))
    return asked


def cancel(state: InstanceState, attempt: Attempt, reason: str) -> CommandChild:
    """End the instance that carries out ``attempt``; it undoes what it did, and tells."""
    child = child_of(state, attempt)
    row = state.row
    return CommandChild(child, "cancel", f"{child}-cancel", reason, row.id, not row.is_left)


def pass_on(
    state: InstanceState, name: Literal["pause", "resume"], command: str, reason: str
) -> list[CommandChild]:
    """Ask the same of every instance that is carrying out a stage of this one."""
    children = [
        child_of(state, attempt)
        for tries in state.attempts.values()
        for attempt in tries[-1:]
        if attempt.is_child and attempt.is_unanswered
    ]
    return [
        CommandChild(child, name, child_id(command, child, 1), reason, state.row.id)
        for child in children
    ]
