"""Rows as JSON text, and back.

Free content (parameters, outputs) must come back exactly as it was. Text does that: the database's
own numbers end at 64 bits and round the last digit of some floats.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from sagabus.core.definition import SecretUse
from sagabus.core.instance import (
    Answer,
    Attempt,
    Consent,
    Failing,
    Failure,
    Firing,
    Gate,
    Instance,
    ParentRef,
    Parked,
    Pause,
    Resource,
    StageRun,
)
from sagabus.errors import InvariantError, StoreError

_T = TypeVar("_T")

_INSTANCE = TypeAdapter(Instance)
_ATTEMPT = TypeAdapter(Attempt)
_ATTEMPTS = TypeAdapter(list[Attempt])
_EVENTS = TypeAdapter(list[dict[str, Any]])
_DOCUMENT = TypeAdapter(dict[str, Any])
_ITEMS = TypeAdapter(list[Any])

_FAST: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_UTC_Z


def _reader(cls: type) -> Callable[[Any], dict[str, Any]]:
    """What an object of a dataclass holds beside defaults, as a function of it.

    Compiled, as ``dataclass`` makes an ``__init__``: a loop over the fields takes three times as
    long, and each commit calls it for every row.
    """
    lines = ["def read(value):", "    held = {}"]
    defaults: dict[str, Any] = {}
    for each in fields(cls):
        name = each.name
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if default is MISSING:
            lines.append(f"    held[{name!r}] = value.{name}")
            continue
        defaults[f"default_{name}"] = default
        # What is the default is mostly the very object, and to ask that is faster than to compare.
        differs = "" if default is None else f" and found != default_{name}"
        lines.append(f"    if (found := value.{name}) is not default_{name}{differs}:")
        lines.append(f"        held[{name!r}] = found")
    # Field names and defaults of our own classes: nothing of it comes from outside.
    exec("\n".join([*lines, "    return held"]), defaults)  # noqa: S102
    read: Callable[[Any], dict[str, Any]] = defaults["read"]
    return read


_STORED: Final = (
    *(
        Instance,
        Attempt,
        StageRun,
        Gate,
        Consent,
        Failure,
        Answer,
        Failing,
        ParentRef,
        Pause,
        Firing,
    ),
    *(SecretUse, Parked, Resource),
)
_READERS: Final = {cls: _reader(cls) for cls in _STORED}


class CorruptRowError(StoreError):
    """A stored row does not say what a row of its kind must say."""


def dump_instance(instance: Instance) -> str:
    """The instance as JSON.

    Raises:
        InvariantError: something in it has no JSON form.
    """
    return _dump(_INSTANCE, instance, instance.id)


def load_instance(text: str) -> Instance:
    """The instance back.

    Raises:
        CorruptRowError: the text is not an instance.
    """
    return _load(_INSTANCE, text)


def dump_attempt(attempt: Attempt, instance_id: str) -> str:
    """The attempt as JSON.

    Raises:
        InvariantError: something in it has no JSON form.
    """
    return _dump(_ATTEMPT, attempt, instance_id)


def load_attempt(text: str) -> Attempt:
    """The attempt back.

    Raises:
        CorruptRowError: the text is not an attempt.
    """
    return _load(_ATTEMPT, text)


def dump_attempts(attempts: list[Attempt], instance_id: str) -> str:
    """Attempts as a JSON array.

    Raises:
        InvariantError: something in them has no JSON form.
    """
    return _dump(_ATTEMPTS, attempts, instance_id)


def load_attempts(text: str) -> list[Attempt]:
    """The attempts back.

    Raises:
        CorruptRowError: the text is not a list of attempts.
    """
    return _load(_ATTEMPTS, text)


def dump_events(events: Sequence[Mapping[str, Any]], instance_id: str) -> str:
    """The events of one transition as a JSON array.

    Raises:
        InvariantError: something in them has no JSON form.
    """
    return _dump(_EVENTS, [dict(event) for event in events], instance_id)


def load_events(text: str) -> list[dict[str, Any]]:
    """The events back, ``at`` as an aware datetime.

    Raises:
        CorruptRowError: the text is not a list of events.
    """
    events = _load(_EVENTS, text)
    try:
        for event in events:
            event["at"] = datetime.fromisoformat(event["at"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptRowError(f"an event lacks a readable 'at': {error!r}") from error
    return events


def dump_items(items: list[Any], instance_id: str) -> str:
    """A run's list as JSON.

    Raises:
        InvariantError: something in it has no JSON form.
    """
    return _dump(_ITEMS, items, instance_id)


def load_items(text: str) -> list[Any]:
    """The list back.

    Raises:
        CorruptRowError: the text is not a list.
    """
    return _load(_ITEMS, text)


def dump_document(document: Mapping[str, Any]) -> str:
    """A definition as JSON."""
    return _DOCUMENT.dump_json(dict(document)).decode()


def load_document(text: str) -> dict[str, Any]:
    """The definition back.

    Raises:
        CorruptRowError: the text is not an object.
    """
    return _load(_DOCUMENT, text)


def _dump(adapter: TypeAdapter[_T], value: _T, instance_id: str) -> str:
    try:
        # Every row comes by here: this takes a third of the adapter's time for the same text.
        return orjson.dumps(value, _without_defaults, _FAST).decode()
    except orjson.JSONEncodeError:
        return _dump_any(adapter, value, instance_id)


def _without_defaults(value: Any) -> dict[str, Any]:
    read = _READERS.get(type(value))
    if read is None:
        raise TypeError
    return read(value)


def _dump_any(adapter: TypeAdapter[_T], value: _T, instance_id: str) -> str:
    """Also what only the adapter writes: integers beyond 64 bits, instants of any zone."""
    try:
        return adapter.dump_json(value, warnings="none", exclude_defaults=True).decode()
    except PydanticSerializationError as error:
        raise InvariantError(
            f"instance {instance_id} holds a value that cannot be stored: {error}",
            instance_id=instance_id,
        ) from error


def _load(adapter: TypeAdapter[_T], text: str) -> _T:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = f"{place}: {first['msg']}" if place else first["msg"]
        raise CorruptRowError(message) from error
