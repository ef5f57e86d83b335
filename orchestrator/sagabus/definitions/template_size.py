"""How large one expression, and all expressions of a file, may be: compiling takes its time."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from jinja2 import TemplateSyntaxError, nodes

from sagabus.definitions.sandbox import SANDBOX

#: Characters of one text.
MAX_TEMPLATE_LENGTH: Final = 65_536
#: Words and signs in the expressions of one text.
MAX_WORDS: Final = 3_000
#: Expressions, and tags, inside each other; brackets too.
MAX_NESTING: Final = 40

_OUTSIDE: Final = frozenset({"data", "whitespace"})
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")


def check_size(text: str) -> None:
    """Refuse ``text``, before it is parsed, if that would take long.

    Raises:
        ValueError: it is too long, or its brackets are nested too deeply.
    """
    if len(text) > MAX_TEMPLATE_LENGTH:
        raise ValueError(f"{len(text):,} characters; at most {MAX_TEMPLATE_LENGTH:,}")
    # A text as short as this can hold neither too many words nor too many brackets.
    if len(text) <= MAX_NESTING:
        return
    depth = 0
    count = 0
    for word in islice(_words_of(text), MAX_WORDS + 1):
        count += 1
        depth += (word in _OPENING) - (word in _CLOSING)
        if depth > MAX_NESTING:
            raise _nested()
    if count > MAX_WORDS:
        raise ValueError(f"more than {MAX_WORDS:,} words and signs; leave it to an agent")


def count_words(texts: Iterable[str], limit: int) -> int:
    """Words and signs in the expressions of ``texts``; above ``limit`` it stops counting."""
    return sum(1 for _ in islice(chain.from_iterable(map(_words_of, texts)), limit + 1))


def check_depth(tree: nodes.Template) -> None:
    """Refuse an expression, or a tag, with too many others inside each other.

    Raises:
        ValueError: it is nested too deeply.
    """
    level: list[nodes.Node] = [tree]
    for _ in range(MAX_NESTING + 2):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise _nested()


def _words_of(text: str) -> Iterator[Any]:
    try:
        yield from (word for _, kind, word in SANDBOX.lex(text) if kind not in _OUTSIDE)
    except TemplateSyntaxError:
        return  # the parser says what is wrong


def _nested() -> ValueError:
    return ValueError("nested too deeply")
