"""Options that several commands share, and what they mean."""

import getpass
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sagabus.core.durations import parse_duration
from sagabus.core.instance import InstanceStatus
from sagabus.errors import ConfigError
from sagabus.text_file import read_text
from sagabus_agents.wire import MAX_MESSAGE_BYTES, is_id


def seconds_of(text: str) -> float:
    """A duration, ``90`` or ``2m``, in seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        return parse_duration(int(text) if text.isdecimal() else text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The orchestrator; default: $SAGABUS_URL, then the nearest .sagabus directory.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
InstanceId = Annotated[str, typer.Argument(metavar="ID", help="Id of the instance.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS|2m",
        parser=seconds_of,
        help="Wait no longer than this; the instance goes on, and the exit code is 4.",
    ),
]
StageName = Annotated[str, typer.Argument(metavar="STAGE", help="The stage that waits.")]
_SEEN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}/[1-9][0-9]{0,5}")


def status_of(text: str) -> str:
    """A status of instances.

    Raises:
        typer.BadParameter: it is none.
    """
    if text not in list(InstanceStatus):
        raise typer.BadParameter(f"{text!r} is none of {', '.join(InstanceStatus)}")
    return text


def id_of(text: str) -> str:
    """An id that an instance can have.

    Raises:
        typer.BadParameter: it is none.
    """
    if not is_id(text):
        raise typer.BadParameter(
            f"{text!r} is no id: 1 to 64 letters, digits, '_' and '-' make one"
        )
    return text


def seen_of(text: str) -> str:
    """What somebody saw of a stage, ``TASK/ATTEMPT``.

    Raises:
        typer.BadParameter: not of that form.
    """
    if not _SEEN.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not TASK/ATTEMPT, such as charge-1-0/2")
    return text


def who() -> str:
    """Who gives a command: $SAGABUS_USER, else the login name."""
    if named := os.environ.get("SAGABUS_USER"):
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""


def parameters_of(
    pairs: Sequence[str], document: str | None, declared: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Parameters from ``--params`` and ``-p key=value``, which win.

    ``declared``: JSON Schema of each parameter, by name. What is text there stays text.

    Raises:
        typer.BadParameter: not of that form.
    """
    parameters = object_of(document, "--params") if document is not None else {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise typer.BadParameter(f"{pair!r} is not key=value", param_hint="-p")
        is_text = (declared or {}).get(key, {}).get("type") == "string"
        parameters[key] = value if is_text else value_of(value)
    return parameters


def value_of(text: str) -> Any:
    """JSON where the text is JSON, else the text itself."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def object_of(text: str, option: str) -> dict[str, Any]:
    """The JSON object that an option gives.

    Raises:
        typer.BadParameter: it is none.
    """
    found = json_of(text, option)
    if not isinstance(found, dict):
        raise typer.BadParameter("not a JSON object", param_hint=option)
    return found


def json_of(text: str, option: str) -> Any:
    """The JSON that an option gives, itself or as ``@FILE``.

    Raises:
        typer.BadParameter: it is none.
    """
    if text.startswith("@"):
        text = _text_of(Path(text[1:]), option)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise typer.BadParameter(f"no JSON: {error}", param_hint=option) from None


def _text_of(path: Path, option: str) -> str:
    try:
        return read_text(path, MAX_MESSAGE_BYTES, "no command takes more")
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
