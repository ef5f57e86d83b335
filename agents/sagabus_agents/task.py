"""``Task``: what a handler sees of the attempt it runs."""

from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from sagabus_agents.wire import ProgressMessage, TaskMessage, TaskType


class Task:
    """One attempt of one task. Safe to use from the thread of a sync handler."""

    __slots__ = ("_artifacts", "_is_cancelled", "_log", "_message", "on_progress")

    def __init__(self, message: TaskMessage) -> None:
        self._message = message
        #: Where ``progress`` goes; set by whoever runs the handler.
        self.on_progress: Callable[[ProgressMessage], None] | None = None
        self._artifacts: list[str] = []
        self._is_cancelled = False
        self._log: FilteringBoundLogger | None = None

    def complete(self, message: TaskMessage) -> None:
        """Put the whole message in the place of one whose body stood beside it, or held less.

        Called by whoever runs the handler, before it does.
        """
        self._message = message

    @property
    def input(self) -> Any:
        """The task's input as it was sent; a typed handler gets it validated as well."""
        return self._message.input

    @property
    def payload(self) -> dict[str, Any]:
        """The payload fields of the message, and no others.

        ``type``, ``stage_name``, ``workflow_id``; for a compensation also ``original_context`` and
        ``artifacts_to_undo``.
        """
        message = self._message
        payload: dict[str, Any] = {
            "type": message.type.value,
            "stage_name": message.stage_name,
            "workflow_id": message.workflow_id,
        }
        if message.type is TaskType.COMPENSATION:
            payload["original_context"] = self.original_context
            payload["artifacts_to_undo"] = self.artifacts_to_undo
        return payload

    @property
    def message(self) -> TaskMessage:
        """The whole message, payload and envelope."""
        return self._message

    @property
    def action(self) -> str:
        """What is asked for."""
        return self._message.action

    @property
    def role(self) -> str:
        """The role it was sent to."""
        return self._message.role

    @property
    def workflow(self) -> str:
        """Name of the workflow's definition."""
        return self._message.workflow

    @property
    def workflow_id(self) -> str:
        """Id of the workflow instance."""
        return self._message.workflow_id

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self._message.stage_name

    @property
    def id(self) -> str:
        """Id of the task, unique within the instance."""
        return self._message.task

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._message.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt and delivery of this task."""
        return self._message.idempotency_key

    @property
    def is_compensation(self) -> bool:
        """True when something is to be undone."""
        return self._message.type is TaskType.COMPENSATION

    @property
    def original_context(self) -> dict[str, Any]:
        """Compensation: ``{parameters, vars, input, output}`` of the task to undo; else empty."""
        return self._message.original_context or {}

    @property
    def artifacts_to_undo(self) -> list[str]:
        """Compensation: ids that the task to undo declared; else empty."""
        return self._message.artifacts_to_undo or []

    @property
    def artifacts(self) -> list[str]:
        """Ids declared so far."""
        return list(self._artifacts)

    def artifact(self, id: str) -> None:
        """Declare something that exists now because of this task, for its compensation to undo.

        Declare it as soon as it exists: a failed attempt reports its artifacts too.
        """
        if not isinstance(id, str):
            raise TypeError(f"an artifact id is a string, not {type(id).__name__}")
        if id not in self._artifacts:
            self._artifacts.append(id)

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """Say how far the work is, 0 to 1; shown to operators, never stored."""
        news = ProgressMessage(
            task=self.id, attempt=self.attempt, fraction=fraction, message=message
        )
        if self.on_progress is not None:
            self.on_progress(news)

    @property
    def is_cancelled(self) -> bool:
        """True once the task was cancelled or ran out of time.

        For sync handlers, which nothing can interrupt: look now and then, and raise. An async
        handler gets ``asyncio.CancelledError`` instead.
        """
        return self._is_cancelled

    def tell_cancelled(self) -> None:
        """Make ``is_cancelled`` true; called by whoever runs the handler."""
        self._is_cancelled = True

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that names the instance, the stage and the attempt on every line."""
        if self._log is None:
            logger: FilteringBoundLogger = structlog.get_logger("sagabus_agents")
            self._log = logger.bind(
                workflow_id=self.workflow_id,
                stage=self.stage,
                task=self.id,
                attempt=self.attempt,
            )
        return self._log
