"""Tells when files that match some patterns change, however they are changed.

The notices of the operating system only wake it up; what counts is whether the files look different
from before. So it does not matter whether an editor writes in place or renames a new file over the
old, whether a directory appears later, or whether a mounted volume swaps a link; and where notices
do not come at all (network file systems), the files are looked at now and then anyway.
"""

import asyncio
import glob
import os
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

#: A special character as ``glob.escape`` writes it.
_ESCAPED = re.compile(r"\[([*?[])\]")

#: File, inode, size and time of change in nanoseconds.
_Look = frozenset[tuple[str, int, int, int]]


async def watch_files(
    patterns: Callable[[], Sequence[str]], *, poll_s: float = 2.0, debounce_s: float = 0.1
) -> AsyncGenerator[None, None]:
    """Yield once when watching has begun, and then after each change of the files.

    ``patterns`` is asked again before each look, so that what is watched may change. The first
    yield is for whatever was changed between the caller's own reading and now.
    """
    before: _Look | None = None
    while True:
        roots = await asyncio.to_thread(_roots, patterns())
        async with aclosing(_wake_ups(roots, poll_s, debounce_s)) as wake_ups:
            # Looking only after the first of them: notices do not come before that.
            async for _ in wake_ups:
                look = await asyncio.to_thread(_look, patterns())
                if look != before:
                    before = look
                    yield None
                if await asyncio.to_thread(_roots, patterns()) != roots:
                    break


async def _wake_ups(
    roots: frozenset[Path], poll_s: float, debounce_s: float
) -> AsyncGenerator[None, None]:
    """Yield after a notice, and whenever none has come for ``poll_s``."""
    events = awatch(
        *roots,
        watch_filter=None,
        debounce=round(debounce_s * 1_000),
        rust_timeout=round(poll_s * 1_000),
        yield_on_timeout=True,
        recursive=False,
    )
    try:
        async with aclosing(events):
            async for _ in events:
                yield None
    except OSError:  # a root that is gone, or the system has no more watches to give
        await asyncio.sleep(poll_s)
        yield None


def _look(patterns: Sequence[str]) -> _Look:
    seen = set()
    for pattern in patterns:
        directory = _fixed_part(pattern).parent
        if directory.is_dir():  # an empty directory of policies says something, too
            seen.add((str(directory), 0, 0, 0))
        for name in glob.glob(pattern, recursive=True):  # noqa: PTH207
            try:
                stat = Path(name).stat()
            except OSError:  # gone since
                continue
            seen.add((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return frozenset(seen)


def _roots(patterns: Sequence[str]) -> frozenset[Path]:
    """Directories whose entries decide what the patterns match; those that exist."""
    roots = set()
    for pattern in patterns:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207
        for path in (_fixed_part(pattern), *map(Path, names)):
            for directory in (path.parent, path.resolve().parent):
                roots.add(_existing(directory))
    return frozenset(roots)


def _fixed_part(pattern: str) -> Path:
    """``pattern`` up to and including its first part that matches many names."""
    parts = Path(pattern).parts
    for number, part in enumerate(parts, 1):
        if glob.has_magic(_ESCAPED.sub("", part)):
            parts = parts[:number]
            break
    return Path(*(_ESCAPED.sub(r"\1", part) for part in parts))


def _existing(directory: Path) -> Path:
    """``directory``, or the nearest one above it that exists."""
    # Path.is_dir raises where it may not look.
    above = (directory, *directory.parents)
    return next((path for path in above if os.path.isdir(path)), Path("/"))  # noqa: PTH112
