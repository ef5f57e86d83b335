"""Final effects that nobody knows of: a person says what became of one, or has it tried again."""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from sagabus.core import ending, saga, stages
from sagabus.core.definition import Definition
from sagabus.core.events import IntentResolved
from sagabus.core.instance import Answer, Attempt, Failure, InstanceState, TaskStatus
from sagabus.core.news import MAX_NAMED
from sagabus.core.parking import settle
from sagabus.core.tasks import close, identity, start_retry
from sagabus.core.transition import MAX_SENT, Ignored, Transition


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


def doubts_of(definition: Definition, state: InstanceState) -> list[Attempt]:
    """Those of tasks that have ended which may have had their final effect, as far as is known.

    Nothing waits for what became of them. What another instance did is settled there.
    """
    return [
        attempt
        for tries in state.attempts.values()
        for attempt in tries
        if definition.stages[attempt.stage].classification == "final"
        and not (tries[-1].is_open or attempt.is_child)
        and attempt.acted
        and attempt.status is not TaskStatus.SUCCEEDED
    ]


def resolve(t: Transition, event: IntentResolved) -> Ignored | None:
    """Take a person's word for the outcome of an attempt that nobody knows of, or of several."""
    found = _meant(t, event)
    if isinstance(found, str):
        t.refuse(event.command, found)
        return None
    told = {"outcome": event.outcome, "by": event.by, "reason": event.reason}
    settled = found[:MAX_SENT]
    for attempt in settled:
        t.record("IntentResolved", {**identity(attempt), **told})
        _settle(t, attempt, event) if attempt.is_held else _learn(t, attempt, event)
    if not t.row.status.is_terminal:
        ending.settle(t)
    elif t.row.in_flight == 0:  # else an undo that came late will end it anew
        saga.revise_end(t)
    names: dict[str, Any] = {"stage": event.stage, "outcome": event.outcome}
    if event.is_all:
        names |= {"attempts": [*_by_name(settled)], "left": len(found) - len(settled)}
    else:
        names |= {"task": found[0].task, "attempt": found[0].attempt}
    if event.outcome == "retry":
        names["is_sent"] = not any(each.retry for each in settled)
    result = {"id": t.row.id, "status": t.row.status, **names}
    t.answer(event.command, Answer(ok=True, result=result))
    return None


def _settle(t: Transition, held: Attempt, event: IntentResolved) -> None:
    """The instance goes on with what has waited for this."""
    settle(t, held)
    match event.outcome:
        case "succeeded":
            held.output = event.output
            close(t, held, TaskStatus.SUCCEEDED, is_acted=True)
            stages.task_succeeded(t, held)
        case "failed":
            failure = _not_done(held, event)
            close(t, held, TaskStatus.FAILED, is_acted=False, error=failure)
            stages.task_failed(t, held, failure, is_retryable=False)
        case "retry":
            _try_again(t, held)


def _learn(t: Transition, given_up: Attempt, event: IntentResolved) -> None:
    """Only what is said of its effect changes: the instance goes on, or has ended, without it."""
    if event.outcome == "succeeded":
        tries = t.state.attempts[given_up.task]
        # Where a person gave the result instead, this is what that stands for.
        given_up.is_late = all(each.status is not TaskStatus.SUCCEEDED for each in tries)
        given_up.output = event.output
        close(t, given_up, TaskStatus.SUCCEEDED, is_acted=True)
    else:
        given_up.acted = False
        failure = _not_done(given_up, event)
        close(t, given_up, TaskStatus.FAILED, is_acted=False, error=failure)


def _not_done(attempt: Attempt, event: IntentResolved) -> Failure:
    why = f": {event.reason}" if event.reason else ""
    message = f"{event.by or 'an operator'} says that it did not happen{why}"
    return Failure("failed_by_operator", message, attempt.stage, attempt.task)


def _meant(t: Transition, event: IntentResolved) -> list[Attempt] | str:
    """The attempts that a person means, or why there are none; first of all what is held."""
    if event.stage not in t.definition.stages:
        return f"workflow {t.row.workflow!r} has no stage {event.stage!r}"
    newest = [tries[-1] for tries in t.state.attempts.values() if tries[-1].stage == event.stage]
    held = _by_name(each for each in newest if each.is_held)
    doubts = doubts_of(t.definition, t.state)
    given_up = _by_name(each for each in doubts if each.stage == event.stage)
    is_final = t.stage(event.stage).classification == "final"
    is_at_work = is_final and any(each.is_open and not each.is_held for each in newest)
    if event.attempt is None and is_at_work and not held:
        return f"stage {event.stage!r} is at work still: wait until it tells how it ended"
    known = held or given_up if event.attempt is None else held | given_up
    if not known:
        return f"the outcome of stage {event.stage!r} is not unknown: nothing to resolve"
    if event.attempt is None and len(known) > 1 and not event.is_all:
        several = (
            f"{', '.join(islice(known, MAX_NAMED))}{', ...' if len(known) > MAX_NAMED else ''}"
        )
        return (
            f"several outcomes of stage {event.stage!r} are unknown, "
            f"name one, or say it of all: {several}"
        )
    names = [*known] if event.attempt is None else [event.attempt]
    if names[0] not in known:
        return f"the outcome of {names[0]} is not unknown, name one that is: {', '.join(known)}"
    if event.outcome == "retry" and names[0] in given_up:
        return f"{names[0]} was given up: say whether it succeeded or failed"
    if event.outcome == "retry" and not stages.is_forward(t.row):
        return "the instance goes forward no more: say whether it succeeded or failed"
    return [known[name] for name in names]


def _by_name(attempts: Iterable[Attempt]) -> dict[str, Attempt]:
    return {f"{each.task}/{each.attempt}": each for each in attempts}


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
