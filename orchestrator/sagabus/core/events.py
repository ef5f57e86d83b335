"""What can happen to an instance: a closed union. Everything the machine needs is in the event.

What comes from outside (the time, what presence says, what the policies say) was resolved by the
shell and stands here as data, so that the same events always give the same decisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sagabus.core.definition import Definition
from sagabus.core.instance import Left, ParentRef, Resource


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """What all that people ask of an instance has."""

    at: datetime
    #: Its id: the same again gets the first answer.
    command: str
    #: ``<name>-<digest>`` of what is asked, but for who and why; "": not known.
    asked: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class PauseRequested(OperatorRequest):
    """A person stops the instance for a while: what was sent goes on, nothing else is sent."""

    by: str = ""
    reason: str = ""
    #: Not this one alone: its workflow is paused.
    is_of_workflow: bool = False


@dataclass(frozen=True, slots=True)
class StartRequested:
    """A new instance begins; its row holds the parameters already."""

    at: datetime
    command: str
    #: The instance above is paused.
    is_paused: bool = False
    #: Its workflow is on hold.
    hold: PauseRequested | None = None


@dataclass(frozen=True, slots=True)
class ResultReceived:
    """An agent says how an attempt ended. ``source`` is the role it published as."""

    at: datetime
    source: str
    task: str
    attempt: int
    status: Literal["succeeded", "failed", "cancelled"]
    agent: str
    output: Any = None
    artifacts: Sequence[str] = ()
    resources: Sequence[Resource] = ()
    error_type: str = ""
    error_message: str = ""
    is_retryable: bool = True
    retry_after_s: float | None = None
    started_at: datetime | None = None
    #: A child says whether something is left that was to be undone; an agent does not.
    has_left_effects: bool = False
    left: list[Left] | None = None
    #: Number of the last event of the instance that tells: of two of its news the later one counts.
    seq: int = 0


@dataclass(frozen=True, slots=True)
class ClaimReceived:
    """An agent asks to run an attempt."""

    at: datetime
    source: str
    claim: str
    task: str
    attempt: int
    agent: str
    delivery: int
    reply: str
    #: Another live agent's presence lists the attempt.
    is_running_elsewhere: bool = False
    #: Two presence beats were heard since the owner connected.
    is_presence_known: bool = True
    #: A delivery count beyond this fails the attempt.
    max_deliver: int = 10


@dataclass(frozen=True, slots=True)
class ApprovalAnswered(OperatorRequest):
    """A person answers a gate."""

    stage: str
    is_approved: bool
    by: str = ""
    reason: str = ""
    #: What the gate's form asks for; None: not given.
    data: Any = None


@dataclass(frozen=True, slots=True)
class InquiryAnswered(OperatorRequest):
    """A person answers the question of a stage."""

    stage: str
    data: Any
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UndoRequested:
    """The instance above undoes the stage that this one carried out."""

    at: datetime
    command: str
    parent: ParentRef
    is_paused: bool = False
    #: A person wants it: what failed to be undone is tried again, too.
    is_asked: bool = False
    #: Its workflow is on hold: what has ended begins anew paused.
    hold: PauseRequested | None = None


@dataclass(frozen=True, slots=True)
class EndAsked:
    """The instance above has heard nothing, and asks again for what it asked before."""

    at: datetime
    parent: ParentRef
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class ResumeRequested(OperatorRequest):
    """A person lets a paused instance go on."""

    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CancelRequested(OperatorRequest):
    """A person ends the instance; what it did is undone, or left as it is."""

    by: str = ""
    reason: str = ""
    is_undone: bool = True


@dataclass(frozen=True, slots=True)
class SkipRequested(OperatorRequest):
    """A person has the instance go on without a stage, or without undoing it.

    ``attempt`` is the one that the person saw, ``<task>/<attempt>``; None: whichever it is.
    """

    stage: str
    attempt: str | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResultSet(OperatorRequest):
    """A person says what a stage gave, or that it was undone by hand."""

    stage: str
    output: Any = None
    attempt: str | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FailRequested(OperatorRequest):
    """A person has a stage fail: its routes fire, or the workflow fails."""

    stage: str
    attempt: str | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class IntentResolved(OperatorRequest):
    """A person says what became of a final effect that nobody knew of, or has it tried again."""

    stage: str
    outcome: Literal["succeeded", "failed", "retry"]
    #: What it gave.
    output: Any = None
    #: ``<task>/<attempt>``, where several of the stage are unknown.
    attempt: str | None = None
    by: str = ""
    reason: str = ""
    #: It is so of all of them.
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class RetryRequested(OperatorRequest):
    """A person has an instance go on after its failure, with the results that it has."""

    #: This stage, and what descends from it, runs again whatever it gave.
    from_stage: str | None = None
    #: Those that change.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: The one to go on with; None: the one that it has.
    definition: Definition | None = None
    by: str = ""
    reason: str = ""
    #: Its workflow is on hold: what has ended begins anew paused.
    hold: PauseRequested | None = None


@dataclass(frozen=True, slots=True)
class CompensateRequested(OperatorRequest):
    """A person has an instance undo what stands, of one stage or of all."""

    stage: str | None = None
    by: str = ""
    reason: str = ""
    #: Its workflow is on hold: what has ended begins anew paused.
    hold: PauseRequested | None = None


@dataclass(frozen=True, slots=True)
class WorkflowTimerFired:
    """The instance's time limit may have ended."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GateTimerFired:
    """The time for an approval may have ended. ``run`` is the key of the stage run."""

    at: datetime
    run: str


@dataclass(frozen=True, slots=True)
class AttemptTimerFired:
    """``Attempt.due_at`` has come: a time limit, or the start of the next attempt."""

    at: datetime
    task: str
    attempt: int
    #: When a live agent says it started this attempt; None: no live agent lists it.
    running_since: datetime | None = None
    #: Two presence beats were heard since the owner connected: who was not heard is gone.
    is_presence_known: bool = True


@dataclass(frozen=True, slots=True)
class HoldEnded:
    """An attempt that was held back leaves only now, or once more: now its time begins."""

    at: datetime
    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class DatabaseRestored:
    """The database is an older one, put back: what came after it is not known any more."""

    at: datetime


@dataclass(frozen=True, slots=True)
class MoreToSend:
    """There was more to send than one event may; the others have had their turn."""

    at: datetime


@dataclass(frozen=True, slots=True)
class PolicyDecided:
    """The policies' answer to ``AuthorizeTask``, in the same batch."""

    at: datetime
    task: str
    attempt: int
    is_allowed: bool
    policies: Sequence[str] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TaskRefused:
    """A task cannot be put on the bus, ever: its message is too large. In the same batch."""

    at: datetime
    task: str
    attempt: int
    reason: str


#: What people ask of an instance.
OperatorEvent = (
    ApprovalAnswered
    | InquiryAnswered
    | PauseRequested
    | ResumeRequested
    | CancelRequested
    | SkipRequested
    | ResultSet
    | FailRequested
    | RetryRequested
    | CompensateRequested
    | IntentResolved
)

#: What an instance may begin with, at first or anew after its end.
Beginning = StartRequested | UndoRequested | RetryRequested | CompensateRequested

Event = (
    StartRequested
    | ResultReceived
    | ClaimReceived
    | UndoRequested
    | EndAsked
    | OperatorEvent
    | WorkflowTimerFired
    | GateTimerFired
    | AttemptTimerFired
    | HoldEnded
    | DatabaseRestored
    | MoreToSend
    | PolicyDecided
    | TaskRefused
)
