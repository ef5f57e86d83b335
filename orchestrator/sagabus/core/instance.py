"""The state of one execution: an instance, its stage runs, its task attempts.

Two kinds of rows are stored: ``Instance`` (small, rewritten with every transition) and ``Attempt``
(one per try of a task, holding input and output). ``InstanceState`` is both. An open attempt of a
small stage stands in the instance's row, which is written anyway, and gets a row of its own when it
ends: that saves the database work. What is stored leaves out defaults: never change one.

One file, because it is the whole of what is stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal

from sagabus.core.definition import CORE_ROLE, WORKFLOW_ROLE, SecretUse


class InstanceStatus(StrEnum):
    """Where an instance stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"  # for a person, and nothing else of it is in flight
    PAUSED = "paused"
    NEEDS_OPERATOR = "needs_operator"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """True when nothing more happens to the instance by itself."""
        return self in TERMINAL


TERMINAL = frozenset(
    {
        InstanceStatus.COMPLETED,
        InstanceStatus.FAILED,
        InstanceStatus.ROLLED_BACK,
        InstanceStatus.CANCELLED,
    }
)


class StageStatus(StrEnum):
    """Where one run of a stage stands."""

    PENDING = "pending"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    DENIED = "denied"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


class TaskStatus(StrEnum):
    """Where one attempt of a task stands."""

    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


_UNANSWERED = frozenset({TaskStatus.DISPATCHED, TaskStatus.RUNNING})

Rollback = Literal["none", "full", "partial"]

#: What an instance says of all that it left: something of it stands for certain, and something that
#: is final; it could be undone, be it in part.
Left = Literal["certain", "final", "undoable"]

#: Why an instance needs an operator.
ParkCause = Literal["intent_unknown", "compensation_failed", "after_final", "invariant"]


@dataclass(slots=True)
class Failure:
    """Why something failed."""

    type: str
    message: str
    stage: str | None = None
    task: str | None = None
    #: Names of the policies that decided, for ``denied``.
    policies: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Resource:
    """Something outside, as a task declares it."""

    kind: str
    id: str
    #: None: it exists no more.
    spec: dict[str, Any] | None


@dataclass(slots=True)
class Attempt:
    """One try of one task: a row of its own, keyed ``[instance, task, attempt]``."""

    task: str
    attempt: int
    stage: str
    pass_: int
    #: Position among the stage's tasks, from 0.
    index: int
    kind: Literal["task", "compensation"]
    role: str
    action: str
    status: TaskStatus
    created_at: datetime
    input: Any = None
    output: Any = None
    artifacts: list[str] = field(default_factory=list)
    #: What it says that there is, or is no more.
    resources: list[Resource] = field(default_factory=list)
    error: Failure | None = None
    #: The agent asks before it runs.
    claim: bool = False
    #: While it is open it is stored in its instance's row.
    is_inline: bool = False
    #: The claim that was answered ``run``; its store is the attempt's start.
    claim_id: str | None = None
    agent: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    #: The next thing that happens by itself: a time limit, or the retry's start.
    due_at: datetime | None = None
    #: True: the attempt ended and ``due_at`` starts the next one.
    retry: bool = False
    #: Its effect is final: once it was told to run it is never sent again.
    is_once: bool = False
    #: Nobody knows whether its effect is there. It waits, for a late result or for an operator.
    is_held: bool = False
    #: The world may have changed because of this attempt.
    acted: bool = False
    #: What the instance that carried it out says of what it left; None: nothing was said of that.
    left: list[Left] | None = None
    #: Number of the last event of that instance when it said so.
    told_seq: int = 0
    #: It succeeded when it, or its stage, had been given up.
    is_late: bool = False
    #: Compensation: attempts before a person asked for it anew, which its retry does not count.
    given_up: int = 0
    #: Compensation: why a person gave it up while it ran; it is told to stop, and waited for.
    stopped: Failure | None = None
    #: Policies that permitted this attempt, where policies are in force.
    policies: list[str] | None = None
    #: The variables as they were when it was sent, where it may have to be undone.
    vars: dict[str, Any] | None = None
    #: Secrets of the input: placeholders that the agent replaces.
    secrets: list[SecretUse] = field(default_factory=list)

    @property
    def is_unanswered(self) -> bool:
        """True while its result is awaited."""
        return self.status in _UNANSWERED

    @property
    def is_open(self) -> bool:
        """True while the row asks for something: a result, the next attempt, an operator."""
        return self.retry or self.is_held or self.status in _UNANSWERED

    @property
    def is_intent(self) -> bool:
        """True when it was told to do, once, what cannot be undone: the claim is the intent."""
        return self.is_once and self.claim_id is not None

    @property
    def is_untold(self) -> bool:
        """True while nobody has told what became of its intent."""
        return self.is_held or (self.is_intent and self.status in _UNANSWERED)

    @property
    def is_asked_for(self) -> bool:
        """True when its next attempt is what a person has said of an outcome nobody knows."""
        return self.retry and self.is_once and self.status is TaskStatus.UNKNOWN

    @property
    def may_be_sent_again(self) -> bool:
        """True when a message that was lost is made up for: not where it may have acted once."""
        return self.status in _UNANSWERED and not self.is_intent

    @property
    def is_local(self) -> bool:
        """True when the engine carries it out by itself."""
        return self.role == CORE_ROLE

    @property
    def is_child(self) -> bool:
        """True when another instance carries it out."""
        return self.role == WORKFLOW_ROLE

    @property
    def has_row(self) -> bool:
        """True when it is stored in a row of its own, now."""
        return not (self.is_inline and self.is_open)


