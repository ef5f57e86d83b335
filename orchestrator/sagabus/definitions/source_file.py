"""One file as read, whatever it is written in: its data, and where everything in it stands."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from sagabus.errors import ConfigError

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


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_text(path: Path, what_to_do: str) -> str:
    """The text of a UTF-8 file, without byte order mark, its line ends as line feeds.

    ``what_to_do`` ends the sentence about a file that is too large.

    Raises:
        ConfigError: it is missing, unreadable, too large or not UTF-8.
    """
    try:
        # A pipe would be waited for until somebody writes into it.
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError("is not a file, but a pipe or a device", path=path)
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", path=path) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"larger than {MAX_FILE_BYTES} bytes; {what_to_do}", path=path)
    try:
        return raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text; save it as UTF-8", path=path, line=line) from error
