"""Cedar policies as text: single statements with their lines, and what to write for wrong ones.

Cedar's own parse errors carry no line, so a file is split into statements and each is parsed alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: What a statement is made of, as far as finding its end goes.
_TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<comment>//[^\n]*)|(?P<end>;)', re.DOTALL)
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_STRING_PRINCIPAL = re.compile(r'\bprincipal\s*(?:==|in|is)\s*"')
_STRING_ACTION = re.compile(r'\baction\s*(?:==|in)\s*\[?\s*"(?P<name>[^"]*)"')
_STRING_RESOURCE = re.compile(r'\bresource\s*(?:==|in)\s*"(?P<name>[^"]*)"')
_RESOURCE_LIST = re.compile(r"\bresource\s+in\s*(?P<list>\[[^\]]*\])")

PRINCIPAL: Final = 'Orchestrator::"sagabus"'


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy, or what is left at the end of a file without a semicolon."""

    text: str
    #: Line of its first word, from 1.
    line: int


def statements(text: str) -> Iterator[Statement]:
    """Split a file; quotes and comments are respected."""
    start = _begin(text, 0)
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "end" and token.start() >= start:
            yield Statement(text[start : token.end()], text.count("\n", 0, start) + 1)
            start = _begin(text, token.end())
    if start < len(text):
        yield Statement(text[start:], text.count("\n", 0, start) + 1)


def advice(text: str) -> str | None:
    """What to write instead of forms that look like Cedar and are not."""
    bare = _TOKEN.sub(_without_comment, text)
    if _STRING_PRINCIPAL.search(bare):
        return f"a principal is an entity; write principal == {PRINCIPAL}"
    if match := _STRING_ACTION.search(bare):
        return f'an action is an entity; write action == Action::"{match["name"]}"'
    if match := _STRING_RESOURCE.search(bare):
        return f'a resource is an entity; write resource == Stage::"{match["name"]}"'
    if match := _RESOURCE_LIST.search(bare):
        listed = " ".join(match["list"].split())
        return (
            "a resource is compared with one entity; write `resource` alone, and after the "
            f"parentheses: when {{ {listed}.contains(resource) }}"
        )
    return None


def _begin(text: str, offset: int) -> int:
    match = _BLANK.match(text, offset)
    return match.end() if match else offset


def _without_comment(token: re.Match[str]) -> str:
    return "" if token.lastgroup == "comment" else token[0]
