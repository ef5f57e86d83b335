"""What a plain word of YAML means: the core schema of YAML 1.2, and what is doubtful stays text.

So ``on``, ``yes``, ``no`` and ``off``, dates and times, ``1:30``, ``1_000`` and ``007`` are text:
YAML 1.1 makes other things of them, which is not what their authors meant.
"""

import re
from typing import Final

Scalar = str | int | float | bool | None

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASES: Final = ((re.compile(r"0o[0-7]+"), 8), (re.compile(r"0x[0-9a-fA-F]+"), 16))
_FLOAT: Final = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
#: The digits of 64 bits in base 8, the longest of the three.
_LONGEST: Final = 25

_PREFIX: Final = "tag:yaml.org,2002:"
#: What an explicit tag asks for.
_TAGGED: Final[dict[str, tuple[type, ...]]] = {
    f"{_PREFIX}null": (type(None),),
    f"{_PREFIX}bool": (bool,),
    f"{_PREFIX}int": (int,),
    f"{_PREFIX}float": (float, int),
}
TEXT: Final = frozenset({"!", f"{_PREFIX}str"})
LIST: Final = frozenset({"!", f"{_PREFIX}seq"})
TABLE: Final = frozenset({"!", f"{_PREFIX}map"})


class ScalarError(Exception):
    """A scalar has no meaning here; the text says what to write."""


def plain(text: str) -> Scalar:
    """What ``text`` means where it stands without quotes.

    Raises:
        ScalarError: a whole number that does not fit into 64 bits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _whole(text, 10)
    for pattern, base in _BASES:
        if pattern.fullmatch(text):
            return _whole(text[2:], base)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".", "", 1) if text[-1].isalpha() else text)
    return text


def tagged(text: str, tag: str) -> Scalar:
    """What ``text`` means under an explicit ``tag``.

    Raises:
        ScalarError: the tag means nothing here, or something else than the text.
    """
    if tag in TEXT:
        return text
    if tag not in _TAGGED:
        raise ScalarError(unknown_tag(tag))
    value = plain(text)
    # True and False are ints in Python, and no numbers here.
    if not isinstance(value, _TAGGED[tag]) or isinstance(value, bool) != tag.endswith(":bool"):
        raise ScalarError(f"{text!r} is not what its tag {shown_tag(tag)} says; leave the tag out")
    return float(value) if isinstance(value, int) and tag.endswith(":float") else value


def unknown_tag(tag: str) -> str:
    """What to say of a tag that means nothing here."""
    return f"the tag {shown_tag(tag)} means nothing here; leave it out"


def shown_tag(tag: str) -> str:
    """``tag`` as people write it."""
    text = f"!!{tag.removeprefix(_PREFIX)}" if tag.startswith(_PREFIX) else tag
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whole(digits: str, base: int) -> int:
    # Not converted before it is known to be short: that takes time that grows with its square.
    value = int(digits, base) if len(digits) <= _LONGEST else None
    if value is None or not -(2**63) <= value < 2**63:
        shown = digits if len(digits) <= 40 else f"{digits[:37]}..."
        raise ScalarError(f"{shown} does not fit into 64 bits; write it as text, in quotes")
    return value
