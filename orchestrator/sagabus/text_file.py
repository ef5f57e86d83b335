"""Reads files that operators write: bounded, never waiting, with a sentence for what is wrong."""

import os
import stat
from pathlib import Path

from sagabus.errors import ConfigError


def read_text(path: Path, max_bytes: int, what_to_do: str) -> str:
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
            raw = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", path=path) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    if len(raw) > max_bytes:
        raise ConfigError(f"larger than {max_bytes} bytes; {what_to_do}", path=path)
    try:
        return raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text; save it as UTF-8", path=path, line=line) from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
