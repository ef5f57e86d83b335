"""A role's standing pull: as many tasks are asked for as there are free slots, never more.

``fetch`` of the client library is not used: a fetch in flight over a server's restart waits out its
whole timeout, and a cancelled one leaves its request on the server, which swallows the next task.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import orjson
import structlog
from nats.aio.msg import Msg
from structlog.typing import FilteringBoundLogger

from sagabus_agents.connection import Connection
from sagabus_agents.wire import STREAM_TASKS, TASK_ACK_WAIT_S, task_filter

#: How long one request stands on the server.
EXPIRES_S = 15.0
#: A request that the server never ended is forgotten this much later.
GRACE_S = 2.0
RETRY_S = 0.5
API_TIMEOUT_S = 2.0
#: The server's error code for a consumer that exists with another configuration.
CONSUMER_NAME_EXISTS = 10148


class RolePull:
    """Pulls the tasks of one role and counts its slots."""

    def __init__(self, role: str, slots: int, connection: Connection) -> None:
        self.role = role
        self.slots = slots
        #: Tasks in hand: running, claiming, or with a result on its way.
        self.taken = 0
        #: Called with every task.
        self.on_task: Callable[[RolePull, Msg], Awaitable[None]] | None = None
        self._connection = connection
        self._requested = 0
        #: Expiry and size of the requests that may still stand, oldest first.
        self._requests: deque[tuple[float, int]] = deque()
        self._retry_at = 0.0
        self._is_missing = False
        self._is_stopped = False
        self._log: FilteringBoundLogger = structlog.get_logger("sagabus_agents").bind(role=role)
        connection.subscribe(lambda: self._reply, self._on_message)

    @property
    def free(self) -> int:
        """Slots without a task."""
        return max(0, self.slots - self.taken)

    @property
    def _reply(self) -> str:
        return f"{self._connection.inbox}.pull.{self.role}"

    def reconnected(self) -> None:
        """Requests made on the old connection are gone."""
        self._requests.clear()
        self._requested = 0
        self._retry_at = 0.0

    async def stop(self) -> None:
        """Ask for no more tasks and take back what was asked for."""
        self._is_stopped = True
        await self._connection.unsubscribe(self._on_message)

    async def tick(self, now: float) -> None:
        """Renew what has expired; create the consumer when it is missing."""
        while self._requests and self._requests[0][0] <= now:
            self._requests.popleft()
        # The count can only be too high, by tasks that the server lost on their way to us.
        self._requested = min(self._requested, sum(size for _, size in self._requests))
        if self._is_stopped or now < self._retry_at or not self._connection.is_up:
            return
        if self._is_missing:
            self._retry_at = now + RETRY_S
            await self._create_consumer()
        await self.top_up()

    async def top_up(self) -> None:
        """Ask for more once at most half of the free slots are asked for."""
        free = self.slots - self.taken
        now = asyncio.get_running_loop().time()
        if free <= 0 or self._requested * 2 > free or self._is_stopped or now < self._retry_at:
            return
        size = free - self._requested
        request = orjson.dumps({"batch": size, "expires": int(EXPIRES_S * 1e9)})
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM_TASKS}.{self.role}"
        if await self._connection.publish(subject, request, reply=self._reply):
            self._requested += size
            self._requests.append((now + EXPIRES_S + GRACE_S, size))

    async def _on_message(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK."):
            self._requested -= self._requested > 0
            self._is_missing = False
            if self.on_task is not None:
                await self.on_task(self, message)
        elif message.headers is not None and "Status" in message.headers:
            await self._on_status(message.headers)

    async def _on_status(self, headers: dict[str, str]) -> None:
        status = headers["Status"]
        if status == "100":
            return
        if status == "408":  # the request expired; this much of it was not filled
            self._requested -= min(self._requested, int(headers.get("Nats-Pending-Messages", "0")))
        else:  # 404, 409, 503: nothing stands any more, or never did
            self._requested = 0
            self._requests.clear()
            self._retry_at = asyncio.get_running_loop().time() + RETRY_S
            # Nobody listens on the request's subject: there is no such consumer.
            self._is_missing = self._is_missing or status == "503" or "Deleted" in str(headers)
            self._log.debug("pull_ended", status=status, reason=headers.get("Description"))
        await self.top_up()

    async def _create_consumer(self) -> None:
        """Make the role's consumer as the orchestrator would; never changes one that exists."""
        config = {
            "durable_name": self.role,
            "name": self.role,
            "filter_subject": task_filter(self.role),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(TASK_ACK_WAIT_S * 1e9),
            "max_deliver": -1,
            # What limits a role are its agents' slots; the server would stop at 1,000.
            "max_ack_pending": -1,
        }
        answer = await self._connection.request(
            f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM_TASKS}.{self.role}",
            orjson.dumps({"stream_name": STREAM_TASKS, "config": config, "action": "create"}),
            API_TIMEOUT_S,
        )
        error = (
            {"description": "no answer"} if answer is None else orjson.loads(answer).get("error")
        )
        if error is None or error.get("err_code") == CONSUMER_NAME_EXISTS:
            self._is_missing = False
            self._log.info("consumer_ready", created=error is None)
        else:
            self._log.debug("consumer_missing", reason=error.get("description"))
