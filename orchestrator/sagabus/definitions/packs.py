"""Reads packs: ``packs/<name>/`` with its settings, actions, workflows, rules and tests.

Everything that is wrong with a pack is gathered, each with its file and line; what is sound of it
is read all the same, so that its workflows can be checked.
"""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from sagabus.definitions.explain import Place, explain
from sagabus.definitions.field_types import is_role
from sagabus.definitions.findings import EnoughFoundError, Findings
from sagabus.definitions.json_schema import schema_problems
from sagabus.definitions.pack import Pack, PackAction, PackRule, Scan
from sagabus.definitions.pack_config import settings_at
from sagabus.definitions.pack_models import ActionModel, PackModel, RuleModel
from sagabus.definitions.parameters import parameter_problems
from sagabus.definitions.source_file import YAML_SUFFIXES, SourceFile
from sagabus.definitions.yaml_file import read_yaml
from sagabus.definitions.yaml_pack import TEXT_KEYS, qualified, read_workflows
from sagabus.errors import ConfigError, InvalidConfigError

_M = TypeVar("_M", bound=BaseModel)

PACK_FILE: Final = "pack.yaml"
_CONFIG_FILE: Final = "config.yaml"
#: Directories of a pack.
_PARTS: Final = ("actions", "workflows", "rules", "sensors", "tests")
_ACTION_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


def scan_packs(directory: Path, scan: Scan) -> None:
    """Read every pack in ``directory``; it need not exist."""
    scan.watched.append(f"{glob.escape(str(directory))}/*/{PACK_FILE}")
    for path in _entries(directory, scan):
        if not path.name.startswith((".", "_")) and os.path.isdir(path):  # noqa: PTH112
            scan_pack(path, scan)


def scan_pack(path: Path, scan: Scan) -> None:
    """Read the pack in the directory ``path``."""
    escaped = glob.escape(str(path))
    scan.watched += [f"{escaped}/*.y*ml", f"{escaped}/actions/*.py"]
    scan.watched += [f"{escaped}/{part}/*.y*ml" for part in _PARTS]
    if not _exists(path / PACK_FILE):
        if any(_exists(path / one) for one in (_CONFIG_FILE, *_PARTS)):
            scan.problems.append(
                ConfigError(f"is missing; write one with ref: {path.name}", path=path / PACK_FILE)
            )
        else:
            scan.warnings.append(ConfigError(f"no pack: it has no {PACK_FILE}", path=path))
            return
    pack = _PackReader(path, scan).read()
    if other := scan.packs.get(pack.name):
        scan.problems.append(
            ConfigError(f'the pack "{pack.name}" is already in {other.path}', path=path)
        )
    else:
        scan.packs[pack.name] = pack


def read_settings(directory: Path) -> dict[str, Any]:
    """What ``config.yaml`` of the pack in ``directory`` sets, to be kept somewhere else.

    Raises:
        InvalidConfigError: everything that is wrong with it; a secret in it as well.
    """
    scan = Scan()
    settings = _PackReader(directory, scan).settings()
    if found := [*scan.problems, *scan.warnings]:
        raise InvalidConfigError(found)
    return settings


def _entries(directory: Path, scan: Scan) -> Sequence[Path]:
    """What is in ``directory``, by name; nothing where it is none."""
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        scan.problems.append(ConfigError(f"cannot be read: {error.strerror}", path=directory))
        return ()


# The methods of Path raise where they may not look.
def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


