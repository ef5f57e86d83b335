"""Where a page of instances ends: the last one's creation and id, as one opaque word."""

import base64
import binascii
from datetime import datetime

from sagabus.core.instance import Instance
from sagabus.errors import InvalidRequestError


def dump_cursor(last: Instance) -> str:
    """The cursor that continues after ``last``."""
    text = f"{last.created_at.isoformat()} {last.id}"
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
