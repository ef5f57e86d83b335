"""Workflows written in YAML, one per document, in the shape of the models.

A document has the keys of ``[[workflows]]``, with three words of its own: ``ref`` may stand for
``name``, ``tasks`` are ``stages``, and ``order`` is ``graph`` where nothing else is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sagabus.definitions.explain import Place
from sagabus.definitions.source_file import KeyPath, SourceFile
from sagabus.definitions.yaml_file import YamlDocument, read_yaml
from sagabus.errors import ConfigError, DefinitionError

#: ``version: 1.10`` is text, and not the number 1.1.
TEXT_KEYS: Final = frozenset({"version"})
_STAGES: Final = "stages"
_TASKS: Final = "tasks"


@dataclass(slots=True)
class YamlWorkflows:
    """The workflows of one file: ``source.data`` is ``{"workflows": [...]}``."""

    source: SourceFile
    #: What is wrong beside the shape of the models.
    problems: list[ConfigError] = field(default_factory=list)
    #: Settings of their pack that stand beside them.
    config: Mapping[str, Any] = field(default_factory=dict)


def read_workflows(path: Path, pack: str | None = None) -> YamlWorkflows:
    """Read a file of workflows, those of ``pack`` where there is one.

    Raises:
        ConfigError: as ``read_yaml`` does.
    """
    return workflows_of(read_yaml(path, TEXT_KEYS), path, pack)


def workflows_of(
    documents: Sequence[YamlDocument], path: Path, pack: str | None = None
) -> YamlWorkflows:
    """The workflows that ``documents`` hold; empty documents are none."""
    workflows: list[Any] = []
    lines: dict[KeyPath, int] = {}
    words: dict[KeyPath, str] = {}
    source = SourceFile(path, {"workflows": workflows}, lines, "yaml", words)
    found = YamlWorkflows(source)
    for document in documents:
        if document.data is None:
            continue
        here: KeyPath = ("workflows", len(workflows))
        renames = _Renames(document.data)
        workflows.append(renames.data)
        for written, line in document.lines.items():
            lines[(*here, *renames.path(written))] = line
        words |= {(*here, *place): word for place, word in renames.words.items()}
        place = Place(source, here)
        found.problems += [place.at(*at).error(text, is_whole=True) for at, text in renames.doubts]
        if isinstance(renames.data, dict):
            renames.data.setdefault("order", "graph")
            if pack is not None and "name" not in renames.data:
                words[(*here, "name")] = "ref"
            found.problems += _name(place, renames.data, pack)
    return found


def qualified(place: Place, name: str, pack: str, word: str) -> tuple[str, list[DefinitionError]]:
    """The whole name of what stands in ``pack`` under ``name``, which ``word`` calls it."""
    before, dot, rest = name.partition(".")
    if not dot:
        return f"{pack}.{name}", []
    if before == pack:
        return name, []
    problem = f'{name!r} stands in the pack "{pack}"; write "{pack}.{rest}", or move the file'
    return name, [place.at(word).error(problem)]


def _name(place: Place, workflow: dict[str, Any], pack: str | None) -> list[DefinitionError]:
    name = workflow.get("name")
    if pack is None or not isinstance(name, str):
        return []
    workflow["name"], problems = qualified(place, name, pack, "name")
    return problems


class _Renames:
    """One document in the words of the models."""

    def __init__(self, data: Any) -> None:
        #: What the document calls a key, by its place in ``data``.
        self.words: dict[KeyPath, str] = {}
        #: Keys that mean nothing in YAML, and what to say of them.
        self.doubts: list[tuple[KeyPath, str]] = []
        self._is_named_ref = isinstance(data, dict) and "ref" in data
        self.data = self._workflow(data) if isinstance(data, dict) else data

    def path(self, written: KeyPath) -> KeyPath:
        """Where ``written``, a place in the document, is in ``data``."""
        if written[:1] == ("ref",):
            return ("name", *written[1:])
        parts = list(written)
        for number in range(0, len(parts), 2):
            if parts[number] != _TASKS:
                break
            parts[number] = _STAGES
        return tuple(parts)

    def _workflow(self, data: dict[str, Any]) -> dict[str, Any]:
        if self._is_named_ref:
            self.words[("name",)] = "ref"
            if "name" in data:
                self.doubts.append((("name",), "`name` and `ref` are the same; leave one out"))
            data = {"name": data["ref"]} | {
                key: value for key, value in data.items() if key not in {"ref", "name"}
            }
        return self._tables(data, ())

    def _tables(self, table: dict[str, Any], here: KeyPath) -> dict[str, Any]:
        """``table``, a workflow or a stage, with its stages under their name."""
        renamed = {key: value for key, value in table.items() if key not in {_TASKS, _STAGES}}
        if _STAGES in table:
            doubt = "stages stand under `tasks:` in YAML; write that"
            self.doubts.append(((*here, _STAGES), doubt))
        if _TASKS in table:
            place = (*here, _STAGES)
            self.words[place] = _TASKS
            renamed[_STAGES] = self._stages(table[_TASKS], place)
        return renamed

    def _stages(self, tasks: Any, place: KeyPath) -> Any:
        if not isinstance(tasks, list):
            return tasks
        return [
            self._tables(task, (*place, index)) if isinstance(task, dict) else task
            for index, task in enumerate(tasks)
        ]
