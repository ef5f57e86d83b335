"""What the checks of a workflow find, and what they look at."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from sagabus.core.definition import Definition, StageKind
from sagabus.definitions.actions import Carrier
from sagabus.definitions.explain import Place
from sagabus.definitions.flow import Flow
from sagabus.definitions.keys import nearest
from sagabus.definitions.meant import flow_as_meant
from sagabus.definitions.models import ChildModel, LimitsModel, StageModel, WorkflowModel
from sagabus.definitions.source_file import KeyPath
from sagabus.errors import DefinitionError

#: Names that one sentence lists.
MAX_SHOWN: Final = 12
#: Mistakes, and doubts, that are worth telling at once.
MAX_FINDINGS: Final = 100


class EnoughFoundError(Exception):
    """So much is wrong that the rest is not looked for."""


@dataclass(slots=True)
class Findings:
    """What is wrong, and what is only doubtful."""

    problems: list[DefinitionError] = field(default_factory=list)
    warnings: list[DefinitionError] = field(default_factory=list)

    def add(self, place: Place, message: str, *, is_whole: bool = False) -> None:
        """``message`` is wrong at ``place``; ``is_whole``: it names the key itself.

        Raises:
            EnoughFoundError: it is the ``MAX_FINDINGS``th.
        """
        self.problems.append(place.error(message, is_whole=is_whole))
        if len(self.problems) >= MAX_FINDINGS:
            more = "there may be more mistakes like these; correct them first"
            self.problems.append(place.error(more, is_whole=True))
            raise EnoughFoundError

    def extend(self, found: "Findings") -> None:
        """What was ``found`` of one workflow, too.

        Raises:
            EnoughFoundError: it is more than ``MAX_FINDINGS`` in all.
        """
        self.problems += found.problems
        room = max(0, MAX_FINDINGS - len(self.warnings))
        self.warnings += found.warnings[:room]
        if len(self.problems) > MAX_FINDINGS:
            raise EnoughFoundError

    def doubt(self, place: Place, message: str) -> None:
        """``message`` is doubtful at ``place``; what is too much to read is not kept."""
        if len(self.warnings) < MAX_FINDINGS:
            self.warnings.append(place.error(message))


@dataclass(frozen=True, slots=True)
class Located:
    """A stage and where it stands."""

    place: Place
    stage: ChildModel
    #: The stage that it stands in.
    block: StageModel | None = None


@dataclass(frozen=True)
class Subject:
    """A workflow under examination, as far as it is sound."""

    place: Place
    #: What is sound of it.
    model: WorkflowModel
    #: Places in it whose value is not known, which has been said: no rule draws on that.
    unknown: frozenset[KeyPath] = frozenset()
    limits: LimitsModel = field(default_factory=LimitsModel)
    #: By stage, as far as the action is known.
    carriers: Mapping[str, Carrier] = field(default_factory=dict)
    #: The sub-workflows that could be compiled, by name.
    children: Mapping[str, Definition] = field(default_factory=dict)
    #: None: not known here.
    pack_config: Mapping[str, Any] | None = None

    @cached_property
    def located(self) -> tuple[Located, ...]:
        """Every stage, those of a block after it."""
        return tuple(self._located())

    @cached_property
    def written(self) -> tuple[tuple[Place, str], ...]:
        """The name of every stage as it is written, whether or not it is sound."""
        return tuple(_names(self.place.at("stages")))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all stages, each once."""
        return tuple(dict.fromkeys(name for _, name in self.written))

    @cached_property
    def on_end(self) -> str | None:
        """The stage that runs at the end, or the one that is meant by what is written."""
        name = self.model.on_end
        if name is None or name in self.names:
            return name
        return nearest(name, [stage.name for stage in self.model.stages])

    @cached_property
    def targets(self) -> frozenset[str]:
        """Names that routes can lead to."""
        inner = {each.stage.name for each in self.located if each.block is not None}
        return frozenset(self.names) - inner - {self.on_end or ""}

    @cached_property
    def flow(self) -> Flow:
        """The graph; targets that do not exist stand for those that are most likely meant."""
        return flow_as_meant(self.model, self.on_end, self.targets, self.unknown)

    def lacks(self, place: Place, *keys: str) -> bool:
        """Whether one of ``keys`` in the table at ``place`` is not known."""
        if not self.unknown:
            return False
        here = place.path[len(self.place.path) :]
        around = (here[:end] in self.unknown for end in range(1, len(here) + 1))
        return any(around) or any((*here, key) in self.unknown for key in keys)

    def kind_of(self, stage: ChildModel) -> StageKind | None:
        """What carries ``stage`` out, None where that is not known."""
        carrier = self.carriers.get(stage.name)
        return carrier.kind if carrier else None

    def has_effects(self, stage: ChildModel) -> bool:
        """True when ``stage`` may do what a failed workflow undoes."""
        if isinstance(stage, StageModel) and any(map(self.has_effects, stage.stages or ())):
            return True
        carrier = self.carriers.get(stage.name)
        child = self.children.get(carrier.workflow or "") if carrier else None
        if child is not None:
            return any(one.compensation is not None for one in child.stages.values())
        return stage.has_compensation

    def _located(self) -> Iterator[Located]:
        for index, stage in enumerate(self.model.stages):
            here = self.place.at("stages", index)
            yield Located(here, stage)
            for number, child in enumerate(stage.stages or ()):
                yield Located(here.at("stages", number), child, stage)


def _names(place: Place) -> Iterator[tuple[Place, str]]:
    stages = place.value
    for index, stage in enumerate(stages if isinstance(stages, list) else ()):
        if not isinstance(stage, dict):
            continue
        if isinstance(stage.get("name"), str):
            yield place.at(index, "name"), stage["name"]
        yield from _names(place.at(index, "stages"))


def quoted(names: Collection[str]) -> str:
    """``"a", "b"``, of many the first few."""
    shown = ", ".join(f'"{name}"' for name in list(names)[:MAX_SHOWN])
    return shown if len(names) <= MAX_SHOWN else f"{shown} and {len(names) - MAX_SHOWN} more"
