"""An instance that carries out a stage of another one: undone with it, and asked how it ended."""

from sagabus.core import saga
from sagabus.core.ending import news
from sagabus.core.events import EndAsked, UndoRequested
from sagabus.core.instance import InstanceStatus
from sagabus.core.pausing import follow
from sagabus.core.transition import Ignored, Transition


def undo(t: Transition, event: UndoRequested) -> Ignored | None:
    """Undo what a completed instance did; one that is ending tells when it is done."""
    row = t.row
    is_first = row.undo_parent is None
    row.undo_parent = event.parent
    if not row.status.is_terminal:
        is_changed = follow(t, event.parent, is_paused=event.is_paused)
        return None if is_first or is_changed else Ignored("undo_under_way")
    has_standing = row.status is InstanceStatus.COMPLETED or (
        row.status is InstanceStatus.FAILED and row.rollback == "none"
    )
    if not is_first or not has_standing:
        return Ignored("undone_before", commands=(news(row, event.parent),))
    row.status = InstanceStatus.COMPENSATING
    row.ended_at = row.outcome = row.undo_order = None
    t.record("UndoRequested", {"by": event.parent.instance})
    follow(t, event.parent, is_paused=event.is_paused)
    saga.proceed(t)
    return None


def tell_again(t: Transition, event: EndAsked) -> Ignored | None:
    """The instance above has heard nothing: tell it again, if there is anything to tell."""
    if t.row.parent != event.parent:
        return Ignored("nothing_to_tell")
    if t.row.status.is_terminal:
        return Ignored("told_again", commands=(news(t.row, event.parent),))
    is_changed = follow(t, event.parent, is_paused=event.is_paused)
    return None if is_changed else Ignored("nothing_to_tell")