class _PackReader:
    """Reads one pack."""

    def __init__(self, path: Path, scan: Scan) -> None:
        self._path = path
        self._scan = scan
        self._name = path.name

    def read(self) -> Pack:
        """The pack, as far as it is sound."""
        about = self._about()
        actions = [action for path in self._files("actions") if (action := self._action(path))]
        by_name = {action.name: action for action in actions}
        rules = [rule for path in self._files("rules") if (rule := self._rule(path))]
        for path in self._files("sensors"):
            self._scan.warnings.append(ConfigError("sensors are not built yet", path=path))
        return Pack(
            name=self._name,
            path=self._path,
            label=about.label,
            version=about.version,
            description=about.description,
            tags=tuple(about.tags),
            config=self.settings(),
            actions=by_name,
            workflows=tuple(self._workflows()),
            rules=tuple(rules),
            tests=tuple(self._files("tests")),
        )

    def _about(self) -> PackModel:
        path = self._path / PACK_FILE
        place = self._read(path) if _exists(path) else None
        model = self._check(PackModel, place) if place else None
        if not is_role(self._name) or self._name == "core":
            self._scan.problems.append(
                ConfigError(
                    f"{self._name!r} is no name for a pack; write letters, digits, underscores "
                    'and hyphens, without an underscore at the beginning, and not "core"',
                    path=self._path,
                )
            )
        if place is None or model is None:
            return PackModel()
        key, name = self._own(place, model.ref, model.name)
        if name not in {None, self._name}:
            problem = f'{name!r} stands in the directory "{self._name}"; give both one name'
            self._scan.problems.append(place.at(key).error(problem))
        return model

    def settings(self) -> dict[str, Any]:
        """What its settings are, as far as they are sound."""
        path = self._path / _CONFIG_FILE
        place = self._read(path) if _exists(path) else None
        if place is None:
            return {}
        config, found = settings_at(place)
        self._scan.problems += found.problems
        self._scan.warnings += found.warnings
        return config

    def _action(self, path: Path) -> PackAction | None:
        place = self._read(path)
        model = self._check(ActionModel, place) if place else None
        if place is None or model is None:
            return None
        key, own = self._own(place, model.ref, model.name)
        name = self._qualified(place, own or path.stem, key)
        if name != f"{self._name}.{path.stem}":
            problem = (
                f'{own!r} stands in {path.name}; name the file "{name.partition(".")[2]}.yaml"'
            )
            self._scan.problems.append(place.at(key).error(problem))
        if not _ACTION_NAME.fullmatch(path.stem):
            problem = (
                f"{path.stem!r} is no name for an action; write letters, digits and underscores"
            )
            self._scan.problems.append(place.error(problem))
            return None
        if not self._has_sound_schemas(place, model):
            return None
        return PackAction(
            name=f"{self._name}.{path.stem}",
            path=path,
            role=model.role or self._name,
            action=path.stem,
            label=model.label,
            description=model.description,
            parameters=model.parameters,
            output=model.output,
            entry_point=self._entry_point(place, model.entry_point),
        )

    def _entry_point(self, place: Place, written: str | None) -> Path | None:
        directory = place.source.path.parent
        if written is None:
            beside = place.source.path.with_suffix(".py")
            return beside if _is_file(beside) else None
        path = directory / written
        if directory not in path.parents or ".." in path.parts[len(directory.parts) :]:
            problem = f"{written!r} is outside of {directory}; move it there"
        elif path.suffix == ".py" and not _is_file(path):
            problem = f"there is no file {path}"
        else:
            return path if path.suffix == ".py" else None
        self._scan.problems.append(place.at("entry_point").error(problem))
        return None

    def _has_sound_schemas(self, place: Place, model: ActionModel) -> bool:
        found = Findings()
        with suppress(EnoughFoundError):
            for name, declared in (model.parameters or {}).items():
                for at, problem in parameter_problems(name, declared):
                    found.add(place.at("parameters", name, *at), problem)
            for at, problem in schema_problems(model.output) if model.output is not None else ():
                found.add(place.at("output", *at), problem)
        self._scan.problems += found.problems
        return not found.problems

    def _rule(self, path: Path) -> PackRule | None:
        place = self._read(path)
        model = self._check(RuleModel, place) if place else None
        if place is None or model is None:
            return None
        self._scan.rules.append(place.at("action"))
        key, own = self._own(place, model.ref, model.name)
        name = self._qualified(place, own or path.stem, key)
        return PackRule(name, path, model.action, model.enabled)

    def _workflows(self) -> Iterator[str]:
        for path in self._files("workflows"):
            try:
                read = read_workflows(path, self._name)
            except ConfigError as error:
                self._note(error)
                continue
            self._scan.problems += read.problems
            self._scan.sources.append(read.source)
            for workflow in read.source.data["workflows"]:
                if isinstance(workflow, dict) and isinstance(name := workflow.get("name"), str):
                    yield name

    def _own(self, place: Place, ref: str | None, name: str | None) -> tuple[str, str | None]:
        """The key that names what stands in a file, and the name."""
        if ref is not None and name is not None:
            self._scan.problems.append(
                place.at("name").error(
                    "`name` and `ref` are the same; leave one out", is_whole=True
                )
            )
        return ("name", name) if ref is None else ("ref", ref)

    def _qualified(self, place: Place, name: str, key: str) -> str:
        whole, problems = qualified(place, name, self._name, key)
        self._scan.problems += problems
        return whole

    def _files(self, part: str) -> Sequence[Path]:
        """The YAML files of a part of the pack, by name."""
        return [
            path
            for path in _entries(self._path / part, self._scan)
            if path.suffix in YAML_SUFFIXES and not path.name.startswith(".") and _is_file(path)
        ]

    def _read(self, path: Path) -> Place | None:
        """The one table of a file, which may be empty."""
        try:
            documents = [one for one in read_yaml(path, TEXT_KEYS) if one.data is not None]
        except ConfigError as error:
            self._note(error)
            return None
        if not documents:
            return Place(SourceFile(path, {}, {}, "yaml"))
        first = documents[0]
        if len(documents) > 1:
            line = documents[1].lines[()]
            self._note(
                ConfigError("one document belongs here; split the file", path=path, line=line)
            )
        elif not isinstance(first.data, dict):
            self._note(
                ConfigError("does not fit; write keys with values", path=path, line=first.lines[()])
            )
        else:
            return Place(SourceFile(path, first.data, first.lines, "yaml"))
        return None

    def _check(self, model: type[_M], place: Place) -> _M | None:
        try:
            return model.model_validate(place.source.data)
        except ValidationError as error:
            self._scan.problems += explain(error, place, model)
            return None

    def _note(self, error: ConfigError) -> None:
        found = error.problems if isinstance(error, InvalidConfigError) else [error]
        self._scan.problems += found
