"""Workflows that are registered while the orchestrator runs: one document each, YAML or JSON.

A second YAML document, in the shape of a pack's ``config.yaml``, holds settings of the pack for
that workflow: so they are kept with it, and pinned with its definition.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from sagabus.definitions.explain import Place
from sagabus.definitions.linking import WorkflowSource
from sagabus.definitions.pack_config import settings_at
from sagabus.definitions.reading import Reading, workflow_source
from sagabus.definitions.source_file import SourceFile
from sagabus.definitions.source_size import too_many
from sagabus.definitions.yaml_file import YamlDocument, parse_yaml
from sagabus.definitions.yaml_pack import TEXT_KEYS, YamlWorkflows, workflows_of
from sagabus.errors import ConfigError, DefinitionError, InvalidConfigError

DocumentFormat = Literal["yaml", "json"]

#: Two halves of one character, or any other escape, so that none is taken for a part of another.
_ESCAPE: Final = re.compile(r"\\u([dD][89abAB]..)\\u([dD][c-fC-F]..)|\\.")


@dataclass(frozen=True, slots=True)
class RegisteredSource:
    """A document that defines one workflow, as YAML packs write it."""

    text: str
    format: DocumentFormat = "yaml"
    #: Names the document in messages, as the path names a file.
    origin: str = "document"
    #: The pack that it belongs to; a name without a dot gets it.
    pack: str | None = None
    #: What it is registered as, where that is known already.
    known_as: str | None = None

    @property
    def path(self) -> Path:
        """``origin`` in the form of the messages."""
        return Path(self.origin)

    @property
    def name(self) -> str | None:
        """The name that it gives its workflow; None: none that can be read."""
        try:
            name = Place(self.read().source, ("workflows", 0, "name")).value
        except ConfigError:
            return None
        return name if isinstance(name, str) else None

    def read(self) -> YamlWorkflows:
        """The workflow, in the shape of the models as far as it has it.

        Raises:
            ConfigError: it is not YAML, or JSON, or holds something else than one workflow.
            InvalidConfigError: as ``parse_yaml`` does.
        """
        path = self.path
        parse = _parse_json if self.format == "json" else _parse_yaml
        documents = [one for one in parse(self.text, path) if one.data is not None]
        settings = documents.pop() if len(documents) == 2 and _sets(documents[1].data) else None
        if len(documents) != 1:
            count = len(documents) or "none"
            raise ConfigError(f"one workflow belongs here, and there are {count}", path=path)
        if not isinstance(documents[0].data, dict):
            raise ConfigError("a workflow is a table: name, tasks, ...", path=path)
        workflows = workflows_of(documents, path, self.pack)
        if settings is not None:
            place = Place(SourceFile(path, settings.data, settings.lines, "yaml"))
            workflows.config, found = settings_at(place)
            workflows.problems += found.problems
        return workflows


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that cannot be in force."""

    document: RegisteredSource
    #: None: it has none that can be read.
    name: str | None
    problems: list[ConfigError] = field(default_factory=list)


class Beside:
    """Registered documents beside the files of one reading."""

    def __init__(self, reading: Reading, registered: Sequence[RegisteredSource]) -> None:
        self.refused: list[Refused] = []
        self._reading = reading
        in_files = {one.name for one in reading.workflows}
        #: By name; a file of the same name wins.
        self._kept: dict[str, tuple[RegisteredSource, WorkflowSource]] = {}
        #: What is wrong with the shape of some of these: they stay until the rest is known, too.
        self._wrong: dict[str, list[ConfigError]] = {}
        for document in registered:
            source, problems = self._read(document)
            name = source.name if source else None
            if source is None or name is None or name in in_files or name in self._kept:
                if name in self._kept and source is not None:
                    problems.append(source.place.at("name").error(f'"{name}" is registered twice'))
                if problems:
                    known_as = document.known_as if source is None else name
                    self.refused.append(Refused(document, known_as, problems))
            else:
                self._kept[name] = (document, source)
                self._wrong |= {name: problems} if problems else {}

    def sources(self) -> list[WorkflowSource]:
        """All workflows, those of files first."""
        return [*self._reading.workflows, *(source for _, source in self._kept.values())]

    def names(self) -> list[str]:
        """Names of the registered workflows that are left."""
        return list(self._kept)

    def refuse(self, problems: Sequence[DefinitionError]) -> bool:
        """Leave out whatever has one of ``problems``, or calls what is left out; False: nothing."""
        kept = [source for _, source in self._kept.values()]
        by_name, self._wrong = self._wrong, {}
        for problem in (*problems, *self.calls_of_refused(kept)):
            name = problem.workflow
            if name in self._kept and problem.path == str(self._kept[name][0].path):
                by_name.setdefault(name, []).append(problem)
        for name, found in by_name.items():
            self.refused.append(Refused(self._kept.pop(name)[0], name, found))
        return bool(by_name)

    def calls_of_refused(self, sources: Sequence[WorkflowSource]) -> Iterator[DefinitionError]:
        """Every stage of ``sources`` that would run something else than the workflow it means."""
        gone = {one.name for one in self.refused} - self._kept.keys()
        for source in sources:
            for place, action in _calls(source):
                if action in gone:
                    yield place.error(f'the registered workflow "{action}" cannot be in force')

    def _read(self, document: RegisteredSource) -> tuple[WorkflowSource | None, list[ConfigError]]:
        """What ``document`` holds, as far as it is sound, and what is wrong with its shape."""
        try:
            read = document.read()
        except InvalidConfigError as error:
            return None, list(error.problems)
        except ConfigError as error:
            return None, [error]
        if excess := too_many(read.source.data):
            return None, [ConfigError(excess, path=document.path)]
        place = Place(read.source, ("workflows", 0))
        source = workflow_source(place, self._reading, read.problems, read.config)
        return source, read.problems


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """The YAML document ``text``, with ``settings`` of its pack beside it."""
    if not settings:
        return text
    # JSON is YAML, whatever a text in it looks like.
    lines = (
        f"  {json.dumps(key, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in settings.items()
    )
    end = "" if text.endswith("\n") else "\n"
    return f"{text}{end}---\nvalues:\n{''.join(lines)}"


def _sets(data: Any) -> bool:
    """Whether a document is one of settings: a workflow has other keys."""
    return isinstance(data, dict) and data.keys() <= {"schema", "values"}


def _parse_yaml(text: str, path: Path) -> list[YamlDocument]:
    return parse_yaml(text, path, TEXT_KEYS)


def _parse_json(text: str, path: Path) -> list[YamlDocument]:
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not valid JSON: {error.msg}", path=path, line=error.lineno) from error
    except ValueError as error:
        raise ConfigError(f"not valid JSON: {error}", path=path) from error
    except RecursionError as error:
        raise ConfigError("tables and lists are nested too deeply", path=path) from error
    # JSON is YAML, but for characters that it may write as two halves.
    return _parse_yaml(_ESCAPE.sub(_joined, text), path)


def _joined(escape: re.Match[str]) -> str:
    high, low = escape.groups()
    if high is None:
        return escape[0]
    return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def _calls(source: WorkflowSource) -> Iterator[tuple[Place, str]]:
    """Every action that a stage names without saying who serves it."""
    for index, stage in enumerate(source.model.stages):
        here = source.place.at("stages", index)
        if stage.agents is None and stage.action is not None:
            yield here.at("action"), stage.action
        for number, child in enumerate(stage.stages or ()):
            if child.agents is None and child.action is not None:
                yield here.at("stages", number, "action"), child.action
