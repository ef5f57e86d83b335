"""One attempt of one task, forward or compensation: opened, sent, closed, tried again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from sagabus.core.commands import AuthorizeTask, DispatchTask, WithdrawTask
from sagabus.core.definition import Compensation, Definition, Stage
from sagabus.core.instance import Attempt, Failure, StageRun, TaskStatus, task_id, undo_id
from sagabus.core.retry import next_delay
from sagabus.core.transition import Transition
from sagabus.errors import InvariantError

#: The agent enforces a time limit; the orchestrator believes it has failed to after this much more.
GRACE = timedelta(seconds=15)

#: Presence is silent of an agent that has just begun: two of its beats come within this time.
UNHEARD = timedelta(seconds=6)

#: Longest wait that an agent may ask for before the next attempt.
MAX_WAIT = timedelta(days=365)

#: Open attempts of stages with no more tasks than this stand in the instance's row; beyond it,
#: rewriting them with every transition would cost more than rows of their own.
INLINE_TASKS = 16


def plan_of(definition: Definition, attempt: Attempt) -> Stage | Compensation:
    """What says how an attempt is retried and limited."""
    stage = definition.stages[attempt.stage]
    if attempt.kind == "task":
        return stage
    if stage.compensation is None:
        raise InvariantError(f"{attempt.task} undoes a stage without compensation")
    return stage.compensation


def may_have_acted(attempt: Attempt) -> bool:
    """Whether an attempt without a result may have changed the world.

    What asks before it runs has not, for certain, before it was told to.
    """
    return not attempt.claim or attempt.claim_id is not None


def has_slot(t: Transition) -> bool:
    """True while the instance may have one more task in flight."""
    limit = t.definition.max_parallel_tasks
    return limit == 0 or t.row.in_flight < limit


def open_task(t: Transition, run: StageRun, stage: Stage, index: int, input_: Any) -> None:
    """Make and send the first attempt of a task."""
    run.in_flight += 1
    t.row.in_flight += 1
    _open(
        t,
        Attempt(
            task=task_id(run.stage, run.pass_, index),
            attempt=1,
            stage=run.stage,
            pass_=run.pass_,
            index=index,
            kind="task",
            role=stage.roles[index],
            action=stage.action,
            status=TaskStatus.DISPATCHED,
            created_at=t.at,
            input=input_,
            claim=stage.is_claimed,
            is_inline=run.total <= INLINE_TASKS,
        ),
    )


def open_undo(
    t: Transition, run: StageRun, plan: Compensation, index: int, entry: int, input_: Any
) -> None:
    """Make and send the first attempt of a compensation; ``entry`` counts on in later rounds."""
    run.undo_in_flight += 1
    run.undo_sent += 1
    t.row.in_flight += 1
    _open(
        t,
        Attempt(
            task=undo_id(task_id(run.stage, run.pass_, index), entry),
            attempt=1,
            stage=run.stage,
            pass_=run.pass_,
            index=index,
            kind="compensation",
            role=plan.roles[entry % len(plan.roles)],
            action=plan.action,
            status=TaskStatus.DISPATCHED,
            created_at=t.at,
            input=input_,
            claim=True,
            is_inline=run.total * len(plan.roles) <= INLINE_TASKS,
        ),
    )


def _open(t: Transition, attempt: Attempt) -> None:
    t.add(attempt)
    if not t.definition.has_policies:
        send(t, attempt)
        return
    run = t.run_of(attempt)
    action: Literal["execute-stage", "compensate-stage"] = (
        "execute-stage" if attempt.kind == "task" else "compensate-stage"
    )
    context = {
        "workflow": t.row.workflow,
        "workflow_id": t.row.id,
        "approved": run.gate is not None and run.gate.decision == "approved",
        "classification": t.stage(attempt.stage).classification,
        "attempt": attempt.attempt,
        "started_by": t.row.started_by,
    }
    t.do(AuthorizeTask(attempt.task, attempt.attempt, action, attempt.stage, context))


def send(t: Transition, attempt: Attempt) -> None:
    """Put an attempt on its way."""
    plan = plan_of(t.definition, attempt)
    if isinstance(plan, Stage) and plan.start_timeout is not None:
        attempt.due_at = t.at + plan.start_timeout
    elif plan.timeout is not None and not attempt.claim:
        # Its start is not stored: the timer looks at presence when it fires.
        attempt.due_at = t.at + plan.timeout + GRACE
    t.change(attempt)
    t.record(
        "TaskScheduled" if attempt.kind == "task" else "CompensationScheduled",
        {**identity(attempt), "action": attempt.action},
    )
    t.do(DispatchTask(attempt))


def identity(attempt: Attempt) -> dict[str, Any]:
    """What names an attempt in the history."""
    return {
        "stage": attempt.stage,
        "task": attempt.task,
        "attempt": attempt.attempt,
        "role": attempt.role,
    }


def close(
    t: Transition,
    attempt: Attempt,
    status: TaskStatus,
    *,
    is_acted: bool,
    error: Failure | None = None,
) -> None:
    """End an attempt; its slot stays taken until ``release``."""
    if attempt.is_open:
        t.row.open_attempts -= 1
    attempt.status = status
    attempt.acted = attempt.acted or is_acted
    attempt.error = error
    attempt.ended_at = t.at
    attempt.due_at = None
    attempt.retry = False
    t.change(attempt)


def release(t: Transition, attempt: Attempt) -> StageRun:
    """Give back the slot of a task that has ended for good."""
    run = t.run_of(attempt)
    t.row.in_flight -= 1
    if attempt.kind == "task":
        run.in_flight -= 1
    else:
        run.undo_in_flight -= 1
    if min(t.row.in_flight, run.in_flight, run.undo_in_flight) < 0:
        raise InvariantError(f"more tasks ended than were sent: {attempt.task}")
    return run


def plan_retry(
    t: Transition, attempt: Attempt, *, is_retryable: bool, after_s: float | None
) -> bool:
    """Have a closed attempt tried again later, keeping its slot; False: it has ended for good."""
    policy = plan_of(t.definition, attempt).retry
    if not is_retryable or attempt.attempt > policy.count:
        return False
    delay = next_delay(policy, attempt.attempt + 1, f"{t.row.id}:{attempt.task}")
    if after_s is not None:
        delay = timedelta(seconds=min(after_s, MAX_WAIT.total_seconds()))
    attempt.retry = True
    attempt.due_at = t.at + delay
    t.row.open_attempts += 1
    t.change(attempt)
    t.record(
        "TaskRetryScheduled",
        {**identity(attempt), "kind": attempt.kind, "due_at": attempt.due_at},
    )
    return True


def end_retry(t: Transition, attempt: Attempt) -> None:
    """Give up a planned retry: its result came late, or the instance is being undone."""
    attempt.retry = False
    attempt.due_at = None
    t.row.open_attempts -= 1
    t.change(attempt)


def start_retry(t: Transition, attempt: Attempt) -> None:
    """Send the attempt after this one."""
    end_retry(t, attempt)
    _open(
        t,
        replace(
            attempt,
            attempt=attempt.attempt + 1,
            status=TaskStatus.DISPATCHED,
            created_at=t.at,
            output=None,
            artifacts=[],
            error=None,
            claim_id=None,
            agent=None,
            started_at=None,
            ended_at=None,
            acted=False,
            policies=None,
        ),
    )


def withdraw(t: Transition, attempt: Attempt, reason: str, *, is_purged: bool = True) -> None:
    """Take an attempt off the bus and tell whoever runs it."""
    t.do(WithdrawTask(attempt, reason, is_purged))
