"""One log line per committed lifecycle event, under stable names.

At thousands of events a second a line costs more than the decision it tells of: what the level
hides is never built.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

import structlog

_DEBUG, _INFO, _WARNING, _ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

#: Level and event name by lifecycle event; any other is logged at debug under its own type.
LINES: Final[Mapping[str, tuple[int, str]]] = {
    "WorkflowStarted": (_INFO, "workflow_started"),
    "WorkflowCompleted": (_INFO, "workflow_completed"),
    "WorkflowFailed": (_WARNING, "workflow_failed"),
    "WorkflowSettled": (_WARNING, "workflow_settled"),
    "WorkflowRolledBack": (_WARNING, "workflow_rolled_back"),
    "WorkflowCancelRequested": (_INFO, "workflow_cancel_requested"),
    "WorkflowCancelled": (_INFO, "workflow_cancelled"),
    "WorkflowRestored": (_WARNING, "workflow_restored"),
    "WorkflowRetried": (_WARNING, "workflow_retried"),
    "UndoRequested": (_WARNING, "undo_requested"),
    "StageResultSet": (_WARNING, "stage_result_set"),
    "StageFailRequested": (_WARNING, "stage_fail_requested"),
    "StageUndoneByHand": (_WARNING, "stage_undone_by_hand"),
    "CompensationSkipped": (_WARNING, "compensation_skipped"),
    "RollbackRevised": (_WARNING, "rollback_revised"),
    "WorkflowParked": (_ERROR, "workflow_needs_operator"),
    "StageFailed": (_WARNING, "stage_failed"),
    "StageDenied": (_ERROR, "cedar_authorization_denied"),
    "TaskScheduled": (_INFO, "task_scheduled"),
    "TaskStarted": (_DEBUG, "task_started"),
    "TaskCompleted": (_INFO, "task_completed"),
    "TaskCompletedLate": (_WARNING, "task_completed_late"),
    "TaskFailed": (_WARNING, "task_failed"),
    "TaskRetryScheduled": (_INFO, "task_retry_scheduled"),
    "ApprovalRequested": (_INFO, "approval_requested"),
    "ApprovalGranted": (_INFO, "approval_granted"),
    "ApprovalRejected": (_WARNING, "approval_rejected"),
    "ApprovalTimedOut": (_WARNING, "approval_timed_out"),
    "CompensationScheduled": (_INFO, "compensation_scheduled"),
    "CompensationCompleted": (_INFO, "compensation_completed"),
    "CompensationFailed": (_WARNING, "compensation_dispatch_failed"),
}
#: Data of a lifecycle event that may be large or a person's secret, and never belongs in a log.
_UNLOGGED: Final = frozenset(
    {"parameters", "input", "output", "status", "prompt", "schema", "data"}
)


class EventLog:
    """Writes the lines; ``level`` is the least that is written."""

    def __init__(self, level: str = "info") -> None:
        self._threshold = logging.getLevelNamesMapping()[level.upper()]
        self._log = structlog.get_logger("sagabus.workflow")

    def on_event(self, instance: str, workflow: str, event: Mapping[str, Any]) -> None:
        """Log one committed lifecycle event, ``{"seq", "type", "at", "data"}``."""
        type_ = event["type"]
        level, name = LINES.get(type_, (_DEBUG, type_))
        if level < self._threshold:
            return
        fields = {key: value for key, value in event["data"].items() if key not in _UNLOGGED}
        error = fields.get("error")
        if isinstance(error, Mapping):
            fields["error"] = error.get("message", "")
            fields["error_type"] = error.get("type", "")
        following = fields.pop("next", None)
        self._log.log(level, name, workflow_id=instance, workflow=workflow, **fields)
        if following:
            self._log.log(
                level,
                "scheduling_next_stages",
                workflow_id=instance,
                workflow=workflow,
                stage=fields["stage"],
                next=following,
            )
