"""What the instance above is told: how one that carries out a stage of it ended, or was undone."""

from sagabus.core import below
from sagabus.core.commands import TellParent
from sagabus.core.effects import what_stands
from sagabus.core.instance import Failure, Instance, InstanceStatus, Left, ParentRef
from sagabus.core.transition import Transition

#: Names in one sentence.
MAX_NAMED = 8


def tell_above(t: Transition) -> None:
    """Tell whoever is above, if there is one, of the end as it stands now."""
    row = t.row
    if row.undo_parent is not None:
        t.do(undo_news(t, row.undo_parent))
    elif row.parent is not None:
        t.do(end_news(t, row.parent))


def undo_news(t: Transition, parent: ParentRef) -> TellParent:
    """What the instance above is told that asked to have this one undone."""
    if _has_left(t.row):
        failure = Failure("effects_left", _what_is_left(t.row))
        return TellParent(
            parent, "failed", error=failure, has_left_effects=True, left=_left_of(t), seq=t.row.seq
        )
    return TellParent(parent, "succeeded", seq=t.row.seq)


def _what_is_left(row: Instance) -> str:
    """By name, as far as they fit into one sentence."""
    failed = [f"{each['task']} failed" for each in row.failed_compensations]
    final = [f"{each['task']} is final" for each in row.effects_left if each["class"] == "final"]
    more = [f"{each['task']} stands" for each in row.effects_left if each["class"] != "final"]
    named = failed + final + (more if not failed else [])
    rest = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    return f"instance {row.id} is not undone: {', '.join(named[:MAX_NAMED])}{rest}"


def end_news(t: Transition, parent: ParentRef) -> TellParent:
    """What the instance above is told of the end of this one."""
    row = t.row
    if row.status is InstanceStatus.COMPLETED:
        # What was given up on the way is not the end's: it stands in the names of this instance.
        is_left = row.rollback == "partial"
        # Only where something is final there may be nothing that can be undone.
        left = _left_of(t) if t.definition.has_finals else None
        return TellParent(
            parent, "succeeded", row.output, has_left_effects=is_left, left=left, seq=row.seq
        )
    return TellParent(
        parent,
        "cancelled" if row.status is InstanceStatus.CANCELLED else "failed",
        error=row.error,
        has_left_effects=_has_left(row),
        left=_left_of(t) if _has_left(row) else None,
        seq=row.seq,
    )


def _has_left(row: Instance) -> bool:
    """Whether anything stands, or a compensation failed, be it of what a later one has undone."""
    return bool(row.effects_left) or row.rollback == "partial"


def _left_of(t: Transition) -> list[Left] | None:
    """What is to be said of all that stands; None: nothing does."""
    standing = what_stands(t, t.row.runs.values())
    left: set[Left] = set()
    for each in standing:
        stage = t.stage(each["stage"])
        words = below.newest_words(t, each["task"])
        if each["is_certain"]:
            left.add("certain")
            if below.has_final(words) or (not words and stage.classification == "final"):
                left.add("final")
        if stage.compensation is not None and not below.is_past_undo(words):
            left.add("undoable")
    failed = (each["task"].partition("-undo-")[0] for each in t.row.failed_compensations)
    if not all(below.is_past_undo(below.newest_words(t, task)) for task in failed):
        left.add("undoable")
    return sorted(left) if standing or left else None
