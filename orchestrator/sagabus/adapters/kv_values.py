"""What may stand under a key, the same in every store."""

from typing import Any, Final

import orjson

from sagabus.core.kv import is_key
from sagabus.errors import InvalidRequestError

MAX_VALUE_BYTES: Final = 64 * 1024


def check_key(key: str) -> str:
    """``key``, which can be one.

    Raises:
        InvalidRequestError: it cannot.
    """
    if not is_key(key):
        raise InvalidRequestError(
            f"{key[:60]!r} is no key: 1 to 200 letters, digits and _ . : / - make one"
        )
    return key


def check_prefix(prefix: str) -> str:
    """``prefix``, with which keys can begin.

    Raises:
        InvalidRequestError: none can.
    """
    return prefix and check_key(prefix)


def dump_value(key: str, value: Any) -> str:
    """``value`` as it is stored.

    Raises:
        InvalidRequestError: it has no JSON form, or a large one.
    """
    try:
        text = orjson.dumps(value)
    except TypeError as error:
        raise InvalidRequestError(f"the value of {key!r} has no JSON form: {error}") from None
    _check_size(key, len(text))
    return text.decode()


def check_secret(key: str, secret: str) -> str:
    """``secret``, which can be stored.

    Raises:
        InvalidRequestError: it cannot.
    """
    try:
        size = len(secret.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError(f"the secret {key!r} is no text") from None
    if not secret:
        raise InvalidRequestError(f"the secret {key!r} is empty")
    _check_size(key, size)
    return secret


def _check_size(key: str, size: int) -> None:
    if size > MAX_VALUE_BYTES:
        raise InvalidRequestError(
            f"the value of {key!r} has {size:,} bytes; at most {MAX_VALUE_BYTES:,} can be stored"
        )
