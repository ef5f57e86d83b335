"""Reads YAML: the data of each document, and where everything in it stands.

The events of libyaml are put together here, not by PyYAML's loader: that one knows no lines, makes
objects of tags, takes the last of two equal keys, and follows aliases without end. What comes out
is what JSON can hold; every key is text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from sagabus.definitions.source_file import MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES, KeyPath
from sagabus.definitions.yaml_scalars import (
    LIST,
    TABLE,
    Scalar,
    ScalarError,
    plain,
    tagged,
    unknown_tag,
)
from sagabus.errors import ConfigError, InvalidConfigError
from sagabus.text_file import read_text

#: A text counts as a value once more for every so many characters: aliases repeat it.
_TEXT_UNIT: Final = 128
#: What a document counts beside what is in it.
_DOCUMENT_UNITS: Final = 20
#: Mistakes of a file that are worth telling.
_MAX_PROBLEMS: Final = 50
_MERGE: Final = "<<"
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_BARE_TEMPLATE: Final = re.compile(r"(?:^|[:\-,\[{])\s+\{\{|^\s*\{\{")

#: An event of libyaml, whose attributes the stubs of PyYAML do not know.
_Event = Any


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a file."""

    #: None where nothing is written.
    data: Any
    #: Where each key and element first stands; the document itself is ``()``.
    lines: dict[KeyPath, int] = field(compare=False)


def read_yaml(path: Path, texts: frozenset[str] = frozenset()) -> list[YamlDocument]:
    """Read a file of YAML documents.

    ``texts``: keys of the top level whose values stay text as written, so that the version 1.10
    does not become 1.1.

    Raises:
        ConfigError: it is missing, unreadable, too large, not UTF-8 or not YAML.
        InvalidConfigError: it is YAML and cannot be used; everything that is wrong with it.
    """
    return parse_yaml(read_text(path, MAX_FILE_BYTES, "split it into several files"), path, texts)


def parse_yaml(
    text: str, path: Path | None, texts: frozenset[str] = frozenset()
) -> list[YamlDocument]:
    """Read ``text`` as ``read_yaml`` does; ``path`` is where it comes from.

    Raises:
        ConfigError: see ``read_yaml``.
        InvalidConfigError: see ``read_yaml``.
    """
    if strange := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, strange.start()) + 1
        raise ConfigError(
            f"not valid YAML: the character {strange[0]!a} cannot stand in it",
            path=path,
            line=line,
        )
    reader = _Reader(text, path, texts)
    try:
        documents = list(reader.documents())
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, path) from error
    if reader.problems:
        raise InvalidConfigError(reader.problems)
    return documents


@dataclass(frozen=True, slots=True)
class _Node:
    value: Any
    #: What it counts, everything inside included.
    size: int
    #: Levels of tables and lists in it.
    height: int = 0


