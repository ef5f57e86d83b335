"""How the processes that this package starts write their log: to stderr, text or JSON."""

import os
import sys

import structlog
from structlog.typing import Processor


def configure_logging() -> None:
    """Configure structlog, unless the program has done so.

    ``SAGABUS_LOG_FORMAT`` is ``console`` or ``json``; without it a terminal gets the first.
    """
    if structlog.is_configured():
        return
    is_terminal = sys.stderr.isatty()
    wanted = os.environ.get("SAGABUS_LOG_FORMAT", "console" if is_terminal else "json")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if wanted == "json"
        else [structlog.dev.ConsoleRenderer(colors=is_terminal)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(
            os.environ.get("SAGABUS_LOG_LEVEL", "info")
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
