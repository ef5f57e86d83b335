"""One file as read, whatever it is written in: its data, and where everything in it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

MAX_FILE_BYTES: Final = 512 * 1024
#: Values of a file, and its tables and lists.
MAX_NODES: Final = 50_000
#: Levels of tables and lists in it.
MAX_DEPTH: Final = 64

#: Keys of tables and indices of lists, from the root.
KeyPath = tuple[str | int, ...]

Syntax = Literal["toml", "yaml"]

#: How each kind of file ends.
YAML_SUFFIXES: Final = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as read; ``data`` has the shape of the models, whatever the file calls its keys."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]
    syntax: Syntax = "toml"
    #: What the file calls a key, where that is not the key's name in ``data``.
    words: Mapping[KeyPath, str] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """Line of a key, or of the nearest table around it."""
        return line_of(self.lines, path)

    def shown(self, path: KeyPath, start: int = 0) -> str:
        """``path`` from its element ``start`` on, in the file's own words: ``retry.delay``."""
        return ".".join(
            self.words.get(path[: number + 1], str(part))
            for number, part in enumerate(path)
            if number >= start
        )


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """Line of ``path``, or of the nearest table around it that is written down."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None
