"""What tasks have done to the world, as far as it is known: what is to be undone, what stands."""

from collections.abc import Iterable, Sequence
from typing import Any

from sagabus.core import below
from sagabus.core.definition import Compensation
from sagabus.core.instance import Attempt, StageRun, TaskStatus, task_id, undo_id
from sagabus.core.transition import Transition


def needs_undo(t: Transition, plan: Compensation, task: str) -> bool:
    """Whether a task is undone: it succeeded, or it may have acted and the stage says so."""
    tries = t.state.attempts.get(task, ())
    if any(attempt.status is TaskStatus.SUCCEEDED for attempt in tries):
        return True
    match plan.compensate_self:
        case "unknown":
            return any(attempt.acted for attempt in tries)
        case "always":
            return any(attempt.started_at is not None for attempt in tries)
        case "never":
            return False


def has_effects(t: Transition) -> bool:
    """Whether anything was done that a compensation would undo."""
    for run in t.row.runs.values():
        plan = t.stage(run.stage).compensation
        tasks = (task_id(run.stage, run.pass_, index) for index in range(run.next_index))
        if plan is not None and any(needs_undo(t, plan, task) for task in tasks):
            return True
    return False


def effects_left(t: Transition) -> list[dict[str, Any]]:
    """By name what was done, or may have been, and stands: ``{stage, task, class, is_certain}``.

    What a completed instance did is meant to stand, but for what its retries had done anew, and
    what was given up while it may have acted.
    """
    runs = t.row.runs.values()
    return what_stands(t, runs, is_meant_left_out=t.row.undo_order is None)


def what_stands(
    t: Transition, runs: Iterable[StageRun], *, is_meant_left_out: bool = False
) -> list[dict[str, Any]]:
    """By name what some runs did, or may have done, and was not undone."""
    failed = {each["task"] for each in t.row.failed_compensations}
    left: list[dict[str, Any]] = []
    for run in runs:
        stage = t.stage(run.stage)
        if stage.compensation is None and stage.classification != "final":
            continue
        for index in range(run.next_index):
            task = task_id(run.stage, run.pass_, index)
            tries = t.state.attempts.get(task, ())
            if is_meant_left_out and not run.is_replaced and _is_done(tries, is_late=False):
                continue
            if _stands(t, run, task, failed):
                words = below.newest_words(t, task)
                is_certain = below.is_certain(words) if words else _is_done(tries, is_late=True)
                if is_certain and not below.has_final(words):
                    is_certain = not _may_be_undone(t, stage.compensation, task)
                names = {"stage": run.stage, "task": task, "class": stage.classification}
                left.append({**names, "is_certain": is_certain})
    return left


def _is_done(tries: Sequence[Attempt], *, is_late: bool) -> bool:
    """Whether a task has succeeded for certain; ``is_late``: also when it was given up before.

    Where a person gave the result, an attempt that may have acted leaves it open.
    """
    done = [
        attempt
        for attempt in tries
        if attempt.status is TaskStatus.SUCCEEDED and (is_late or not attempt.is_late)
    ]
    return any(attempt.acted for attempt in done) or (
        bool(done) and not any(attempt.acted for attempt in tries)
    )


def _stands(t: Transition, run: StageRun, task: str, failed: set[str]) -> bool:
    plan = t.stage(run.stage).compensation
    if plan is None:
        return any(
            attempt.acted or attempt.status is TaskStatus.SUCCEEDED
            for attempt in t.state.attempts.get(task, ())
        )
    if not needs_undo(t, plan, task):
        return False
    if run.is_undone_by_hand:  # but for what came after that
        return any(undo.startswith(f"{task}-undo-") for undo in failed)
    return not all(_is_undone(t, plan, task, entry, failed) for entry in range(len(plan.roles)))


def _is_undone(t: Transition, plan: Compensation, task: str, entry: int, failed: set[str]) -> bool:
    """Whether the newest of the undos of ``task`` by an entry was carried out."""
    undos = _undos(t, plan, task, entry)
    if undos and not undos[-1][-1].is_child:
        return any(each.status is TaskStatus.SUCCEEDED for each in undos[-1])
    # Each is of another instance that tried.
    newest = [tries[-1] for tries in undos]
    is_done = [each.status is TaskStatus.SUCCEEDED and each.task not in failed for each in newest]
    return bool(is_done) and all(is_done)


def _may_be_undone(t: Transition, plan: Compensation | None, task: str) -> bool:
    """Whether all the undos of ``task`` may have been carried out, and nobody has heard of it."""
    return plan is not None and all(
        any(
            each.acted and (not each.is_child or (each.left is None and not _is_told(each)))
            for tries in _undos(t, plan, task, entry)
            for each in tries
        )
        for entry in range(len(plan.roles))
    )


def _is_told(undo: Attempt) -> bool:
    return undo.status is TaskStatus.SUCCEEDED or undo.told_seq > 0


def _undos(t: Transition, plan: Compensation, task: str, entry: int) -> list[Sequence[Attempt]]:
    """The tries of each of the undos of ``task`` by an entry, oldest first."""
    undos: list[Sequence[Attempt]] = []
    while tries := t.state.attempts.get(undo_id(task, entry)):
        undos.append(tries)
        entry += len(plan.roles)
    return undos
