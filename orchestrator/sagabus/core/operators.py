"""What people ask of an instance. The same command always gets its first answer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from sagabus.core import (
    approvals,
    ending,
    gates,
    intents,
    pausing,
    permitted,
    repair_retry,
    repair_stage,
    repair_undo,
    saga,
    stages,
)
from sagabus.core.commands import AnswerCommand
from sagabus.core.events import (
    ApprovalAnswered,
    CancelRequested,
    CompensateRequested,
    FailRequested,
    InquiryAnswered,
    IntentResolved,
    OperatorEvent,
    PauseRequested,
    ResultSet,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
)
from sagabus.core.instance import Answer, Failure, InstanceStatus
from sagabus.core.parking import give_up, unpark
from sagabus.core.transition import Ignored, Transition

_NAMES: Mapping[type[OperatorEvent], permitted.CommandName] = {
    InquiryAnswered: "answer",
    PauseRequested: "pause",
    ResumeRequested: "resume",
    SkipRequested: "skip",
    ResultSet: "set_result",
    FailRequested: "fail",
    IntentResolved: "resolve",
    RetryRequested: "retry",
    CompensateRequested: "compensate",
}


def obey(t: Transition, event: OperatorEvent) -> Ignored | None:
    """Do what a person asks, where it makes sense; what was answered before gets that answer."""
    known = _known_answer(t, event)
    if known is not None:
        return known
    t.asked = event.asked
    why_not = permitted.refusal(_name_of(event), t.row, event.by)
    # Of a stage that asks for something there is more to say.
    if why_not is not None and not isinstance(event, ApprovalAnswered | InquiryAnswered):
        t.refuse(event.command, why_not)
        return None
    return _obey(t, event)


def _name_of(event: OperatorEvent) -> permitted.CommandName:
    match event:
        case ApprovalAnswered():
            return "approve" if event.is_approved else "reject"
        case CancelRequested():
            return "cancel" if event.is_undone else "cancel_no_compensate"
        case _:
            return _NAMES[type(event)]


def _obey(t: Transition, event: OperatorEvent) -> Ignored | None:  # noqa: C901 - one case per event
    match event:
        case ApprovalAnswered():
            return approvals.answer_gate(t, event)
        case InquiryAnswered():
            return answer_inquiry(t, event)
        case PauseRequested():
            return pause(t, event)
        case ResumeRequested():
            return resume(t, event)
        case CancelRequested():
            return cancel(t, event)
        case SkipRequested():
            return repair_stage.skip(t, event)
        case ResultSet():
            return repair_stage.set_result(t, event)
        case FailRequested():
            return repair_stage.fail(t, event)
        case IntentResolved():
            return intents.resolve(t, event)
        case RetryRequested():
            return repair_retry.retry(t, event)
        case CompensateRequested():
            return repair_undo.compensate(t, event)
        case unknown:
            assert_never(unknown)


def answer_inquiry(t: Transition, event: InquiryAnswered) -> Ignored | None:
    """Take the answer to a stage's question: what does not fit its form is refused."""
    found = gates.waiting(t, event.stage, is_question=True)
    if found is None:
        t.refuse(event.command, gates.refusal(t, event.stage, is_question=True))
        return None
    _, run, gate = found
    form = t.stage(run.stage).form
    problem = gates.misfit(form, event.data) if form is not None else None
    if problem is not None:
        message = f"the answer to stage {run.stage!r} does not fit: {problem}"
        t.refuse(event.command, message, "invalid_request")
        return None
    gate.decision = "answered"
    gate.by, gate.at, gate.reason = event.by, t.at, event.reason
    t.record("InquiryAnswered", {"stage": run.stage, "by": event.by, "reason": event.reason})
    stages.answer_question(t, run, event.data)
    t.answer(event.command, Answer(ok=True, result={"id": t.row.id, "stage": run.stage}))
    return None


