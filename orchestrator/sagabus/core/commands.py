"""What the machine asks the shell to do: a closed union, carried out after the commit.

``AuthorizeTask`` is the exception: it is answered by a ``PolicyDecided`` before the commit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sagabus.core.instance import Answer, Attempt

Verdict = Literal["run", "skip", "later", "hold"]


@dataclass(frozen=True, slots=True)
class DispatchTask:
    """Put this attempt on the bus."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class WithdrawTask:
    """Tell whoever runs this attempt to stop and, with ``is_purged``, take it off the bus."""

    attempt: Attempt
    reason: str
    is_purged: bool = True


@dataclass(frozen=True, slots=True)
class AuthorizeTask:
    """Ask the policies, and answer with ``PolicyDecided``."""

    task: str
    attempt: int
    action: Literal["execute-stage", "compensate-stage"]
    stage: str
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AnswerClaim:
    """Answer an agent's claim."""

    reply: str
    claim: str
    answer: Verdict


@dataclass(frozen=True, slots=True)
class AnswerCommand:
    """Answer a person's command."""

    command: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Come back at ``at``. Timers are never cancelled: one that is out of date is ignored."""

    at: datetime
    kind: Literal["workflow", "gate", "attempt"]
    #: Task id or run key.
    key: str = ""
    attempt: int = 0


Command = DispatchTask | WithdrawTask | AuthorizeTask | AnswerClaim | AnswerCommand | SetTimer
