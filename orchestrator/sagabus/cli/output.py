"""What commands print: tables for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES: Final = {
    "completed": "green",
    "succeeded": "green",
    "ok": "green",
    "running": "cyan",
    "dispatched": "cyan",
    "pending": "cyan",
    "waiting": "yellow",
    "paused": "yellow",
    "warn": "yellow",
    "compensating": "magenta",
    "compensated": "magenta",
    "rolled_back": "magenta",
    "cancelled": "yellow",
    "skipped": "dim",
    "unknown": "yellow",
}
_WIDE: Final = 10_000


def console(*, is_error: bool = False) -> Console:
    """Standard output or error; without colour and line breaks of its own where nobody looks."""
    stream = sys.stderr if is_error else sys.stdout
    # A pipe has no width: what is cut there is lost to grep.
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def say(text: str | Text = "", *, is_error: bool = False) -> None:
    """Print one line for people."""
    shown = Text(clean(text)) if isinstance(text, str) else text
    out = console(is_error=is_error)
    out.print(shown, soft_wrap=True)
    out.file.flush()


def say_json(document: Any, *, is_line: bool = False) -> None:
    """Print a document for programs; ``is_line``: as one line."""
    indent = None if is_line else 2
    sys.stdout.write(json.dumps(document, indent=indent, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; cells are plain text but for ``Text``."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, name in enumerate(head):
        # The first names the row, and is what people copy.
        table.add_column(name, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
    console().print(table)


def status(word: str, words: str = "") -> Text:
    """A status in its colour, or ``words`` in it."""
    return Text(clean(words or word), style=_STYLES.get(word, "red"))


def clean(value: Any) -> str:
    """Text that cannot steer the terminal: agents write parts of what is shown."""
    text = "" if value is None else str(value)
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def instant(text: str | None) -> str:
    """An instant of the API, to the second, in UTC."""
    if text is None:
        return "-"
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def clock(text: str) -> str:
    """The time of day of an instant, to the millisecond, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
