"""Approval gates: a person decides whether a stage runs. A waiting gate holds no slot, no agent."""

from datetime import timedelta

from sagabus.core.commands import SetTimer
from sagabus.core.definition import Approval
from sagabus.core.instance import Gate, InstanceStatus, StageRun, StageStatus
from sagabus.core.transition import Transition


def ask(t: Transition, key: str, run: StageRun, approval: Approval) -> None:
    """Open the gate before a stage."""
    run.status = StageStatus.WAITING
    run.gate = Gate(asked_at=t.at)
    if approval.timeout is not None:
        run.gate.due_at = t.at + approval.timeout
        t.do(SetTimer(run.gate.due_at, "gate", key))
    t.record(
        "ApprovalRequested",
        {"stage": run.stage, "prompt": approval.prompt, "due_at": run.gate.due_at},
    )


def waiting_run(t: Transition, stage: str) -> tuple[str, StageRun] | None:
    """The run of ``stage`` that waits for an answer."""
    for key, run in t.active_runs():
        if run.stage == stage and run.status is StageStatus.WAITING:
            return key, run
    return None


def refusal(t: Transition, stage: str) -> str:
    """Why an answer for ``stage`` cannot be taken now."""
    gate: Gate | None = None
    for run in t.row.runs.values():
        if run.stage == stage and run.gate is not None:
            gate = run.gate
    if gate is not None and gate.decision is not None:
        by = f" by {gate.by}" if gate.by else ""
        at = f" at {gate.at.isoformat(timespec='seconds')}" if gate.at else ""
        return f"stage {stage!r} was {gate.decision.replace('_', ' ')}{by}{at} already"
    if gate is None and stage not in t.definition.stages:
        return f"workflow {t.row.workflow!r} has no stage {stage!r}"
    if gate is None and t.definition.stages[stage].approval is None:
        return f"stage {stage!r} asks for no approval"
    if t.row.status not in {InstanceStatus.RUNNING, InstanceStatus.WAITING}:
        return f"the instance is {t.row.status}: nobody waits for stage {stage!r}"
    return f"stage {stage!r} is not reached yet: answer when it waits"


def stop_clock(t: Transition) -> None:
    """Keep what is left of the workflow's time for later."""
    row = t.row
    if row.deadline_at is not None:
        row.remaining_s = (row.deadline_at - t.at).total_seconds()
        row.deadline_at = None


def keep_clock(t: Transition) -> None:
    """Stop the workflow's clock while it waits for a person and nothing else; say so in status."""
    row = t.row
    is_waiting = row.in_flight == 0 and not row.unfilled
    if is_waiting and row.status is not InstanceStatus.WAITING:
        row.status = InstanceStatus.WAITING
        stop_clock(t)
    elif not is_waiting and row.status is InstanceStatus.WAITING:
        row.status = InstanceStatus.RUNNING
        if row.remaining_s is not None:
            row.deadline_at = t.at + timedelta(seconds=row.remaining_s)
            row.remaining_s = None
            t.do(SetTimer(row.deadline_at, "workflow"))
