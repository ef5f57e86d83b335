"""An instance that carries out a stage of another one: undone with it, and asked how it ended."""

from sagabus.core import saga
from sagabus.core.effects import has_effects
from sagabus.core.events import EndAsked, UndoRequested
from sagabus.core.instance import Failure, InstanceStatus
from sagabus.core.news import end_news, undo_news
from sagabus.core.parking import unpark
from sagabus.core.pausing import follow
from sagabus.core.stages import is_forward
from sagabus.core.transition import Ignored, Transition


def undo(t: Transition, event: UndoRequested) -> Ignored | None:
    """Undo what the instance did; one that is being undone tells when that is done."""
    row = t.row
    is_new = row.undo_parent is None
    if row.status.is_terminal and not (is_new and _has_standing(t)):
        return Ignored("undone_before", commands=(undo_news(row, event.parent),))
    if not is_new and not follow(t, event.parent, is_paused=event.is_paused):
        return Ignored("undo_under_way")
    if is_new:
        _begin(t, event)
    return None


def _has_standing(t: Transition) -> bool:
    """Whether an ended instance left all that it did as it is."""
    if t.row.status is InstanceStatus.COMPLETED:
        return True
    return t.row.rollback == "none" and has_effects(t)


def _begin(t: Transition, event: UndoRequested) -> None:
    row = t.row
    row.undo_parent = event.parent
    t.record("UndoRequested", {"by": event.parent.instance})
    if row.status.is_terminal:
        row.status = InstanceStatus.COMPENSATING
        row.ended_at = row.outcome = row.undo_order = None
        follow(t, event.parent, is_paused=event.is_paused)
        saga.proceed(t)
        return
    follow(t, event.parent, is_paused=event.is_paused)
    unpark(t, "after_final")
    if is_forward(row) and row.outcome is None:
        saga.begin(t, Failure("cancelled", "undone by the instance above"))


def tell_again(t: Transition, event: EndAsked) -> Ignored | None:
    """The instance above has heard nothing: tell it again, if there is anything to tell."""
    if t.row.parent != event.parent:
        return Ignored("nothing_to_tell")
    if t.row.status.is_terminal:
        return Ignored("told_again", commands=(end_news(t.row, event.parent),))
    is_changed = follow(t, event.parent, is_paused=event.is_paused)
    return None if is_changed else Ignored("nothing_to_tell")
