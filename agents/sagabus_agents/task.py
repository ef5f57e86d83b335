"""``Task``: what a handler sees of the attempt it runs."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from sagabus_agents.errors import PermanentError
from sagabus_agents.wire import (
    MAX_RESOURCES,
    ProgressMessage,
    Resource,
    TaskMessage,
    TaskType,
    resource_problem,
)


class Task:
    """One attempt of one task. Safe to use from the thread of a sync handler."""

    __slots__ = ("_artifacts", "_is_cancelled", "_log", "_message", "_resources", "on_progress")

    def __init__(self, message: TaskMessage) -> None:
        self._message = message
        #: Where ``progress`` goes; set by whoever runs the handler.
        self.on_progress: Callable[[ProgressMessage], None] | None = None
        self._artifacts: list[str] = []
        self._resources: dict[tuple[str, str], Resource] = {}
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
        """The same for every attempt and delivery of this task; a compensation has its own.

        Hand it to what is called (``Idempotency-Key`` of an HTTP API): what has acted under it
        once can then tell, and does not act again. At most 129 characters.
        """
        return self._message.idempotency_key

    @property
    def key_to_undo(self) -> str:
        """Compensation: the idempotency key of the task to undo; else empty.

        It finds what that task may have done even where no result of it ever came.
        """
        return self.idempotency_key.rpartition("-undo")[0]

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

    @property
    def resources(self) -> list[Resource]:
        """Resources declared so far, each as it was declared last."""
        return list(self._resources.values())

    def add_resource(self, kind: str, id: str, spec: Mapping[str, Any]) -> None:
        """Declare a resource that this task has made, or changed into what ``spec`` says.

        ``spec`` is what it is to be like from now on, as JSON; ``sagabus drift`` compares it, field
        by field, with what the role observes. Declare it as soon as it is so: a failed attempt
        reports its resources too. No secrets: specs are stored and shown.

        Raises:
            PermanentError: it cannot be stored; type ``bad_result``, for the task has acted.
        """
        if not isinstance(spec, Mapping):
            raise _bad_resource(
                f"the spec of {kind} {id!r:.80} is a {type(spec).__name__}, not a table"
            )
        self._declare(kind, id, dict(spec))

    def remove_resource(self, kind: str, id: str) -> None:
        """Declare that a resource exists no more; a compensation's are marked by themselves.

        Raises:
            PermanentError: kind or id are not those of a resource; type ``bad_result``.
        """
        self._declare(kind, id, None)

    def _declare(self, kind: str, id: str, spec: dict[str, Any] | None) -> None:
        try:
            resource = Resource(kind=kind, id=id, spec=spec)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise _bad_resource(
                f"resource {kind!r:.80} {id!r:.80}: {place}: {first['msg']}"
            ) from None
        if problem := resource_problem(resource):
            raise _bad_resource(problem)
        if len(self._resources) >= MAX_RESOURCES and (kind, id) not in self._resources:
            raise _bad_resource(f"more than {MAX_RESOURCES} resources declared by one task")
        self._resources[kind, id] = resource

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


def _bad_resource(problem: str) -> PermanentError:
    return PermanentError(problem, type="bad_result")
