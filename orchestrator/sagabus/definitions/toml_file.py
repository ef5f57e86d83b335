"""Reads TOML: its data, and where everything in it stands."""

import re
from pathlib import Path
from typing import Final

import tomli

from sagabus.definitions.source_file import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    MAX_NODES,
    KeyPath,
    SourceFile,
)
from sagabus.definitions.toml_positions import DepthError, TooManyKeysError, key_lines
from sagabus.errors import ConfigError
from sagabus.text_file import read_text

#: What Python does not read as a number.
_LONG_NUMBER: Final = re.compile(r"[0-9_]{4000}")


def read_toml(path: Path) -> SourceFile:
    """Read a TOML 1.1 file.

    Raises:
        ConfigError: it is missing, unreadable, too large, not UTF-8 or not TOML.
    """
    return parse_toml(read_text(path, MAX_FILE_BYTES, "split it with `include`"), path)


def parse_toml(text: str, path: Path) -> SourceFile:
    """Read ``text`` as TOML 1.1; ``path`` is where it comes from.

    Raises:
        ConfigError: it is not TOML, or too much of it.
    """
    try:
        # First: tomli takes its time with what is too much, or nested too deeply.
        lines = _lines_of(text)
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error.msg}", path=path, line=error.lineno) from error
    except DepthError as error:
        raise ConfigError(
            f"tables and lists are nested more than {MAX_DEPTH} deep", path=path, line=error.line
        ) from error
    except RecursionError as error:
        raise ConfigError("tables and lists are nested too deeply", path=path) from error
    except TooManyKeysError as error:
        raise ConfigError(
            f"more than {MAX_NODES} keys; split it with `include`", path=path
        ) from error
    except ValueError as error:  # Python's own bound on the digits of a number
        number = _LONG_NUMBER.search(text)
        raise ConfigError(
            "a number has too many digits; write it as text",
            path=path,
            line=text.count("\n", 0, number.start()) + 1 if number else None,
        ) from error
    return SourceFile(path=path, data=data, lines=lines)


def _lines_of(text: str) -> dict[KeyPath, int]:
    try:
        return key_lines(text)
    except (ValueError, IndexError):  # no TOML, and tomli says why
        return {}
