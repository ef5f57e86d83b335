"""What is known of a pack: its settings, actions, workflows, rules and tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sagabus.definitions.actions import ActionMetadata
from sagabus.definitions.explain import Place
from sagabus.definitions.parameters import object_schema
from sagabus.definitions.source_file import SourceFile
from sagabus.errors import ConfigError

#: What the engine adds to the parameters where a stage has no ``input``.
_ADDED: Final = ("previous", "item", "index")


@dataclass(frozen=True, slots=True)
class PackAction:
    """An action of a pack, as its file describes it."""

    #: ``pack.action``.
    name: str
    path: Path
    #: The agents that serve it, and what they call it.
    role: str
    action: str
    label: str = ""
    description: str = ""
    #: By name, as those of a workflow; None: anything.
    parameters: Mapping[str, Mapping[str, Any]] | None = None
    #: JSON Schema.
    output: Mapping[str, Any] | None = None
    #: The Python file that ``sagabus agent pack`` runs; None: other agents serve it.
    entry_point: Path | None = None

    @property
    def metadata(self) -> ActionMetadata:
        """What stages that name it have to know."""
        schema: dict[str, Any] | None = None
        if self.parameters is not None:
            schema = object_schema(self.parameters, allows_more=False)
            schema["properties"] = {key: {} for key in _ADDED} | schema["properties"]
        return ActionMetadata(self.name, self.role, self.action, schema)


@dataclass(frozen=True, slots=True)
class PackRule:
    """A rule of a pack: only by hand, for now."""

    name: str
    path: Path
    action: str
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack."""

    name: str
    path: Path
    label: str = ""
    version: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    #: Settings with their defaults.
    config: Mapping[str, Any] = field(default_factory=dict)
    #: By ``pack.action``.
    actions: Mapping[str, PackAction] = field(default_factory=dict)
    #: Names of the workflows in its files.
    workflows: tuple[str, ...] = ()
    rules: tuple[PackRule, ...] = ()
    #: Files of ``tests/``.
    tests: tuple[Path, ...] = ()


@dataclass(slots=True)
class Scan:
    """What directories of packs hold."""

    packs: dict[str, Pack] = field(default_factory=dict)
    #: Files of workflows.
    sources: list[SourceFile] = field(default_factory=list)
    #: Where each rule names its action.
    rules: list[Place] = field(default_factory=list)
    problems: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    #: Patterns of the files that it was, or would have been, read from.
    watched: list[str] = field(default_factory=list)

    @property
    def actions(self) -> dict[str, ActionMetadata]:
        """Of all packs, by ``pack.action``."""
        return {
            name: action.metadata
            for pack in self.packs.values()
            for name, action in pack.actions.items()
        }
