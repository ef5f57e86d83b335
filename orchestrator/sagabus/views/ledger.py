"""The ledger of an instance: one entry for every attempt of every task and compensation."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from sagabus.core.instance import Attempt, InstanceState, StageRun, StageStatus, TaskStatus, run_key
from sagabus.views.shared import ErrorView, View, error_of, seconds
from sagabus.views.tasks import DeclaredResource, in_order

StepStatus = Literal["running", "completed", "failed", "compensated"]

_RUNNING = frozenset({TaskStatus.DISPATCHED, TaskStatus.RUNNING})


class LedgerEntry(View):
    """One attempt; ``task`` and ``attempt`` name it within its instance, once and for all."""

    stage: str
    pass_: int = Field(serialization_alias="pass")
    task: str
    attempt: int
    kind: Literal["task", "compensation"]
    role: str
    action: str
    #: How it stands in one of four words; a task's ``completed`` is ``compensated`` once it is
    #: undone, which a compensation that failed never makes it.
    step_status: StepStatus
    status: TaskStatus
    input: Any
    output: Any
    artifacts: list[str]
    #: What it says that there is outside, or is no more.
    resources: list[DeclaredResource]
    error: ErrorView | None
    agent: str | None
    #: The same for every attempt of a task; what it calls can refuse it twice.
    idempotency_key: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    #: It was told to run, after it had asked.
    is_claimed: bool
    #: The world may have changed because of it.
    has_acted: bool
    policies: list[str] | None


def ledger_of(state: InstanceState) -> list[LedgerEntry]:
    """Every attempt, by task, in the order in which tasks and compensations were first sent."""
    undone = _undone_tasks(state)
    return [
        _entry(state.row.id, attempt, is_undone=attempt.task in undone)
        for attempts in in_order(state)
        for attempt in attempts
    ]


def _entry(instance: str, attempt: Attempt, *, is_undone: bool) -> LedgerEntry:
    return LedgerEntry(
        stage=attempt.stage,
        pass_=attempt.pass_,
        task=attempt.task,
        attempt=attempt.attempt,
        kind=attempt.kind,
        role=attempt.role,
        action=attempt.action,
        step_status=_step_status(attempt, is_undone=is_undone),
        status=attempt.status,
        input=attempt.input,
        output=attempt.output,
        artifacts=attempt.artifacts,
        resources=[DeclaredResource(**asdict(each)) for each in attempt.resources],
        error=error_of(attempt.error),
        agent=attempt.agent,
        idempotency_key=f"{instance}:{attempt.task}",
        created_at=attempt.created_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        duration_s=seconds(attempt.started_at or attempt.created_at, attempt.ended_at),
        is_claimed=attempt.claim_id is not None,
        has_acted=attempt.acted,
        policies=attempt.policies,
    )


def _step_status(attempt: Attempt, *, is_undone: bool) -> StepStatus:
    if attempt.status in _RUNNING or attempt.is_held:
        return "running"
    if attempt.status is not TaskStatus.SUCCEEDED:
        return "failed"
    return "compensated" if is_undone else "completed"


def _undone_tasks(state: InstanceState) -> set[str]:
    """Tasks whose compensations have all succeeded, or that an operator says are undone."""
    succeeded: dict[str, list[bool]] = {}
    for attempts in state.attempts.values():
        newest = attempts[-1]
        if newest.kind == "compensation":
            task = newest.task.rpartition("-undo-")[0]
            succeeded.setdefault(task, []).append(newest.status is TaskStatus.SUCCEEDED)
    return {
        attempts[-1].task
        for attempts in state.attempts.values()
        if attempts[-1].kind == "task"
        and _is_undone(_run_of(state, attempts[-1]), succeeded.get(attempts[-1].task, []))
    }


def _run_of(state: InstanceState, attempt: Attempt) -> StageRun | None:
    return state.row.runs.get(run_key(attempt.stage, attempt.pass_))


def _is_undone(run: StageRun | None, succeeded: list[bool]) -> bool:
    if run is not None and run.is_undone_by_hand:
        return True
    # Compensations that failed may have been followed by others that did not.
    is_run_undone = run is not None and run.status is StageStatus.COMPENSATED
    return bool(succeeded) and (all(succeeded) or is_run_undone)
