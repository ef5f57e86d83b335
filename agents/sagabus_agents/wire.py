"""The contract between orchestrator and agents: every subject, every stream, every message.

All messages are JSON objects in UTF-8. Instants are RFC 3339 in UTC. ``docs/agent-protocol.md``
says in words what an agent of any language must do; the schemas printed there come from here.

One file, because the whole contract can so be read top to bottom.
"""

import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
#: Roles become consumer names and subject tokens; a leading underscore is ours.
ROLE_PATTERN: Final = r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}$"

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _in_utc(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


#: An instant that says no zone is meant in UTC, as all are.
Instant = Annotated[datetime, AfterValidator(_in_utc)]
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Role = Annotated[str, StringConstraints(pattern=ROLE_PATTERN)]
#: Where an answer goes: an inbox of the asker. Any other subject would be published to with the
#: orchestrator's rights.
ReplySubject = Annotated[
    str,
    StringConstraints(
        pattern=r"^(_INBOX[A-Za-z0-9_.-]*|sagabus\.reply\.[A-Za-z0-9]+)$", max_length=256
    ),
]

STREAM_TASKS: Final = "SAGABUS_TASKS"
STREAM_INBOX: Final = "SAGABUS_INBOX"
STREAM_EVENTS: Final = "SAGABUS_EVENTS"
STREAM_DEAD: Final = "SAGABUS_DEAD"
#: Bucket of the JetStream Object Store for what is too large for a message, and its stream.
PAYLOAD_BUCKET: Final = "SAGABUS_PAYLOADS"
STREAM_PAYLOADS: Final = f"OBJ_{PAYLOAD_BUCKET}"

#: Largest message the orchestrator sends or accepts. The server closes a connection for good that
#: sends more than its ``max_payload`` (1 MiB by default), headers included.
MAX_MESSAGE_BYTES: Final = 900 * 1024
#: A task's body, or a result's output, that is larger than this as JSON stands in the bucket.
MAX_INLINE_BYTES: Final = 256 * 1024
#: Largest input and largest output, as JSON. The object of a compensation holds one of each.
MAX_PAYLOAD_BYTES: Final = 64 * 1024 * 1024
PRESENCE_INTERVAL_S: Final = 2.0
#: An agent not heard of for this long counts as gone.
PRESENCE_TTL_S: Final = 3 * PRESENCE_INTERVAL_S
#: A task whose agent sends no ``+WPI`` for this long is delivered to another agent.
TASK_ACK_WAIT_S: Final = 10.0

#: Source token of the inbox subject for commands; a role cannot begin with an underscore.
COMMAND_SOURCE: Final = "_command"
#: The same for results that another instance gives: the end of one that carries out a stage.
WORKFLOW_SOURCE: Final = "_workflow"
#: Resources that one result may declare, characters of an id, and size of a spec as JSON.
MAX_RESOURCES: Final = 1_000
MAX_RESOURCE_ID_CHARS: Final = 512
MAX_SPEC_BYTES: Final = 64 * 1024
#: ``TaskMessage.task`` of what is asked on ``observe_subject``: no stage has such a task.
OBSERVE_TASK: Final = "_observe"


def is_id(text: str) -> bool:
    """Whether ``text`` can name an instance, a task, an agent or a command."""
    return _ID.fullmatch(text) is not None


def task_subject(role: str, instance: str, task: str, attempt: int) -> str:
    """Subject of one attempt of one task."""
    return f"sagabus.task.{role}.{instance}.{task}.{attempt}"


def task_filter(role: str) -> str:
    """Every task of ``role``: the filter of its durable consumer, which is named like the role."""
    return f"sagabus.task.{role}.>"


def inbox_subject(instance: str, source: str) -> str:
    """Where results and claims (``source`` = the agent's role) and commands are published."""
    return f"sagabus.inbox.{instance}.{source}"


def event_subject(instance: str, event_type: str) -> str:
    """Where one lifecycle event is announced."""
    return f"sagabus.event.{instance}.{event_type}"


def notice_subject(instance: str) -> str:
    """Core NATS, best effort: ``NoticeMessage``."""
    return f"sagabus.notice.{instance}"


def dead_subject(role: str, instance: str) -> str:
    """Where what could not be delivered or decoded is kept."""
    return f"sagabus.dead.{role}.{instance}"


def progress_subject(instance: str) -> str:
    """Core NATS, best effort: ``ProgressMessage``."""
    return f"sagabus.progress.{instance}"


def cancel_subject(instance: str) -> str:
    """Core NATS, best effort: ``CancelMessage``."""
    return f"sagabus.cancel.{instance}"


def secret_subject(role: str, instance: str) -> str:
    """Core NATS, never stored: ``SecretRequest``."""
    return f"sagabus.secret.{role}.{instance}"


def presence_subject(agent: str) -> str:
    """Core NATS, best effort, every two seconds: ``PresenceMessage``."""
    return f"sagabus.presence.{agent}"


def observe_subject(role: str, kind: str) -> str:
    """Core NATS request: a ``TaskMessage`` of type ``observe``, answered by a ``ResultMessage``.

    Agents subscribe as the queue group ``role``, so that one of them answers.
    """
    return f"sagabus.observe.{role}.{kind}"


def task_payload_name(instance: str, task: str, attempt: int) -> str:
    """Object with the body of a task that is too large for its message."""
    return f"{instance}.{task}.{attempt}"


def result_payload_name(instance: str, task: str, attempt: int) -> str:
    """Object with an output that is too large for its result."""
    return f"{instance}.{task}.{attempt}.result"


def payload_digest(data: bytes) -> str:
    """The digest of an object, as the Object Store writes it.

    Source: NATS ADR-20: ``SHA-256=`` and the hash in URL-safe base64.
    """
    return "SHA-256=" + urlsafe_b64encode(sha256(data).digest()).decode()


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PayloadRef(_Message):
    """What was too large for a message: an object, which holds JSON."""

    bucket: Literal["SAGABUS_PAYLOADS"] = PAYLOAD_BUCKET
    name: str = Field(min_length=1, max_length=256)
    #: Bytes.
    size: int = Field(ge=0)
    #: As ``payload_digest`` writes it.
    digest: str = Field(min_length=1, max_length=128)


class SecretPlace(_Message):
    """What stands in ``input`` at ``path``, from ``start`` to ``end``, is put in by the agent."""

    #: Keys and indexes from the outside in.
    path: list[str | int]
    #: Characters (Unicode code points) of the text there.
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    key: str = Field(min_length=1)


class TaskType(StrEnum):
    """What a task message asks for."""

    TASK = "task"
    COMPENSATION = "compensation"
    #: What resources there are now; never of a stage, and never on ``task_subject``.
    OBSERVE = "observe"


class TaskMessage(_Message):
    """One attempt of one task, on ``task_subject``.

    The payload is ``type``, ``stage_name``, ``workflow_id`` and, for a compensation,
    ``original_context`` and ``artifacts_to_undo``; everything else is the envelope.
    """

    type: TaskType
    stage_name: str
    workflow_id: Id
    #: Compensation only: ``{parameters, vars, input, output}`` as they were when the task was sent
    #: and answered.
    original_context: dict[str, Any] | None = None
    #: Compensation only: ids that the task declared with its result.
    artifacts_to_undo: list[str] | None = None

    workflow: str
    task: Id
    attempt: int = Field(ge=1)
    role: Role
    action: str
    input: Any = None
    #: The body is too large to stand here: ``input``, ``original_context`` and
    #: ``artifacts_to_undo`` are the fields of this object instead.
    payload: PayloadRef | None = None
    #: Secrets of ``input``, which are redeemed while the task runs.
    secrets: list[SecretPlace] = Field(default_factory=list)
    #: True: ask with a ``ClaimMessage`` before running, whatever the delivery count.
    claim: bool = False
    #: True: sent again by recovery; always to be claimed.
    resent: bool = False
    #: The same for every attempt and delivery of this task.
    idempotency_key: str
    #: Seconds that one run may take; the agent ends it then. None: no limit.
    timeout_s: float | None = None
    #: The compensated task's identity is its own task id without the suffix ``-undo``.
    trace: str


class ErrorInfo(_Message):
    """Why a task failed. ``type`` is one of ``ERROR_TYPES`` or the agent's own word."""

    type: str = Field(min_length=1, max_length=200)
    message: str = ""
    retryable: bool = True
    #: Seconds to wait before the next attempt, instead of the retry policy's delay.
    retry_after_s: float | None = Field(default=None, ge=0)


#: Error types with a meaning of their own; any other is the agent's.
ERROR_TYPES: Final = frozenset(
    {
        "timeout",
        "start_timeout",
        "agent_lost",
        "no_handler",
        "rejected",
        "approval_timeout",
        "cancelled",
        "denied",
        "bad_result",
        "bad_input",
    }
)


class ResultStatus(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Resource(_Message):
    """Something outside that a task has made, changed or removed; see ``resource_problem``."""

    #: An id, as ``vm``.
    kind: str = Field(json_schema_extra={"pattern": ID_PATTERN})
    #: Unique within its kind; printable, without spaces.
    id: str = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_RESOURCE_ID_CHARS})
    #: What it is to be like. None: it exists no more.
    spec: dict[str, Any] | None


