"""An instance that carries out a stage of another one: undone with it, and asked how it ended."""

from sagabus.core import repair_undo, saga
from sagabus.core.effects import has_effects
from sagabus.core.events import EndAsked, UndoRequested
from sagabus.core.instance import Failure, InstanceStatus, ParentRef
from sagabus.core.news import end_news, undo_news
from sagabus.core.pausing import begin_held, follow
from sagabus.core.preview import what_would_be_undone
from sagabus.core.stages import is_forward
from sagabus.core.transition import Ignored, Transition


def undo(t: Transition, event: UndoRequested) -> Ignored | None:
    """Undo what the instance did; one that is being undone tells when that is done.

    A newer request of a person has what failed tried again; the same one again changes nothing.
    """
    row = t.row
    is_news = row.undo_parent is None or _age(event.parent) > _age(row.undo_parent)
    if row.status.is_terminal and not (is_news and _has_standing(t, event)):
        return _tell_at_once(t, event, is_news=is_news)
    if not is_news and not follow(t, event.parent, is_paused=event.is_paused):
        return Ignored("undo_under_way")
    if is_news:
        _begin(t, event)
    return None


def _tell_at_once(t: Transition, event: UndoRequested, *, is_news: bool) -> Ignored | None:
    """There is nothing to undo. Who asks is told now, and of what becomes known later."""
    if not is_news:
        return Ignored("undone_before", commands=(undo_news(t, event.parent),))
    t.row.undo_parent = event.parent
    t.do(undo_news(t, event.parent))
    return None


def _age(parent: ParentRef) -> tuple[int, str, int]:
    """Of compensations of one task, the order in which they were sent: ``-9`` before ``-10``."""
    return len(parent.task), parent.task, parent.attempt


def _has_standing(t: Transition, event: UndoRequested) -> bool:
    """Whether an ended instance has left all that it did as it is, or what a person wants gone."""
    if event.is_asked and what_would_be_undone(t.definition, t.state):
        return True
    if t.row.undo_parent is not None:
        return False
    if t.row.status is InstanceStatus.COMPLETED:
        return True
    return t.row.rollback == "none" and has_effects(t)


def _begin(t: Transition, event: UndoRequested) -> None:
    row = t.row
    row.undo_parent = event.parent
    t.record("UndoRequested", {"by": event.parent.instance})
    if row.status.is_terminal:
        begin_held(t, event.hold)
    follow(t, event.parent, is_paused=event.is_paused)
    if not is_forward(row):
        repair_undo.start_over(t, is_asked=event.is_asked)
    elif row.outcome is None:  # else what runs last is waited for
        saga.begin(t, Failure("cancelled", "undone by the instance above"))


def tell_again(t: Transition, event: EndAsked) -> Ignored | None:
    """The instance above has heard nothing: tell it again, if there is anything to tell."""
    if t.row.parent != event.parent:
        return Ignored("nothing_to_tell")
    if t.row.status.is_terminal:
        return Ignored("told_again", commands=(end_news(t, event.parent),))
    is_changed = follow(t, event.parent, is_paused=event.is_paused)
    return None if is_changed else Ignored("nothing_to_tell")
