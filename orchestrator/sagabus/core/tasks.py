"""One attempt of one task, forward or compensation: opened, sent, closed, tried again.

One file, because each of these steps is the counterpart of another: one counts, one gives back.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sagabus.core import gates, local, parking, restoring, subworkflows
from sagabus.core.commands import AuthorizeTask, DispatchTask, WithdrawTask
from sagabus.core.definition import (
    CORE_ROLE,
    WORKFLOW_ROLE,
    Compensation,
    Definition,
    SecretUse,
    Stage,
)
from sagabus.core.instance import (
    Attempt,
    Failure,
    StageRun,
    TaskStatus,
    task_id,
    undo_id,
)
from sagabus.core.retry import next_delay
from sagabus.core.transition import Transition
from sagabus.errors import InvariantError

#: The agent enforces a time limit; the orchestrator believes it has failed to after this much more.
GRACE = timedelta(seconds=15)

#: Presence is silent of an agent that has just begun: two of its beats come within this time.
UNHEARD = timedelta(seconds=6)

#: What is final is not sent again: whether its agent is alive is looked at this often.
INTENT_WATCH = timedelta(seconds=60)

#: Longest wait that an agent may ask for before the next attempt.
MAX_WAIT = timedelta(days=365)

#: Open attempts of stages with no more tasks than this stand in the instance's row; beyond it,
#: rewriting them with every transition would cost more than rows of their own.
INLINE_TASKS = 16

#: An input of more values and characters than this is not rewritten with every transition either.
INLINE_SIZE = 16_384


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
    if attempt.is_local:
        return False
    return not attempt.claim or attempt.claim_id is not None


def may_send(t: Transition) -> bool:
    """True while the instance may have one more task in flight, and this event send it."""
    if t.row.paused is not None or t.row.parked:
        return False
    limit = t.definition.max_parallel_tasks
    return t.sends_left > 0 and (limit == 0 or t.row.in_flight < limit)


def open_task(
    t: Transition,
    run: StageRun,
    stage: Stage,
    index: int,
    input_: Any,
    secrets: Sequence[SecretUse] = (),
) -> Attempt:
    """Make and send the first attempt of a task."""
    attempt = _new_task(t, run, stage, index, input_, secrets)
    _open(t, attempt)
    return attempt


def refuse_task(
    t: Transition, run: StageRun, stage: Stage, index: int, input_: Any, problems: Sequence[str]
) -> None:
    """Make an attempt that never leaves: its input is not what the action takes."""
    attempt = _new_task(t, run, stage, index, input_, ())
    t.add(attempt)
    t.change(attempt)
    failure = Failure("bad_input", "; ".join(problems), attempt.stage, attempt.task)
    t.local.append((attempt, failure))


def _new_task(
    t: Transition,
    run: StageRun,
    stage: Stage,
    index: int,
    input_: Any,
    secrets: Sequence[SecretUse],
) -> Attempt:
    run.in_flight += 1
    t.row.in_flight += 1
    if stage.kind == "agents":
        role = stage.roles[0 if stage.items is not None else index]
    else:
        role = WORKFLOW_ROLE if stage.kind == "workflow" else CORE_ROLE
    return Attempt(
        task=task_id(run.stage, run.pass_, index),
        attempt=1,
        stage=run.stage,
        pass_=run.pass_,
        index=index,
        kind="task",
        role=role,
        action=stage.action,
        status=TaskStatus.DISPATCHED,
        created_at=t.at,
        input=input_,
        claim=stage.kind == "agents" and (stage.is_claimed or t.row.restored_at is not None),
        is_once=stage.is_once,
        # What is final has a row of its own from the beginning: intents are looked for there.
        is_inline=not stage.is_once and run.total <= INLINE_TASKS and _is_small(input_),
        secrets=list(secrets),
        vars=dict(t.row.vars) if t.row.vars and stage.compensation is not None else None,
    )


def give_result(t: Transition, run: StageRun, stage: Stage, index: int, output: Any) -> None:
    """Make an attempt that nobody was asked for: a person says what the task gave."""
    attempt = _new_task(t, run, stage, index, None, ())
    attempt.attempt = len(t.state.attempts.get(attempt.task, ())) + 1
    attempt.output = output
    t.add(attempt)
    close(t, attempt, TaskStatus.SUCCEEDED, is_acted=False)
    release(t, attempt)


def _is_small(value: Any) -> bool:
    left = INLINE_SIZE
    todo = [value]
    while todo and left > 0:
        each = todo.pop()
        left -= 1
        if isinstance(each, str):
            left -= len(each)
        elif isinstance(each, dict):
            todo += each.values()
        elif isinstance(each, list):
            todo += each
    return left > 0


def open_undo(
    t: Transition,
    run: StageRun,
    plan: Compensation,
    index: int,
    entry: int,
    input_: Any,
    secrets: Sequence[SecretUse] = (),
    child: str | None = None,
) -> None:
    """Make and send the first attempt of a compensation; ``entry`` counts on in later rounds.

    ``child``: the instance that is undone, where that is not the one that succeeded.
    """
    role = plan.roles[entry % len(plan.roles)]
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
            role=role,
            action=plan.action,
            status=TaskStatus.DISPATCHED,
            created_at=t.at,
            input=input_,
            agent=child,
            claim=role != WORKFLOW_ROLE,
            is_inline=run.total * len(plan.roles) <= INLINE_TASKS and _is_small(input_),
            secrets=list(secrets),
        ),
    )


def _open(t: Transition, attempt: Attempt) -> None:
    t.sends_left -= 1
    t.add(attempt)
    if t.row.paused is not None and not attempt.is_local:
        _keep_back(t, attempt)
        return
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
        **gates.consent_to(run),
        "classification": t.stage(attempt.stage).classification,
        "attempt": attempt.attempt,
        "started_by": t.row.started_by,
    }
    t.do(AuthorizeTask(attempt.task, attempt.attempt, action, attempt.stage, context))


def _keep_back(t: Transition, attempt: Attempt) -> None:
    """What nobody waited with for the end of a pause never leaves: the next attempt does, then."""
    attempt.status = TaskStatus.CANCELLED
    attempt.ended_at = attempt.due_at = t.at
    attempt.given_up, attempt.retry = attempt.attempt, True
    t.change(attempt)


def send(t: Transition, attempt: Attempt) -> None:
    """Put an attempt on its way: to an agent, to another instance, or to the engine itself."""
    if attempt.is_child:
        _send_to_child(t, attempt)
        return
    if attempt.is_local:
        local.take(t, attempt)
    else:
        attempt.due_at = first_limit(t, attempt)
    t.change(attempt)
    _record_sent(t, attempt)
    if restoring.may_be_done(t.state, attempt):
        parking.hold(t, attempt, restoring.MAY_BE_DONE)
    elif not attempt.is_local:
        t.do(DispatchTask(attempt))


def first_limit(t: Transition, attempt: Attempt) -> datetime | None:
    """When an attempt that leaves now is looked at first, if it has not begun or ended by then."""
    plan = plan_of(t.definition, attempt)
    if isinstance(plan, Stage) and plan.start_timeout is not None:
        return t.at + plan.start_timeout
    if plan.timeout is not None and not attempt.claim:
        # Its start is not stored: the timer looks at presence when it fires.
        return t.at + plan.timeout + GRACE
    return None


def _send_to_child(t: Transition, attempt: Attempt) -> None:
    """Another instance begins at once, and always tells how it ended."""
    attempt.status = TaskStatus.RUNNING
    attempt.started_at = t.at
    attempt.agent = subworkflows.child_of(t.state, attempt)
    timeout = plan_of(t.definition, attempt).timeout
    if timeout is not None and attempt.kind == "task":
        attempt.due_at = t.at + timeout
    t.change(attempt)
    _record_sent(t, attempt)
    t.do(subworkflows.ask(t.definition, t.state, attempt))


def _record_sent(t: Transition, attempt: Attempt) -> None:
    data = {**identity(attempt), "action": attempt.action}
    if attempt.is_child:
        data["child"] = attempt.agent
    if attempt.policies is not None:
        data["policies"] = attempt.policies
    t.record("TaskScheduled" if attempt.kind == "task" else "CompensationScheduled", data)


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
    attempt.retry = attempt.is_held = False
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
    tried = attempt.attempt - attempt.given_up
    if not is_retryable or tried > policy.count:
        return False
    delay = next_delay(policy, tried + 1, f"{t.row.id}:{attempt.task}")
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
    _open_next(t, attempt)


def try_again(t: Transition, undo: Attempt) -> None:
    """Send a compensation again that has failed for good, and as often anew as its retry says."""
    t.run_of(undo).undo_in_flight += 1
    t.row.in_flight += 1
    _open_next(t, undo, given_up=undo.attempt)


def _open_next(t: Transition, attempt: Attempt, **changes: Any) -> None:
    is_undo_by_child = attempt.is_child and attempt.kind == "compensation"
    _open(
        t,
        replace(
            attempt,
            attempt=attempt.attempt + 1,
            status=TaskStatus.DISPATCHED,
            created_at=t.at,
            output=None,
            artifacts=[],
            resources=[],
            error=None,
            claim_id=None,
            # Of several instances that tried, the same one is undone.
            agent=attempt.agent if is_undo_by_child else None,
            started_at=None,
            ended_at=None,
            acted=False,
            left=None,
            told_seq=0,
            stopped=None,
            policies=None,
            vars=dict(t.row.vars) if attempt.vars is not None else None,
            **changes,
        ),
    )


def tell_to_stop(t: Transition, attempt: Attempt) -> None:
    """Have who runs an attempt stop, and wait for its end: what comes next must not come before."""
    withdraw(t, attempt, "withdrawn", is_purged=False)
    attempt.due_at = attempt.due_at or t.at + GRACE
    t.change(attempt)


def withdraw(t: Transition, attempt: Attempt, reason: str, *, is_purged: bool = True) -> None:
    """Take an attempt off the bus and tell whoever runs it."""
    if attempt.is_child:
        t.do(subworkflows.cancel(t.state, attempt, reason))
    elif not attempt.is_local:
        t.do(WithdrawTask(attempt, reason, is_purged))
