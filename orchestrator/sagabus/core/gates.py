"""Gates and questions: a person decides, or answers. What waits holds no slot and no agent."""

from datetime import datetime, timedelta
from typing import Any

from sagabus.core import permitted
from sagabus.core.commands import SetTimer
from sagabus.core.definition import Approval, Stage
from sagabus.core.instance import Gate, InstanceStatus, StageRun, StageStatus
from sagabus.core.scope import scope_of
from sagabus.core.transition import Transition

#: In which people are asked, and may answer.
ANSWERABLE = frozenset({InstanceStatus.RUNNING, InstanceStatus.WAITING, InstanceStatus.PAUSED})


def ask(t: Transition, key: str, run: StageRun, approval: Approval) -> None:
    """Open the gate before a stage."""
    gate = _wait(t, key, run, approval.prompt, approval.timeout)
    t.record("ApprovalRequested", _asked(run, gate))


def put_question(t: Transition, key: str, run: StageRun, stage: Stage) -> None:
    """Ask what an inquiry asks.

    Raises:
        TemplateError: the question cannot be rendered.
    """
    prompt = "" if stage.prompt is None else stage.prompt.render(scope_of(t))
    gate = _wait(t, key, run, str(prompt), stage.timeout)
    gate.is_question = True
    t.record("InquiryAsked", _asked(run, gate) | {"schema": stage.form and stage.form.document})


def _wait(t: Transition, key: str, run: StageRun, prompt: str, timeout: timedelta | None) -> Gate:
    due_at = None if timeout is None else t.at + timeout
    run.status = StageStatus.WAITING
    run.gate = gate = Gate(asked_at=t.at, prompt=prompt, due_at=due_at)
    if due_at is not None:
        t.do(SetTimer(due_at, "gate", key))
    return gate


def _asked(run: StageRun, gate: Gate) -> dict[str, Any]:
    return {"stage": run.stage, "prompt": gate.prompt, "due_at": gate.due_at}


def waiting_run(t: Transition, stage: str, *, is_inquiry: bool) -> tuple[str, StageRun] | None:
    """The run of ``stage`` that waits for an approval, or for the answer to its question."""
    found = t.definition.stages.get(stage)
    if found is None or (found.kind == "inquiry") != is_inquiry:
        return None
    for key, run in t.active_runs():
        if run.stage == stage and run.status is StageStatus.WAITING:
            return key, run
    return None


def refusal(t: Transition, stage: str, *, is_inquiry: bool) -> str:
    """Why an answer for ``stage`` cannot be taken now."""
    known = t.definition.stages.get(stage)
    if known is None:
        return f"workflow {t.row.workflow!r} has no stage {stage!r}"
    if known.kind == "inquiry" and not is_inquiry:
        return f"stage {stage!r} asks a question: answer it instead of approving or rejecting it"
    if known.kind != "inquiry" and is_inquiry:
        instead = ": approve or reject it instead" if known.approval is not None else ""
        return f"stage {stage!r} asks no question{instead}"
    gate: Gate | None = None
    for run in t.row.runs.values():
        if run.stage == stage and run.gate is not None:
            gate = run.gate
    if gate is not None and gate.decision is not None:
        by = f" by {gate.by}" if gate.by else ""
        at = f" at {gate.at:%Y-%m-%d %H:%M:%S}Z" if gate.at else ""
        return f"stage {stage!r} was {gate.decision.replace('_', ' ')}{by}{at} already"
    if gate is None and not is_inquiry and known.approval is None:
        return f"stage {stage!r} asks for no approval"
    why_not = permitted.refusal("answer", t.row)
    if why_not is not None:
        return why_not
    return f"stage {stage!r} is not reached yet: answer when it waits"


def keep_limits(t: Transition) -> datetime | None:
    """Stop the time limits of open gates while nothing is sent; when the first of the others ends.

    Who approves waits for who has stopped it, and loses no time by that.
    """
    is_stopped = t.row.paused is not None or bool(t.row.parked)
    first: datetime | None = None
    for key, run in t.active_runs():
        gate = run.gate
        if gate is None or gate.decision is not None:
            continue
        if is_stopped and gate.due_at is not None:
            gate.remaining_s = (gate.due_at - t.at).total_seconds()
            gate.due_at = None
        elif not is_stopped and gate.remaining_s is not None:
            gate.due_at = t.at + timedelta(seconds=gate.remaining_s)
            gate.remaining_s = None
            t.do(SetTimer(gate.due_at, "gate", key))
        if gate.due_at is not None and (first is None or gate.due_at < first):
            first = gate.due_at
    return first


def stop_clock(t: Transition) -> None:
    """Keep what is left of the workflow's time for later."""
    row = t.row
    if row.deadline_at is not None:
        row.remaining_s = (row.deadline_at - t.at).total_seconds()
        row.deadline_at = None


def keep_clock(t: Transition) -> None:
    """Stop the workflow's clock while it waits for a person and nothing else; say so in status."""
    row = t.row
    if row.paused is not None:
        row.phase = InstanceStatus.PAUSED
    elif row.in_flight == 0 and not row.unfilled and not row.pending:
        row.phase = InstanceStatus.WAITING
    else:
        row.phase = InstanceStatus.RUNNING
    if row.status is not InstanceStatus.RUNNING:
        stop_clock(t)
    elif row.remaining_s is not None:
        row.deadline_at = t.at + timedelta(seconds=row.remaining_s)
        row.remaining_s = None
        t.do(SetTimer(row.deadline_at, "workflow"))
