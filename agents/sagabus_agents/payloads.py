"""What is too large for a message, on the side of an agent: a task's body, a result's output."""

from typing import Any

import nats.errors
import orjson
import structlog
from structlog.typing import FilteringBoundLogger

from sagabus_agents.connection import Connection
from sagabus_agents.wire import PayloadRef, TaskMessage

#: Fields of a task message that may stand in an object instead.
_BODY = frozenset({"input", "original_context", "artifacts_to_undo"})


class BusAwayError(Exception):
    """The bus does not answer at present."""


class GoneError(Exception):
    """The object does not exist, or is another one."""


class Payloads:
    """Reads and stores objects over one agent's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents")

    async def complete(self, message: TaskMessage, ref: PayloadRef) -> TaskMessage:
        """``message`` with the fields that stand in the object.

        Raises:
            BusAwayError: it cannot be read now.
            GoneError: it is gone; the orchestrator has it, and stores it again.
            ValueError: it does not hold the fields of a task.
        """
        objects = self._connection.objects
        if objects is None:
            raise BusAwayError
        try:
            data = await objects.get(ref)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise BusAwayError from error
        if data is None:
            raise GoneError
        body: Any = orjson.loads(data)
        if not isinstance(body, dict):
            raise ValueError(f"the object {ref.name} is no JSON object")
        fields = message.model_dump(exclude={"payload"})
        fields |= {name: value for name, value in body.items() if name in _BODY}
        return TaskMessage.model_validate(fields)

    async def store(self, name: str, data: bytes) -> PayloadRef | None:
        """Store an object; None when that cannot be done now."""
        objects = self._connection.objects
        if objects is None:
            return None
        try:
            return await objects.put(name, data)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            self._log.warning("payload_not_stored", name=name, error=why)
            return None
