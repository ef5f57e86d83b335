"""What people ask of instances: answers, pauses, and repair when things went wrong.

Every command is recorded with who and why. ``command`` is its id, made by whoever asks: the same id
again gets the first answer and does nothing. ``attempt`` is what was seen of a stage,
``<task>/<attempt>``: when another one has come since, the command is refused.

Every method raises ``ConflictError`` where the command makes no sense now (the message says why),
and ``InstanceNotFoundError``.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from sagabus.core.instance import Answer
from sagabus.errors import (
    ConflictError,
    InstanceNotFoundError,
    InvalidRequestError,
    InvariantError,
    RequestError,
    WorkflowNotFoundError,
)
from sagabus_agents.wire import CommandMessage, is_id

CommandName = Literal[
    "approve",
    "reject",
    "answer",
    "pause",
    "resume",
    "cancel",
    "skip",
    "set_result",
    "fail",
    "resolve",
    "retry",
    "compensate",
]


class Answering(Protocol):
    """Whoever answers commands: the loops of the partitions, or a trial on paper."""

    async def submit(self, instance: str, message: CommandMessage) -> Answer:
        """The answer."""


class Commands:
    """The commands for one instance; each is answered when it is stored."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    # --- answers ------------------------------------------------------------------------------

    async def approve_stage(
        self,
        instance_id: str,
        stage: str,
        *,
        data: Any = None,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Let a waiting stage go on, once all who have to have approved (``missing`` is 0).

        ``data``: what the approval's schema asks for.

        Raises:
            InvalidRequestError: ``data`` does not fit, or ``by`` has to say who approves.
        """
        arguments = {"stage": stage, "reason": reason}
        if data is not None:
            arguments["data"] = data
        return await self._ask(instance_id, "approve", arguments, by, command)

    async def reject_stage(
        self,
        instance_id: str,
        stage: str,
        *,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Refuse a waiting stage: it fails, and so does the workflow."""
        arguments = {"stage": stage, "reason": reason}
        return await self._ask(instance_id, "reject", arguments, by, command)

    async def answer(
        self,
        instance_id: str,
        stage: str,
        data: Any,
        *,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Answer the question that an inquiry asks; ``data`` becomes its result.

        Raises:
            InvalidRequestError: ``data`` does not fit the question's form.
        """
        arguments = {"stage": stage, "data": data, "reason": reason}
        return await self._ask(instance_id, "answer", arguments, by, command)

    # --- pausing and ending -------------------------------------------------------------------

    async def pause(
        self, instance_id: str, *, by: str = "", reason: str = "", command: str | None = None
    ) -> Mapping[str, Any]:
        """Send nothing more of an instance; what was sent runs to its end."""
        return await self._ask(instance_id, "pause", {"reason": reason}, by, command)

    async def resume(
        self, instance_id: str, *, by: str = "", reason: str = "", command: str | None = None
    ) -> Mapping[str, Any]:
        """Let a paused instance go on."""
        return await self._ask(instance_id, "resume", {"reason": reason}, by, command)

    async def cancel(
        self,
        instance_id: str,
        *,
        compensate: bool = True,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """End an instance and undo what it did; or leave all that as it is, and name it."""
        arguments: dict[str, Any] = {"reason": reason}
        if not compensate:
            arguments["compensate"] = False
        return await self._ask(instance_id, "cancel", arguments, by, command)

    # --- repair -------------------------------------------------------------------------------

    async def retry(
        self,
        instance_id: str,
        *,
        from_stage: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        definition: str | None = None,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Have an instance that failed go on in place, with the results that it has.

        Args:
            instance_id: the instance.
            from_stage: it and what descends from it runs again, whatever it gave.
            parameters: those that change.
            definition: ``latest``, or the digest that the newest one must have; None: its own.
            by: who asks.
            reason: why.
            command: the command's id.

        Raises:
            InvalidRequestError: the parameters do not fit.
        """
        arguments: dict[str, Any] = {"reason": reason}
        given = {"from": from_stage, "parameters": parameters, "definition": definition}
        arguments |= {name: value for name, value in given.items() if value is not None}
        return await self._ask(instance_id, "retry", arguments, by, command)

    async def skip(
        self,
        instance_id: str,
        stage: str,
        *,
        attempt: str | None = None,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Go on without a stage, or without the undo of it that failed."""
        return await self._repair(instance_id, "skip", stage, attempt, by, reason, command)

    async def set_result(
        self,
        instance_id: str,
        stage: str,
        output: Any,
        *,
        attempt: str | None = None,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Go on as if a stage had given ``output``; or say that it was undone by hand."""
        return await self._repair(
            instance_id, "set_result", stage, attempt, by, reason, command, output=output
        )

    async def fail_stage(
        self,
        instance_id: str,
        stage: str,
        *,
        attempt: str | None = None,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Go on as if a stage had failed: a route handles that, or the workflow fails."""
        return await self._repair(instance_id, "fail", stage, attempt, by, reason, command)

    async def resolve(
        self,
        instance_id: str,
        stage: str,
        outcome: Literal["succeeded", "failed", "retry"],
        *,
        output: Any = None,
        attempt: str | None = None,
        is_all: bool = False,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Say what came of a final stage whose outcome is unknown; ``retry`` sends it again.

        ``is_all``: of all its attempts of which that is so.
        """
        more = {"outcome": outcome, "output": output} | ({"all": True} if is_all else {})
        return await self._repair(
            instance_id, "resolve", stage, attempt, by, reason, command, **more
        )

    async def compensate(
        self,
        instance_id: str,
        *,
        stage: str | None = None,
        by: str = "",
        reason: str = "",
        command: str | None = None,
    ) -> Mapping[str, Any]:
        """Undo what an instance that has ended left, of one stage or of all."""
        arguments: dict[str, Any] = {"reason": reason}
        if stage is not None:
            arguments["stage"] = stage
        return await self._ask(instance_id, "compensate", arguments, by, command)

    async def _repair(
        self,
        instance_id: str,
        name: CommandName,
        stage: str,
        attempt: str | None,
        by: str,
        reason: str,
        command: str | None,
        **more: Any,
    ) -> Mapping[str, Any]:
        arguments = {"stage": stage, "reason": reason, **more}
        if attempt is not None:
            arguments["attempt"] = attempt
        return await self._ask(instance_id, name, arguments, by, command)

    async def _ask(
        self,
        instance_id: str,
        name: CommandName,
        arguments: dict[str, Any],
        by: str,
        command: str | None,
    ) -> Mapping[str, Any]:
        if not is_id(instance_id):
            raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
        message = CommandMessage(
            command=command or secrets.token_hex(16), name=name, arguments=arguments, by=by
        )
        return granted(await self._answering.submit(instance_id, message))


def granted(answer: Answer) -> Mapping[str, Any]:
    """The result of a command, or why it was refused, raised."""
    if answer.ok:
        return answer.result
    message = answer.message or "refused"
    match answer.code:
        case "workflow_not_found":
            raise WorkflowNotFoundError(message)
        case "instance_not_found":
            raise InstanceNotFoundError(message)
        case "conflict":
            raise ConflictError(message)
        case "invalid_request":
            raise InvalidRequestError(message)
        case "internal":
            raise InvariantError(message)
        case _:
            raise RequestError(message)
