"""The script ``sagabus``: the agent commands in every install, the orchestrator's where it is.

This package never imports the orchestrator: its command line is found by entry point.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, cast

from sagabus_agents.agent import DEFAULT_CONCURRENCY, DEFAULT_DRAIN_S, DEFAULT_URL, Agent
from sagabus_agents.roles.exec import DEFAULT_GRACE_S, exec_agent
from sagabus_agents.version import __version__

INSTALL = "pip install 'sagabus[orchestrator]'"

BARE_HELP = f"""\
usage: sagabus agent {{run,exec,http,pack}} ...

sagabus {__version__}: durable workflows across processes. This is the agent SDK alone.

  sagabus agent run MODULE:AGENT                     run an Agent object
  sagabus agent exec ROLE --on ACTION=COMMAND ...    make any program an agent
  sagabus agent http                                 call HTTP APIs (sagabus[http])
  sagabus agent pack NAME                            run a pack's Python actions (sagabus[packs])

Everything else (up, orchestrator, start, show, approve, ...) needs: {INSTALL}
"""

EXEC_NOTES = f"""\
COMMAND is a program with its arguments, split into words as a shell would and run without one:
pipes, variables and patterns mean nothing in it. For those, --on "build=sh -c '...'".
The program gets the task as JSON on stdin and writes its output as JSON to stdout. It appends ids
of what it has made, one per line, to the file named by $SAGABUS_ARTIFACTS, and resources that can
drift to $SAGABUS_RESOURCES, each a line like {{"kind": "vm", "id": "vm-17", "spec": {{...}}}}. Exit
code 0 is success, 65 says that the input is bad, 75 that another attempt may succeed; stderr
becomes the message.
ACTION may be * for every action that has no command of its own.
The server is --nats, else $SAGABUS_NATS_URL, else that of the nearest 'sagabus up' (.sagabus at or
above the working directory), else {DEFAULT_URL}.
"""


def main() -> int:
    """Run what the command line says; the exit status."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["agent"]:
        return agent_command(arguments[1:])
    return orchestrator_command(arguments)


def orchestrator_command(arguments: Sequence[str]) -> int:
    """Hand over to the orchestrator's command line, or say how to install it."""
    entry = next(iter(entry_points(group="sagabus.cli", name="main")), None)
    if entry is None:
        return _bare(arguments, "sagabus")
    try:
        cli = entry.load()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("sagabus."):
            raise  # a part of ours: a bug, not a small installation
        return _bare(arguments, error.name)
    return int(cli() or 0)


def _bare(arguments: Sequence[str], missing: str) -> int:
    match list(arguments):
        case [] | ["-h" | "--help" | "help", *_]:
            sys.stdout.write(BARE_HELP)
            return 0
        case ["--version", *_]:
            sys.stdout.write(f"sagabus {__version__}\n")
            return 0
        case [command, *_]:
            sys.stderr.write(
                f"sagabus: '{command}' needs the orchestrator ({missing} is not installed): "
                f"{INSTALL}\n"
            )
    return 2


def agent_command(arguments: Sequence[str]) -> int:
    """``sagabus agent ...``."""
    options = _parser().parse_args(arguments)
    try:
        agent = _AGENTS[options.command](options)
        agent.nats_url = options.nats or agent.nats_url or _nearest_server()
        if options.concurrency is not None:
            agent.concurrency = options.concurrency
    except UsageError as error:
        sys.stderr.write("".join(f"sagabus: {line}\n" for line in str(error).splitlines()))
        return 2
    agent.run()
    return 0


