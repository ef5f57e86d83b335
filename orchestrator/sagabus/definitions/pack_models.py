"""The shape of the files of a pack that hold no workflows."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sagabus.definitions.field_types import Action, JsonTable, Role, Trigger, Version


class _Named(BaseModel):
    """What a file says of itself; ``ref`` and ``name`` are the same."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    ref: str | None = None
    name: str | None = None
    label: str = ""
    description: str = ""
    version: Version = ""
    tags: list[str] = Field(default_factory=list)


class PackModel(_Named):
    """``pack.yaml``."""

    author: str = ""
    email: str = ""
    license: str = ""
    url: str = ""


class ConfigModel(BaseModel):
    """``config.yaml``: what can be set, and what is set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    #: By name as in a workflow's ``parameters``; or JSON Schema of a table.
    declared: JsonTable | None = Field(default=None, alias="schema")
    values: JsonTable | None = None


class ActionModel(_Named):
    """``actions/*.yaml``."""

    role: Role | None = None
    #: A Python file beside it, which ``sagabus agent pack`` runs.
    entry_point: Annotated[str, Field(min_length=1)] | None = None
    #: As those of a workflow. None: anything is accepted.
    parameters: dict[str, JsonTable] | None = None
    #: JSON Schema of what it gives.
    output: JsonTable | None = None


class RuleModel(_Named):
    """``rules/*.yaml``: what starts an action by itself."""

    enabled: bool = True
    trigger: Trigger = "manual"
    action: Action
    parameters: JsonTable | None = None
