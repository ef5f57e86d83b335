"""Prometheus metrics of one orchestrator.

The registry is its own, so that one process can embed several orchestrators. The runtime
calls these methods for every transition: each is a dictionary look-up and an addition.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from sagabus.observe.children import Children

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

# Upper bounds in seconds, but for the batches.
_TASK_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_WORKFLOW_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
_COMMIT_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

WorkflowOutcome = Literal["completed", "failed", "rolled_back", "cancelled"]


class Metrics:
    """Every metric of one orchestrator."""

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry()
        if version:
            Info("sagabus_build", "The running version.", registry=self.registry).info(
                {"version": version}
            )
        ProcessCollector(registry=self.registry)
        self._make_workflow_metrics()
        self._make_work_metrics()
        self._make_engine_metrics()
        self._on_event: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
            "WorkflowStarted": self._workflow_started,
            "WorkflowCompleted": self._workflow_completed,
            "WorkflowFailed": self._workflow_failed,
            "WorkflowSettled": self._workflow_settled,
            "WorkflowRolledBack": self._workflow_rolled_back,
            "WorkflowCancelled": self._workflow_cancelled,
            "WorkflowParked": self._workflow_parked,
            "StageFailed": self._stage_ended,
            "StageDenied": self._stage_denied,
            "TaskCompleted": self._task_completed,
            "TaskFailed": self._task_failed,
            "TaskRetryScheduled": self._task_retried,
            "CompensationCompleted": self._compensation_completed,
            "CompensationFailed": self._compensation_failed,
        }

    def on_event(self, workflow: str, event: Mapping[str, Any]) -> None:
        """Count one committed lifecycle event, ``{"seq", "type", "at", "data"}``."""
        count = self._on_event.get(event["type"])
        if count is not None:
            count(workflow, event["data"])

    def count_active_with(self, count: Callable[[], float]) -> None:
        """Ask ``count`` at each scrape for the instances neither ended nor compensating."""
        self._active.set_function(count)

    def committed(self, batch_size: int, seconds: float) -> None:
        """A batch of ``batch_size`` transitions was stored."""
        self._batch_size.observe(batch_size)
        self._commit_seconds.observe(seconds)

    def ignored(self, reason: str) -> None:
        """A message changed nothing."""
        self._ignored[reason].inc()

    def dead_letter(self, reason: str) -> None:
        """A message was put on the dead-letter stream."""
        self._dead_letters[reason].inc()

    def set_dead_letters(self, letters: int) -> None:
        """Dead letters that nobody has put back or dropped."""
        self._dead_stored.set(letters)

    def resent(self, tasks: int = 1) -> None:
        """Recovery handed tasks to the bus again."""
        self._resent.inc(tasks)

    def swept(self, instances: int) -> None:
        """Retention deleted ended instances."""
        self._swept.inc(instances)

    def config_reload(self, *, is_ok: bool) -> None:
        """The configuration was read again; False: it was bad and the old one stays in force."""
        self._reloads["ok" if is_ok else "rejected"].inc()

    def set_inbox_lag(self, partition: int, messages: int) -> None:
        """Messages stored in a partition's inbox and not yet taken."""
        self._inbox_lag[str(partition)].set(messages)

    def drop_partition(self, partition: int) -> None:
        """Another orchestrator serves the partition now: stop reporting its lag."""
        if self._inbox_lag.pop(str(partition), None) is not None:
            self._inbox_lag_gauge.remove(str(partition))

    def set_queue(self, role: str, depth: int, oldest_age_s: float) -> None:
        """A role's waiting tasks and the age of the oldest."""
        self._queue_depth[role].set(depth)
        self._queue_age[role].set(oldest_age_s)

    def render(self) -> bytes:
        """The text exposition, of type ``CONTENT_TYPE``."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sagabus_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sagabus_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"sagabus_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _make_workflow_metrics(self) -> None:
        def counter(name: str, text: str) -> Children[str, Counter]:
            return Children(self._counter(name, text, "workflow"))

        self._started = counter("workflows_started_total", "Instances started.")
        self._completed = counter("workflows_completed_total", "Instances completed.")
        self._failed = counter(
            "workflows_failed_total",
            "Instances failed, counted when the failure is stored, before compensation.",
        )
        self._rolled_back = counter("workflows_rolled_back_total", "Instances fully undone.")
        self._cancelled = counter("workflows_cancelled_total", "Instances ended by a cancel.")
        self._parked = counter(
            "workflows_needs_operator_total", "Times an instance was parked for an operator."
        )
        self._active = self._gauge(
            "active_workflows", "Instances that have neither ended nor begun to compensate."
        )
        self._workflow_seconds: Children[tuple[str, WorkflowOutcome], Histogram] = Children(
            self._histogram(
                "workflow_duration_seconds",
                "From the start of an instance to its end, compensation included.",
                _WORKFLOW_BUCKETS,
                "workflow",
                "outcome",
            )
        )

    def _make_work_metrics(self) -> None:
        self._stage_seconds: Children[tuple[str, str], Histogram] = Children(
            self._histogram(
                "stage_duration_seconds",
                "From the start of a stage to its end, waiting for approval included.",
                _WORKFLOW_BUCKETS,
                "workflow",
                "stage",
            )
        )
        self._task_seconds: Children[str, Histogram] = Children(
            self._histogram(
                "task_duration_seconds", "Run of a successful attempt.", _TASK_BUCKETS, "role"
            )
        )
        self._tasks_failed: Children[str, Counter] = Children(
            self._counter("task_failures_total", "Attempts that failed.", "role")
        )
        self._retries: Children[str, Counter] = Children(
            self._counter("task_retries_total", "Further attempts planned.", "role")
        )
        self._compensations: Children[str, Counter] = Children(
            self._counter("compensations_total", "Compensations, by outcome.", "outcome")
        )
        self._denials = self._counter("policy_denials_total", "Stages that a policy denied.")
        self._resent = self._counter("resent_tasks_total", "Tasks sent again by recovery.")
        self._queue_depth: Children[str, Gauge] = Children(
            self._gauge("queue_depth", "Tasks waiting for an agent.", "role")
        )
        self._queue_age: Children[str, Gauge] = Children(
            self._gauge("queue_oldest_age_seconds", "Age of the oldest waiting task.", "role")
        )

    def _make_engine_metrics(self) -> None:
        self._batch_size = self._histogram(
            "commit_batch_size", "Transitions per transaction.", _BATCH_BUCKETS
        )
        self._commit_seconds = self._histogram(
            "commit_seconds", "Duration of a transaction.", _COMMIT_BUCKETS
        )
        self._inbox_lag_gauge = self._gauge(
            "inbox_lag", "Messages stored in a partition's inbox and not yet taken.", "partition"
        )
        self._inbox_lag: Children[str, Gauge] = Children(self._inbox_lag_gauge)
        self._dead_stored = self._gauge(
            "dead_letters_stored", "Dead letters that nobody has dealt with."
        )
        self._dead_letters: Children[str, Counter] = Children(
            self._counter("dead_letters_total", "Messages nobody can use.", "reason")
        )
        self._ignored: Children[str, Counter] = Children(
            self._counter("ignored_events_total", "Messages that changed nothing.", "reason")
        )
        self._swept = self._counter("swept_total", "Ended instances deleted by retention.")
        self._reloads: Children[str, Counter] = Children(
            self._counter("config_reloads_total", "Reloads of the configuration.", "outcome")
        )

    def _workflow_started(self, workflow: str, _: Mapping[str, Any]) -> None:
        self._started[workflow].inc()

    def _workflow_completed(self, workflow: str, data: Mapping[str, Any]) -> None:
        self._completed[workflow].inc()
        self._ended(workflow, "completed", data)

    def _workflow_failed(self, workflow: str, _: Mapping[str, Any]) -> None:
        self._failed[workflow].inc()

    def _workflow_settled(self, workflow: str, data: Mapping[str, Any]) -> None:
        self._ended(workflow, "failed", data)

    def _workflow_rolled_back(self, workflow: str, data: Mapping[str, Any]) -> None:
        self._rolled_back[workflow].inc()
        self._ended(workflow, "rolled_back", data)

    def _workflow_cancelled(self, workflow: str, data: Mapping[str, Any]) -> None:
        self._cancelled[workflow].inc()
        self._ended(workflow, "cancelled", data)

    def _workflow_parked(self, workflow: str, _: Mapping[str, Any]) -> None:
        self._parked[workflow].inc()

    def _ended(self, workflow: str, outcome: WorkflowOutcome, data: Mapping[str, Any]) -> None:
        self._workflow_seconds[workflow, outcome].observe(data["duration_s"])

    def _stage_ended(self, workflow: str, data: Mapping[str, Any]) -> None:
        self._stage_seconds[workflow, data["stage"]].observe(data["duration_s"])

    def _stage_denied(self, workflow: str, data: Mapping[str, Any]) -> None:
        self._denials.inc()
        self._stage_ended(workflow, data)

    def _task_completed(self, workflow: str, data: Mapping[str, Any]) -> None:
        self._task_seconds[data["role"]].observe(data["duration_s"])
        if "stage_duration_s" in data:  # it ended its stage
            self._stage_seconds[workflow, data["stage"]].observe(data["stage_duration_s"])

    def _task_failed(self, _: str, data: Mapping[str, Any]) -> None:
        self._tasks_failed[data["role"]].inc()

    def _task_retried(self, _: str, data: Mapping[str, Any]) -> None:
        self._retries[data["role"]].inc()

    def _compensation_completed(self, _: str, __: Mapping[str, Any]) -> None:
        self._compensations["succeeded"].inc()

    def _compensation_failed(self, _: str, __: Mapping[str, Any]) -> None:
        self._compensations["failed"].inc()
