"""Reads the files of a configuration: the main one, what it includes, its packs and policies.

One file, because all that it reads is gathered in one ``Reading``.
"""

import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from sagabus.definitions.explain import Place, explain
from sagabus.definitions.findings import MAX_FINDINGS
from sagabus.definitions.linking import WorkflowSource
from sagabus.definitions.models import EngineModel, FileModel, WorkflowModel
from sagabus.definitions.pack import Pack, Scan
from sagabus.definitions.packs import PACK_FILE, scan_packs
from sagabus.definitions.sound import sound_part
from sagabus.definitions.source_file import YAML_SUFFIXES, SourceFile
from sagabus.definitions.source_size import too_many
from sagabus.definitions.toml_file import read_toml
from sagabus.definitions.yaml_pack import read_workflows
from sagabus.errors import ConfigError, DefinitionError, InvalidConfigError
from sagabus.ports import Policies

#: Of one file.
MAX_WORKFLOWS: Final = 1_000
#: Files that one entry of ``include`` names.
MAX_INCLUDED: Final = 1_000
#: Keys that mean something in the main file alone.
_MAIN_KEYS: Final = frozenset({"engine", "include", "packs"})


class LoadedPolicies(Policies, Protocol):
    """Policies as a loader gives them."""

    @property
    def warnings(self) -> Sequence[ConfigError]:
        """What is doubtful about them."""


_M = TypeVar("_M", bound=BaseModel)

#: Loads a policy directory, or raises a ``ConfigError``.
PolicyLoader = Callable[[Path], LoadedPolicies]


@dataclass(slots=True)
class Reading:
    """What the files of a configuration hold, as far as they could be read."""

    path: Path
    engine: EngineModel = field(default_factory=EngineModel)
    #: Of the main file, the included ones, and the packs, in this order.
    workflows: list[WorkflowSource] = field(default_factory=list)
    scan: Scan = field(default_factory=Scan)
    policies: Policies | None = None
    problems: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    #: Patterns of the files that it was, or would have been, read from.
    watched: list[str] = field(default_factory=list)
    #: The directory that it is about, if it is about one pack alone: others are only read along.
    only: Path | None = None

    def config_for(self, workflow: str) -> dict[str, Any]:
        """Settings of the pack that a workflow's name puts it into."""
        pack, dot, _ = workflow.partition(".")
        known: Pack | None = self.scan.packs.get(pack) if dot else None
        return dict(known.config) if known else {}


def read_config(path: Path, load_policies: PolicyLoader | None = None) -> Reading:
    """Read ``path``: a workflows file, a pack (its directory or a file in it), or many packs."""
    if pack := _pack_around(path):
        return _read_pack(path, pack)
    if _holds_packs(path):
        return _read_packs(path)
    reading = Reading(path, watched=[glob.escape(str(path))])
    main = _read(path, reading)
    if main is None:
        return reading
    model = _check(FileModel, _without_workflows(main), Place(main), reading)
    reading.engine = model.engine if model else _engine(main)
    sources = [main, *_included(main, reading)]
    _scan_packs(main, reading)
    _add_workflows([*sources, *reading.scan.sources], reading)
    _check_gates(main, reading)
    _load_policies(main, load_policies, reading)
    return reading


