"""Tasks and their attempts as documents."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from sagabus.core.definition import Definition
from sagabus.core.instance import Attempt, InstanceState, TaskStatus, run_key
from sagabus.views.shared import ErrorView, View, error_of, seconds


class DeclaredResource(View):
    """What a task says that there is; ``spec`` is null for what is there no more."""

    kind: str
    id: str
    spec: dict[str, Any] | None


class AttemptView(View):
    """One try of a task."""

    attempt: int
    status: TaskStatus
    agent: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    due_at: datetime | None
    policies: list[str] | None
    error: ErrorView | None


class TaskView(View):
    """One task with all its attempts; status, result and error are those of the newest."""

    task: str
    task_name: str
    pass_: int = Field(serialization_alias="pass")
    task_index: int
    kind: Literal["task", "compensation"]
    role: str
    action: str
    status: TaskStatus
    #: Attempts beyond the first.
    retry_count: int
    #: None: the instance's own definition is no longer loaded.
    max_retries: int | None
    started_at: datetime | None
    completed_at: datetime | None
    input: Any
    result: Any
    artifacts: list[str]
    resources: list[DeclaredResource]
    error: ErrorView | None
    attempts: list[AttemptView]


def in_order(state: InstanceState) -> list[list[Attempt]]:
    """The attempts of each task, in the order in which they were first sent.

    Those sent together stand by stage and item.
    """
    runs = {key: number for number, key in enumerate(state.row.runs)}

    def place(attempts: list[Attempt]) -> tuple[datetime, int, int]:
        first = attempts[0]
        return first.created_at, runs.get(run_key(first.stage, first.pass_), 0), first.index

    return sorted(state.attempts.values(), key=place)


def tasks_of(state: InstanceState, definition: Definition | None) -> list[TaskView]:
    """Every task and compensation, in the order in which they were first sent.

    ``definition`` is the one the instance runs on; without it ``max_retries`` is not known.
    """
    return [_task_of(attempts, definition) for attempts in in_order(state)]


def _task_of(attempts: list[Attempt], definition: Definition | None) -> TaskView:
    newest = attempts[-1]
    return TaskView(
        task=newest.task,
        task_name=newest.stage,
        pass_=newest.pass_,
        task_index=newest.index,
        kind=newest.kind,
        role=newest.role,
        action=newest.action,
        status=newest.status,
        retry_count=len(attempts) - 1,
        max_retries=_max_retries(newest, definition),
        started_at=attempts[0].started_at,
        completed_at=newest.ended_at,
        input=newest.input,
        result=newest.output,
        artifacts=newest.artifacts,
        resources=[DeclaredResource(**asdict(each)) for each in newest.resources],
        error=error_of(newest.error),
        attempts=[_attempt_of(attempt) for attempt in attempts],
    )


def _attempt_of(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt=attempt.attempt,
        status=attempt.status,
        agent=attempt.agent,
        created_at=attempt.created_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        duration_s=seconds(attempt.started_at or attempt.created_at, attempt.ended_at),
        due_at=attempt.due_at,
        policies=attempt.policies,
        error=error_of(attempt.error),
    )


def _max_retries(attempt: Attempt, definition: Definition | None) -> int | None:
    stage = definition.stages.get(attempt.stage) if definition else None
    if stage is None:
        return None
    if attempt.kind == "task":
        return stage.retry.count
    return stage.compensation.retry.count if stage.compensation else None
