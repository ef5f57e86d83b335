"""What the runtime asks of the world: a store and a bus. Adapters implement these, tests fake none.

The memory adapters and the real ones are held to the same contract suite (``tests/contract``).
One file, because it is the whole of what the runtime asks for. Messages are tuples: they come and
go by the thousand, and a frozen dataclass takes thrice as long.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from sagabus.core.chain import Entry, TrailRow
from sagabus.core.instance import Attempt, Instance, InstanceState
from sagabus.core.intents import Intent
from sagabus.core.transition import ResourceChange
from sagabus_agents.wire import PayloadRef


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What one transition added to an instance's history: one row, keyed ``[instance, version]``.

    ``events`` are ``{"seq", "type", "at", "data"}``, consecutive ``seq``.
    """

    instance: str
    version: int
    workflow: str
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything one batch changes: stored in ONE transaction or not at all.

    The transaction first fences: the partition's row must hold ``epoch`` and ``number - 1``. An
    instance with ``version == 1`` is inserted and must not exist; any other must hold
    ``version - 1``. ``last_events`` of the partition row becomes the batch's own history, so that
    a successor can publish it again, and ``published`` the number of the last batch whose
    publication is known to be complete.
    """

    partition: int
    epoch: int
    number: int
    published: int
    instances: Sequence[Instance] = ()
    #: With the instance's id; those that have rows.
    attempts: Sequence[tuple[str, Attempt]] = ()
    history: Sequence[HistoryEntry] = ()
    #: New lists that runs have one task per element of: instance, run key, list.
    items: Sequence[tuple[str, str, list[Any]]] = ()
    #: What happened to resources, in order; what is stored of it already changes nothing.
    resources: Sequence[ResourceChange] = ()
    #: By instance: head of its chain before the batch. A store moves the instances' own heads on,
    #: and a batch whose outcome is unknown may be stored again.
    links: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        links = {each.id: each.chain for each in reversed(self.instances)}
        object.__setattr__(self, "links", links)


@dataclass(frozen=True, slots=True)
class PartitionClaim:
    """What the new owner of a partition finds."""

    epoch: int
    batch: int
    published: int
    #: History of batch ``batch``; to be published again when ``published < batch``.
    last_history: Sequence[HistoryEntry] = ()
    #: When the database was restored from a backup last; None: never.
    restored_at: datetime | None = None


class Mark(NamedTuple):
    """How far a partition has come; both numbers only ever rise."""

    epoch: int
    batch: int
    #: When the bus was told; None of what the database holds.
    at: datetime | None = None

    def is_behind(self, other: "Mark") -> bool:
        """Whether ``other`` has seen what this one has not."""
        return self.epoch < other.epoch or self.batch < other.batch


@dataclass(slots=True)
class ActiveInstances:
    """What a partition's owner reloads."""

    #: Rows of all non-terminal instances, and of terminal ones with open attempts.
    instances: list[Instance] = field(default_factory=list)
    #: Open attempts with rows of their own, with their instance's id.
    open_attempts: list[tuple[str, Attempt]] = field(default_factory=list)
    #: Rows that could not be read: id and reason.
    corrupt: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of instances, newest first; ``cursor`` continues, None at the end."""

    instances: Sequence[Instance]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class EndedRow:
    """What a sweep must know of an instance."""

    id: str
    version: int
    changed_at: datetime
    #: It has ended, and awaits nothing more.
    is_over: bool
    #: The topmost of the instances above, where there is one.
    root: str | None


@dataclass(frozen=True, slots=True)
class Resource:
    """Something outside as it was declared last, with who declared it."""

    kind: str
    id: str
    status: Literal["present", "gone"]
    #: Of what is gone: what it was like.
    spec: dict[str, Any]
    #: From 1; one more whenever it was declared with another spec.
    spec_version: int
    instance: str
    workflow: str
    stage: str
    task: str
    attempt: int
    role: str
    created_at: datetime
    declared_at: datetime
    gone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ResourceEntry:
    """One change of a resource, with the attempt that made it."""

    #: From 1.
    number: int
    status: Literal["present", "gone"]
    #: None where it is gone.
    spec: dict[str, Any] | None
    spec_version: int
    #: It changed nothing: an undo of what another instance had declared since.
    is_void: bool
    instance: str
    workflow: str
    stage: str
    task: str
    attempt: int
    role: str
    at: datetime


class ResourceFilter(NamedTuple):
    """Which resources; None: whatever."""

    kind: str | None = None
    status: Literal["present", "gone"] | None = None
    workflow: str | None = None
    instance: str | None = None


ANY_RESOURCE: Final = ResourceFilter()


@dataclass(frozen=True, slots=True)
class ResourcePage:
    """Resources by kind and id; ``cursor`` continues, None at the end."""

    resources: Sequence[Resource]
    cursor: str | None


class Resources(Protocol):
    """What tasks have made outside; written by ``Store.commit`` alone.

    Every method raises ``StoreUnavailableError`` when the database is away.
    """

    async def get(self, kind: str, id: str) -> Resource | None:
        """One resource."""

    async def history(self, kind: str, id: str) -> list[ResourceEntry]:
        """The newest 100 changes of a resource, oldest first."""

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete resources that are gone since before ``before``; how many it were."""

    async def kinds(self) -> Sequence[str]:
        """The kinds that there are resources of, also gone ones, in order; all are looked at."""

    async def list(
        self,
        where: ResourceFilter = ANY_RESOURCE,
        *,
        limit: int = 100,
        cursor: str | None = None,
    ) -> ResourcePage:
        """Resources by kind and id."""


