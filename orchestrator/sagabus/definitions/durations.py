"""Durations as a type of the models."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from sagabus.core.durations import parse_duration


def _read(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("sagabus", "{message}", {"message": str(error)}) from None


def seconds_of(value: timedelta) -> int | float:
    """``value`` in seconds, whole where it is whole."""
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


Duration = Annotated[timedelta, BeforeValidator(_read), PlainSerializer(seconds_of)]
