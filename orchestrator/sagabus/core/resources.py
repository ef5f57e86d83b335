"""Resources: what tasks have made outside, as they declared it, and when that is undone."""

from collections.abc import Sequence
from dataclasses import replace

from sagabus.core.instance import Attempt, Resource, StageRun, TaskStatus, task_id, undo_id
from sagabus.core.transition import ResourceChange, Transition


def declare(t: Transition, attempt: Attempt, resources: Sequence[Resource]) -> None:
    """Keep what a result declares, whatever its status: what is there is there."""
    # A late result may follow one that told of something else.
    known = {(each.kind, each.id): each for each in (*attempt.resources, *resources)}
    attempt.resources = list(known.values())
    t.decision.resources += [
        _change(t, attempt, each.kind, each.id, each.spec) for each in resources
    ]


def undone(t: Transition, undo: Attempt) -> None:
    """A compensation has succeeded: what its task made is gone, once all its roles have undone.

    What the compensation itself declares is there: it may have put back what was before.
    """
    task = task_id(undo.stage, undo.pass_, undo.index)
    made = _made(t, task)
    if made and (newest := _last_round(t, undo, task)):
        made.difference_update((r.kind, r.id) for each in newest for r in each.resources)
        _forget(t, undo, made)


def undone_by_hand(t: Transition, run: StageRun) -> None:
    """A person says that what a run did is gone."""
    for index in range(run.next_index):
        task = task_id(run.stage, run.pass_, index)
        made = _made(t, task)
        tried = t.state.current(undo_id(task, 0)) if made else None
        if made and (by := tried or t.state.current(task)):
            # Of the undo, whether or not it was ever sent: the task has said that they are there.
            _forget(t, replace(by, task=undo_id(task, 0)), made)


def _made(t: Transition, task: str) -> set[tuple[str, str]]:
    """Kinds and ids of what the attempts of a task have made."""
    return {
        (each.kind, each.id)
        for attempt in t.state.attempts.get(task, ())
        for each in attempt.resources
        if each.spec is not None
    }


def _last_round(t: Transition, undo: Attempt, task: str) -> list[Attempt]:
    """The newest compensations of ``task``, one of each role; none unless all have succeeded."""
    plan = t.stage(undo.stage).compensation
    width = len(plan.roles) if plan is not None else 1
    sent: list[Attempt] = []
    while (each := t.state.current(undo_id(task, len(sent)))) is not None:
        sent.append(each)
    newest = sent[-width:]
    is_whole = len(sent) % width == 0
    return newest if is_whole and all(_is_done(t, each) for each in newest) else []


def _is_done(t: Transition, undo: Attempt) -> bool:
    """Whether one of its tries succeeded, be it late."""
    return any(each.status is TaskStatus.SUCCEEDED for each in t.state.attempts[undo.task])


def _forget(t: Transition, undo: Attempt, made: set[tuple[str, str]]) -> None:
    t.decision.resources += [
        _change(t, undo, kind, id, None, is_undo=True) for kind, id in sorted(made)
    ]


def _change(
    t: Transition,
    attempt: Attempt,
    kind: str,
    id: str,
    spec: dict[str, object] | None,
    *,
    is_undo: bool = False,
) -> ResourceChange:
    return ResourceChange(
        kind=kind,
        id=id,
        spec=spec,
        instance=t.row.id,
        workflow=t.row.workflow,
        stage=attempt.stage,
        task=attempt.task,
        attempt=attempt.attempt,
        role=attempt.role,
        at=t.at,
        is_undo=is_undo,
    )