def cancel(t: Transition, event: CancelRequested) -> Ignored | None:
    """End an instance and undo what it did, or leave it; an undo that was parked goes on."""
    row = t.row
    is_parked = row.status is InstanceStatus.NEEDS_OPERATOR
    is_undoing = is_parked and row.undo_order is not None
    if row.status is InstanceStatus.COMPENSATING and row.paused is not None:
        # What it does is undone already, but for the pause.
        pausing.go_on(t, event.by, event.reason, event.command)
        result = {"id": row.id, "status": row.status, "resumed": True}
        t.answer(event.command, Answer(ok=True, result=result))
        return None
    if row.status is InstanceStatus.COMPENSATING:
        what = "cancelled" if row.cancel_requested else "undone"
        t.refuse(event.command, f"the instance is being {what} already: wait until it has ended")
        return None
    if row.outcome is not None and not is_parked:
        message = f"the instance is ending, it will be {row.outcome}: compensate it then"
        t.refuse(event.command, message)
        return None
    if not event.is_undone:
        row.is_left = True
        row.undo_order = 0 if is_undoing else None  # what is being undone goes on, and no more
    else:  # everything is to be undone, whatever it was that was being undone
        if is_undoing and (row.undo_only is not None or saga.is_halted(t)):
            row.undo_order, row.outcome = row.ended_count, None
        row.undo_only = None
    row.cancel_requested = True
    was_paused, row.paused = row.paused is not None, None
    data = {"by": event.by, "reason": event.reason, "is_undone": event.is_undone}
    t.record("WorkflowCancelRequested", data)
    give_up(t)
    if is_undoing and row.undo_order is not None:
        for _, run in t.active_runs():
            saga.end_if_settled(t, run)  # what was told while it was parked
        row.unfilled = [key for key in row.unfilled if row.runs[key].ended_at is None]
        row.phase = InstanceStatus.COMPENSATING
        saga.proceed(t)
    else:
        why = f": {event.reason}" if event.reason else ""
        saga.begin(t, Failure("cancelled", f"cancelled by {event.by or 'an operator'}{why}"))
    if was_paused:
        pausing.send_held_back(t)
    ending.settle(t)
    t.answer(event.command, Answer(ok=True, result={"id": row.id, "status": row.status}))
    return None


def pause(t: Transition, event: PauseRequested) -> Ignored | None:
    """Send nothing more, in the instances below neither; what was sent runs to its end."""
    row = t.row
    if row.paused is not None:
        by = f" by {row.paused.by}" if row.paused.by else ""
        t.refuse(event.command, f"the instance is paused already{by}")
        return None
    pausing.stop(t, event.by, event.reason, event.command, is_of_workflow=event.is_of_workflow)
    ending.settle(t)
    t.answer(event.command, Answer(ok=True, result={"id": row.id, "status": row.status}))
    return None


def resume(t: Transition, event: ResumeRequested) -> Ignored | None:
    """Let a paused instance, and those below it, go on; else one that the engine failed on.

    What needs an operator still does, and sends nothing before that is settled.
    """
    row = t.row
    is_given_up = any(each.cause == "invariant" for each in row.parked)
    if row.paused is None and not is_given_up:
        why = f", it needs an operator: {row.parked[0].message}" if row.parked else ""
        t.refuse(event.command, f"the instance is not paused{why}")
        return None
    if row.paused is not None:
        pausing.go_on(t, event.by, event.reason, event.command)
    else:
        t.record("WorkflowResumed", {"by": event.by, "reason": event.reason})
        unpark(t, "invariant")
    ending.settle(t)
    t.answer(event.command, Answer(ok=True, result={"id": row.id, "status": row.status}))
    return None


def _known_answer(t: Transition, event: OperatorEvent) -> Ignored | None:
    answer = t.row.answers.get(event.command)
    if answer is None:
        return None
    # Answers that an older version stored do not say what they answer.
    if answer.asked and event.asked and answer.asked != event.asked:
        conflict = Answer(False, code="conflict", message=_reused(answer, event), asked=event.asked)
        return Ignored("command_id_reused", commands=(AnswerCommand(event.command, conflict),))
    repeated = replace(answer, asked=event.asked)
    return Ignored("repeated_command", commands=(AnswerCommand(event.command, repeated),))


def _reused(answer: Answer, event: OperatorEvent) -> str:
    first, _, _ = answer.asked.partition("-")
    now, _, _ = event.asked.partition("-")
    what = f"{first!r} with other arguments" if first == now else repr(first)
    return (
        f"this command id (Idempotency-Key) was given with {what} before, "
        f"and that was answered: give {now!r} another one"
    )
