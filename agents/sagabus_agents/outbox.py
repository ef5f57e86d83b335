"""Results on their way: each is published until the server has stored it.

A result is sent under one Nats-Msg-Id however often that takes, so that it is stored once. Its
acknowledgement comes to one subscription for all: ``js.publish`` costs a future, a timeout and a
task switch per message. What a result names is stored before it, each time that it is sent: a
server that has lost the one has lost the other.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
import structlog
from nats.aio.msg import Msg
from structlog.typing import FilteringBoundLogger

from sagabus_agents.connection import Connection

ACK_WITHIN_S = 5.0
#: After a refusal: the stream is missing, full, or has no leader.
RETRY_S = 0.5
MAX_RETRY_S = 5.0
#: The server's error code for a message beyond the stream's own size limit.
TOO_LARGE = 10054


@dataclass(slots=True)
class Letter:
    """One message that must be stored."""

    subject: str
    data: bytes
    msg_id: str
    on_stored: Callable[[], Awaitable[None]]
    #: The stream will never take it.
    on_refused: Callable[[str], Awaitable[None]]
    #: Stores what the message names and gives the message; None when that cannot be done now.
    prepare: Callable[[], Awaitable[bytes | None]] | None = None
    #: Loop time at which it is to be sent again.
    due: float = 0.0
    refusals: int = 0


class Outbox:
    """Letters handed over and not yet stored."""

    def __init__(self, connection: Connection, group: asyncio.TaskGroup) -> None:
        self._connection = connection
        self._group = group
        self._preparing: set[asyncio.Task[None]] = set()
        self._pending: dict[str, Letter] = {}
        self._number = 0
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents")
        connection.subscribe(lambda: f"{connection.inbox}.stored.*", self._on_ack)

    def __len__(self) -> int:
        return len(self._pending)

    async def send(self, letter: Letter) -> None:
        """Publish now, and again until it is stored."""
        self._number += 1
        token = str(self._number)
        self._pending[token] = letter
        if letter.prepare is None:
            await self._publish(token, letter)
            return
        # Not here: it may take long, and whoever sends has others to send for.
        letter.due = math.inf
        task = self._group.create_task(self._prepare(token, letter, letter.prepare))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    def abandon(self) -> None:
        """Prepare nothing more."""
        for task in self._preparing:
            task.cancel()

    async def _prepare(
        self, token: str, letter: Letter, prepare: Callable[[], Awaitable[bytes | None]]
    ) -> None:
        data = await prepare()
        if self._pending.get(token) is not letter:
            return  # the connection was lost meanwhile, and it is being sent on the next one
        if data is None:
            letter.due = asyncio.get_running_loop().time() + RETRY_S
            return
        letter.data = data
        await self._publish(token, letter)

    async def _publish(self, token: str, letter: Letter) -> None:
        letter.due = asyncio.get_running_loop().time() + ACK_WITHIN_S
        await self._connection.publish(
            letter.subject,
            letter.data,
            reply=f"{self._connection.inbox}.stored.{token}",
            msg_id=letter.msg_id,
        )

    def reconnected(self) -> None:
        """Everything not yet stored is due at once: its acknowledgement went elsewhere."""
        for letter in self._pending.values():
            letter.due = 0.0

    async def tick(self, now: float) -> None:
        """Send again what is due."""
        if not self._connection.is_up:
            return
        due = [(token, letter) for token, letter in self._pending.items() if letter.due <= now]
        for token, letter in due:
            # The acknowledgement may have come while an earlier one was being sent.
            if self._pending.pop(token, None) is not None:
                await self.send(letter)

    async def _on_ack(self, message: Msg) -> None:
        letter = self._pending.get(message.subject.rpartition(".")[2])
        if letter is None:
            return
        problem, code = _refusal(message)
        if problem is None:
            del self._pending[message.subject.rpartition(".")[2]]
            await letter.on_stored()
        elif code == TOO_LARGE:
            del self._pending[message.subject.rpartition(".")[2]]
            await letter.on_refused(problem)
        else:
            letter.refusals += 1
            wait_s = min(RETRY_S * 2 ** (letter.refusals - 1), MAX_RETRY_S)
            letter.due = asyncio.get_running_loop().time() + wait_s
            if letter.refusals == 1:
                self._log.warning("result_refused", subject=letter.subject, reason=problem)


def _refusal(message: Msg) -> tuple[str | None, int]:
    if message.headers is not None and message.headers.get("Status") == "503":
        return "no stream takes this subject", 0
    try:
        answer = orjson.loads(message.data)
        error = answer.get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return "the acknowledgement cannot be read", 0
    if error is None:
        return None, 0
    return str(error.get("description", "refused")), int(error.get("err_code", 0))
