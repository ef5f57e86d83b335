"""What the machine asks the shell to do: a closed union, carried out after the commit.

``AuthorizeTask`` is the exception: it is answered by a ``PolicyDecided`` before the commit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sagabus.core.instance import Answer, Attempt, Failure, Left, ParentRef

Verdict = Literal["run", "skip", "later", "hold"]


@dataclass(frozen=True, slots=True)
class DispatchTask:
    """Put this attempt on the bus."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class WithdrawTask:
    """Take this attempt off the bus, and tell whoever runs it to stop."""

    attempt: Attempt
    reason: str
    is_purged: bool = True
    is_told: bool = True


@dataclass(frozen=True, slots=True)
class StartChild:
    """Have another instance carry out an attempt of this one."""

    child: str
    parent: ParentRef
    workflow: str
    digest: str
    parameters: Any
    root: str
    trace: str
    #: Who started the topmost instance.
    by: str
    #: The instance above is paused, and so is this one.
    is_paused: bool
    #: When the instance above began again from a backup: this one may have been carried out.
    restored_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UndoChild:
    """Have an instance undo all that it did, and answer for the compensation ``parent``."""

    child: str
    parent: ParentRef
    is_paused: bool
    #: A person wants it: what failed to be undone is tried again, too.
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class CommandChild:
    """Ask an instance that carries out a stage of this one what a person asked of this one."""

    child: str
    name: Literal["cancel", "pause", "resume"]
    #: Id of the command: the same again changes nothing.
    command: str
    reason: str
    #: The instance above.
    by: str
    #: Of a cancel: what the instance did is not left as it is.
    is_undone: bool = True


@dataclass(frozen=True, slots=True)
class TellParent:
    """Tell the instance above how this one ended: a result for its attempt."""

    parent: ParentRef
    status: Literal["succeeded", "failed", "cancelled"]
    output: Any = None
    error: Failure | None = None
    has_left_effects: bool = False
    left: list[Left] | None = None
    #: Number of the last event of the instance that tells: of two of its news the later one counts.
    seq: int = 0


@dataclass(frozen=True, slots=True)
class AuthorizeTask:
    """Ask the policies, and answer with ``PolicyDecided``."""

    task: str
    attempt: int
    action: Literal["execute-stage", "compensate-stage"]
    stage: str
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BuryTask:
    """Keep a task that was given up as a dead letter, so that somebody looks for the reason."""

    attempt: Attempt
    reason: str
    delivery: int


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


def attempt_timer(attempt: Attempt, at: datetime) -> "SetTimer":
    """Come back to ``attempt`` at ``at``."""
    needs_presence = not (attempt.retry or attempt.is_local or attempt.is_child)
    return SetTimer(at, "attempt" if needs_presence else "due", attempt.task, attempt.attempt)


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Come back at ``at``. Timers are never cancelled: one that is out of date is ignored."""

    at: datetime
    #: ``attempt``: a limit, which presence judges; ``due``: what happens to an attempt whoever is
    #: there.
    kind: Literal["workflow", "gate", "attempt", "due", "more"]
    #: Task id or run key.
    key: str = ""
    attempt: int = 0


Command = (
    DispatchTask
    | WithdrawTask
    | StartChild
    | UndoChild
    | CommandChild
    | TellParent
    | AuthorizeTask
    | BuryTask
    | AnswerClaim
    | AnswerCommand
    | SetTimer
)
