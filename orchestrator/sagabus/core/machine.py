"""The whole state machine: ``decide`` turns an event into what changes and what is to be done.

Law: everything that changes an instance's state happens here and in the modules of this package,
as a pure function of the state and one event. Whatever the shell needs to know is in the result.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from sagabus.core import (
    children,
    claims,
    ending,
    gates,
    operators,
    parking,
    pausing,
    restoring,
    results,
    routes,
    saga,
    stages,
    timers,
)
from sagabus.core.commands import AnswerCommand, SetTimer
from sagabus.core.definition import Definition
from sagabus.core.events import (
    ApprovalAnswered,
    AttemptTimerFired,
    CancelRequested,
    ClaimReceived,
    CompensateRequested,
    DatabaseRestored,
    EndAsked,
    Event,
    FailRequested,
    GateTimerFired,
    HoldEnded,
    InquiryAnswered,
    IntentResolved,
    MoreToSend,
    PauseRequested,
    PolicyDecided,
    ResultReceived,
    ResultSet,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    StartRequested,
    TaskRefused,
    UndoRequested,
    WorkflowTimerFired,
)
from sagabus.core.fingerprint import fingerprint
from sagabus.core.instance import (
    Answer,
    Attempt,
    Failure,
    InstanceState,
    InstanceStatus,
    TaskStatus,
)
from sagabus.core.tasks import close, send
from sagabus.core.transition import Decision, Ignored, Transition

#: Answers kept per instance, so that a command that comes twice is answered as before.
MAX_ANSWERS = 64


def decide(
    definition: Definition,
    state: InstanceState,
    event: Event,
    kv: Mapping[str, Any] | None = None,
) -> Decision | Ignored:
    """Apply ``event``; ``state`` is changed in place unless the event is ignored.

    ``kv`` is what is known of the key-value store, see ``kv.KnownKeys``.

    Raises:
        UnknownKeyError: a template reads a key of which nothing is known.
        InvariantError: a bug of ours.
    Whatever it raises, the state is half changed: it must be read again from the store.
    """
    t = Transition(definition, state, event.at, kv)
    was_parked = bool(t.row.parked)
    ignored = _apply(t, event)
    if ignored is not None:
        return ignored
    if was_parked and not (t.row.parked or t.row.status.is_terminal):
        pausing.send_held_back(t)
    ending.settle(t)
    _conclude(t)
    return t.decision


def _apply(t: Transition, event: Event) -> Ignored | None:  # noqa: C901 - one case per event
    match event:
        case StartRequested():
            return _start(t, event)
        case ResultReceived():
            return results.receive(t, event)
        case ClaimReceived():
            return claims.receive(t, event)
        case (
            ApprovalAnswered()
            | InquiryAnswered()
            | PauseRequested()
            | ResumeRequested()
            | CancelRequested()
            | SkipRequested()
            | ResultSet()
            | FailRequested()
            | RetryRequested()
            | CompensateRequested()
            | IntentResolved()
        ):
            return operators.obey(t, event)
        case UndoRequested():
            return children.undo(t, event)
        case EndAsked():
            return children.tell_again(t, event)
        case WorkflowTimerFired():
            return timers.end_workflow(t, event)
        case GateTimerFired():
            return timers.end_gate(t, event)
        case AttemptTimerFired():
            return timers.end_attempt(t, event)
        case HoldEnded():
            return timers.end_hold(t, event)
        case DatabaseRestored():
            restoring.begin_again(t, event)
            return None
        case MoreToSend():
            return timers.go_on(t, event)
        case PolicyDecided():
            return _policy(t, event)
        case TaskRefused():
            return _refused(t, event)
        case unknown:
            assert_never(unknown)


def _conclude(t: Transition) -> None:
    row = t.row
    row.updated_at = t.at
    row.wake_at = row.deadline_at
    if row.status in gates.ANSWERABLE or row.parked:
        due = gates.keep_limits(t)
        if due is not None and (row.wake_at is None or due < row.wake_at):
            row.wake_at = due
    if t.sends_left <= 0:
        t.do(SetTimer(t.at, "more"))
    while len(row.answers) > MAX_ANSWERS:
        del row.answers[next(iter(row.answers))]


def _start(t: Transition, event: StartRequested) -> Ignored | None:
    row = t.row
    if row.status is not InstanceStatus.PENDING:
        return Ignored("started_already")
    row.status = InstanceStatus.RUNNING
    row.started_at = t.at
    t.record(
        "WorkflowStarted",
        {
            "started_by": row.started_by,
            "definition": row.digest,
            "parameters_sha256": fingerprint(row.parameters),
        },
    )
    pausing.begin_held(t, event.hold)
    if event.is_paused and row.parent is not None:
        pausing.follow(t, row.parent, is_paused=True)
    if t.definition.workflow_timeout is not None:
        row.deadline_at = t.at + t.definition.workflow_timeout
        t.do(SetTimer(row.deadline_at, "workflow"))
    try:
        routes.first_vars(t)
    except stages.BrokenError as error:
        stages.fail(t, stages.broken(error, None))
    for name in t.definition.entry:
        if row.error is None:  # one of them may fail the workflow at once
            stages.begin_run(t, name, [], 1)
    # Not kept: the instance itself is the answer to a repeated start.
    t.do(AnswerCommand(event.command, Answer(ok=True, result={"id": row.id, "created": True})))
    return None


def _policy(t: Transition, event: PolicyDecided) -> Ignored | None:
    attempt = t.state.find(event.task, event.attempt)
    if attempt is None or not attempt.is_unanswered:
        return Ignored("settled_before_decision")
    attempt.policies = list(event.policies)
    if event.is_allowed:
        send(t, attempt)
        return None
    failure = Failure("denied", event.reason, attempt.stage, attempt.task, list(event.policies))
    _fail_unsent(t, attempt, failure)
    return None


def _refused(t: Transition, event: TaskRefused) -> Ignored | None:
    attempt = t.state.find(event.task, event.attempt)
    if attempt is None or not attempt.is_unanswered:
        return Ignored("settled_before_decision")
    failure = Failure("bad_input", event.reason, attempt.stage, attempt.task)
    close(t, attempt, TaskStatus.FAILED, is_acted=False, error=failure)
    if attempt.kind == "task":
        stages.task_failed(t, attempt, failure, is_retryable=False)
    else:
        saga.undo_failed(t, attempt, failure, is_retryable=False)
    return None


def _fail_unsent(t: Transition, attempt: Attempt, failure: Failure) -> None:
    """End an attempt that never left: the workflow fails at once."""
    close(t, attempt, TaskStatus.CANCELLED, is_acted=False, error=failure)
    if attempt.kind == "compensation":
        saga.undo_failed(t, attempt, failure, is_retryable=False)
        return
    run = t.run_of(attempt)
    run.in_flight -= 1
    run.failed += 1
    t.row.in_flight -= 1
    if not stages.is_forward(t.row):
        saga.end_if_settled(t, run)
        saga.proceed(t)
        return
    stages.fail_run(t, run, failure)


def park(definition: Definition, state: InstanceState, at: datetime, reason: str) -> Decision:
    """Stop an instance that the machine cannot go on with, until an operator decides."""
    t = Transition(definition, state, at)
    parking.park(t, "invariant", reason)
    _conclude(t)
    return t.decision
