"""Where a page of instances ends: the last one's creation and id, as one opaque word."""

import base64
import binascii
from datetime import datetime

from sagabus.errors import InvalidRequestError


def dump_cursor(created_at: datetime, instance_id: str) -> str:
    """The cursor that continues after the instance of that creation and id."""
    text = f"{created_at.isoformat()} {instance_id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def load_cursor(cursor: str) -> tuple[datetime, str]:
    """Creation and id of the last instance of the page before.

    Raises:
        InvalidRequestError: this is no cursor of ours.
    """
    try:
        created_at, _, instance_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        return datetime.fromisoformat(created_at), instance_id
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(
            f"{cursor!r} is no cursor: pass the one that came with the page before"
        ) from error
