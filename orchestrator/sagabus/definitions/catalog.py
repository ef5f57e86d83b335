"""Everything that is in force: definitions, packs, actions, the engine's settings, the policies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sagabus.core.definition import Definition
from sagabus.definitions.action_list import Action, actions_of
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.load import Loading, PolicyLoader, load_config
from sagabus.definitions.models import EngineModel
from sagabus.definitions.pack import Pack
from sagabus.definitions.reading import Reading
from sagabus.definitions.registered import Refused, RegisteredSource
from sagabus.errors import ConfigError, InvalidConfigError, WorkflowNotFoundError
from sagabus.ports import Policies


@dataclass(frozen=True, slots=True)
class Catalog:
    """One loaded configuration; a reload makes a new one."""

    path: Path
    #: By name; those not ``enabled`` too.
    definitions: Mapping[str, Definition]
    engine: EngineModel
    #: None: no policy is checked.
    policies: Policies | None
    warnings: Sequence[ConfigError] = field(compare=False)
    packs: Mapping[str, Pack] = field(default_factory=dict)
    #: Where each workflow of a file stands, ``path:line``; the others are registered.
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    #: What it was put together from.
    reading: Reading | None = field(default=None, compare=False, repr=False)
    registered: Sequence[RegisteredSource] = field(default=(), compare=False, repr=False)
    #: Those of ``registered`` that are left out.
    refused: Sequence[Refused] = field(default=(), compare=False)

    @classmethod
    def load(cls, path: Path, load_policies: PolicyLoader | None = None) -> "Catalog":
        """Read the configuration at ``path``.

        Raises:
            InvalidConfigError: everything that is wrong with it.
        """
        return cls.of(path, load_config(path, load_policies))

    @classmethod
    def of(cls, path: Path, loading: Loading) -> "Catalog":
        """What ``loading`` read.

        Raises:
            InvalidConfigError: everything that is wrong with it.
        """
        if loading.problems:
            raise InvalidConfigError(_by_line(loading.problems))
        return cls(
            path,
            loading.definitions,
            loading.engine,
            loading.policies,
            _by_line(loading.warnings),
            loading.packs,
            loading.places,
            loading.reading,
            loading.registered,
            loading.refused,
        )

    def get(self, name: str) -> Definition:
        """The definition of that name.

        Raises:
            WorkflowNotFoundError: there is none.
        """
        definition = self.definitions.get(name)
        if definition is None:
            known = ", ".join(sorted(self.definitions)) or "none"
            hint = did_you_mean(name, self.definitions, 0.7) or f"; loaded are: {known}"
            raise WorkflowNotFoundError(f'there is no workflow "{name}"{hint}')
        return definition

    @property
    def is_of_one_pack(self) -> bool:
        """True when ``path`` is a pack or a file in one: others are only read along."""
        return self.reading is not None and self.reading.only is not None

    def named(self) -> list[str]:
        """The workflows in the very file or pack that ``path`` is; all, where none stands there."""
        homes = {
            name: Path(place.rpartition(":")[0]).resolve() for name, place in self.places.items()
        }
        only = self.reading.only if self.reading else None
        for around in (self.path.resolve(), only and only.resolve()):
            if here := [name for name, at in homes.items() if around in (at, *at.parents)]:
                return sorted(here)
        return sorted(self.definitions)

    def actions(self) -> list[Action]:
        """Everything that a stage can name as its ``action``, by name."""
        return actions_of(self.packs, self.definitions)

    @property
    def roles(self) -> frozenset[str]:
        """Every role that a stage or a compensation is sent to."""
        stages = [one for item in self.definitions.values() for one in item.stages.values()]
        undo = [stage.compensation.roles for stage in stages if stage.compensation]
        named = (role for roles in (*(s.roles for s in stages), *undo) for role in roles)
        # Roles of the engine itself reach no agent.
        return frozenset(role for role in named if not role.startswith("_"))


@dataclass(frozen=True, slots=True)
class Report:
    """What ``validate`` found, in the order of the files."""

    problems: Sequence[ConfigError]
    warnings: Sequence[ConfigError]

    @property
    def is_valid(self) -> bool:
        """True when everything could be put in force."""
        return not self.problems


def validate(
    paths: Sequence[Path],
    load_policies: PolicyLoader | None = None,
    beside: Callable[[Loading], Sequence[ConfigError]] = lambda _: (),
) -> Report:
    """Check configurations, each with all it includes, without putting them in force.

    A path is a workflows file, the directory of a pack, or a YAML file in a pack. ``beside`` finds
    what is wrong with what belongs to it and is never put in force.
    """
    loadings = [load_config(path, load_policies) for path in paths]
    return Report(
        problems=[
            problem
            for loading in loadings
            for problem in _by_line([*loading.problems, *beside(loading)])
        ],
        warnings=[warning for loading in loadings for warning in _by_line(loading.warnings)],
    )


def _by_line(found: Sequence[ConfigError]) -> list[ConfigError]:
    return sorted(found, key=lambda one: (one.path or "", one.line or 0))
