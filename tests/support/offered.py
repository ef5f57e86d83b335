"""Commands that a text offers people, and whether the command line takes them as they are."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

from typer.main import get_command

from sagabus.cli.main import app

_COMMAND: Final = re.compile(r"sagabus((?: (?:'[^']*'|[^\s,;()'])+)+)")
_PROGRAM: Final[Any] = get_command(app)


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of every ``sagabus ...`` in ``text``; what is in parentheses is said of it."""
    return (shlex.split(found[1]) for found in _COMMAND.finditer(text))


def check(text: str) -> None:
    """Have every command parsed; none is carried out.

    Raises:
        Exception: the parser's own, where a command is not complete.
    """
    for name, *arguments in commands_in(text):
        _PROGRAM.commands[name].make_context(name, arguments)
