"""Where a document goes: to standard output, or to a file."""

import sys
from pathlib import Path

from sagabus.errors import SettingsError


def write(text: str, output: Path | None) -> None:
    """Print ``text`` as it is, or write it to ``output``.

    Raises:
        SettingsError: the file cannot be written.
    """
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--output {output}: cannot be written: {error.strerror}") from error