class _Reader:
    """Puts the events of one text together."""

    def __init__(self, text: str, path: Path | None, texts: frozenset[str]) -> None:
        self.problems: list[ConfigError] = []
        self._path = path
        self._texts = texts
        self._parser = yaml.CSafeLoader(text)
        self._size = 0
        #: Of the present document.
        self._lines: dict[KeyPath, int] = {}
        #: None: it is not complete yet.
        self._anchors: dict[str, _Node | None] = {}

    def documents(self) -> Iterator[YamlDocument]:
        """Every document, one after the other."""
        while (event := self._next()) and not isinstance(event, yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                self._lines, self._anchors = {}, {}
                first = self._next()
                self._count(_DOCUMENT_UNITS, first)
                self._lines[()] = _line(first)
                yield YamlDocument(self._node(first, ()).value, self._lines)

    def _next(self) -> _Event:
        return self._parser.get_event()

    def _node(self, event: _Event, path: KeyPath) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        anchor: str | None = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        self._count(1, event)
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        elif len(path) >= MAX_DEPTH:
            self._refuse_depth(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(event, path)
        else:
            node = self._table(event, path)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: _Event, path: KeyPath) -> _Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            where = "contains itself" if event.anchor in self._anchors else "is not defined above"
            self._refuse(event, f"the alias *{event.anchor} {where}")
        if len(path) + node.height > MAX_DEPTH:
            self._refuse_depth(event)
        self._count(node.size, event)
        return node

    def _scalar(self, event: _Event, path: KeyPath) -> _Node:
        text: str = event.value
        size = 1 + len(text) // _TEXT_UNIT
        self._count(size - 1, event)
        is_text = len(path) == 1 and path[0] in self._texts
        value: Scalar = text
        try:
            if event.tag is not None:
                value = tagged(text, event.tag)
            elif event.implicit[0] and not (is_text and text):
                value = plain(text)
        except ScalarError as error:
            self._note(event, str(error))
        return _Node(value, size)

    def _list(self, event: _Event, path: KeyPath) -> _Node:
        self._check_tag(event, LIST)
        values: list[Any] = []
        size, height = 1, 0
        while not isinstance(item := self._next(), yaml.SequenceEndEvent):
            here = (*path, len(values))
            self._lines[here] = _line(item)
            node = self._node(item, here)
            values.append(node.value)
            size, height = size + node.size, max(height, node.height)
        return _Node(values, size, height + 1)

    def _table(self, event: _Event, path: KeyPath) -> _Node:
        self._check_tag(event, TABLE)
        table: dict[str, Any] = {}
        merged: list[tuple[dict[str, Any], int]] = []
        size, height = 1, 0
        while not isinstance(key_event := self._next(), yaml.MappingEndEvent):
            key = self._key(key_event)
            here = (*path, key)
            is_first = key not in table
            if is_first:
                self._lines[here] = _line(key_event)
            node = self._node(self._next(), here)
            size, height = size + node.size, max(height, node.height)
            if key == _MERGE and key_event.implicit[0]:
                merged += [(one, _line(key_event)) for one in self._merged(key_event, node.value)]
            elif is_first:
                table[key] = node.value
            else:
                first = self._lines[here]
                self._note(
                    key_event, f"`{key}` is written twice in one table; first at line {first}"
                )
        return _Node(self._with_merged(table, merged, path), size, height + 1)

    def _key(self, event: _Event) -> str:
        if isinstance(event, yaml.ScalarEvent):
            self._count(1 + len(event.value) // _TEXT_UNIT, event)
            if event.tag is not None:
                self._note(event, unknown_tag(event.tag))
            if event.anchor is not None:
                self._anchors[event.anchor] = _Node(event.value, 1)
            return str(event.value)
        is_alias = isinstance(event, yaml.AliasEvent)
        aliased = self._anchors.get(str(event.anchor)) if is_alias else None
        if aliased is None or not isinstance(aliased.value, str):
            is_bare = isinstance(event, yaml.MappingStartEvent) and event.flow_style
            hint = '; write an expression in quotes: "{{ ... }}"' if is_bare else ""
            self._refuse(event, f"a key is one text{hint}")
        return aliased.value

    def _merged(self, event: _Event, value: Any) -> list[dict[str, Any]]:
        tables = value if isinstance(value, list) else [value]
        if all(isinstance(one, dict) for one in tables):
            return tables
        self._note(event, "`<<` merges tables; write <<: *name, or <<: [*one, *two]")
        return []

    def _with_merged(
        self, table: dict[str, Any], merged: list[tuple[dict[str, Any], int]], path: KeyPath
    ) -> dict[str, Any]:
        """``table`` with what it has not itself; of several tables the first that has it counts."""
        for other, line in merged:
            for key, value in other.items():
                if key not in table:
                    table[key] = value
                    self._lines[(*path, key)] = line
        return table

    def _check_tag(self, event: _Event, known: frozenset[str]) -> None:
        if event.tag is not None and event.tag not in known:
            self._note(event, unknown_tag(event.tag))

    def _count(self, size: int, event: _Event) -> None:
        self._size += size
        if self._size > MAX_NODES:
            self._refuse(
                event,
                f"more than {MAX_NODES} values, with every alias written out; split the file, "
                "or use fewer aliases",
            )

    def _note(self, event: _Event, message: str) -> None:
        """A mistake beside which others can be looked for."""
        self.problems.append(self._error(event, message))
        if len(self.problems) >= _MAX_PROBLEMS:
            raise InvalidConfigError(self.problems)

    def _refuse(self, event: _Event, message: str) -> NoReturn:
        raise InvalidConfigError([*self.problems, self._error(event, message)])

    def _refuse_depth(self, event: _Event) -> NoReturn:
        self._refuse(event, f"tables and lists are nested more than {MAX_DEPTH} deep")

    def _error(self, event: _Event, message: str) -> ConfigError:
        return ConfigError(message, path=self._path, line=_line(event))


def _line(event: _Event) -> int:
    return int(event.start_mark.line) + 1


def _not_yaml(error: yaml.YAMLError, text: str, path: Path | None) -> ConfigError:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ConfigError(f"not valid YAML: {error}", path=path)
    rows = text.split("\n")
    # Lines may end in other ways than this, for YAML.
    number = min(error.problem_mark.line, len(rows) - 1)
    begun = error.context_mark
    since = f", in what begins at line {begun.line + 1}" if begun and begun.line < number else ""
    return ConfigError(
        f"not valid YAML: {error.problem}{since}{_hint(error, rows[number])}",
        path=path,
        line=number + 1,
    )


def _hint(error: yaml.MarkedYAMLError, row: str) -> str:
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return "; indent with spaces, not with tabs"
    if _BARE_TEMPLATE.search(row):
        return '; write text with an expression in quotes: "{{ ... }}"'
    if (error.problem or "").startswith("mapping values are not allowed"):
        return "; write text with a colon in quotes, or check the indentation"
    return ""
