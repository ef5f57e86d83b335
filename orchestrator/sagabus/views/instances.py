"""Instances, their stages and their history as documents.

One file, because the document of an instance is made of the others.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from sagabus.core.definition import Definition, JsonSchema
from sagabus.core.examples import example_of
from sagabus.core.gates import form_of
from sagabus.core.instance import (
    Instance,
    InstanceStatus,
    ParkCause,
    Rollback,
    StageRun,
    StageStatus,
)
from sagabus.ports import HistoryEntry
from sagabus.views.shared import ErrorView, View, error_of, seconds

_SKIPPED = StageStatus.SKIPPED


class SagaErrorView(ErrorView):
    """Why an instance failed, and where its compensation began."""

    #: ``step_failed:<stage>``, ``cancelled``, or the error's type.
    reason: str
    #: Position of the last stage that had succeeded, from 0; -1: there was nothing to undo.
    compensate_from_idx: int


class PauseView(View):
    """Who paused an instance, when and why."""

    at: datetime
    by: str
    reason: str
    #: It goes on with its workflow, which is paused.
    is_of_workflow: bool


class ParkedView(View):
    """One thing that an operator has to settle before anything more is sent."""

    #: ``intent_unknown``, ``compensation_failed``, ``after_final`` or ``invariant``.
    cause: ParkCause
    message: str
    at: datetime
    stage: str | None
    task: str | None
    attempt: int | None


class EffectView(View):
    """What stands of an instance, and was not meant to."""

    stage: str
    task: str
    class_: str = Field(serialization_alias="class")
    #: False: it may have been done, and nobody knows.
    is_certain: bool


class ConsentView(View):
    """One person's approval."""

    by: str
    at: datetime
    reason: str
    #: What the approval's schema asks for; null where there is none.
    data: Any


class ApprovalView(View):
    """A gate or a question, and its answer."""

    asked_at: datetime
    due_at: datetime | None
    prompt: str
    #: It asks for data (``answer``), not for a yes or no.
    is_question: bool
    #: What a question's answer must be, JSON Schema; null: anything is accepted. Of a gate what
    #: each approver fills in; null: nothing.
    schema_: dict[str, Any] | None = Field(serialization_alias="schema")
    #: An answer that fits; null where there is no schema, or none is known.
    example: Any
    decision: Literal["approved", "rejected", "answered", "timed_out", "withdrawn"] | None
    #: Who decided, each of them where several had to approve.
    by: str | None
    at: datetime | None
    reason: str
    #: How many different people have to approve, and how many of them are missing.
    approvers: int
    missing: int
    #: Whether who started the instance may.
    self_approval: bool
    #: First to last.
    approvals: list[ConsentView]


class StageView(View):
    """One run of a stage."""

    stage: str
    pass_: int = Field(serialization_alias="pass")
    status: StageStatus
    started_at: datetime
    ended_at: datetime | None
    duration_s: float | None
    tasks: int
    succeeded: int
    failed: int
    in_flight: int
    compensations: int
    compensations_failed: int
    approval: ApprovalView | None
    error: ErrorView | None
    #: Its failure was taken care of by a route.
    is_handled: bool
    #: Keys of the runs that led to it: ``<stage>-<pass>``.
    parents: list[str]
    #: Length of the list that it has one task per element of; null without such a list.
    items: int | None


class InstanceSummary(View):
    """An instance in a list."""

    id: str
    workflow: str
    status: InstanceStatus
    #: The status in words, with what it leaves open: ``completed, 1 failure handled``.
    summary: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    started_by: str
    rollback: Rollback
    handled_failures: int
    cancel_requested: bool
    #: Stages that wait for a person.
    waiting_for: list[str]
    current_tasks: list[str]
    completed_tasks: list[str]
    failed_tasks: list[str]
    error: SagaErrorView | None
    error_message: str | None


class InstanceView(InstanceSummary):
    """An instance with its stages."""

    parameters: dict[str, Any]
    variables: dict[str, Any]
    paused: PauseView | None
    #: What makes it need an operator.
    parked: list[ParkedView]
    #: How many stages its definition has of each class; null: that cannot be read.
    effect_classes: dict[str, int] | None
    #: What the workflow gives, once it has ended.
    output: dict[str, Any]
    #: What is doubtful about the end, a sentence each.
    warnings: list[str]
    #: When it began again from a backup: what it did between that and then is not known.
    restored_at: datetime | None = None
    #: Joins that some arms have reached: the stages that wait there, by join.
    joins: dict[str, list[str]]
    #: The instance whose stage this one carries out, and the topmost one.
    parent: str | None
    root: str | None
    digest: str
    version: int
    seq: int
    deadline_at: datetime | None
    wake_at: datetime | None
    stages: list[StageView]
    failed_compensations: list[dict[str, Any]]
    #: By name what was done, or may have been, and stands.
    effects_left: list[EffectView]


class EventView(View):
    """One entry of an instance's history."""

    seq: int
    type: str
    at: datetime
    data: dict[str, Any]


def summary_of(row: Instance) -> InstanceSummary:
    """The document of an instance in a list."""
    return InstanceSummary(**_summary_fields(row))


