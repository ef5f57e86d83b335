"""Secrets in templates: placed, never seen.

``kv.get_secret(key)`` gives an object that can become a value, or a part of a text, and nothing
else. Rendering replaces it by a placeholder and says where that stands: what looks like a
placeholder in data is only text.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from sagabus.core.definition import SecretUse

_REFUSED: Final = "a secret can only be placed, as a value or inside text, never changed or tested"


class SecretError(Exception):
    """An expression does something with a secret that it may not."""


def _refuse(*_: Any) -> NoReturn:
    raise SecretError(_REFUSED)


class SecretKey(str):
    """The key of a secret, where it stands in a text."""

    __slots__ = ()


class Secret:
    """A secret, with the text around it: each part a text or a ``SecretKey``."""

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[str]) -> None:
        self.parts = tuple(parts)


#: Everything that Python would do to a value by itself.
_OPERATIONS: Final = (
    "hash str format bool int float index len iter contains getitem call neg pos invert abs round"
    " eq ne lt le gt ge add radd sub rsub mul rmul mod rmod truediv rtruediv floordiv rfloordiv"
    " pow rpow and rand or ror"
)
for _name in _OPERATIONS.split():
    setattr(Secret, f"__{_name}__", _refuse)


class SecretText(str):
    """What Jinja hands through as text, with the secret that it stands for."""

    __slots__ = ("secret",)
    secret: Secret

    def __str__(self) -> str:
        # Not a plain text: Jinja calls str() on all it puts out.
        return self


def refuse_secrets(values: Iterable[Any]) -> None:
    """Let no secret into a filter, a test or a call.

    Raises:
        SecretError: one of ``values`` is one.
    """
    for value in values:
        if type(value) is Secret:
            _refuse()


def parts_of(value: str | Secret) -> tuple[str, ...]:
    """A text, or a secret, as parts."""
    return value.parts if type(value) is Secret else (str(value),)


def output(secret: Secret) -> SecretText:
    """A secret on its way through Jinja."""
    text = SecretText(placeholders(secret, (), []))
    text.secret = secret
    return text


def placed(value: Any, path: tuple[str | int, ...], uses: list[SecretUse]) -> Any:
    """``value`` with placeholders for its secrets, each noted in ``uses``."""
    if type(value) is Secret:
        return placeholders(value, path, uses)
    if isinstance(value, dict):
        return {name: placed(item, (*path, name), uses) for name, item in value.items()}
    if isinstance(value, list):
        return [placed(item, (*path, index), uses) for index, item in enumerate(value)]
    return value


def placeholders(
    secret: Secret, path: tuple[str | int, ...], uses: list[SecretUse], at: int = 0
) -> str:
    """The text of ``secret``, which begins at ``at``; its placeholders are added to ``uses``."""
    return "".join(_pieces(secret, path, uses, at))


def _pieces(
    secret: Secret, path: tuple[str | int, ...], uses: list[SecretUse], at: int
) -> Iterator[str]:
    for part in secret.parts:
        text = f"[secret:{part!s}]" if isinstance(part, SecretKey) else part
        if isinstance(part, SecretKey):
            uses.append(SecretUse(path, at, at + len(text), str(part)))
        at += len(text)
        yield text