def resource_problem(resource: Resource) -> str | None:
    """What is wrong with a resource, as one sentence; None: nothing."""
    kind, id_ = resource.kind, resource.id
    if not is_id(kind):
        return f"resource kind {kind!r:.80}: 1 to 64 letters, digits, '_' and '-' only"
    if not (id_.isprintable() and 0 < len(id_) <= MAX_RESOURCE_ID_CHARS and " " not in id_):
        return (
            f"id {id_!r:.80} of a resource of kind {kind!r}: 1 to {MAX_RESOURCE_ID_CHARS} printable"
            " characters without spaces"
        )
    try:
        size = len(orjson.dumps(resource.spec))
    except (TypeError, orjson.JSONEncodeError) as error:
        return f"the spec of {kind} {id_!r:.80} has no JSON form: {error}"
    if size > MAX_SPEC_BYTES:
        return (
            f"the spec of {kind} {id_!r:.80} has {size} bytes, of which {MAX_SPEC_BYTES} are kept:"
            " declare what can drift, and keep the rest elsewhere"
        )
    return None


class ResultMessage(_Message):
    """The end of one attempt, on ``inbox_subject``; stored before the task is acknowledged."""

    kind: Literal["result"] = "result"
    task: Id
    attempt: int = Field(ge=1)
    status: ResultStatus
    output: Any = None
    #: The output is too large to stand here: it is this object instead.
    payload: PayloadRef | None = None
    #: Ids that a compensation is to undo.
    artifacts: list[str] = Field(default_factory=list, max_length=10_000)
    #: What exists now, or no more, because of this task; at most MAX_RESOURCES.
    resources: list[Resource] = Field(default_factory=list)
    error: ErrorInfo | None = None
    #: From WORKFLOW_SOURCE: the instance that carried the task out.
    agent: Id
    started_at: Instant | None = None
    #: From WORKFLOW_SOURCE: something is left that was to be undone.
    has_left_effects: bool = False
    #: From WORKFLOW_SOURCE: of what is left, that some of it stands for certain, that some of that
    #: is final, that some can be undone; null: it does not say.
    left: list[Literal["certain", "final", "undoable"]] | None = None
    #: From WORKFLOW_SOURCE: of two results for the same attempt the one with the higher one counts.
    seq: int = 0


