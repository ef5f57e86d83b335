"""Gates and questions: a person decides, or answers. What waits holds no slot and no agent."""

from datetime import datetime, timedelta
from typing import Any

import orjson

from sagabus.core import permitted
from sagabus.core.commands import SetTimer
from sagabus.core.definition import Approval, JsonSchema, Stage, Template
from sagabus.core.examples import example_of
from sagabus.core.instance import Gate, InstanceStatus, StageRun, StageStatus
from sagabus.core.scope import scope_of
from sagabus.core.transition import Transition

#: In which people are asked, and may answer.
ANSWERABLE = frozenset({InstanceStatus.RUNNING, InstanceStatus.WAITING, InstanceStatus.PAUSED})


def ask(t: Transition, key: str, run: StageRun, approval: Approval) -> None:
    """Open the gate before a stage.

    Raises:
        TemplateError: the prompt cannot be rendered.
    """
    gate = _wait(t, key, run, approval.prompt, approval.timeout)
    gate.approvers, gate.self_approval = approval.approvers, approval.self_approval
    conditions = {"approvers": approval.approvers, "self_approval": approval.self_approval}
    t.record("ApprovalRequested", _asked(run, gate, approval.form) | conditions)


def put_question(t: Transition, key: str, run: StageRun, stage: Stage) -> None:
    """Ask what an inquiry asks.

    Raises:
        TemplateError: the question cannot be rendered.
    """
    before = run.gate
    gate = _wait(t, key, run, stage.prompt, stage.timeout)
    gate.is_question = True
    if before is not None:  # who let it be asked is known as long as who answers
        gate.approvals = before.approvals
    t.record("InquiryAsked", _asked(run, gate, stage.form))


def _wait(
    t: Transition, key: str, run: StageRun, prompt: Template | None, timeout: timedelta | None
) -> Gate:
    text = "" if prompt is None else str(prompt.render(scope_of(t)))
    due_at = None if timeout is None else t.at + timeout
    run.status = StageStatus.WAITING
    run.gate = gate = Gate(asked_at=t.at, prompt=text, due_at=due_at)
    if due_at is not None:
        t.do(SetTimer(due_at, "gate", key))
    return gate


def _asked(run: StageRun, gate: Gate, form: JsonSchema | None) -> dict[str, Any]:
    asked = {"stage": run.stage, "prompt": gate.prompt, "due_at": gate.due_at}
    return asked | {"schema": form and form.document}


def form_of(stage: Stage, gate: Gate) -> JsonSchema | None:
    """What an answer to ``gate``, or the data of an approval, must be; None: nothing is said."""
    if gate.is_question:
        return stage.form
    return stage.approval.form if stage.approval is not None else None


def misfit(form: JsonSchema, data: Any) -> str | None:
    """Why ``data`` does not fit ``form``, and what would; None: it fits."""
    problems = form.problems(data)
    if not problems:
        return None
    example = example_of(form)
    hint = "" if example is None else f"; this fits: {orjson.dumps(example).decode()}"
    return f"{'; '.join(problems)}{hint}"


def consent_to(run: StageRun) -> dict[str, Any]:
    """What policies see of the gate before a stage."""
    gate = run.gate
    if gate is None:
        return {"approved": False, "approved_by": []}
    names = [each.by for each in gate.approvals if each.by]
    return {"approved": gate.decision == "approved", "approved_by": names}


def waiting(t: Transition, stage: str, *, is_question: bool) -> tuple[str, StageRun, Gate] | None:
    """The run of ``stage`` that waits for an approval, or for the answer to its question."""
    if t.row.status not in ANSWERABLE:
        return None
    for key, run in t.active_runs():
        gate = run.gate
        if run.stage != stage or run.status is not StageStatus.WAITING or gate is None:
            continue
        if gate.is_question == is_question:
            return key, run, gate
    return None


def refusal(t: Transition, stage: str, *, is_question: bool) -> str:
    """Why an approval of ``stage``, or an answer to its question, cannot be taken now."""
    known = t.definition.stages.get(stage)
    if known is None:
        return f"workflow {t.row.workflow!r} has no stage {stage!r}"
    asks, is_gated = known.kind == "inquiry", known.approval is not None
    if is_question and not asks:
        instead = ": approve or reject it instead" if is_gated else ""
        return f"stage {stage!r} asks no question{instead}"
    gate: Gate | None = None
    for run in t.row.runs.values():
        if run.stage == stage and run.gate is not None:
            gate = run.gate
    is_other = gate is not None and gate.decision is None and gate.is_question != is_question
    if is_other and is_question:
        return f"stage {stage!r} waits for approval: approve or reject it, then it asks"
    if asks and not is_question and (is_other or not is_gated):
        return f"stage {stage!r} asks a question: answer it instead of approving or rejecting it"
    if gate is not None and gate.decision is not None:
        by = f" by {gate.by}" if gate.by else ""
        at = f" at {gate.at:%Y-%m-%d %H:%M:%S}Z" if gate.at else ""
        return f"stage {stage!r} was {gate.decision.replace('_', ' ')}{by}{at} already"
    if gate is None and not is_question and not is_gated:
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
