"""What happens in a rehearsal: parameters, and how each task, gate and question ends.

::

    parameters: {environment: staging}
    outcomes:
      build: {output: {image: "app:1"}}          # every attempt of every task of the stage
      test: [{error: flaky}, {output: ok}]       # the first attempt fails, the second succeeds
      deploy-1-2: {timeout: true}                # task 2 of pass 1, alone
      slow: {untaken: true}                      # no agent takes it
      gated: {approve: true, by: ann, output: {}} # its gate, and then its task
      four_eyes: {approve: true, by: [ann, bob], data: {size: 3}}
      question: {answer: {size: 3}}
      undo build: {error: {type: locked, message: "in use", retryable: false}}
    workflows:                                   # outcomes inside sub-workflows, by workflow
      other_workflow: {step: {error: boom}}

What is not named succeeds at once with null, as a handler does that returns nothing; a gate or
question that is not named stays open.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from sagabus.core.instance import InstanceStatus, Rollback
from sagabus.definitions.durations import Duration
from sagabus.definitions.field_types import refused
from sagabus.definitions.keys import did_you_mean

UNDO: Final = "undo "


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScriptedError(_Model):
    """Why a task fails."""

    type: str = "failed"
    message: str = ""
    retryable: bool = True


def _error(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Outcome(_Model):
    """How one attempt or question ends (one of the first six, else success), and its gate."""

    #: A handler that returns nothing gives null.
    output: Any = None
    error: Annotated[ScriptedError | None, BeforeValidator(_error)] = None
    #: It runs longer than its time limit.
    timeout: bool = False
    #: No agent takes it.
    untaken: bool = False
    #: Policies deny it.
    denied: bool = False
    #: Of a question.
    answer: Any = None
    #: Of the gate before it: true approves, false rejects; else the gate stays open.
    approve: bool | None = None
    #: Who approves, rejects or answers; several approve one after another.
    by: Annotated[list[str], BeforeValidator(_several), Field(min_length=1)] = [""]
    reason: str = ""
    #: What each of them fills in with an approval.
    data: Any = None
    artifacts: list[str] = Field(default_factory=list)
    #: How long it takes.
    takes: Duration = timedelta(seconds=1)

    @model_validator(mode="after")
    def _is_one(self) -> "Outcome":
        given = [name for name in KINDS if name in self.model_fields_set]
        if len(given) > 1:
            raise refused(f"{' and '.join(given)} cannot be together; write one of them")
        return self


#: Ways in which an attempt or a question ends.
KINDS: Final = ("output", "error", "timeout", "untaken", "denied", "answer")


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: each if isinstance(each, list) else [each] for name, each in value.items()}


Outcomes = Annotated[
    dict[str, Annotated[list[Outcome], Field(min_length=1)]], BeforeValidator(_listed)
]


def _one_of(kind: str, words: Sequence[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value in words:
            return value
        hint = did_you_mean(value, words) or f"; write one of {', '.join(words)}"
        raise refused(f'"{value}" is no {kind}{hint}')

    return AfterValidator(check)


class Expectations(_Model):
    """What must come of a rehearsal; what is left out may be anything."""

    status: Annotated[str, _one_of("status", [*InstanceStatus])] | None = None
    #: Stages in the order in which they began; one that came round again stands there again.
    path: list[str] | None = None
    #: Input of a stage's first task, by stage; or of one task, by task id.
    inputs: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None
    #: Stages in the order in which their compensations were sent.
    compensated: list[str] | None = None
    rollback: Annotated[str, _one_of("rollback", get_args(Rollback))] | None = None
    #: Type of the error.
    error: str | None = None
    handled_failures: int | None = None
    waiting_for: list[str] | None = None


class Script(_Model):
    """A whole rehearsal."""

    name: str = ""
    workflow: str | None = None
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    kv: dict[str, Any] = Field(default_factory=dict)
    started_by: str = ""
    outcomes: Outcomes = Field(default_factory=dict)
    workflows: dict[str, Outcomes] = Field(default_factory=dict)
    #: Cancelled after so long.
    cancel_after: Duration | None = None
    expect: Expectations = Expectations()
