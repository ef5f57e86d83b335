"""What an agent says by the clock: still working, still here, this far."""

from collections.abc import Collection, Sequence

import orjson

from sagabus_agents.attempt import HeldAttempt
from sagabus_agents.connection import Connection
from sagabus_agents.pull import RolePull
from sagabus_agents.wire import (
    PRESENCE_INTERVAL_S,
    TASK_ACK_WAIT_S,
    presence_subject,
    progress_subject,
)

#: Twice over, a heartbeat may get lost before a task is given to another agent.
HEARTBEAT_S = TASK_ACK_WAIT_S / 3


class Beats:
    """One clock for all attempts: a timer for each would cost more than a short task."""

    def __init__(
        self,
        connection: Connection,
        agent: str,
        pulls: Sequence[RolePull],
        held: Collection[HeldAttempt],
        *,
        version: str,
        heartbeat_s: float,
    ) -> None:
        self._connection = connection
        self._agent = agent
        self._pulls = pulls
        self._held = held
        self._version = version
        self._heartbeat_s = heartbeat_s
        self._heartbeat_at = 0.0
        self._presence_at = 0.0
        #: Attempts with progress to tell.
        self.progressed: set[HeldAttempt] = set()

    def reconnected(self) -> None:
        """Who asks now must know at once that we are here."""
        self._heartbeat_at = self._presence_at = 0.0

    async def tick(self, now: float) -> None:
        """Send what is due."""
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + self._heartbeat_s
            for attempt in list(self._held):
                await self._connection.publish(attempt.ack, b"+WPI")
        if now >= self._presence_at:
            self._presence_at = now + PRESENCE_INTERVAL_S
            await self.announce()
        while self.progressed:
            attempt = self.progressed.pop()
            if attempt.progress is not None:
                data = attempt.progress.model_dump_json().encode()
                await self._connection.publish(progress_subject(attempt.key[0]), data)

    async def announce(self, *, leaving: bool = False) -> None:
        """Publish the ``PresenceMessage``."""
        running = [
            {
                "instance": attempt.key[0],
                "task": attempt.key[1],
                "attempt": attempt.key[2],
                "started_at": attempt.started_at,
            }
            for attempt in self._held
            # A claim is answered "later" while another agent lists the attempt, so that two agents
            # that only ask must not list it.
            if attempt.started_at is not None
        ]
        message = {
            "agent": self._agent,
            "roles": [pull.role for pull in self._pulls],
            "slots": sum(pull.slots for pull in self._pulls),
            "free": 0 if leaving else sum(pull.free for pull in self._pulls),
            "running": [] if leaving else running,
            "version": self._version,
            "leaving": leaving,
        }
        await self._connection.publish(presence_subject(self._agent), orjson.dumps(message))
