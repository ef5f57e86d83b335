"""Reads a configuration with all it includes, and gathers everything that is wrong with it."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from sagabus.core.definition import Definition
from sagabus.definitions.compile import compile_workflow
from sagabus.definitions.explain import Place, explain
from sagabus.definitions.lint import lint_workflow
from sagabus.definitions.models import EngineModel, FileModel, StageModel, WorkflowModel
from sagabus.definitions.toml_file import SourceFile, read_toml
from sagabus.errors import ConfigError, InvalidConfigError
from sagabus.ports import Policies


class LoadedPolicies(Policies, Protocol):
    """Policies as a loader gives them."""

    @property
    def warnings(self) -> Sequence[ConfigError]:
        """What is doubtful about them."""


_M = TypeVar("_M", bound=BaseModel)

#: Loads a policy directory, or raises a ``ConfigError``.
PolicyLoader = Callable[[Path], LoadedPolicies]


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


def load_config(path: Path, load_policies: PolicyLoader | None = None) -> Loading:
    """Read ``path`` and what it names; definitions are there only when nothing is wrong."""
    loading = Loading(watched=[glob.escape(str(path))])
    main = _read(path, loading)
    if main is None:
        return loading
    model = _check(FileModel, main.data, Place(main), loading)
    loading.engine = model.engine if model else _engine(main)
    sources = [main, *_included(main, loading)]
    workflows = [one for source in sources for one in _workflows(source, loading)]
    _check_names(workflows, loading)
    _check_gates(workflows, loading)
    _load_policies(main, load_policies, loading)
    if not loading.problems:
        compiled = (compile_workflow(one.model, loading.engine) for one in workflows if one.model)
        loading.definitions = {definition.name: definition for definition in compiled}
        if not workflows:
            loading.warnings.append(ConfigError("no [[workflows]] here", path=path))
    return loading


@dataclass(frozen=True, slots=True)
class _Workflow:
    place: Place
    model: WorkflowModel | None


def _read(path: Path, loading: Loading) -> SourceFile | None:
    try:
        return read_toml(path)
    except ConfigError as error:
        loading.problems.append(error)
        return None


def _check(model: type[_M], data: Any, place: Place, loading: Loading) -> _M | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        loading.problems += explain(error, place)
        return None


def _valid(model: type[_M], data: Any) -> _M | None:
    """The parts of a broken file that are sound are checked for everything else, too."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def _engine(main: SourceFile) -> EngineModel:
    return _valid(EngineModel, main.data.get("engine", {})) or EngineModel()


def _included(main: SourceFile, loading: Loading) -> Iterator[SourceFile]:
    patterns = main.data.get("include")
    seen = {main.path}
    for index, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
        place = Place(main, ("include", index))
        if not isinstance(pattern, str):
            continue  # already said
        whole = str(Path(glob.escape(str(main.path.parent))) / pattern)
        loading.watched.append(whole)
        paths = [Path(name) for name in sorted(glob.glob(whole, recursive=True))]  # noqa: PTH207
        if not paths and not glob.has_magic(pattern):
            loading.problems.append(place.error(f"there is no file {whole}"))
        elif not paths:
            loading.warnings.append(place.error(f"no file matches {whole}"))
        for path in paths:
            if path not in seen and (source := _read(path, loading)):
                seen.add(path)
                _check_included(source, loading)
                yield source


def _check_included(source: SourceFile, loading: Loading) -> None:
    place = Place(source)
    for key in source.data.keys() & {"engine", "include"}:
        loading.problems.append(
            place.at(key).error(f"`{key}` stands in the main file alone; move it", is_whole=True)
        )
    others = {key: item for key, item in source.data.items() if key not in {"engine", "include"}}
    _check(FileModel, others, place, loading)


def _workflows(source: SourceFile, loading: Loading) -> Iterator[_Workflow]:
    written = source.data.get("workflows")
    for index, raw in enumerate(written if isinstance(written, list) else ()):
        if not isinstance(raw, dict):
            continue
        place = Place(source, ("workflows", index))
        stages = raw.get("stages")
        sound = {
            number: stage
            for number, one in enumerate(stages if isinstance(stages, list) else ())
            if (stage := _valid(StageModel, one))
        }
        found = lint_workflow(place, sound, loading.engine.limits)
        loading.problems += found.problems
        loading.warnings += found.warnings
        yield _Workflow(place, _valid(WorkflowModel, raw))


def _check_names(workflows: Sequence[_Workflow], loading: Loading) -> None:
    first: dict[str, Place] = {}
    for one in workflows:
        place = one.place.at("name")
        name = place.value
        if not isinstance(name, str):
            continue
        other = first.setdefault(name, place)
        if other is not place:
            where = f"{other.source.path}:{other.source.line(other.path)}"
            loading.problems.append(
                place.error(f'"{name}" is already defined at {where}; names are unique')
            )


def _check_gates(workflows: Sequence[_Workflow], loading: Loading) -> None:
    if loading.engine.approval_gates_enabled:
        return
    gated = [
        f"{one.model.name}.{stage.name}"
        for one in workflows
        if one.model
        for stage in one.model.stages
        if stage.approval_required
    ]
    if gated:
        main = workflows[0].place.source
        loading.warnings.append(
            Place(main, ("engine", "approval_gates_enabled")).error(
                f"false: these stages start without the approval they ask for: {', '.join(gated)}"
            )
        )


def _load_policies(main: SourceFile, load: PolicyLoader | None, loading: Loading) -> None:
    if loading.engine.cedar_policy_dir is None:
        return
    directory = main.path.parent / loading.engine.cedar_policy_dir
    loading.watched.append(f"{glob.escape(str(directory))}/*.cedar")
    if not os.path.isdir(directory):  # noqa: PTH112 (Path.is_dir raises where it may not look)
        loading.problems.append(
            Place(main, ("engine", "cedar_policy_dir")).error(
                f"there is no directory {directory}; create it, or leave the key out: "
                "then no policy is checked"
            )
        )
    elif load is not None:
        try:
            policies = load(directory)
        except InvalidConfigError as error:
            loading.problems += error.problems
        except ConfigError as error:
            loading.problems.append(error)
        else:
            loading.policies = policies
            loading.warnings += policies.warnings