class Observed(_Message):
    """One entry of ``output`` in the answer to an observe task: a resource that exists."""

    id: str
    #: None: how it is was not looked at.
    spec: dict[str, Any] | None = None


class ClaimMessage(_Message):
    """Asks to run an attempt, on ``inbox_subject``; answered on the core subject ``reply``.

    ``claim`` is unique per delivery; the same claim gets the same answer, so an agent that hears
    nothing sends the same message again.
    """

    kind: Literal["claim"] = "claim"
    claim: Id
    task: Id
    attempt: int = Field(ge=1)
    agent: Id
    #: The server's delivery count of the task message, 1 for the first.
    delivery: int = Field(ge=1)
    reply: ReplySubject


class ClaimVerdict(StrEnum):
    """The answer to a claim."""

    RUN = "run"
    SKIP = "skip"  # answered, superseded or cancelled: acknowledge and forget
    LATER = "later"  # another live agent runs it, or its role is paused: nak, ``retry_after_s``
    HOLD = "hold"  # an operator must decide: acknowledge and forget


class ClaimAnswer(_Message):
    """Published on the claim's ``reply`` after the claim was stored."""

    claim: Id
    answer: ClaimVerdict
    retry_after_s: float = PRESENCE_TTL_S


class CommandMessage(_Message):
    """What a person or a program asks of an instance, on ``inbox_subject`` with COMMAND_SOURCE.

    ``command`` is made by the client and unique per instance: a repeat gets the first answer,
    another command under the same id is refused.
    ``arguments`` by ``name``:

    - ``start``: ``workflow``, ``parameters``; of an instance that carries out a stage of another
      one also ``digest`` (of the definition), ``parent`` (``{instance, task, attempt}``), ``root``,
      ``trace``, ``paused``, which that one is, and ``restored_at``, when that one began again
      from a backup
    - ``approve``, ``reject``: ``stage``, ``reason``; ``approve`` also ``data``, where the approval
      asks for it
    - ``answer``: ``stage``, ``data``
    - ``pause``, ``resume``: ``reason``
    - ``cancel``: ``reason``, and ``compensate``, false to leave everything as it is
    - ``skip``, ``fail``: ``stage``, ``reason``, and ``attempt`` (``<task>/<attempt>``) that was
      seen; ``set_result`` also ``output``; ``resolve`` also ``outcome`` (``succeeded``, ``failed``,
      ``retry``) and ``output``
    - ``retry``: ``reason``, ``from`` (a stage), ``parameters`` that change, ``definition``
      (``latest``, or the digest that the newest one must have)
    - ``compensate``: ``reason``, ``stage``
    - ``undo``, to an instance that carried out a stage of another one: ``parent``, the
      compensation that it is to answer for, ``paused``, and ``asked``, true where a person wants
      it: what failed to be undone is tried again
    """

    kind: Literal["command"] = "command"
    command: Id
    name: Literal[
        "start",
        "approve",
        "reject",
        "answer",
        "pause",
        "resume",
        "cancel",
        "skip",
        "set_result",
        "fail",
        "resolve",
        "retry",
        "compensate",
        "undo",
    ]
    arguments: dict[str, Any] = Field(default_factory=dict)
    #: Who asks.
    by: str = Field(default="", max_length=256)
    #: Core subject for the answer, a ``CommandReply``.
    reply: ReplySubject | None = None


