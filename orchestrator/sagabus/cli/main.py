"""The entry point of the command line, and how commands fail: one line, no traceback."""

import os
import re
import sys
from importlib import metadata
from typing import Annotated, Any, Final

import typer

from sagabus.cli import (
    audit,
    commands,
    dead,
    definitions,
    intents,
    kv,
    ledger,
    pack,
    pausing,
    queries,
    repair,
    resources,
    service,
    why,
)
from sagabus.cli.output import say
from sagabus.errors import SagabusError

app = typer.Typer(
    name="sagabus",
    help="Durable workflows and sagas across processes.",
    epilog="Agents: 'sagabus agent --help'. Exit codes: 0 done, 1 failed, 2 wrong usage,"
    " 3 completed with handled failures.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    service,
    commands,
    queries,
    why,
    ledger,
    audit,
    pausing,
    repair,
    definitions,
    intents,
    kv,
    pack,
    dead,
    resources,
):
    app.add_typer(part.app)

#: What typer raises on a wrong command line; its own class, or click's, by its version.
_UsageError: Final[Any] = typer.BadParameter.__mro__[1]
_PREAMBLE: Final = re.compile(r"Invalid value(?: for '?([^':]+)'?)?: (?:Value error, )?")


def _version(is_wanted: bool) -> None:
    if is_wanted:
        say(f"sagabus {metadata.version('sagabus')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Durable workflows and sagas across processes."""


def main() -> int:
    """Run what the command line says; the exit code."""
    try:
        return app(prog_name="sagabus", standalone_mode=False) or 0
    except _UsageError as error:
        return _wrong_usage(error)
    except typer.Abort:
        say("sagabus: aborted", is_error=True)
    except SagabusError as error:
        say(f"sagabus: {error}", is_error=True)
    except BrokenPipeError:  # 'sagabus list | head': nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _wrong_usage(error: Any) -> int:
    """Say what is wrong with a command line; the exit code."""
    words = " ".join(error.format_message().split()).rstrip(".")
    if words:  # else the help was asked for, and is printed
        command = error.ctx.command_path if error.ctx is not None else "sagabus"
        preamble = _PREAMBLE.match(words)
        if preamble is not None:
            words = f"{preamble[1]}: " * bool(preamble[1]) + words[preamble.end() :]
        say(f"{command}: {words}; see '{command} -h'", is_error=True)
    return int(error.exit_code)