class Store(Protocol):
    """The truth. Every method raises ``StoreUnavailableError`` when the database is away."""

    @property
    def trail(self) -> "AuditTrail":
        """Who did what, when and why."""

    @property
    def resources(self) -> Resources:
        """What tasks have made outside."""

    async def read_mark(self, partition: int) -> Mark:
        """How far the partition is stored; zeros where it never was."""

    async def take_partition(
        self, partition: int, above: int = 0, restored_at: datetime | None = None
    ) -> PartitionClaim:
        """Raise the partition's epoch (beyond ``above``; at first to 1) and read its row.

        ``restored_at``: the database was restored just now; kept until it is again.
        """

    async def commit(self, batch: Batch) -> None:
        """Store a batch.

        Raises:
            PartitionLostError: the row is not at (epoch, number - 1).
            VersionConflictError: an instance is not at its expected version (or a new id exists).
            StoreUnavailableError: the outcome is unknown; ``is_committed`` tells.
        The rows of the history are chained, and the instances' ``chain`` is their new head.
        """

    async def is_committed(self, partition: int, epoch: int, number: int) -> bool:
        """Whether batch ``number`` under ``epoch`` took effect.

        Raises:
            PartitionLostError: the row carries another epoch, or neither ``number`` nor the one
                before it.
        """

    async def load_active(self, partition: int) -> ActiveInstances:
        """Everything unfinished of a partition."""

    async def load_instance(self, instance_id: str) -> InstanceState | None:
        """One instance with all its attempts, whatever its status."""

    async def load_row(self, instance_id: str) -> Instance | None:
        """One instance without the attempts that have rows: constant cost, whatever its size."""

    async def load_attempts(self, instance_id: str) -> list[Attempt]:
        """The attempts of an instance that have rows, by task, then by attempt number."""

    async def load_items(self, instance_id: str) -> dict[str, list[Any]]:
        """The lists that runs of an instance have one task per element of, by run key."""

    async def history(self, instance_id: str, after: int = 0) -> list[HistoryEntry]:
        """The history of an instance beyond version ``after``, oldest first."""

    async def list_instances(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Instances, newest first."""

    async def intents(self) -> list[Intent]:
        """The final effects of all instances that were begun and are not told, oldest first."""

    async def count_by_status(self) -> dict[str, int]:
        """Number of instances per status."""

    async def save_definition(self, digest: str, name: str, document: Mapping[str, Any]) -> None:
        """Keep a definition snapshot; the same digest again changes nothing."""

    async def load_definition(self, digest: str) -> Mapping[str, Any] | None:
        """A snapshot by digest."""

    def expired(self, before: datetime, limit: int) -> AsyncIterator[list[EndedRow]]:
        """Pages of ended instances that await nothing and did not change since ``before``.

        Without those that have others above them: they go with their root, where it is stored.
        """

    async def children(self, instance_ids: Sequence[str]) -> list[tuple[str, EndedRow]]:
        """The instances that carried out attempts of these, each with the id of its parent."""

    async def delete_instances(self, trees: Sequence[Sequence[EndedRow]]) -> int:
        """Delete instances with all that belongs to them, a tree whole or not at all.

        A tree stays when one of its rows is not at the version given, or awaits something. Also
        finishes deletions that were cut off. Gives the number of instances deleted, which the
        audit trail names.
        """

    async def ping(self) -> None:
        """A cheap round trip."""

    async def close(self) -> None:
        """Release the database."""


@dataclass(frozen=True, slots=True)
class WorkflowText:
    """A workflow as it is registered: a document of its own."""

    name: str
    #: The pack that it belongs to; empty where it belongs to none.
    pack: str
    format: Literal["json", "yaml"]
    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of a registered workflow, numbered from 1; a deletion is a version as well."""

    workflow: WorkflowText
    version: int
    by: str
    at: datetime
    is_deleted: bool = False


class Registry(Protocol):
    """Workflows that were registered, every version of them, beside those in files.

    Who changes what, when and why is added to the audit trail with the change itself.
    """

    async def changes(self) -> int:
        """How many changes there were: a cheap way to learn that there was one."""

    async def current(self) -> tuple[int, list[Registered]]:
        """``changes``, and the newest versions of all that are not deleted, by name."""

    async def find(self, name: str, version: int | None = None) -> Registered | None:
        """One version, or the newest, which may be a deletion."""

    async def versions(self, name: str) -> list[Registered]:
        """Every version of a name, newest first."""

    async def register(
        self,
        workflows: Sequence[WorkflowText],
        *,
        by: str,
        at: datetime,
        expected: Mapping[str, int],
        reason: str = "",
    ) -> list[Registered]:
        """Store all, or none; what is in force as it is given stays as it is.

        ``expected``: by name, the version that it must have now; 0: it must not be there.

        Raises:
            ConflictError: one has another version.
        """

    async def delete(
        self, name: str, *, by: str, at: datetime, expected: int | None = None, reason: str = ""
    ) -> Registered | None:
        """Take a workflow out of force; None when it is not registered.

        Raises:
            ConflictError: it has another version than ``expected``.
        """


class Delivery(NamedTuple):
    """One message of the inbox."""

    subject: str
    data: bytes
    #: Stream sequence: order of arrival.
    seq: int
    #: Delivery count, 1 for the first.
    delivery: int
    stored_at: datetime
    #: What ``Inbox.ack`` needs; opaque.
    token: Any = None


class Inbox(Protocol):
    """The inbox of one partition under one epoch, in stream order."""

    async def next(self, limit: int, wait_s: float) -> list[Delivery]:
        """Up to ``limit`` messages: what is here now, else the first to come within ``wait_s``.

        The payloads that they refer to have at most MAX_PAYLOAD_BYTES together, or it is one.
        A message that was given out and not acknowledged is not given out again by this object.

        Raises:
            BusUnavailableError: the consumer or its stream is gone: take the partition again.
        """

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; never waits for the server."""

    async def is_drained(self) -> bool:
        """True when everything stored before this call was given out by ``next``."""

    def wake(self) -> None:
        """Make a waiting ``next`` return at once with what it has."""

    async def lag(self) -> int:
        """Messages stored and not yet given out."""

    async def close(self) -> None:
        """Stop pulling; the consumer stays for the next owner to delete."""


@dataclass(frozen=True, slots=True)
class TaskPayload:
    """The body of a task that is too large for its message; written as JSON when it is stored."""

    name: str
    body: Mapping[str, Any]


class OutgoingTask(NamedTuple):
    """One task message."""

    subject: str
    role: str
    data: bytes
    #: Nats-Msg-Id; fresh for every send decided by recovery.
    msg_id: str
    #: What is too large for the message: the object that is stored before it, and then named in it.
    payload: TaskPayload | None = None


class OutgoingEvent(NamedTuple):
    """One lifecycle event; ``msg_id`` is ``instance:seq``."""

    subject: str
    data: bytes
    msg_id: str


class StoredLetter(NamedTuple):
    """One dead letter as the bus keeps it; newer ones have higher numbers."""

    seq: int
    subject: str
    data: bytes
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class RoleQueue:
    """How a role's queue stands."""

    role: str
    queued: int
    running: int
    #: Age of the oldest task not yet delivered, seconds; 0 when none.
    oldest_age_s: float


class Bus(Protocol):
    """The courier. Methods raise ``BusUnavailableError`` when it is away."""

    async def ensure(self, roles: Sequence[str]) -> None:
        """Create streams and one durable consumer per role where they are missing."""

    async def open_inbox(self, partition: int, epoch: int) -> Inbox:
        """Delete every older consumer of the partition and create ``p<k>-e<epoch>``."""

    async def publish(self, events: Sequence[OutgoingEvent], tasks: Sequence[OutgoingTask]) -> None:
        """Store all on the bus, tasks first; a task whose subject is taken is not news.

        Returns when the server has stored them.
        """

    async def purge_task(self, subject: str) -> None:
        """Remove a queued task; one that is being worked on loses its message too."""

    async def purge_role(self, role: str) -> None:
        """Remove every task of ``role`` (``*``: of every role), likewise."""

    async def send_command(self, instance_id: str, data: bytes, msg_id: str) -> None:
        """Store a command in the inbox of the instance's partition."""

    async def send_result(self, instance_id: str, data: bytes, msg_id: str) -> None:
        """Store a result that another instance gives, likewise."""

    async def read_mark(self, partition: int) -> Mark | None:
        """How far the database was when the bus was told last; None: never."""

    async def write_mark(self, partition: int, mark: Mark) -> None:
        """Tell how far the database is; what a newer epoch has told stands."""

    async def forget_sent(self) -> None:
        """Drop every task and every event that the bus holds, and what it knows of their ids."""

    async def put_payload(self, name: str, data: bytes) -> PayloadRef:
        """Have ``data`` stand in the object store under ``name``, where it does not already.

        Returns when the server has stored it.
        """

    async def get_payload(self, ref: PayloadRef) -> bytes | None:
        """What ``ref`` refers to; None when no object, or another one, has its name."""

    async def delete_payloads(self, names: Sequence[str]) -> None:
        """Delete objects; those that do not exist are none."""

    async def notify(self, subject: str, data: bytes) -> None:
        """Core publish, best effort."""

    async def dead_letter(self, subject: str, data: bytes) -> None:
        """Keep a dead letter."""

    async def dead_letters(
        self,
        *,
        instance: str | None = None,
        role: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[StoredLetter]:
        """Dead letters, newest first, older than number ``before``."""

    async def dead_letter_at(self, seq: int) -> StoredLetter | None:
        """The dead letter of a number; None where it is gone."""

    async def drop_dead_letter(self, seq: int) -> None:
        """Delete a dead letter; no error when there is none."""

    async def count_dead_letters(self) -> int:
        """How many there are."""

    async def put_back(self, instance_id: str, source: str, data: bytes, msg_id: str) -> None:
        """Store a message in the inbox as ``source`` sent it once."""

    async def subscribe(
        self, subject: str, handler: Callable[[str, bytes], None]
    ) -> AbstractAsyncContextManager[None]:
        """Core subscription for the time of the context."""

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes | None:
        """Core request; None when nobody listens.

        Raises:
            TimeoutError: somebody does, and gave no answer in time.
        """

    async def role_queues(self) -> list[RoleQueue]:
        """Every role's queue."""

    def partition_of(self, instance_id: str) -> int:
        """The partition that the server's subject transform gives to ``instance_id``."""

    @property
    def partitions(self) -> int:
        """How many partitions there are; fixed when the streams were created."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up now."""

    @property
    def generation(self) -> int:
        """Raised whenever the connection came back: what was sent last may be lost."""

    async def close(self) -> None:
        """Flush and disconnect."""


class Leases(Protocol):
    """Which orchestrator serves which partition, where several share one bus.

    A lease only spreads the work; what keeps two owners apart is the partition row's epoch.
    """

    async def acquire(self, partition: int) -> bool:
        """Take or renew the lease of ``partition``; False while another holds it."""

    async def release(self, partition: int) -> None:
        """Give the lease up at once; no error when it is not held."""

    async def holders(self) -> dict[int, str]:
        """Names of the holders, by partition."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The newest word about a workflow, a role or everything: on hold, or no longer."""

    kind: Literal["workflow", "role", "all"]
    #: ``all`` for everything.
    name: str
    by: str
    reason: str
    at: datetime
    is_held: bool = True


class HoldBook(Protocol):
    """What was put on hold; the newest word about each stays, also when it was let go.

    Every method raises ``StoreUnavailableError`` when the database is away.
    """

    async def all(self) -> list[Hold]:
        """The newest word about everything that ever was on hold."""

    async def write(self, hold: Hold) -> None:
        """Store the newest word; what was said of the same before is gone."""


class AuditTrail(Protocol):
    """The trails of instances, and of what people did beside them, as the rows that are stored.

    Every method raises ``StoreUnavailableError`` when the database is away.
    """

    async def chained_since(self) -> datetime | None:
        """When rows began to have links; None: they always had."""

    async def instances(self, after: str, limit: int) -> list[str]:
        """Ids of stored instances behind ``after``, in order."""

    async def rows(self, instance_id: str, after: int, limit: int) -> list[TrailRow]:
        """Rows of an instance beyond version ``after``, oldest first."""

    async def attempt_sums(
        self, instance_id: str, after: tuple[str, int], limit: int
    ) -> list[tuple[str, int, str]]:
        """Task, number and digest of the rows of attempts behind ``after``, in order.

        Those that ended in the row of their transition have no row of their own.
        """

    async def entries(self, after: int, limit: int) -> list[Entry]:
        """Entries of what people did beside instances, behind number ``after``, oldest first."""

    async def last_entry(self) -> tuple[int, str]:
        """Number and link of the newest entry, kept apart from it; 0 and empty: there is none."""

    async def add(self, text: str) -> None:
        """Add an entry by itself: what it tells is not in the database."""


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """What the policies say; ``policies`` names those that decided, none for a default deny."""

    is_allowed: bool
    policies: tuple[str, ...] = ()
    #: Why, as one sentence, for a denial.
    reason: str = ""


class Policies(Protocol):
    """An immutable set of policies; a reload makes a new one."""

    def authorize(self, action: str, stage: str, context: Mapping[str, Any]) -> PolicyDecision:
        """Decide ``action`` on ``Stage::"<stage>"``; any doubt is a denial."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """What stands under a key; of a secret never the value, which is None."""

    key: str
    value: Any
    is_secret: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys in order; ``cursor`` continues, None at the end."""

    items: Sequence[KeyValue]
    cursor: str | None


class KeyValues(Protocol):
    """Values and secrets by key; a secret is stored encrypted only.

    Who changes what, when and why is added to the audit trail with the change itself.

    Every method raises ``StoreUnavailableError`` when the database is away, and those that take a
    key ``InvalidRequestError`` when it cannot be one.
    """

    async def get_many(self, keys: Collection[str]) -> dict[str, Any]:
        """The values of those ``keys`` that exist; ``core.kv.Mark.SECRET`` for a secret.

        What cannot be a key does not exist.
        """

    async def get(self, key: str) -> KeyValue | None:
        """What stands under ``key``."""

    async def set(self, key: str, value: Any, *, by: str = "", reason: str = "") -> None:
        """Put a JSON value under ``key``, whatever stood there.

        Raises:
            InvalidRequestError: it has no JSON form, or one of more than 64 KiB.
        """

    async def set_secret(self, key: str, secret: str, *, by: str = "", reason: str = "") -> None:
        """Put a secret under ``key``, whatever stood there.

        Raises:
            InvalidRequestError: it is empty, or has more than 64 KiB.
            ConflictError: there is no key to encrypt it with.
        """

    async def reveal(self, key: str) -> str | None:
        """The secret under ``key``; None: there is none, or a value that is no secret.

        Raises:
            ConflictError: it was encrypted with another key, or there is none to decrypt it with.
        """

    async def delete(self, key: str, *, by: str = "", reason: str = "") -> bool:
        """Take ``key`` away; False when there was none."""

    async def list(
        self, prefix: str = "", *, limit: int = 100, cursor: str | None = None
    ) -> KeyPage:
        """Keys that begin with ``prefix``, in order."""
