"""What must be true of an instance after every event, read from its attempts and nothing else."""

from collections.abc import Sequence
from itertools import pairwise

from sagabus.core.commands import DispatchTask, StartChild, UndoChild
from sagabus.core.definition import Definition
from sagabus.core.instance import Attempt, InstanceState, InstanceStatus, TaskStatus
from sagabus.core.transition import Decision

S = InstanceStatus
ENDS = {S.COMPLETED, S.FAILED, S.ROLLED_BACK, S.CANCELLED}
FORWARD = {S.RUNNING, S.WAITING, S.PAUSED}
UNDONE = {S.COMPENSATING, S.FAILED, S.ROLLED_BACK, S.CANCELLED}
LEGAL = {
    S.PENDING: {S.PENDING, *FORWARD, S.CANCELLED, *ENDS, *UNDONE},
    S.RUNNING: {*FORWARD, S.COMPLETED, *UNDONE},
    S.WAITING: {*FORWARD, S.COMPLETED, *UNDONE},
    S.PAUSED: {*FORWARD, S.COMPLETED, *UNDONE},
    S.COMPENSATING: UNDONE,
    S.COMPLETED: {S.COMPLETED},
    S.FAILED: {S.FAILED},
    S.CANCELLED: {S.CANCELLED},
    # The undo of a late success failed: it was not rolled back after all.
    S.ROLLED_BACK: {S.ROLLED_BACK, S.FAILED},
}
#: All that may still happen to an instance that has ended.
AFTER_THE_END = {
    "TaskCompletedLate",
    "CompensationScheduled",
    "CompensationCompleted",
    "CompensationFailed",
    "TaskStarted",
    "TaskRetryScheduled",
    "RollbackRevised",
    "IntentResolved",
}
#: What lets an instance that was held after a final stage go forward again.
GONE_ON = {"WorkflowUnparked"}
#: What takes an end back.
REPAIRED = {"UndoRequested", "WorkflowRetried", "StageUndoneByHand", "CompensationSkipped"}
#: What an instance below had left is gone after all.
GONE_BELOW = {"CompensationCompleted", "RollbackRevised"}
#: A person says that a final effect of it never was.
FOUND_OUT = {"IntentResolved", "RollbackRevised"}


def check_counters(definition: Definition, state: InstanceState) -> None:
    """The row's counters are what the attempts say."""
    row = state.row
    forward = dict.fromkeys(row.runs, 0)
    undo = dict.fromkeys(row.runs, 0)
    is_open = 0
    for tries in state.attempts.values():
        is_open += sum(attempt.is_open for attempt in tries)
        # What a person told to stop may still be at work beside its successor.
        for attempt in tries:
            if attempt.is_open:
                counts = forward if attempt.kind == "task" else undo
                counts[f"{attempt.stage}-{attempt.pass_}"] += 1
    assert (row.status is S.NEEDS_OPERATOR) == bool(row.parked) == (row.parked_in is not None)
    in_flight = sum(forward.values()) + sum(undo.values())
    assert row.open_attempts == is_open, f"open_attempts {row.open_attempts}, really {is_open}"
    assert row.in_flight == in_flight, f"in_flight {row.in_flight}, really {in_flight}"
    assert is_open == in_flight, "an attempt is open beside its successor"
    active = failed_undos = 0
    ends = []
    for key, run in row.runs.items():
        assert run.in_flight == forward[key], f"{key}: in_flight {run.in_flight}"
        assert run.undo_in_flight == undo[key], f"{key}: undo_in_flight {run.undo_in_flight}"
        if definition.stages[run.stage].kind != "block":
            at_work = 0 if run.ended_at is not None else run.in_flight
            assert run.succeeded + run.failed + at_work == run.next_index, f"{key}: {run}"
        failed_undos += run.undo_failed
        if run.ended_at is None:
            active += 1
            _check_active(definition, state, key)
        else:
            assert _is_at_an_end(state, key), f"{key} has ended with tasks in flight"
            ends.append((run.ended_order, run.ended_at))
    assert row.active_runs == active, f"active_runs {row.active_runs}, really {active}"
    ends.sort()
    assert [order for order, _ in ends] == list(range(1, row.ended_count + 1)), f"{ends}"
    assert all(one[1] <= next_[1] for one, next_ in pairwise(ends)), f"not as they ended: {ends}"
    assert len(row.failed_compensations) == failed_undos
    _check_status(definition, state, forward)


def _is_at_an_end(state: InstanceState, key: str) -> bool:
    """Nothing of an ended run is in flight, but for what a person has told to stop."""
    return all(
        attempt.status is TaskStatus.RUNNING
        for tries in state.attempts.values()
        for attempt in tries
        if attempt.is_open and attempt.kind == "task" and f"{attempt.stage}-{attempt.pass_}" == key
    )


def _check_active(definition: Definition, state: InstanceState, key: str) -> None:
    run = state.row.runs[key]
    stage = definition.stages[run.stage]
    if stage.items is not None:
        limit = stage.items.concurrency or run.total
    else:
        limit = (stage.max_parallel or len(stage.roles)) if stage.parallel else 1
    assert run.in_flight <= limit, f"{key}: {run.in_flight} tasks together, allowed {limit}"
    if run.gate is not None and run.gate.decision is None:
        assert run.next_index == 0, f"{key} was sent before its gate was answered"