def workflow_source(
    place: Place,
    reading: Reading,
    problems: list[ConfigError],
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> WorkflowSource | None:
    """The workflow at ``place``, as far as it is sound; ``problems`` gets what is wrong with it.

    ``settings`` of its pack came with it; those in files win. None: there is nothing in it to
    look at.
    """
    raw, limit = place.value, reading.engine.limits.max_stages
    if not isinstance(raw, dict):
        problems += _problems_of(WorkflowModel, raw, place)
        return None
    stages = raw.get("stages")
    written = stages if isinstance(stages, list) else []
    # Before all else: some rules look at each stage for each other one.
    if (count := _count(written)) > limit:
        problems.append(
            place.at("stages").error(
                f"{count} stages; engine.limits.max_stages allows {limit}", is_whole=True
            )
        )
        return None
    config = {**settings, **reading.config_for(str(raw.get("name")))}
    model, unknown = sound_part(raw)
    if model is None or unknown:
        problems += _problems_of(WorkflowModel, raw, place)
    return None if model is None else WorkflowSource(place, model, unknown, config)


def _count(stages: list[Any]) -> int:
    inner = (one.get("stages") for one in stages if isinstance(one, dict))
    return len(stages) + sum(len(each) for each in inner if isinstance(each, list))


def _holds_packs(path: Path) -> bool:
    return bool(glob.glob(f"{glob.escape(str(path))}/*/{PACK_FILE}"))  # noqa: PTH207


def _read_packs(directory: Path) -> Reading:
    reading = Reading(directory)
    _take_scan(directory, reading)
    _add_workflows(reading.scan.sources, reading)
    return reading


def _read_pack(path: Path, pack: Path) -> Reading:
    reading = Reading(path, only=pack)
    _take_scan(pack.parent, reading)
    _add_workflows(reading.scan.sources, reading)
    return reading


def _pack_around(path: Path) -> Path | None:
    """The pack that ``path`` is the directory of, or a YAML file in."""
    if path.suffix in YAML_SUFFIXES:
        around = [path.parent, path.parent.parent]
    else:
        around = [path] if os.path.isdir(path) else []  # noqa: PTH112 (see ``_load_policies``)
    found = next((one for one in around if os.path.exists(one / PACK_FILE)), None)  # noqa: PTH110
    # The name of the directory is the pack's: "." and ".." have none.
    return found.resolve() if found and found.name in {"", ".."} else found


def _add_workflows(sources: Sequence[SourceFile], reading: Reading) -> None:
    for source in sources:
        written = source.data.get("workflows")
        count = len(written) if isinstance(written, list) else 0
        if count > MAX_WORKFLOWS:
            problem = f"{count} workflows in one file; at most {MAX_WORKFLOWS}, so split it"
            reading.problems.append(ConfigError(problem, path=source.path))
            continue
        if excess := too_many(source.data):
            reading.problems.append(ConfigError(excess, path=source.path))
            continue
        for index in range(count):
            if len(reading.problems) > MAX_FINDINGS:
                # More would take its time to be found, and nobody reads it.
                return
            place = Place(source, ("workflows", index))
            if found := workflow_source(place, reading, reading.problems):
                reading.workflows.append(found)
    _check_names(reading)


def _without_workflows(source: SourceFile) -> dict[str, Any]:
    """What of a file is not checked workflow by workflow."""
    return {
        key: item
        for key, item in source.data.items()
        if key != "workflows" or not isinstance(item, list)
    }


def _read(path: Path, reading: Reading) -> SourceFile | None:
    try:
        if path.suffix not in YAML_SUFFIXES:
            return read_toml(path)
        found = read_workflows(path)
    except InvalidConfigError as error:
        reading.problems += error.problems
    except ConfigError as error:
        reading.problems.append(error)
    else:
        reading.problems += found.problems
        return found.source
    return None


def _check(model: type[_M], data: Any, place: Place, reading: Reading) -> _M | None:
    reading.problems += _problems_of(model, data, place)
    return _valid(model, data)


def _problems_of(model: type[BaseModel], data: Any, place: Place) -> list[DefinitionError]:
    try:
        model.model_validate(data)
    except ValidationError as error:
        return explain(error, place)
    return []


def _valid(model: type[_M], data: Any) -> _M | None:
    """The parts of a broken file that are sound are checked for everything else, too."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def _engine(main: SourceFile) -> EngineModel:
    return _valid(EngineModel, main.data.get("engine", {})) or EngineModel()


def _included(main: SourceFile, reading: Reading) -> Iterator[SourceFile]:
    patterns = main.data.get("include")
    seen = {main.path}
    for index, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
        place = Place(main, ("include", index))
        if not isinstance(pattern, str):
            continue  # already said
        whole = str(Path(glob.escape(str(main.path.parent))) / pattern)
        if "**" in pattern and (link := _linked_directory(main.path.parent)):
            reading.problems.append(
                place.error(f"`**` follows no links, and {link} is one; name the directories")
            )
            continue
        reading.watched.append(whole)
        names = glob.glob(whole, recursive=True)  # noqa: PTH207
        if len(names) > MAX_INCLUDED:
            problem = f"{len(names)} files match {whole}; at most {MAX_INCLUDED}"
            reading.problems.append(place.error(problem))
            continue
        paths = [Path(name) for name in sorted(names)]
        if not paths and not glob.has_magic(pattern):
            reading.problems.append(place.error(f"there is no file {whole}"))
        elif not paths:
            reading.warnings.append(place.error(f"no file matches {whole}"))
        for path in paths:
            if path not in seen and (source := _read(path, reading)):
                seen.add(path)
                _check_included(source, reading)
                yield source


def _linked_directory(directory: Path) -> Path | None:
    """A link to a directory below ``directory``: by two of them a search may go round for ever."""
    for parent, names, _ in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            if path.is_symlink():
                return path
    return None


def _check_included(source: SourceFile, reading: Reading) -> None:
    place = Place(source)
    for key in sorted(source.data.keys() & _MAIN_KEYS):
        reading.problems.append(
            place.at(key).error(f"`{key}` stands in the main file alone; move it", is_whole=True)
        )
    others = {
        key: item for key, item in _without_workflows(source).items() if key not in _MAIN_KEYS
    }
    _check(FileModel, others, place, reading)


def _scan_packs(main: SourceFile, reading: Reading) -> None:
    written = main.data.get("packs")
    directories = written if isinstance(written, list) else FileModel().packs
    for index, name in enumerate(directories):
        if not isinstance(name, str):
            continue  # already said
        directory = main.path.parent / name
        if written is not None and not os.path.isdir(directory):  # noqa: PTH112
            place = Place(main, ("packs", index))
            reading.problems.append(
                place.error(f"there is no directory {directory}; create it, or leave it out")
            )
        _take_scan(directory, reading)


def _take_scan(directory: Path, reading: Reading) -> None:
    scan = reading.scan
    scan_packs(directory, scan)
    reading.problems += scan.problems
    reading.warnings += scan.warnings
    reading.watched += scan.watched
    scan.problems, scan.warnings, scan.watched = [], [], []


def _check_names(reading: Reading) -> None:
    first: dict[str, Place] = {}
    for one in reading.workflows:
        if len(reading.problems) > MAX_FINDINGS:
            return
        place = one.place.at("name")
        name = place.value
        if not isinstance(name, str):
            continue
        other = first.setdefault(name, place)
        if other is not place:
            where = f"{other.source.path}:{other.source.line(other.path)}"
            reading.problems.append(
                place.error(f'"{name}" is already defined at {where}; names are unique')
            )


def _check_gates(main: SourceFile, reading: Reading) -> None:
    if reading.engine.approval_gates_enabled:
        return
    gated = [
        f"{one.model.name}.{stage.name}"
        for one in reading.workflows
        if not one.unknown
        for stage in one.model.all_stages()
        if stage.approval_required
    ]
    if gated:
        reading.warnings.append(
            Place(main, ("engine", "approval_gates_enabled")).error(
                f"false: these stages start without the approval they ask for: {', '.join(gated)}"
            )
        )


def _load_policies(main: SourceFile, load: PolicyLoader | None, reading: Reading) -> None:
    if reading.engine.cedar_policy_dir is None:
        return
    directory = main.path.parent / reading.engine.cedar_policy_dir
    reading.watched.append(f"{glob.escape(str(directory))}/*.cedar")
    if not os.path.isdir(directory):  # noqa: PTH112 (Path.is_dir raises where it may not look)
        reading.problems.append(
            Place(main, ("engine", "cedar_policy_dir")).error(
                f"there is no directory {directory}; create it, or leave the key out: "
                "then no policy is checked"
            )
        )
    elif load is not None:
        try:
            policies = load(directory)
        except InvalidConfigError as error:
            reading.problems += error.problems
        except ConfigError as error:
            reading.problems.append(error)
        else:
            reading.policies = policies
            reading.warnings += policies.warnings
