"""What all documents share: immutability, errors, durations."""

import re
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from sagabus.core.instance import Failure


class View(BaseModel):
    """A document; fields are only ever added."""

    model_config = ConfigDict(frozen=True)


class ErrorView(View):
    """Why something failed."""

    type: str
    message: str
    stage: str | None = None
    task: str | None = None
    policies: list[str] = Field(default_factory=list)


def error_of(failure: Failure | None) -> ErrorView | None:
    """The document of a failure."""
    if failure is None:
        return None
    return ErrorView(
        type=failure.type,
        message=failure.message,
        stage=failure.stage,
        task=failure.task,
        policies=failure.policies,
    )


def with_stage(message: str, stage: str | None) -> str:
    """An error's message behind the stage that it is of, unless it names that: ``stage a: ...``."""
    if stage is None or re.search(rf"\bstage '?{re.escape(stage)}\b", message):
        return message
    return f"stage {stage}: {message}"


def seconds(start: datetime, end: datetime | None) -> float | None:
    """From ``start`` to ``end``; None while there is no end."""
    return None if end is None else (end - start).total_seconds()
