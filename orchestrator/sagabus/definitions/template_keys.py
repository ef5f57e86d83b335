"""``kv`` in templates: values and secrets by key."""

from typing import Any, Protocol

from sagabus.core.kv import KEY_PATTERN, is_key
from sagabus.definitions.template_secrets import Secret, SecretError, SecretKey


class Lookup(Protocol):
    """``scope["kv"]``; see ``sagabus.core.kv.KnownKeys``."""

    def __getitem__(self, key: str) -> Any: ...


class KeyLookup:
    """What the name ``kv`` gives."""

    __slots__ = ("_has_secrets", "_known")

    def __init__(self, known: Lookup, *, has_secrets: bool) -> None:
        self._known = known
        self._has_secrets = has_secrets

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of ``key``; ``default`` where there is none.

        Raises:
            UnknownKeyError: nobody has looked the key up yet.
        """
        try:
            return self._known[_text(key)]
        except KeyError:
            return default

    def get_secret(self, key: Any) -> Secret:
        """What stands for a secret until the agent has it.

        Raises:
            SecretError: no secret can stand here.
        """
        if not self._has_secrets:
            raise SecretError("a secret can only stand in the input of a stage's agents")
        return Secret((SecretKey(_text(key)),))


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key is text, not {type(key).__name__}")
    if not is_key(key):
        raise ValueError(f"{key[:60]!r} is no key; keys match {KEY_PATTERN}")
    return str(key)
