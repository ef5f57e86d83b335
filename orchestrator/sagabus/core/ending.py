"""How an instance ends: nothing is active any more, its last stage runs, its output is rendered."""

from typing import Any

from sagabus.core import gates, routes, saga, stages
from sagabus.core.definition import TemplateError
from sagabus.core.instance import InstanceStatus
from sagabus.core.news import tell_above
from sagabus.core.scope import end_error, scope_of
from sagabus.core.transition import Transition
from sagabus.errors import InvariantError


def settle(t: Transition) -> None:
    """After an event and all that follows from it: end what can be ended."""
    row = t.row
    stages.advance(t)
    if row.outcome is None and stages.is_forward(row):
        if row.active_runs or row.pending:
            gates.keep_clock(t)
        else:
            row.outcome = InstanceStatus.COMPLETED
    if row.outcome is not None and not row.status.is_terminal and not row.parked:
        _end(t)


def _end(t: Transition) -> None:
    row = t.row
    last = t.definition.on_end
    if last is not None and routes.standing(row, last, 1) is None:
        row.deadline_at = row.remaining_s = None
        stages.begin_run(t, last, [], 1)
        stages.advance(t)
    if row.active_runs or row.in_flight:  # the last stage; a late undo, what was told to stop
        row.deadline_at = row.remaining_s = None
        if row.phase is not InstanceStatus.COMPENSATING:
            is_paused = row.paused is not None
            row.phase = InstanceStatus.PAUSED if is_paused else InstanceStatus.RUNNING
        return
    if row.undo_parent is not None and row.undo_order is None:  # asked for while that stage ran
        row.phase, row.outcome = InstanceStatus.COMPENSATING, None
        saga.proceed(t)
        if row.outcome is None:
            return
    row.status = saga.outcome(t)  # a late undo may have failed since the end began
    row.paused = None
    row.ended_at = t.at
    row.deadline_at = None
    row.remaining_s = None
    _render_output(t)
    _record_end(t)
    tell_above(t)


def _render_output(t: Transition) -> None:
    """As far as possible: what cannot be rendered is null."""
    definition = t.definition
    if not definition.output_map:
        return
    scope = scope_of(t, error=end_error(t.row))
    output: dict[str, Any] = {}
    for name, template in definition.output_map.items():
        try:
            output[name] = template.render(scope)
        except TemplateError:
            output[name] = None
    t.row.output = output
    if definition.output_schema is not None:
        given = {name: value for name, value in output.items() if value is not None}
        t.row.warnings += [f"output: {each}" for each in definition.output_schema.problems(given)]


def _record_end(t: Transition) -> None:
    """Announce the status an instance ended with."""
    row = t.row
    duration_s = (t.at - row.created_at).total_seconds()
    failed_compensations = list(row.failed_compensations)
    match row.status:
        case InstanceStatus.COMPLETED:
            data: dict[str, Any] = {"status": row.status, "duration_s": duration_s}
            if row.handled_failures:
                data["handled_failures"] = row.handled_failures
            if row.failed_compensations:
                data |= {"rollback": row.rollback, "failed_compensations": failed_compensations}
            if row.effects_left:
                data["effects_left"] = list(row.effects_left)
            t.record("WorkflowCompleted", data)
            return
        case InstanceStatus.ROLLED_BACK:
            type_ = "WorkflowRolledBack"
        case InstanceStatus.CANCELLED:
            type_ = "WorkflowCancelled"
        case InstanceStatus.FAILED:
            type_ = "WorkflowSettled"
        case status:
            raise InvariantError(f"an instance cannot end {status}", instance_id=row.id)
    t.record(
        type_,
        {
            "status": row.status,
            "rollback": row.rollback,
            "failed_compensations": failed_compensations,
            "effects_left": list(row.effects_left),
            "duration_s": duration_s,
        },
    )