@dataclass(slots=True)
class Consent:
    """One person's approval."""

    by: str
    at: datetime
    reason: str = ""
    #: What the gate's form asks for; None where it asks for nothing.
    data: Any = None


@dataclass(slots=True)
class Gate:
    """An approval, or a question, that is or was put to people."""

    asked_at: datetime
    #: When its time limit ends; None while that stands still, too.
    due_at: datetime | None = None
    prompt: str = ""
    #: It asks for data, not for a yes or no.
    is_question: bool = False
    decision: Literal["approved", "rejected", "answered", "timed_out", "withdrawn"] | None = None
    #: Who decided; of several who approved each.
    by: str | None = None
    at: datetime | None = None
    reason: str = ""
    #: What is left of the time limit while it stands still, in seconds.
    remaining_s: float | None = None
    #: How many different people have to approve, and whether who started the instance may.
    approvers: int = 1
    self_approval: bool = True
    #: Who has approved so far, first to last.
    approvals: list[Consent] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """How many more people have to approve."""
        is_open = self.decision is None and not self.is_question
        return max(0, self.approvers - len(self.approvals)) if is_open else 0


@dataclass(slots=True)
class StageRun:
    """One run of one stage in one pass; counters only: its size never grows with its tasks."""

    stage: str
    pass_: int
    status: StageStatus
    started_at: datetime
    ended_at: datetime | None = None
    #: Keys of the runs that started it.
    parents: list[str] = field(default_factory=list)
    total: int = 0
    #: Index of the next task to send.
    next_index: int = 0
    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0
    #: Order in which stages ended, from 1; 0 while running. Undone from the highest down.
    ended_order: int = 0
    gate: Gate | None = None
    error: Failure | None = None
    #: Its failure was taken care of by a route.
    is_handled: bool = False
    #: It has led nowhere: the instance failed in finding out where to.
    is_unled: bool = False
    #: Keys of the runs that led to it when it had begun already.
    other_arms: list[str] = field(default_factory=list)
    #: Its stage runs anew since the instance was retried. What it left is undone like the rest.
    is_replaced: bool = False
    #: The pass that it stands for where that is not its own, in which a replaced run was.
    stands_for: int | None = None
    #: Length of the list that it has one task per element or batch of; None without such a list.
    items: int | None = None
    #: Compensation: the next candidate (task index times entries), and how the sent ones fare.
    undo_next: int = 0
    undo_sent: int = 0
    undo_in_flight: int = 0
    undo_failed: int = 0
    #: An operator says that what it did is gone.
    is_undone_by_hand: bool = False
    #: Undos that failed, by task id, to be tried again.
    undo_again: list[str] = field(default_factory=list)

    @property
    def lap(self) -> int:
        """The pass that it counts as."""
        return self.pass_ if self.stands_for is None else self.stands_for


