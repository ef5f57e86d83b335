"""Final effects that nobody knows of: a person says what became of one, or has it tried again."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sagabus.core import ending, stages
from sagabus.core.events import IntentResolved
from sagabus.core.instance import Answer, Attempt, Failure, InstanceState, TaskStatus
from sagabus.core.parking import settle
from sagabus.core.tasks import close, identity, start_retry
from sagabus.core.transition import Ignored, Transition


class Intent(NamedTuple):
    """A final effect that was begun, of which nobody has told how it ended."""

    instance: str
    workflow: str
    attempt: Attempt


def oldest_untold(found: Iterable[Intent]) -> list[Intent]:
    """Those of which nobody has told, oldest first."""
    return sorted((each for each in found if each.attempt.is_untold), key=_age)


def _age(intent: Intent) -> tuple[datetime, str, str]:
    attempt = intent.attempt
    return attempt.started_at or attempt.created_at, intent.instance, attempt.task


def intents_of(state: InstanceState) -> list[Attempt]:
    """Those of one instance."""
    row = state.row
    every = (attempt for tries in state.attempts.values() for attempt in tries)
    untold = oldest_untold(Intent(row.id, row.workflow, attempt) for attempt in every)
    return [each.attempt for each in untold]


def resolve(t: Transition, event: IntentResolved) -> Ignored | None:
    """Take a person's word for the outcome of a held attempt."""
    found = _held(t, event)
    if isinstance(found, str):
        t.refuse(event.command, found)
        return None
    told = {"outcome": event.outcome, "by": event.by, "reason": event.reason}
    t.record("IntentResolved", {**identity(found), **told})
    settle(t, found)
    why = f": {event.reason}" if event.reason else ""
    match event.outcome:
        case "succeeded":
            found.output = event.output
            close(t, found, TaskStatus.SUCCEEDED, is_acted=True)
            stages.task_succeeded(t, found)
        case "failed":
            message = f"{event.by or 'an operator'} says that it did not happen{why}"
            failure = Failure("failed_by_operator", message, found.stage, found.task)
            close(t, found, TaskStatus.FAILED, is_acted=False, error=failure)
            stages.task_failed(t, found, failure, is_retryable=False)
        case "retry":
            _try_again(t, found)
    ending.settle(t)
    names = {"stage": found.stage, "task": found.task, "attempt": found.attempt}
    result = {"id": t.row.id, "status": t.row.status, **names, "outcome": event.outcome}
    if event.outcome == "retry":
        result["is_sent"] = not found.retry
    t.answer(event.command, Answer(ok=True, result=result))
    return None


def _held(t: Transition, event: IntentResolved) -> Attempt | str:
    """The attempt that a person means, or why there is none."""
    if event.stage not in t.definition.stages:
        return f"workflow {t.row.workflow!r} has no stage {event.stage!r}"
    of_stage = [each for each in intents_of(t.state) if each.stage == event.stage]
    held = {f"{each.task}/{each.attempt}": each for each in of_stage if each.is_held}
    if not held and of_stage:
        return f"stage {event.stage!r} is at work still: wait until it tells how it ended"
    if not held:
        return f"the outcome of stage {event.stage!r} is not unknown: nothing to resolve"
    if event.attempt is None and len(held) > 1:
        return f"several outcomes of stage {event.stage!r} are unknown, name one: {', '.join(held)}"
    found = event.attempt or next(iter(held))
    if found not in held:
        return f"{found} is not held, name one that is: {', '.join(held)}"
    if event.outcome == "retry" and not stages.is_forward(t.row):
        return "the instance goes forward no more: say whether it succeeded or failed"
    return held[found]


def _try_again(t: Transition, attempt: Attempt) -> None:
    """Send the next attempt of the same task; this one may have acted for ever.

    At once, whatever else waits for an operator: this is what one has asked for. Not while the
    instance is paused: then it is the first to leave when that ends.
    """
    attempt.is_held = False
    attempt.retry = attempt.acted = True
    attempt.ended_at = attempt.due_at = t.at
    t.change(attempt)
    kind = {"kind": attempt.kind, "due_at": attempt.due_at}
    t.record("TaskRetryScheduled", {**identity(attempt), **kind})
    if t.row.paused is None:
        start_retry(t, attempt)
