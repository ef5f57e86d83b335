"""How a sentence shows a value that somebody wrote: in the words of files, not of Python."""

from typing import Any, Final

_LONGEST: Final = 60


def shown(value: Any) -> str:
    """``value``, its end cut off where it is long."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            text = repr(value)
            return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
