"""Puts together what is in force, from files and what is registered, and says what is wrong."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sagabus.core.definition import Definition
from sagabus.definitions.actions import CORE_ACTIONS
from sagabus.definitions.explain import Place
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.linking import WorkflowSource, link
from sagabus.definitions.models import EngineModel
from sagabus.definitions.pack import Pack
from sagabus.definitions.reading import PolicyLoader, Reading, read_config
from sagabus.definitions.registered import Beside, Refused, RegisteredSource
from sagabus.errors import ConfigError, DefinitionError
from sagabus.ports import Policies

__all__ = ["Loading", "PolicyLoader", "assemble", "load_config"]


@dataclass(slots=True)
class Loading:
    """What a configuration holds, as far as it could be read."""

    engine: EngineModel = field(default_factory=EngineModel)
    definitions: dict[str, Definition] = field(default_factory=dict)
    policies: Policies | None = None
    problems: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    #: Patterns of the files that it was, or would have been, read from.
    watched: list[str] = field(default_factory=list)
    packs: dict[str, Pack] = field(default_factory=dict)
    #: Where each workflow of a file stands: ``path:line``.
    places: dict[str, str] = field(default_factory=dict)
    #: What it was put together from.
    reading: Reading | None = None
    registered: Sequence[RegisteredSource] = ()
    #: Registered documents that are left out, with what is wrong with them.
    refused: list[Refused] = field(default_factory=list)


def load_config(path: Path, load_policies: PolicyLoader | None = None) -> Loading:
    """Read ``path`` and what it names; definitions are there only when nothing is wrong."""
    return assemble(read_config(path, load_policies))


def assemble(reading: Reading, registered: Sequence[RegisteredSource] = ()) -> Loading:
    """What ``reading`` and ``registered`` make together.

    A file wins over a registered document of the same name. A registered document that is wrong is
    left out and stands in ``refused``; whatever calls it is then wrong, too.
    """
    beside = Beside(reading, registered)
    linked = link(beside.sources(), reading.engine, reading.scan.actions, {})
    while beside.refuse(linked.problems):
        linked = link(beside.sources(), reading.engine, reading.scan.actions, {})
    problems = [*reading.problems, *linked.problems, *beside.calls_of_refused(reading.workflows)]
    problems += _rule_problems(reading, beside.sources())
    loading = Loading(
        engine=reading.engine,
        policies=reading.policies,
        problems=_about(reading.only, problems),
        warnings=_about(reading.only, [*reading.warnings, *linked.warnings]),
        watched=reading.watched,
        packs=_packs(reading, beside.names()),
        places=_places(reading.workflows),
        reading=reading,
        registered=tuple(registered),
        refused=beside.refused,
    )
    if not loading.problems:
        loading.definitions = linked.definitions
        if not loading.definitions:
            what = "workflow" if reading.path.suffix != ".toml" else "[[workflows]]"
            loading.warnings.append(ConfigError(f"no {what} here", path=reading.path))
    return loading


def _rule_problems(
    reading: Reading, sources: Sequence[WorkflowSource]
) -> Iterator[DefinitionError]:
    known = {*CORE_ACTIONS, *reading.scan.actions, *(one.name for one in sources if one.name)}
    for place in reading.scan.rules:
        if place.value not in known:
            hint = did_you_mean(place.value, known)
            yield place.error(f'"{place.value}" is no workflow and no action of a pack{hint}')


def _about(only: Path | None, found: Sequence[ConfigError]) -> list[ConfigError]:
    """What of ``found`` is about the one pack that was asked for."""
    if only is None:
        return list(found)
    return [
        one
        for one in found
        if one.path and (only in Path(one.path).parents or only == Path(one.path))
    ]


def _packs(reading: Reading, registered: Collection[str]) -> dict[str, Pack]:
    return {
        name: replace(
            pack,
            workflows=(
                *pack.workflows,
                *(one for one in registered if one.startswith(f"{name}.")),
            ),
        )
        for name, pack in reading.scan.packs.items()
    }


def _places(workflows: Sequence[WorkflowSource]) -> dict[str, str]:
    places: Mapping[str, Place] = {
        one.name: one.place.at("name") for one in reversed(workflows) if one.name is not None
    }
    return {
        name: f"{place.source.path}:{place.source.line(place.path)}"
        for name, place in places.items()
    }
