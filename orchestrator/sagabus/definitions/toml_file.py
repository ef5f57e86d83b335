"""Reads one TOML file: its data, and where everything in it stands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from sagabus.definitions.toml_positions import KeyPath, key_lines, line_of
from sagabus.errors import ConfigError

MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as read."""

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int | None:
        """Line of a key, or of the nearest table around it."""
        return line_of(self.lines, path)


def read_toml(path: Path) -> SourceFile:
    """Read a TOML 1.1 file.

    Raises:
        ConfigError: it is missing, unreadable, too large, not UTF-8 or not TOML.
    """
    text = _read_text(path)
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error.msg}", path=path, line=error.lineno) from error
    except RecursionError as error:
        raise ConfigError("arrays or tables are nested too deeply", path=path) from error
    return SourceFile(path=path, data=data, lines=key_lines(text))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", path=path) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"larger than {MAX_FILE_BYTES} bytes; split it with `include`", path=path)
    try:
        # TOML normalises line ends, and so do the positions.
        return raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text; save it as UTF-8", path=path, line=line) from error
