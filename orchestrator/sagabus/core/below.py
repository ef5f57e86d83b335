"""What the instances that carried out a task have said of what they left."""

from sagabus.core.instance import Attempt, TaskStatus, undo_id
from sagabus.core.transition import Transition


def newest_words(t: Transition, task: str) -> list[Attempt]:
    """Of each of them the attempt, or the undo, with what it said last; none of one that is undone.

    Empty where no other instance has done anything of the task.
    """
    tries = t.state.attempts.get(task, ())
    words = {each.agent: each for each in tries if each.is_child and each.acted}
    entry = 0
    while words and (undos := t.state.attempts.get(undo_id(task, entry))):
        for undo in undos:
            if undo.agent in words and (_is_undone(undo) or undo.left is not None):
                words[undo.agent] = undo
        entry += 1
    return [each for each in words.values() if not _is_undone(each)]


def _is_undone(word: Attempt) -> bool:
    is_done = word.kind == "compensation" and word.status is TaskStatus.SUCCEEDED
    return is_done and word.left is None  # else it has left something after all


def is_certain(words: list[Attempt]) -> bool:
    """Whether something stands for certain."""
    return any(
        "certain" in (each.left or ())
        or (each.kind == "task" and each.status is TaskStatus.SUCCEEDED)
        for each in words
    )


def has_final(words: list[Attempt]) -> bool:
    """Whether they have said that something final stands for certain."""
    return any("final" in (each.left or ()) for each in words)


def is_past_undo(words: list[Attempt]) -> bool:
    """Whether each of them has said that nothing of what it left can be undone."""
    return bool(words) and all(
        each.left is not None and "undoable" not in each.left for each in words
    )
