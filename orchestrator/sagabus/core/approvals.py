"""Approving and rejecting what waits for it: who may, how many have to, and what they fill in."""

from typing import Final

import orjson

from sagabus.core import gates, stages
from sagabus.core.events import ApprovalAnswered
from sagabus.core.instance import Answer, Consent, Failure, Gate, StageRun
from sagabus.core.transition import Ignored, Transition

#: Of what one approver fills in: it is stored with every transition from then on.
MAX_DATA_BYTES: Final = 16_384


def answer_gate(t: Transition, event: ApprovalAnswered) -> Ignored | None:
    """Approve or reject a waiting stage; who comes after it was decided is refused."""
    found = gates.waiting(t, event.stage, is_question=False)
    if found is None:
        t.refuse(event.command, gates.refusal(t, event.stage, is_question=False))
        return None
    key, run, gate = found
    if event.is_approved:
        _approve(t, key, run, gate, event)
    else:
        _reject(t, run, gate, event)
    return None


def _approve(t: Transition, key: str, run: StageRun, gate: Gate, event: ApprovalAnswered) -> None:
    if problem := _who_problem(t, run, gate, event.by) or _data_problem(t, run, gate, event):
        message, code = problem
        t.refuse(event.command, message, code)
        return
    has_form = gates.form_of(t.stage(run.stage), gate) is not None
    data = _filled_in(event) if has_form else None
    gate.approvals.append(Consent(event.by.strip(), t.at, event.reason, data))
    missing = gate.missing
    said = {"stage": run.stage, "by": event.by, "reason": event.reason}
    t.record("ApprovalGranted", {**said, "data": data, "missing": missing})
    result = {"id": t.row.id, "stage": run.stage, "decision": None, "missing": missing}
    if not missing:
        gate.decision = result["decision"] = "approved"
        gate.by = ", ".join(each.by for each in gate.approvals)
        gate.at, gate.reason = t.at, event.reason
        stages.pass_gate(t, key, run)
    t.answer(event.command, Answer(ok=True, result=result))


def _reject(t: Transition, run: StageRun, gate: Gate, event: ApprovalAnswered) -> None:
    gate.decision = "rejected"
    gate.by, gate.at, gate.reason = event.by, t.at, event.reason
    t.record("ApprovalRejected", {"stage": run.stage, "by": event.by, "reason": event.reason})
    why = f": {event.reason}" if event.reason else ""
    message = f"rejected by {event.by or 'an operator'}{why}"
    stages.fail_run(t, run, Failure("rejected", message, run.stage))
    result = {"id": t.row.id, "stage": run.stage, "decision": "rejected"}
    t.answer(event.command, Answer(ok=True, result=result))


def _who_problem(t: Transition, run: StageRun, gate: Gate, by: str) -> tuple[str, str] | None:
    """Why ``by`` may not approve, and the code of that."""
    starter = "" if gate.self_approval else t.row.started_by
    who = by.strip()
    if not who and (gate.approvers > 1 or starter):
        several = f"{gate.approvers} different people"
        whom = several if gate.approvers > 1 else f"somebody else than {starter}"
        message = (
            f"stage {run.stage!r} is to be approved by {whom}: say who you are, with SAGABUS_USER "
            "on the command line or `by` over HTTP"
        )
        return message, "invalid_request"
    if starter and who == starter.strip():
        message = (
            f"{who} has started the instance: somebody else has to approve stage {run.stage!r}"
        )
        return message, "conflict"
    if any(each.by == who for each in gate.approvals):
        more = "1 more approval is" if gate.missing == 1 else f"{gate.missing} more approvals are"
        message = f"{who} has approved already; {more} needed, by somebody else"
        return message, "conflict"
    return None


def _data_problem(
    t: Transition, run: StageRun, gate: Gate, event: ApprovalAnswered
) -> tuple[str, str] | None:
    """Why what an approver has filled in cannot be taken, and the code of that."""
    form = gates.form_of(t.stage(run.stage), gate)
    if form is None:
        if event.data is None:
            return None
        message = f"stage {run.stage!r} asks for no data with an approval: approve it without"
        return message, "invalid_request"
    data = _filled_in(event)
    if problem := gates.misfit(form, data):
        message = f"the data of an approval of stage {run.stage!r} does not fit: {problem}"
        return message, "invalid_request"
    size = len(orjson.dumps(data))
    if size > MAX_DATA_BYTES:
        message = (
            f"the data of an approval of stage {run.stage!r} has {size} bytes, of which "
            f"{MAX_DATA_BYTES} are taken: give a reference instead"
        )
        return message, "invalid_request"
    return None


def _filled_in(event: ApprovalAnswered) -> object:
    """What was given, an empty table where nothing was: it fits where nothing is required."""
    return {} if event.data is None else event.data
