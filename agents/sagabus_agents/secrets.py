"""Redeeming secrets: what the input only names is asked for when the task runs, and never kept.

Asked over core NATS, which stores nothing. Only the attempt that a secret was put into gets it, and
only while it is unanswered.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from sagabus_agents.connection import Connection
from sagabus_agents.errors import BadInputError, PermanentError, RetryableError
from sagabus_agents.wire import (
    SecretAnswer,
    SecretPlace,
    SecretRequest,
    TaskMessage,
    secret_subject,
)

#: An answer that does not come is asked for again after this, doubled each time.
ASK_AGAIN_S = 0.25
MAX_ASK_AGAIN_S = 4.0
#: After this long without any answer the attempt fails, and may be tried again.
PATIENCE_S = 30.0
#: How often it is looked whether the attempt was told to end.
LOOK_S = 0.25


class DeniedError(PermanentError):
    """The orchestrator refuses a secret."""

    default_type = "denied"


class UnreachableError(RetryableError):
    """No orchestrator answers."""

    default_type = "secret_unavailable"


class Redemptions:
    """The requests of one agent that have no answer yet."""

    def __init__(self, connection: Connection, agent: str) -> None:
        self._connection = connection
        self._agent = agent
        self._open: dict[str, asyncio.Future[SecretAnswer]] = {}
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents")
        connection.subscribe(lambda: self._reply, self._on_answer)

    @property
    def _reply(self) -> str:
        return f"{self._connection.inbox}.secret"

    async def redeem(
        self, message: TaskMessage, is_ending: Callable[[], bool]
    ) -> tuple[TaskMessage, dict[str, str]] | None:
        """``message`` with its secrets in its input, and these by key.

        None: the attempt was told to end.

        Raises:
            DeniedError: one is refused.
            UnreachableError: nobody answers.
            BadInputError: a place does not exist.
        """
        found: dict[str, str] = {}
        for key in dict.fromkeys(place.key for place in message.secrets):
            answer = await self._ask(message, key, is_ending)
            if answer is None:
                return None
            if answer.secret is None:
                raise DeniedError(f"the secret {key!r} was refused: {answer.refusal}")
            found[key] = answer.secret
        value = filled(message.input, message.secrets, found)
        return message.model_copy(update={"input": value, "secrets": []}), found

    async def _ask(
        self, message: TaskMessage, key: str, is_ending: Callable[[], bool]
    ) -> SecretAnswer | None:
        loop = asyncio.get_running_loop()
        request = secrets.token_hex(12)
        answer: asyncio.Future[SecretAnswer] = loop.create_future()
        self._open[request] = answer
        deadline = loop.time() + min(PATIENCE_S, message.timeout_s or PATIENCE_S)
        again_at, wait_s = loop.time(), ASK_AGAIN_S
        try:
            while not answer.done():
                if is_ending():
                    return None
                if loop.time() >= deadline:
                    raise UnreachableError(f"no orchestrator answers for the secret {key!r}")
                if loop.time() >= again_at:
                    await self._send(message, key, request)
                    again_at, wait_s = loop.time() + wait_s, min(wait_s * 2, MAX_ASK_AGAIN_S)
                next_at = min(again_at, deadline, loop.time() + LOOK_S)
                await asyncio.wait({answer}, timeout=next_at - loop.time())
            return answer.result()
        finally:
            del self._open[request]

    async def _send(self, message: TaskMessage, key: str, request: str) -> None:
        asked = SecretRequest(
            request=request,
            task=message.task,
            attempt=message.attempt,
            agent=self._agent,
            key=key,
            reply=self._reply,
        )
        await self._connection.publish(
            secret_subject(message.role, message.workflow_id), asked.model_dump_json().encode()
        )

    async def _on_answer(self, message: Msg) -> None:
        try:
            answer = SecretAnswer.model_validate_json(message.data)
        except ValidationError as error:
            # Without what it holds: that may be the secret.
            self._log.warning("secret_answer_unreadable", problems=error.error_count())
            return
        waiting = self._open.get(answer.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


def filled(value: Any, places: Sequence[SecretPlace], found: Mapping[str, str]) -> Any:
    """A copy of ``value`` with the secrets in their places.

    Raises:
        BadInputError: a place does not exist in it.
    """
    # From the end of each text: what is before it keeps its position.
    for place in sorted(places, key=lambda place: -place.start):
        value = _put(value, place.path, place, found[place.key])
    return value


def _put(value: Any, path: Sequence[str | int], place: SecretPlace, secret: str) -> Any:
    match value, path:
        case str(), []:
            if not 0 <= place.start <= place.end <= len(value):
                raise BadInputError(f"the input has no place {place.path}")
            return value[: place.start] + secret + value[place.end :]
        case dict(), [str(key), *rest] if key in value:
            return {**value, key: _put(value[key], rest, place, secret)}
        case list(), [int(index), *rest] if index < len(value):
            return [*value[:index], _put(value[index], rest, place, secret), *value[index + 1 :]]
        case _:
            raise BadInputError(f"the input has no place {place.path}")
