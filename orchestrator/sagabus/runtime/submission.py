"""Commands on their way to the partition that owns the instance, and the answer back."""

import asyncio
import uuid
from typing import Final

import structlog

from sagabus.core.instance import Answer
from sagabus.errors import BusUnavailableError
from sagabus.ports import Bus
from sagabus.runtime.engine import LocalCommand
from sagabus.runtime.ownership import Ownership
from sagabus_agents.wire import CommandMessage, CommandReply

log = structlog.get_logger(__name__)

#: A command without an answer is sent again with the same id, which does nothing twice.
_ASK_AGAIN_S: Final = 2.0


class Submission:
    """Hands commands to a loop of this process, or to the inbox of another one's partition."""

    def __init__(self, bus: Bus, ownership: Ownership, timeout_s: float = 30.0) -> None:
        self._bus = bus
        self._ownership = ownership
        self._timeout_s = timeout_s

    async def submit(
        self, instance: str, message: CommandMessage, *, is_fresh_id: bool = False
    ) -> Answer:
        """The answer, which is given when the command is stored.

        Raises:
            BusUnavailableError: no answer in time; the same command may be given again.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    loop = self._ownership.loop_of(instance)
                    if loop is None:
                        return await self._by_bus(instance, message)
                    command = LocalCommand(
                        instance, message, asyncio.get_running_loop().create_future(), is_fresh_id
                    )
                    loop.submit(command)
                    try:
                        return await command.answer
                    except BusUnavailableError:
                        is_fresh_id = False  # the partition has moved: ask its new owner
        except TimeoutError:
            raise BusUnavailableError(
                f"no answer for instance {instance!r} within {self._timeout_s:g} s: "
                "the database or the bus is away, see /health; it is safe to ask again"
            ) from None

    async def _by_bus(self, instance: str, message: CommandMessage) -> Answer:
        reply = f"sagabus.reply.{uuid.uuid4().hex}"
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def on_reply(_: str, data: bytes) -> None:
            found = CommandReply.model_validate_json(data)
            if not answer.done():
                answer.set_result(Answer(found.ok, found.result, found.code, found.message))

        data = message.model_copy(update={"reply": reply}).model_dump_json().encode()
        async with await self._bus.subscribe(reply, on_reply):
            while True:
                try:
                    await self._bus.send_command(instance, data, uuid.uuid4().hex)
                except BusUnavailableError as error:
                    log.debug("command_not_sent", workflow_id=instance, error=str(error))
                done, _ = await asyncio.wait([answer], timeout=_ASK_AGAIN_S)
                if done:
                    return answer.result()
