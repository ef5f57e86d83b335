"""One attempt in this agent's hands, from its delivery until its result is stored."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sagabus_agents.claims import Claim
from sagabus_agents.execution import Ending, Execution
from sagabus_agents.pull import RolePull
from sagabus_agents.wire import ProgressMessage, TaskMessage

#: Instance, task, attempt.
AttemptKey = tuple[str, str, int]


@dataclass(slots=True, eq=False)
class HeldAttempt:
    """An attempt that this process claims, runs, or reports."""

    message: TaskMessage
    execution: Execution
    pull: RolePull
    #: Subject that acknowledges the newest delivery of it.
    ack: str
    claim: Claim | None = None
    #: When the handler was started; listed as running from then until the result is stored.
    started_at: datetime | None = None
    progress: ProgressMessage | None = None
    work: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """True when nothing of it runs here any more."""
        return self.work is None or self.work.done()

    @property
    def key(self) -> AttemptKey:
        """What identifies it."""
        return self.message.workflow_id, self.message.task, self.message.attempt

    def end(self, ending: Ending, reason: str = "") -> None:
        """End it wherever it stands; without effect once there is an outcome."""
        self.execution.end(ending, reason)
        if self.claim is not None:
            self.claim.abandon()


def delivery_count(ack: str) -> int:
    """The delivery count in an acknowledgement subject.

    Source: NATS ADR-15: nine tokens, or eleven and more with domain and account hash.
    """
    tokens = ack.split(".")
    return int(tokens[4] if len(tokens) == 9 else tokens[6])


def parse_task_subject(subject: str) -> tuple[str, AttemptKey]:
    """Role and attempt of a task's subject.

    Raises:
        ValueError: it is not one.
    """
    prefix, kind, role, instance, task, attempt = subject.split(".")
    if (prefix, kind) != ("sagabus", "task"):
        raise ValueError(f"not a task's subject: {subject}")
    return role, (instance, task, int(attempt))
