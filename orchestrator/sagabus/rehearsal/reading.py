"""Reads scripts: outcome files for ``sagabus rehearse``, and the tests of a pack."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sagabus.core.definition import Definition
from sagabus.definitions.source_file import YAML_SUFFIXES, KeyPath, SourceFile
from sagabus.definitions.toml_file import read_toml
from sagabus.definitions.yaml_file import read_yaml
from sagabus.errors import ConfigError, InvalidConfigError
from sagabus.rehearsal.checking import mistakes_in
from sagabus.rehearsal.script import Script
from sagabus.rehearsal.sound import sound_script

#: It would pass, whatever it was meant to try.
_EMPTY: Final = "holds no script; write what happens, as in outcomes: {build: {error: broken}}"
_TESTS: Final = "tests"


@dataclass(frozen=True, slots=True)
class Written:
    """One script of a file, which may be wrong."""

    source: SourceFile
    #: What is sound of it.
    script: Script = field(default_factory=Script)
    #: What is wrong with its shape.
    problems: tuple[ConfigError, ...] = ()

    @classmethod
    def of(cls, source: SourceFile) -> "Written":
        """The script that ``source`` holds."""
        problems: list[ConfigError] = []
        script = sound_script(source, problems)
        found = (_placed(each, source) for each in problems)
        return cls(source, script, tuple(found))

    def problem(self, message: str, *keys: str | int) -> ConfigError:
        """``message`` is wrong at ``keys``, or with the whole."""
        said = f"`{self.source.shown(keys)}`: {message}" if keys else message
        line = self.source.line(keys)
        return _placed(ConfigError(said, path=self.source.path, line=line), self.source)

    def problems_beside(
        self, definition: Definition, find: Callable[[str], Definition]
    ) -> list[ConfigError]:
        """Everything that is wrong with it as a script of ``definition``, by line."""
        found = mistakes_in(self.script, definition, find)
        problems = [*self.problems, *(self.problem(text, *keys) for keys, text in found)]
        return sorted(problems, key=lambda one: one.line or 0)


def _placed(problem: ConfigError, source: SourceFile) -> ConfigError:
    """``problem`` with the line of the whole script, where it has none of its own."""
    if problem.line is not None:
        return problem
    return ConfigError(problem.message, path=source.path, line=source.lines.get(()))


def read_scripts(path: Path) -> list[Script]:
    """Every script of a YAML, JSON or TOML file: one per document, or a list under ``tests``.

    Raises:
        ConfigError: the file cannot be read, or holds no script.
        InvalidConfigError: everything that is wrong with the shape of its scripts.
    """
    written = read_written(path)
    if problems := [problem for each in written for problem in each.problems]:
        raise InvalidConfigError(problems)
    return [each.script for each in written]


def read_written(path: Path) -> list[Written]:
    """Every script of a file, be it sound or not.

    Raises:
        ConfigError: the file cannot be read, or holds no script.
    """
    written = [each for document in _documents(path) for each in _listed(document)]
    if not written:
        raise ConfigError(_EMPTY, path=path)
    return written


def _documents(path: Path) -> list[SourceFile]:
    if path.suffix in YAML_SUFFIXES | {".json"}:
        return [
            SourceFile(path, each.data, each.lines, "yaml")
            for each in read_yaml(path)
            if each.data is not None
        ]
    if path.suffix == ".toml":
        read = read_toml(path)
        return [read] if read.data else []
    raise ConfigError("a script is a .yaml, .json or .toml file", path=path)


def _listed(document: SourceFile) -> Iterator[Written]:
    tests = document.data.get(_TESTS) if isinstance(document.data, dict) else None
    if not isinstance(tests, list):
        yield Written.of(document)
        return
    lines: dict[str | int, dict[KeyPath, int]] = defaultdict(dict)
    for keys, line in document.lines.items():
        if keys[:1] == (_TESTS,) and len(keys) > 1:
            lines[keys[1]][keys[2:]] = line
    for index, data in enumerate(tests):
        yield Written.of(SourceFile(document.path, data, lines[index], document.syntax))
    if others := [key for key in document.data if key != _TESTS]:
        whole = Written(document)
        moved = f"stands beside `{_TESTS}` and is of none of them; move it into them"
        problems = tuple(whole.problem(moved, key) for key in others)
        yield Written(document, problems=problems)