@dataclass(slots=True)
class Answer:
    """What a command was answered; a repeat gets the same."""

    ok: bool
    result: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    message: str | None = None
    #: What it answers: ``OperatorRequest.asked``.
    asked: str = ""


@dataclass(slots=True)
class ParentRef:
    """The attempt, of another instance, that an instance carries out."""

    instance: str
    task: str
    attempt: int


@dataclass(slots=True)
class Pause:
    """Nothing more is sent until somebody lets the instance go on."""

    at: datetime
    by: str = ""
    reason: str = ""
    #: It goes on with its workflow.
    is_of_workflow: bool = False


@dataclass(slots=True)
class Parked:
    """One thing that an operator has to settle; nothing more is sent before."""

    cause: ParkCause
    #: A sentence.
    message: str
    at: datetime
    stage: str | None = None
    task: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """A run that has ended leads to a stage; carried out once the event itself is applied."""

    target: str
    #: Key of the run.
    source: str


@dataclass(slots=True)
class Failing:
    """A run has led to ``fail``: what it started besides runs to its end first."""

    error: Failure
    #: Key of the run.
    source: str


@dataclass(slots=True)
class Instance:
    """The instance row."""

    id: str
    workflow: str
    digest: str
    status: InstanceStatus
    created_at: datetime
    updated_at: datetime
    #: Row version: 1 at creation, one more per batch that changes it; kept by the shell.
    version: int = 0
    #: Link of the newest row of its history; kept by the store.
    chain: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    started_by: str = ""
    trace: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    #: When the workflow's time limit ends; None while its clock stands still.
    deadline_at: datetime | None = None
    #: What is left of the time limit while the clock stands still, in seconds.
    remaining_s: float | None = None
    #: Earliest moment at which something happens by itself (instance and gates, not attempts).
    wake_at: datetime | None = None
    #: Keyed ``<stage>-<pass>``.
    runs: dict[str, StageRun] = field(default_factory=dict)
    #: Runs that have not ended, and among them those with tasks not yet sent (keys, oldest first).
    active_runs: int = 0
    unfilled: list[str] = field(default_factory=list)
    #: Tasks sent, or between two attempts; each holds a slot.
    in_flight: int = 0
    ended_count: int = 0
    #: Compensation works down from here to 0; None while something forward is still in flight.
    undo_order: int | None = None
    #: Number of the last lifecycle event.
    seq: int = 0
    error: Failure | None = None
    cancel_requested: bool = False
    paused: Pause | None = None
    #: What an operator has to settle, and the status when nothing of it is left.
    parked: list[Parked] = field(default_factory=list)
    parked_in: InstanceStatus | None = None
    #: An operator wants it undone, though a final stage has succeeded.
    undo_asked: bool = False
    #: The stage that an operator wants undone, and no other.
    undo_only: str | None = None
    #: It was cancelled, and all that it did is left as it is.
    is_left: bool = False
    rollback: Rollback = "none"
    #: Compensations that failed, by name: ``{task, stage, error}``.
    failed_compensations: list[dict[str, Any]] = field(default_factory=list)
    #: What stands of an instance that did not complete, beside what a retry did anew, or of what
    #: was given up while it may have acted:
    #: ``{stage, task, class, is_certain}``, where the last is false of what nobody knows.
    effects_left: list[dict[str, Any]] = field(default_factory=list)
    handled_failures: int = 0
    vars: dict[str, Any] = field(default_factory=dict)
    #: By join, then by arm: key of the run that fired and was not used yet.
    arrived: dict[str, dict[str, str]] = field(default_factory=dict)
    failing: list[Failing] = field(default_factory=list)
    #: What was fired by more than one event may carry out: left to the next.
    pending: list[Firing] = field(default_factory=list)
    #: What was fired and not carried out when it failed, ``fail`` among it: for a retry.
    dropped: list[Firing] = field(default_factory=list)
    #: How often it was retried.
    retries: int = 0
    #: The status to end with, while ``on_end`` runs.
    outcome: InstanceStatus | None = None
    #: When it began again from a backup: what it did between that and then is not known.
    restored_at: datetime | None = None
    #: What ``output_map`` gave.
    output: dict[str, Any] = field(default_factory=dict)
    #: What is doubtful about the end, a sentence each.
    warnings: list[str] = field(default_factory=list)
    #: Whom the end is told; the topmost of the instances above.
    parent: ParentRef | None = None
    root: str | None = None
    #: Whom the end of an undo is told.
    undo_parent: ParentRef | None = None
    #: By command id.
    answers: dict[str, Answer] = field(default_factory=dict)
    #: Open attempts, of tasks and compensations: a terminal instance may still have a late undo.
    open_attempts: int = 0
    #: Those of small stages, whole, by ``task/attempt``.
    open: dict[str, Attempt] = field(default_factory=dict)

    @property
    def phase(self) -> InstanceStatus:
        """The status but for being parked: what it does, or would do."""
        return self.parked_in or self.status

    @phase.setter
    def phase(self, phase: InstanceStatus) -> None:
        if self.parked:
            self.parked_in = phase
        else:
            self.status = phase


