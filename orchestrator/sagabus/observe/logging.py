"""How lines of structlog and of ``logging`` are written: JSON or console, on standard error."""

import json
import logging
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

#: Libraries that speak through ``logging``, and the least level that is of use to an operator.
_LIBRARIES: Final = {
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "nats": logging.ERROR,
    "asyncio": logging.WARNING,
    "watchfiles": logging.WARNING,
    "httpx": logging.WARNING,
}
#: What the eye looks for stands first.
_FIRST: Final = ("timestamp", "level", "event", "workflow_id")


def configure(
    level: str = "info",
    log_format: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Set up the whole process; a program that embeds the orchestrator does its own instead.

    ``auto`` is console when the stream (default: standard error) is a terminal, else JSON.
    """
    out = sys.stderr if stream is None else stream
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    ]
    final = _console(out) if is_console else _json()
    structlog.configure(
        processors=[*shared, *final],
        # Levels below the threshold become methods that do nothing: the cheapest way to be silent.
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    _configure_logging(threshold, shared, final, out)


def _json() -> list[Processor]:
    # Plain tracebacks: the structured ones print local variables, and so passwords.
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_dumps),
    ]


def _console(out: TextIO) -> list[Processor]:
    return [
        _instants_as_text,
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(),
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _instants_as_text(_: Any, __: str, line: EventDict) -> EventDict:
    for key, value in line.items():
        if isinstance(value, datetime):
            line[key] = value.isoformat()
    return line


def _dumps(line: dict[str, Any], **_: Any) -> str:
    first = {key: line.pop(key) for key in _FIRST if key in line}
    try:
        return orjson.dumps(first | line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # Half a surrogate pair, from an agent's message: a log line must never fail its caller.
        return json.dumps(first | line, default=str, skipkeys=True)


def _configure_logging(
    threshold: int, shared: Sequence[Processor], final: Sequence[Processor], out: TextIO
) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.INFO))
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(threshold, least))
