"""A workflow as the machine sees it: compiled, immutable, every default resolved.

``sagabus.definitions`` makes these from files and snapshots; the machine only reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, get_args

#: Targets that are no stages: nothing more on this branch; the workflow fails.
END: Final = "end"
FAIL: Final = "fail"

#: Roles of tasks that reach no agent: done by the engine itself, or by another instance.
CORE_ROLE: Final = "_core"
WORKFLOW_ROLE: Final = "_workflow"

Backoff = Literal["constant", "linear", "exponential"]
Classification = Literal["unclassified", "read_only", "compensatable", "final"]


class Template(Protocol):
    """A compiled value of a definition: a table, list or string that may hold expressions."""

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Evaluate over ``scope``.

        Raises:
            TemplateError: an expression failed; names the key and the expression.
        """


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret in a rendered input, which holds a placeholder for it.

    What stands at ``path``, from ``start`` to ``end``, the agent replaces while the task runs.
    """

    path: tuple[str | int, ...]
    start: int
    end: int
    key: str


class InputTemplate(Template, Protocol):
    """A template that may name secrets."""

    def render_input(self, scope: Mapping[str, Any]) -> tuple[Any, tuple[SecretUse, ...]]:
        """Evaluate over ``scope``; secrets are placeholders in the value.

        Raises:
            TemplateError: an expression failed.
        """


class JsonSchema(Protocol):
    """A compiled JSON Schema."""

    @property
    def document(self) -> Mapping[str, Any]:
        """It as it was written."""

    def problems(self, value: Any) -> list[str]:
        """Everything that is wrong with ``value``, a sentence each; empty when it fits."""


class ParameterSchema(Protocol):
    """What the parameters of a workflow must be."""

    def complete(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """``values`` with every default filled in, and all that is wrong with them."""


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
    #: Gives whether an error is tried again; sees ``error``.
    on_error: Template | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """A gate before a stage."""

    timeout: timedelta | None = None
    on_timeout: Literal["reject", "approve"] = "reject"
    prompt: Template | None = None
    #: How many different people have to approve.
    approvers: int = 1
    #: False: who started the instance may not.
    self_approval: bool = True
    #: What each of them fills in; None: nothing.
    form: JsonSchema | None = None


@dataclass(frozen=True, slots=True)
class Compensation:
    """How the tasks of a stage are undone: one task per succeeded task and entry of ``roles``."""

    roles: tuple[str, ...]
    action: str
    input: InputTemplate | None = None
    retry: RetryPolicy = RetryPolicy(count=3)
    timeout: timedelta | None = None
    compensate_self: Literal["unknown", "never", "always"] = "unknown"


#: Variables to set: name and value.
Publish = tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a stage leads: stages, ``END`` or ``FAIL``, where ``when`` is absent or true."""

    to: tuple[str, ...]
    when: Template | None = None
    publish: Publish = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a decision; without ``when`` it is the default."""

    to: str
    when: Template | None = None


@dataclass(frozen=True, slots=True)
class Routes:
    """Where a stage leads, by outcome."""

    on_success: tuple[Route, ...] = ()
    on_failure: tuple[Route, ...] = ()
    #: None: a timeout is a failure like any other.
    on_timeout: tuple[Route, ...] | None = None
    on_complete: tuple[Route, ...] = ()
    #: Replaces ``on_success``; the first line that matches.
    decision: tuple[Choice, ...] = ()
    #: The next of the main line, where the stage has no success route of its own. Leads on when the
    #: stage is skipped, too.
    next: str | None = None

    @property
    def leads_to(self) -> tuple[str, ...]:
        """Every stage that a route of any outcome names, in the order of the keys."""
        routes = (*self.on_success, *self.on_failure, *(self.on_timeout or ()), *self.on_complete)
        named = [target for route in routes for target in route.to]
        named += [choice.to for choice in self.decision]
        named += [] if self.next is None else [self.next]
        return tuple(name for name in dict.fromkeys(named) if name not in {END, FAIL})


@dataclass(frozen=True, slots=True)
class Items:
    """One task per item of a list."""

    list: Template
    #: None: an item is one element; else a list of up to that many.
    batch_size: int | None = None
    #: Tasks in flight; 0 = all.
    concurrency: int = 0
    fail_fast: bool = False


#: What carries a stage out: agents, the engine (``core.noop``, ``core.echo``, ``core.sleep``),
#: another instance, a person (``core.inquiry``), or the stages in it.
StageKind = Literal["agents", "core", "workflow", "inquiry", "block"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A node of the graph."""

    name: str
    #: One task per entry, in this order; an entry may repeat. ``CORE_ROLE`` or ``WORKFLOW_ROLE``
    #: alone where no agent is asked; empty for an inquiry and a block.
    roles: tuple[str, ...]
    action: str
    kind: StageKind = "agents"
    #: False: one entry after another. True: together, at most ``max_parallel`` (0 = all).
    parallel: bool = False
    max_parallel: int = 0
    items: Items | None = None
    #: None: the parameters, plus ``previous`` = results of the direct predecessors.
    input: InputTemplate | None = None
    #: What the action's metadata says of its input.
    input_schema: JsonSchema | None = None
    #: After success, before the routes.
    publish: Publish = ()
    #: False: the stage is skipped.
    when: Template | None = None
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta | None = None
    start_timeout: timedelta | None = None
    approval: Approval | None = None
    classification: Classification = "unclassified"
    compensation: Compensation | None = None
    #: Of a final stage: to do it twice does no harm, it is sent again as others are.
    is_idempotent: bool = False
    routes: Routes = Routes()
    #: Distinct stages that lead here, or that it needs.
    arms: tuple[str, ...] = ()
    #: Starts when so many of ``arms`` have fired; None: when any does.
    join: int | None = None
    #: ``arms`` are needs: each fires when it has succeeded, whatever its routes.
    has_needs: bool = False
    #: Of a block: its stages. Of such a stage: its block.
    children: tuple[str, ...] = ()
    block: str | None = None
    #: The workflow that carries it out, and its digest.
    workflow: str | None = None
    workflow_digest: str | None = None
    #: What an inquiry's answer must be, and the question.
    form: JsonSchema | None = None
    prompt: Template | None = None

    @property
    def is_claimed(self) -> bool:
        """Its tasks ask before they run: what must or cannot be undone is stored before it acts."""
        return self.classification in {"compensatable", "final"}

    @property
    def is_once(self) -> bool:
        """Its tasks are never sent again once they were told to run: to do it twice is harm."""
        return self.classification == "final" and self.kind == "agents" and not self.is_idempotent

    @property
    def is_list(self) -> bool:
        """Its result is a list: one entry per task."""
        return self.items is not None or len(self.roles) > 1


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow, compiled. ``digest`` identifies it with everything it was resolved from."""

    name: str
    digest: str
    #: Every stage, those inside blocks too.
    stages: Mapping[str, Stage]
    #: Started together: the first of the main line, or every stage without inbound edge.
    entry: tuple[str, ...]
    version: str = ""
    label: str = ""
    description: str = ""
    trigger: str = "manual"
    enabled: bool = True
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    order: Literal["written", "graph"] = "written"
    workflow_timeout: timedelta | None = None
    #: In-flight tasks per instance; 0 = no limit.
    max_parallel_tasks: int = 10
    #: Size of an instance's parameters, or variables, as JSON; what a message carries by itself.
    max_payload_bytes: int = 524_288
    max_items: int = 10_000
    max_passes: int = 1_000
    #: True: every attempt asks the policies before it leaves.
    has_policies: bool = False
    saga_on_failure: Literal["compensate", "halt"] = "compensate"
    saga_on_failed_undo: Literal["continue", "park"] = "continue"
    saga_after_final: Literal["hold", "compensate"] = "hold"
    #: None: anything is accepted.
    parameters: ParameterSchema | None = None
    #: Variables at the start, a table.
    vars: Template | None = None
    #: Rendered one by one at the end.
    output_map: Mapping[str, Template] = field(default_factory=dict)
    output_schema: JsonSchema | None = None
    #: A stage off the main line that runs last.
    on_end: str | None = None
    #: The pack's settings, as ``pack.config``.
    pack_config: Mapping[str, Any] = field(default_factory=dict)
    #: Keys that templates read by a constant name; ``reads_kv`` is true where any is read.
    kv_keys: frozenset[str] = frozenset()
    reads_kv: bool = False
    #: By stage: every stage that it can lead to, itself too.
    reach: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: Sub-workflows by name, with the digest of the definition that they run on.
    workflows: Mapping[str, str] = field(default_factory=dict)
    #: What the snapshot holds: compiled again from this after a restart.
    document: Mapping[str, Any] = field(default_factory=dict)

    #: By stage: the joins that it is an arm of.
    arm_of: Mapping[str, tuple[str, ...]] = field(init=False, compare=False)
    has_finals: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Turn the joins' arms round, and see whether anything is final."""
        arm_of: dict[str, tuple[str, ...]] = {}
        for stage in self.stages.values():
            for arm in stage.arms if stage.join is not None else ():
                arm_of[arm] = (*arm_of.get(arm, ()), stage.name)
        object.__setattr__(self, "arm_of", arm_of)
        has_finals = any(stage.classification == "final" for stage in self.stages.values())
        object.__setattr__(self, "has_finals", has_finals)

    @property
    def effect_classes(self) -> dict[Classification, int]:
        """How many stages there are of each class; a block counts as the stages in it."""
        counts = dict.fromkeys(get_args(Classification), 0)
        for stage in self.stages.values():
            if stage.kind != "block":
                counts[stage.classification] += 1
        return {kind: count for kind, count in counts.items() if count}
