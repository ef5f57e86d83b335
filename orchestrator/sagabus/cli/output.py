"""What commands print: tables for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
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
_GAP: Final = "  "
_INDENT: Final = "    "
#: The last column of a table is wrapped while it keeps this many characters.
_PROSE: Final = 24
#: Only measures.
_PLAIN: Final = Console(width=_WIDE)


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


def say_table(head: Sequence[str], rows: Iterable[Sequence[Any]], none: str = "") -> None:
    """Print a table, or ``none`` where it has no rows; cells are plain text but for ``Text``.

    No word is ever broken: people copy ids from here. Where the terminal is too narrow, the last
    column is wrapped; where that does not do, columns stand below their row, each with its name.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    if none and not cells:
        say(none)
        return
    out = console()
    names = [Text(name, style="bold") for name in head]
    widths = [
        max(map(attrgetter("cell_len"), column)) for column in zip(names, *cells, strict=True)
    ]
    beside, last = _fitting(widths, cells, out.width)
    for row in [names, *cells]:
        *first, end = row[:beside]
        line = Text()
        for cell, width in zip(first, widths, strict=False):
            line += cell + Text(" " * (width - cell.cell_len) + _GAP)
        indent = line.cell_len
        lines = _wrapped(end, last)
        _say_lines(out, [line + lines[0], *(Text(" " * indent) + more for more in lines[1:])])
        if row is not names:
            below = [
                Text.assemble((f"{name} ", "dim"), cell)
                for name, cell in zip(head[beside:], row[beside:], strict=True)
                if cell.plain not in {"", "-"}
            ]
            packed = _packed(below, out.width - len(_INDENT))
            _say_lines(out, (Text(_INDENT) + each for each in packed))


def _fitting(widths: Sequence[int], cells: Sequence[Sequence[Text]], room: int) -> tuple[int, int]:
    """How many columns stand beside each other, and how wide the last of them may be."""
    for count in range(len(widths), 0, -1):
        left = room - sum(widths[: count - 1]) - len(_GAP) * (count - 1)
        words = [word for row in cells for word in row[count - 1].plain.split()]
        if left >= min(widths[count - 1], max([_PROSE, *map(cell_len, words)])):
            return count, left
    return 1, widths[0]


def _packed(pieces: Iterable[Text], width: int) -> Iterator[Text]:
    """Lines of whole pieces; only one that is longer than a line is wrapped."""
    line = Text()
    for piece in pieces:
        if line and line.cell_len + len(_GAP) + piece.cell_len > width:
            yield line
            line = Text()
        line += Text(_GAP * bool(line)) + piece
        *full, line = _wrapped(line, width)
        yield from full
    if line:
        yield line


def _wrapped(text: Text, width: int) -> Sequence[Text]:
    """Lines of ``text``; a word that is longer than one stays whole."""
    longest = max(map(cell_len, text.plain.split()), default=0)
    return list(text.wrap(_PLAIN, max(width, longest, 1))) or [text]


def _say_lines(out: Console, lines: Iterable[Text]) -> None:
    for line in lines:
        line.rstrip()
        out.print(line, soft_wrap=True)


def _cell(value: Any) -> Text:
    if isinstance(value, Text):
        return value
    return Text(clean(value).replace("\n", " ").replace("\t", " "))


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
