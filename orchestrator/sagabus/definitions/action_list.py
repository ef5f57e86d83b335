"""Everything that a stage can name as its ``action``: built in, of a pack, or a workflow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sagabus.core.definition import Definition
from sagabus.definitions.pack import Pack


@dataclass(frozen=True, slots=True)
class Action:
    """What a stage can name as its ``action``."""

    name: str
    label: str = ""
    description: str = ""
    #: The pack that it belongs to; None: none, or it is built in.
    pack: str | None = None
    #: The agents that serve it; None: it is built in, or a workflow.
    role: str | None = None
    is_workflow: bool = False
    #: By name: keywords of JSON Schema, ``required`` and ``secret``; None: anything.
    parameters: Mapping[str, Any] | None = None
    #: JSON Schema of what it gives; None: not said.
    output: Mapping[str, Any] | None = None


_BUILT_IN: Final = (
    Action("core.echo", description="Gives its input back."),
    Action(
        "core.inquiry",
        description="Asks a person, and gives the answer.",
        parameters={
            "prompt": {"type": "string", "description": "The question."},
            "schema": {"type": "object", "description": "JSON Schema of the answer."},
            "timeout": {"type": ["number", "string"], "description": "How long it is asked."},
        },
    ),
    Action(
        "core.noop",
        description="Does nothing.",
        output={"type": "null"},
    ),
    Action(
        "core.sleep",
        description="Waits.",
        parameters={
            "seconds": {"type": "number", "minimum": 0},
            "duration": {"type": "string", "description": 'As in "90s", "15m", "2h", "30d".'},
            "until": {"type": "string", "format": "date-time"},
        },
        output={"type": "null"},
    ),
)


def actions_of(packs: Mapping[str, Pack], definitions: Mapping[str, Definition]) -> list[Action]:
    """Every action, by name."""
    found = [*_BUILT_IN, *_pack_actions(packs, definitions), *map(_action, definitions.values())]
    return sorted(found, key=lambda action: action.name)


def _pack_actions(
    packs: Mapping[str, Pack], definitions: Mapping[str, Definition]
) -> Iterator[Action]:
    for pack in packs.values():
        for action in pack.actions.values():
            # A workflow of the same name is what a stage gets.
            if action.name not in definitions:
                yield Action(
                    action.name,
                    action.label,
                    action.description,
                    pack.name,
                    action.role,
                    parameters=action.parameters,
                    output=action.output,
                )


def _action(definition: Definition) -> Action:
    pack, dot, _ = definition.name.partition(".")
    written = definition.document["workflow"]
    return Action(
        definition.name,
        definition.label,
        definition.description,
        pack if dot else None,
        is_workflow=True,
        parameters=written.get("parameters"),
        output=written.get("output"),
    )
