"""Reads TOML: its data, and where everything in it stands."""

from pathlib import Path

import tomli

from sagabus.definitions.source_file import MAX_NODES, SourceFile, read_text
from sagabus.definitions.toml_positions import key_lines
from sagabus.errors import ConfigError


def read_toml(path: Path) -> SourceFile:
    """Read a TOML 1.1 file.

    Raises:
        ConfigError: it is missing, unreadable, too large, not UTF-8 or not TOML.
    """
    return parse_toml(read_text(path, "split it with `include`"), path)


def parse_toml(text: str, path: Path) -> SourceFile:
    """Read ``text`` as TOML 1.1; ``path`` is where it comes from.

    Raises:
        ConfigError: it is not TOML, or too much of it.
    """
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error.msg}", path=path, line=error.lineno) from error
    except RecursionError as error:
        raise ConfigError("arrays or tables are nested too deeply", path=path) from error
    lines = key_lines(text)
    if len(lines) > MAX_NODES:
        raise ConfigError(f"more than {MAX_NODES} keys; split it with `include`", path=path)
    return SourceFile(path=path, data=data, lines=lines)
