"""What carries a stage out: agents, the engine, a person, another workflow, or its own stages.

A stage with ``agents`` says so itself, unless its action is built in, beside which they mean
nothing. One without names an action, which is looked up: built in; else a workflow; else an action
of a pack; else ``role.action``, split at the first dot.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sagabus.core.definition import CORE_ROLE, WORKFLOW_ROLE, StageKind
from sagabus.definitions.field_types import is_role
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.models import ChildModel, StageModel

#: Actions of the engine itself, and the kind of a stage that names one.
CORE_ACTIONS: Final[Mapping[str, StageKind]] = {
    "core.echo": "core",
    "core.inquiry": "inquiry",
    "core.noop": "core",
    "core.sleep": "core",
}
_BUILT_IN: Final = "core."


@dataclass(frozen=True, slots=True)
class ActionMetadata:
    """What a pack says of one of its actions."""

    #: As stages name it: ``pack.action``.
    name: str
    #: The agents that serve it, and what they call it.
    role: str
    action: str
    #: JSON Schema of its input, a table; None: anything.
    input_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Carrier:
    """What an ``action`` stands for."""

    kind: StageKind
    #: As in ``core.definition.Stage``.
    roles: tuple[str, ...]
    action: str
    input_schema: Mapping[str, Any] | None = None
    #: Name of the workflow, where one carries the stage out.
    workflow: str | None = None


class UnknownActionError(Exception):
    """Nothing is known under the name; the text says what to write."""


def carrier_of(
    stage: ChildModel, actions: Mapping[str, ActionMetadata], workflows: Collection[str]
) -> Carrier:
    """What carries ``stage`` out, ``workflows`` being the names of all that there are.

    Raises:
        UnknownActionError: its action is nothing that is known.
    """
    if isinstance(stage, StageModel) and stage.is_block:
        return Carrier("block", (), stage.name)
    is_built_in = stage.action is not None and stage.action.startswith(_BUILT_IN)
    if stage.agents is not None and not is_built_in:
        return Carrier("agents", tuple(stage.agents), stage.action or stage.name)
    if stage.action is None:
        raise UnknownActionError(
            '`agents` is missing; write agents = ["role"], or an action, as in "role.action"'
        )
    return _named(stage.action, actions, workflows)


def _named(name: str, actions: Mapping[str, ActionMetadata], workflows: Collection[str]) -> Carrier:
    if name in CORE_ACTIONS:
        kind = CORE_ACTIONS[name]
        return Carrier(kind, () if kind == "inquiry" else (CORE_ROLE,), name)
    if name.startswith(_BUILT_IN):
        hint = did_you_mean(name, CORE_ACTIONS) or f"; there are {', '.join(CORE_ACTIONS)}"
        raise UnknownActionError(f'"{name}" is not built in{hint}')
    if name in workflows:
        return Carrier("workflow", (WORKFLOW_ROLE,), name, workflow=name)
    if name in actions:
        known = actions[name]
        return Carrier("agents", (known.role,), known.action, known.input_schema)
    role, dot, action = name.partition(".")
    if not dot or not action:
        hint = did_you_mean(name, [*workflows, *actions])
        raise UnknownActionError(
            f'"{name}" is no workflow{hint or ""}{"" if hint else ";"} write agents = ["role"] '
            f'beside it, or "role.{name}"'
        )
    if not is_role(role):
        raise UnknownActionError(
            f'"{name}" begins with {role!r}, which is not a role; write "role.action"'
        )
    return Carrier("agents", (role,), action)