def instance_of(row: Instance, definition: Definition | None) -> InstanceView:
    """The whole document of an instance but for its tasks; its definition where it is known."""
    return InstanceView(
        **_summary_fields(row),
        parameters=row.parameters,
        variables=row.vars,
        paused=row.paused
        and PauseView(
            at=row.paused.at,
            by=row.paused.by,
            reason=row.paused.reason,
            is_of_workflow=row.paused.is_of_workflow,
        ),
        parked=[
            ParkedView(
                cause=each.cause,
                message=each.message,
                at=each.at,
                stage=each.stage,
                task=each.task,
                attempt=each.attempt,
            )
            for each in row.parked
        ],
        effect_classes=None if definition is None else {**definition.effect_classes},
        output=row.output,
        warnings=row.warnings,
        restored_at=row.restored_at,
        joins={name: list(arms) for name, arms in row.arrived.items()},
        parent=row.parent.instance if row.parent is not None else None,
        root=row.root,
        digest=row.digest,
        version=row.version,
        seq=row.seq,
        deadline_at=row.deadline_at,
        wake_at=row.wake_at,
        stages=[_stage_of(run, _form_of(run, definition)) for run in row.runs.values()],
        failed_compensations=row.failed_compensations,
        effects_left=effects_of(row.effects_left),
    )


def effects_of(left: Iterable[Mapping[str, Any]]) -> list[EffectView]:
    """What stands, by name."""
    return [
        EffectView(
            stage=each["stage"],
            task=each["task"],
            class_=each["class"],
            is_certain=each["is_certain"],
        )
        for each in left
    ]


def events_of(history: Iterable[HistoryEntry]) -> list[EventView]:
    """The history, flat, oldest first."""
    return [event_of(event) for entry in history for event in entry.events]


def event_of(event: Mapping[str, Any]) -> EventView:
    """One stored lifecycle event."""
    return EventView(seq=event["seq"], type=event["type"], at=event["at"], data=event["data"])


def words_for(status: str, handled_failures: int, rollback: str) -> str:
    """A status with what must never be overlooked beside it."""
    if handled_failures:
        plural = "s" if handled_failures > 1 else ""
        status = f"{status}, {handled_failures} failure{plural} handled"
    return f"{status}, rollback partial" if rollback == "partial" else status


def _summary_fields(row: Instance) -> dict[str, Any]:
    newest = {run.stage: run for run in sorted(row.runs.values(), key=lambda run: run.pass_)}
    ended = sorted(
        (run for run in newest.values() if run.ended_at is not None),
        key=lambda run: run.ended_order,
    )
    return {
        "id": row.id,
        "workflow": row.workflow,
        "status": row.status,
        "summary": words_for(row.status, row.handled_failures, row.rollback),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "duration_s": seconds(row.started_at or row.created_at, row.ended_at),
        "started_by": row.started_by,
        "rollback": row.rollback,
        "handled_failures": row.handled_failures,
        "cancel_requested": row.cancel_requested,
        "waiting_for": [name for name, run in newest.items() if run.status is StageStatus.WAITING],
        "current_tasks": [name for name, run in newest.items() if _is_current(run)],
        "completed_tasks": [run.stage for run in ended if _has_succeeded(run)],
        "failed_tasks": [run.stage for run in ended if run.error is not None],
        "error": _saga_error(row),
        "error_message": row.error.message if row.error else None,
    }


def _is_current(run: StageRun) -> bool:
    return run.ended_at is None or run.status is StageStatus.COMPENSATING


def _has_succeeded(run: StageRun) -> bool:
    # Its status says later how the undo went; only the error remembers how it had ended. A run
    # that was cut short has none, and not all its tasks.
    return run.error is None and run.status is not _SKIPPED and run.total == run.succeeded


def _saga_error(row: Instance) -> SagaErrorView | None:
    failure = row.error
    if failure is None:
        return None
    if failure.type == "cancelled" or row.cancel_requested:
        reason = "cancelled"
    elif failure.stage is not None:
        # The SDK puts an underscore behind the name of a step that no stage can be called.
        reason = f"step_failed:{failure.stage.removesuffix('_')}"
    else:
        reason = failure.type
    succeeded = sum(_has_succeeded(run) for run in row.runs.values())
    return SagaErrorView(
        type=failure.type,
        message=failure.message,
        stage=failure.stage,
        task=failure.task,
        policies=failure.policies,
        reason=reason,
        compensate_from_idx=succeeded - 1,
    )


def _form_of(run: StageRun, definition: Definition | None) -> JsonSchema | None:
    stage = definition.stages.get(run.stage) if definition is not None else None
    return form_of(stage, run.gate) if stage is not None and run.gate is not None else None


def _stage_of(run: StageRun, form: JsonSchema | None) -> StageView:
    gate = run.gate
    approval = gate and ApprovalView(
        asked_at=gate.asked_at,
        due_at=gate.due_at,
        prompt=gate.prompt,
        is_question=gate.is_question,
        schema_=None if form is None else {**form.document},
        example=example_of(form),
        decision=gate.decision,
        by=gate.by,
        at=gate.at,
        reason=gate.reason,
        approvers=gate.approvers,
        missing=gate.missing,
        self_approval=gate.self_approval,
        approvals=[
            ConsentView(by=each.by, at=each.at, reason=each.reason, data=each.data)
            for each in gate.approvals
        ],
    )
    return StageView(
        stage=run.stage,
        pass_=run.pass_,
        status=run.status,
        started_at=run.started_at,
        ended_at=run.ended_at,
        duration_s=seconds(run.started_at, run.ended_at),
        tasks=run.total,
        succeeded=run.succeeded,
        failed=run.failed,
        in_flight=run.in_flight,
        compensations=run.undo_sent,
        compensations_failed=run.undo_failed,
        approval=approval,
        error=error_of(run.error),
        is_handled=run.is_handled,
        parents=run.parents,
        items=run.items,
    )
