"""A workflow as the machine sees it: compiled, immutable, every default resolved.

``sagabus.definitions`` makes these from files and snapshots; the machine only reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Protocol

Backoff = Literal["constant", "linear", "exponential"]
Classification = Literal["unclassified", "read_only", "compensatable", "final"]


class Template(Protocol):
    """A compiled value of a definition: a table, list or string that may hold expressions."""

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Evaluate over ``scope``.

        Raises:
            TemplateError: an expression failed; names the key and the expression.
        """


class TemplateError(Exception):
    """Rendering failed: ``key`` is the place in the definition, ``expression`` the text there."""

    def __init__(self, message: str, *, key: str, expression: str) -> None:
        self.key = key
        self.expression = expression
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when a failed attempt is tried again; ``count`` = further attempts."""

    count: int = 0
    delay: timedelta = timedelta(seconds=1)
    backoff: Backoff = "exponential"
    max_delay: timedelta = timedelta(minutes=5)
    jitter: bool = True


@dataclass(frozen=True, slots=True)
class Approval:
    """A gate before a stage."""

    timeout: timedelta | None = None
    on_timeout: Literal["reject", "approve"] = "reject"
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Compensation:
    """How the tasks of a stage are undone: one task per succeeded task and entry of ``roles``."""

    roles: tuple[str, ...]
    action: str
    input: Template | None = None
    retry: RetryPolicy = RetryPolicy(count=3)
    timeout: timedelta | None = None
    compensate_self: Literal["unknown", "never", "always"] = "unknown"


@dataclass(frozen=True, slots=True)
class Routes:
    """Where a stage leads: names of stages, by outcome."""

    on_success: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """A node of the graph."""

    name: str
    #: One task per entry, in this order; an entry may repeat.
    roles: tuple[str, ...]
    action: str
    #: False: one entry after another. True: together, at most ``max_parallel`` (0 = all).
    parallel: bool = False
    max_parallel: int = 0
    #: None: the parameters, plus ``previous`` = results of the direct predecessors.
    input: Template | None = None
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta | None = None
    start_timeout: timedelta | None = None
    approval: Approval | None = None
    classification: Classification = "unclassified"
    compensation: Compensation | None = None
    routes: Routes = Routes()

    @property
    def is_claimed(self) -> bool:
        """Its tasks ask before they run: what must or cannot be undone is stored before it acts."""
        return self.classification in {"compensatable", "final"}


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow, compiled. ``digest`` identifies it with everything it was resolved from."""

    name: str
    digest: str
    stages: Mapping[str, Stage]
    #: Stages without inbound edge, started together.
    entry: tuple[str, ...]
    version: str = ""
    description: str = ""
    trigger: str = "manual"
    enabled: bool = True
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    workflow_timeout: timedelta | None = None
    #: In-flight tasks per instance; 0 = no limit.
    max_parallel_tasks: int = 10
    #: Size of an instance's parameters as JSON.
    max_payload_bytes: int = 524_288
    #: True: every attempt asks the policies before it leaves.
    has_policies: bool = False
    saga_on_failure: Literal["compensate", "halt"] = "compensate"
    saga_on_failed_undo: Literal["continue", "park"] = "continue"
    #: What the snapshot holds: compiled again from this after a restart.
    document: Mapping[str, Any] = field(default_factory=dict)