def _check_status(definition: Definition, state: InstanceState, forward: dict[str, int]) -> None:
    row = state.row
    if row.status in FORWARD:
        # After a retry, an undo may come late while it goes forward.
        limit = definition.max_parallel_tasks or row.in_flight
        sent = sum(forward.values()) if row.retries else row.in_flight
        assert sent <= limit, f"{sent} in flight, allowed {limit}"
        assert row.active_runs or row.pending or row.in_flight, "forward with nothing to do"
        if row.outcome is None and row.paused is not None:
            assert row.status is S.PAUSED
        elif row.outcome is None and not row.pending:
            is_waiting = row.status is S.WAITING
            assert is_waiting == (row.in_flight == 0), f"{row.status} is not true"
        assert row.error is None
    elif row.status in ENDS:
        assert row.active_runs == 0
        assert not any(forward.values())
        assert row.deadline_at is None
        is_undone = any(run.undo_sent for run in row.runs.values())
        has_left = bool(row.failed_compensations or (is_undone and row.effects_left))
        if row.status is S.COMPLETED:
            said = "partial" if row.failed_compensations else "none"  # left by an undo below
            assert row.rollback == said, f"completed, rollback {row.rollback}"
        elif not row.in_flight:  # else an undo that came late will tell
            assert (row.rollback == "partial") == has_left, (row.rollback, row.effects_left)
    if row.status is S.ROLLED_BACK:
        assert row.rollback == "full"
        assert not row.effects_left or row.in_flight


def _check_pause(state: InstanceState, decisions: Sequence[Decision]) -> None:
    """Nothing is sent by what leaves an instance paused, be it to go forward or to undo."""
    if state.row.paused is None:
        return
    commands = (command for decision in decisions for command in decision.commands)
    sent = [each for each in commands if isinstance(each, DispatchTask | StartChild | UndoChild)]
    assert not sent, f"{sent} sent while it is paused"
    if state.row.phase in FORWARD and state.row.outcome is None:
        assert state.row.phase is S.PAUSED
        assert state.row.deadline_at is None, "its clock runs while it is paused"


def _is_asked_for(state: InstanceState, attempt: Attempt) -> bool:
    """It leaves after a pause, which was on when a person had it tried again."""
    before = state.find(attempt.task, attempt.attempt - 1)
    return before is not None and before.is_once and before.status is TaskStatus.UNKNOWN


def _is_void_undo(state: InstanceState) -> bool:
    """It had completed, was to be undone on request, and there was nothing to undo."""
    row = state.row
    is_asked = row.undo_asked or row.undo_parent is not None
    return is_asked and row.error is None and row.rollback == "none"


def check_decisions(
    before: InstanceStatus, state: InstanceState, decisions: Sequence[Decision], seq: int
) -> None:
    """What an event led to was allowed in the phase it met."""
    _check_pause(state, decisions)
    status = state.row.phase
    if before is S.PAUSED and status in FORWARD and not state.row.paused:
        names = {event["type"] for each in decisions for event in each.events}
        assert "WorkflowResumed" in names, f"the pause was ended by {names}"
    events = [event for decision in decisions for event in decision.events]
    assert [event["seq"] for event in events] == list(range(seq + 1, seq + 1 + len(events)))
    types = {event["type"] for event in events}
    if types & REPAIRED or (before is S.COMPENSATING and types >= GONE_ON):
        assert before is not S.ROLLED_BACK or "UndoRequested" not in types
        return  # a person, or the instance above, has taken the end back
    if before is S.FAILED and status is S.ROLLED_BACK:
        assert types in (GONE_BELOW, FOUND_OUT), f"rolled back by {types}"
        return
    is_void = _is_void_undo(state)  # which was decided later than asked for: it was paused between
    if not (before is S.COMPENSATING and status is S.COMPLETED and is_void):
        assert status in LEGAL[before], f"{before} became {status}"
    if before in ENDS:
        more = {event["type"] for event in events} - AFTER_THE_END
        assert not more, f"{more} after {before}"
    asked = {event["data"]["task"] for event in events if event["type"] == "IntentResolved"}
    sent = [
        command.attempt.task
        for decision in decisions
        for command in decision.commands
        if isinstance(command, DispatchTask) and command.attempt.kind == "task"
        # What a person has tried again leaves, whatever else waits for an operator.
        if command.attempt.task not in asked and not _is_asked_for(state, command.attempt)
    ]
    is_parked_now = any(event["type"] == "WorkflowParked" for event in events)
    assert is_parked_now or not (state.row.parked and sent), f"{sent} sent while it is parked"
    is_last = state.row.outcome is not None  # the last stage runs whatever the status
    if before not in FORWARD and before is not S.PENDING and not is_last:
        started = [event["data"]["task"] for event in events if event["type"] == "TaskStarted"]
        assert all("-undo-" in task for task in started), f"{started} started while {before}"
        assert not sent, f"{sent} sent while {before}"
