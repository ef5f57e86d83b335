"""Where a page ends, as one opaque word: what its last row is ordered by."""

import base64
import binascii
from datetime import datetime

from sagabus.errors import InvalidRequestError


def dump_cursor(created_at: datetime, instance_id: str) -> str:
    """The cursor that continues after the instance of that creation and id."""
    return dump_words(created_at.isoformat(), instance_id)


def load_cursor(cursor: str) -> tuple[datetime, str]:
    """Creation and id of the last instance of the page before.

    Raises:
        InvalidRequestError: this is no cursor of ours.
    """
    created_at, instance_id = load_words(cursor)
    try:
        return datetime.fromisoformat(created_at), instance_id
    except ValueError as error:
        raise _no_cursor(cursor) from error


def dump_words(first: str, second: str) -> str:
    """The cursor that continues after two words, the first without a space."""
    return base64.urlsafe_b64encode(f"{first} {second}".encode()).decode()


def load_words(cursor: str) -> tuple[str, str]:
    """The words of a cursor.

    Raises:
        InvalidRequestError: this is no cursor of ours.
    """
    try:
        first, space, second = base64.urlsafe_b64decode(cursor).decode().partition(" ")
    except (binascii.Error, ValueError) as error:
        raise _no_cursor(cursor) from error
    if not space:
        raise _no_cursor(cursor)
    return first, second


def _no_cursor(cursor: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{cursor!r} is no cursor: pass the one that came with the page before"
    )
