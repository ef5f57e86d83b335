"""What templates know of the key-value store: keys that the shell has looked up, and no others."""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

#: What a key may be.
KEY_PATTERN: Final = r"^[A-Za-z0-9_.:/-]{1,200}$"
_KEY: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")


#: Keys that are no constants and are looked up for one decision.
MAX_ASKED: Final = 100


class Closed(dict[str, Any]):
    """What is known, and no more is looked up."""


class Mark(Enum):
    """What stands for a value that cannot be read."""

    #: The key was looked up, and there is none.
    ABSENT = "absent"
    #: There is a secret, which only agents read.
    SECRET = "secret"  # noqa: S105 - a word, not a password


class UnknownKeyError(Exception):
    """A template reads a key that was not looked up yet: look it up and decide again."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the key {key!r} was not looked up")


class TooManyKeysError(Exception):
    """A template reads more keys than are looked up for one decision."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"{key!r} is one key too many: at most {MAX_ASKED} that no name is written for"
        )


class SecretKeyError(Exception):
    """A template reads a secret as if it were a value."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key!r} is a secret; write kv.get_secret({key!r}) in a stage's input")


class KnownKeys:
    """``scope["kv"]``: values by key, as far as they were looked up."""

    __slots__ = ("_known",)

    def __init__(self, known: Mapping[str, Any]) -> None:
        """``known`` holds a value or a ``Mark`` for every key that was looked up."""
        self._known = known

    def __getitem__(self, key: str) -> Any:
        """The value.

        Raises:
            KeyError: there is no such key.
            SecretKeyError: it is a secret.
            UnknownKeyError: nobody has looked.
            TooManyKeysError: nobody has looked, and nobody will.
        """
        if key not in self._known:
            raise TooManyKeysError(key) if isinstance(self._known, Closed) else UnknownKeyError(key)
        value = self._known[key]
        if value is Mark.ABSENT:
            raise KeyError(key)
        if value is Mark.SECRET:
            raise SecretKeyError(key)
        return value


def known_keys(asked: Iterable[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """What is known once ``asked`` were looked up and ``found`` was there."""
    return {key: found.get(key, Mark.ABSENT) for key in asked}


def is_key(text: str) -> bool:
    """Whether ``text`` can be a key."""
    return _KEY.fullmatch(text) is not None
