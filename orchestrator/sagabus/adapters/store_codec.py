"""Rows as JSON text, and back.

Free content (parameters, outputs) must come back exactly as it was. Text does that: the database's
own numbers end at 64 bits and round the last digit of some floats.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from sagabus.core.instance import Attempt, Instance
from sagabus.errors import InvariantError, StoreError

_T = TypeVar("_T")

_INSTANCE = TypeAdapter(Instance)
_ATTEMPT = TypeAdapter(Attempt)
_ATTEMPTS = TypeAdapter(list[Attempt])
_EVENTS = TypeAdapter(list[dict[str, Any]])
_DOCUMENT = TypeAdapter(dict[str, Any])


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
        # Past the adapter's own method: it is called for every row.
        return adapter.serializer.to_json(value, warnings="none", exclude_defaults=True).decode()
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
