"""Sentences in the syntax of the file that they are about.

The rules of the language speak TOML, which has the words of the models. What they say of a YAML
file is turned here into what its author wrote, or has to write: ``tasks:`` for
``[[workflows.stages]]``, ``key: value`` for ``key = value``.
"""

import re
from collections.abc import Iterable
from typing import Final

from sagabus.definitions.keys import TABLES, did_you_mean, unknown_key, words_of
from sagabus.definitions.source_file import Syntax

#: Names in the models, and what YAML calls them.
YAML_WORDS: Final = {"stages": "tasks"}
_PHRASES: Final = (
    ("move it above [[workflows.stages]]", "move it above `tasks:`"),
    ("move it below [[workflows.stages]]", "move it into one of the `tasks`"),
    ("to the workflow, not to a stage", "to the workflow, not to a task"),
    ("[[workflows.stages]]", "`tasks:`"),
    ("[[workflows]]", "workflow"),
    ("`stages`", "`tasks`"),
    ("write stages = ", "write tasks = "),
)
#: What stands in quotes is the author's, or a value to write.
_QUOTED: Final = re.compile(r"""("[^"]*"|(?<![A-Za-z])'[^']*')""")
_ASSIGNMENT: Final = re.compile(r"\b([a-z_]+) = (?=\S|$)")


def in_syntax(message: str, syntax: Syntax) -> str:
    """``message`` as it is said of a file in ``syntax``."""
    if syntax == "toml":
        return message
    for phrase, yaml in _PHRASES:
        message = message.replace(phrase, yaml)
    parts = _QUOTED.split(message)
    parts[::2] = [_ASSIGNMENT.sub(r"\1: ", part) for part in parts[::2]]
    return "".join(parts)


def unknown_in(place: tuple[str, ...], key: str, syntax: Syntax) -> str:
    """What is wrong with ``key`` in the table of a workflows file at ``place``."""
    said = unknown_key(place, key)
    if syntax == "toml" or not said.startswith("unknown key"):
        return said
    words = [YAML_WORDS.get(field, field) for field in words_of(TABLES[place])]
    return unknown_among(key, ["ref", *words] if place == ("workflows",) else words)


def unknown_among(key: str, known: Iterable[str]) -> str:
    """What is wrong with ``key`` where ``known`` are all that there are."""
    words = list(known)
    return f"unknown key `{key}`{did_you_mean(key, words) or '; known here: ' + ', '.join(words)}"