@dataclass(slots=True)
class InstanceState:
    """An instance with its attempts, by task id, oldest attempt first."""

    row: Instance
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    #: Lists that runs have one task per element of, by run key: rows of their own.
    items: dict[str, list[Any]] = field(default_factory=dict)
    #: Results of runs with many tasks, by run key, until one of their attempts changes; not stored.
    results: dict[str, list[Any]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls,
        row: Instance,
        attempts: Iterable[Attempt],
        items: Mapping[str, list[Any]] | None = None,
    ) -> "InstanceState":
        """Put together what is stored: the row with its open attempts, attempts' rows, lists."""
        state = cls(row, items=dict(items or {}))
        # An attempt that ended and was opened again for a retry stands in both: the row is newer.
        by_key = {(each.task, each.attempt): each for each in attempts}
        by_key |= {(each.task, each.attempt): each for each in row.open.values()}
        for _, attempt in sorted(by_key.items()):
            state.attempts.setdefault(attempt.task, []).append(attempt)
        return state

    def current(self, task: str) -> Attempt | None:
        """The newest attempt of ``task``."""
        tries = self.attempts.get(task)
        return tries[-1] if tries else None

    def find(self, task: str, attempt: int) -> Attempt | None:
        """One attempt, or None."""
        tries = self.attempts.get(task, ())
        return tries[attempt - 1] if 0 < attempt <= len(tries) else None


def run_key(stage: str, pass_: int) -> str:
    """Key of a stage run."""
    return f"{stage}-{pass_}"


def undo_id(task: str, entry: int) -> str:
    """Identity of the compensation of ``task`` by the ``entry``-th compensation role."""
    return f"{task}-undo-{entry}"


def task_id(stage: str, pass_: int, index: int) -> str:
    """Identity of a task within its instance."""
    return f"{stage}-{pass_}-{index}"


def child_id(instance: str, task: str, attempt: int) -> str:
    """Identity of the instance that carries out an attempt of another one."""
    return sha256(f"{instance}:{task}:{attempt}".encode()).hexdigest()[:32]