class UsageError(Exception):
    """What was asked for on the command line cannot be done."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sagabus agent", description="Run an agent.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{run,exec,http,pack}")

    run = commands.add_parser("run", help="run an Agent object", description="Run an Agent object.")
    run.add_argument(
        "agent",
        metavar="MODULE:AGENT",
        help="where it is, such as steps:provision.agent; without a name 'agent'",
    )

    program = commands.add_parser(
        "exec",
        help="make any program an agent",
        description="Run a program for every task of a role.",
        epilog=EXEC_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program.add_argument("role", metavar="ROLE", help="whose tasks to take")
    for flag, what in (("--on", "tasks"), ("--undo", "compensations")):
        program.add_argument(
            flag,
            action="append",
            default=[],
            type=_action_command,
            metavar="ACTION=COMMAND",
            help=f"the program for {what} of this action; may be repeated",
        )
    program.add_argument(
        "--observe",
        action="append",
        default=[],
        type=_action_command,
        metavar="KIND=COMMAND",
        help="the program that lists the resources of this kind; may be repeated",
    )
    program.add_argument(
        "--grace",
        type=float,
        default=DEFAULT_GRACE_S,
        metavar="SECONDS",
        help="between SIGTERM and SIGKILL when a program is to end (default: %(default)g)",
    )
    http = commands.add_parser(
        "http",
        help="call HTTP APIs",
        description="Send HTTP requests: actions get, post, put, patch, delete, head, request.",
    )
    http.add_argument(
        "--role", default="http", metavar="ROLE", help="whose tasks to take (default: http)"
    )
    pack = commands.add_parser(
        "pack",
        help="run the Python actions of a pack",
        description="Run the Python actions of a pack.",
    )
    pack.add_argument("pack", metavar="NAME", help="the pack: a directory among the packs")
    pack.add_argument(
        "--packs",
        type=Path,
        metavar="DIR",
        help="the directory of packs (default: packs, else config/packs)",
    )
    for command in (program, http, pack):
        command.add_argument(
            "--drain",
            type=float,
            default=DEFAULT_DRAIN_S,
            metavar="SECONDS",
            help="for running tasks to end once the agent is told to (default: %(default)g)",
        )
    for command in (run, program, http, pack):
        command.add_argument("--nats", metavar="URL", help="the server, or several with commas")
        command.add_argument(
            "--concurrency",
            type=_positive,
            metavar="N",
            help=f"tasks of each role at once (default: {DEFAULT_CONCURRENCY} or the object's own)",
        )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _action_command(text: str) -> tuple[str, str]:
    action, separator, command = text.partition("=")
    if not (action and separator and command.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not ACTION=COMMAND")
    return action, command


def _exec_agent(options: argparse.Namespace) -> Agent:
    if not (options.on or options.undo or options.observe):
        raise UsageError("agent exec: give at least one --on ACTION=COMMAND")
    try:
        return exec_agent(
            options.role,
            _by_action(options.on),
            _by_action(options.undo),
            _by_action(options.observe),
            drain_s=options.drain,
            grace_s=options.grace,
        )
    except ValueError as error:
        raise UsageError(f"agent exec: {error}") from error


def _by_action(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    commands: dict[str, str] = {}
    for action, command in pairs:
        if action in commands:
            raise ValueError(f"{action}: given twice")
        commands[action] = command
    return commands


def _nearest_server() -> str | None:
    """Address of the server that a ``sagabus up`` at or above the working directory runs."""
    if os.environ.get("SAGABUS_NATS_URL"):
        return None
    here = Path.cwd()
    for directory in (here, *here.parents):
        try:
            endpoints = json.loads((directory / ".sagabus" / "endpoints.json").read_text())
        except (OSError, ValueError):
            continue
        address = endpoints.get("nats") if isinstance(endpoints, dict) else None
        return address if isinstance(address, str) else None
    return None


def _http_agent(options: argparse.Namespace) -> Agent:
    body = _body("http")
    try:
        return cast(Agent, body.http_agent(options.role, drain_s=options.drain))
    except ValueError as error:
        raise UsageError(f"agent http: {error}") from error


def _pack_agent(options: argparse.Namespace) -> Agent:
    body = _body("pack")
    try:
        return cast(Agent, body.pack_agent(options.pack, options.packs, drain_s=options.drain))
    except body.PackError as error:
        raise UsageError(str(error)) from error


def _body(role: str) -> Any:
    """The module of a ready-made agent whose libraries not every install has."""
    try:
        return importlib.import_module(f"sagabus_agents.roles.{role}")
    except ImportError as error:
        if error.name not in {"httpx", "yaml"}:
            raise
        raise UsageError(f"agent {role}: {error}") from error


def _load(options: argparse.Namespace) -> Agent:
    module_name, _, path = options.agent.partition(":")
    path = path or "agent"
    # The script's own directory is first on the path; a module beside the user is meant.
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(f"cannot import {module_name}: {error}") from error
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, Agent):
        raise UsageError(f"{module_name} has no Agent named {path!r}")
    return found


_AGENTS: Final[dict[str, Callable[[argparse.Namespace], Agent]]] = {
    "run": _load,
    "exec": _exec_agent,
    "http": _http_agent,
    "pack": _pack_agent,
}


if __name__ == "__main__":
    sys.exit(main())