class CommandReply(_Message):
    """The answer to a command, sent when it is stored."""

    command: str
    ok: bool
    #: With ``ok``: the instance's status and what the command changed.
    result: dict[str, Any] = Field(default_factory=dict)
    #: Without: ``RequestError.code`` and one sentence.
    code: str | None = None
    message: str | None = None


InboxMessage = Annotated[ResultMessage | ClaimMessage | CommandMessage, Field(discriminator="kind")]
INBOX_ADAPTER: Final[TypeAdapter[ResultMessage | ClaimMessage | CommandMessage]] = TypeAdapter(
    InboxMessage
)


class RunningAttempt(_Message):
    """One attempt that an agent is running now."""

    instance: Id
    task: Id
    attempt: int
    started_at: Instant


class PresenceMessage(_Message):
    """An agent is alive: its roles, its free slots, what it runs."""

    agent: Id
    roles: list[Role]
    slots: int
    free: int
    running: list[RunningAttempt] = Field(default_factory=list)
    version: str = ""
    #: True in the last message of an agent that ends.
    leaving: bool = False


class ProgressMessage(_Message):
    """How far a running attempt is; best effort, never stored."""

    task: Id
    attempt: int
    fraction: float | None = Field(default=None, ge=0, le=1)
    message: str = ""


class CancelMessage(_Message):
    """Stop running this attempt; its result is still wanted, with status ``cancelled``."""

    task: Id
    attempt: int
    reason: str = ""


class SecretRequest(_Message):
    """Asks for a secret of ``TaskMessage.secrets``, on ``secret_subject`` of the task's own role.

    Sent again under the same ``request`` until it is answered on the core subject ``reply``.
    """

    request: Id
    task: Id
    attempt: int = Field(ge=1)
    agent: Id
    key: str = Field(min_length=1, max_length=200)
    #: A subject of the agent's own inbox.
    reply: ReplySubject


class SecretAnswer(_Message):
    """The secret, or one sentence why there is none. Never to be stored or logged."""

    request: Id
    secret: str | None = Field(default=None, repr=False)
    refusal: str | None = None


class LifecycleEvent(_Message):
    """One entry of an instance's history as announced on ``event_subject``; id ``instance:seq``."""

    instance: Id
    seq: int
    type: str
    at: datetime
    workflow: str
    data: dict[str, Any] = Field(default_factory=dict)


class NoticeMessage(_Message):
    """An instance needs an operator, or stands still for too long, on ``notice_subject``."""

    #: ``instance:seq``, the same each time that it is given.
    id: str
    instance: Id
    workflow: str
    status: str
    #: Its name, as of ``sagabus why``; a sentence; what to do.
    cause: str
    message: str
    next: str
    #: When it moved last.
    since: datetime
    at: datetime


class DeadLetter(_Message):
    """What could not be delivered or decoded, on ``dead_subject``."""

    reason: str
    subject: str
    at: datetime
    #: The original message as text; of one that is long, or no text, the beginning.
    payload: str = ""
    #: What it is about, as far as that can be told.
    task: str | None = None
    attempt: int | None = None
    instance: str | None = None
    #: Who sent the message, or was to do the task.
    role: str | None = None
    stage: str | None = None
    #: The server's delivery count.
    delivery: int = 1
    #: Bytes of the original message.
    size: int = 0
    #: ``payload`` is all of it.
    is_whole: bool = False
