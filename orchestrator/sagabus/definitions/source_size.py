"""How much of what takes long to check one file may hold: expressions and parameters."""

from collections.abc import Mapping
from typing import Any, Final

from sagabus.definitions.template_names import texts_of
from sagabus.definitions.template_size import count_words

#: Different expressions; each takes about a millisecond to compile.
MAX_EXPRESSIONS: Final = 2_000
#: Words and signs in all of them.
MAX_WORDS: Final = 40_000
#: Parameters of all workflows; each has a schema that is checked itself.
MAX_PARAMETERS: Final = 2_000


def too_many(data: Mapping[str, Any]) -> str | None:
    """What ``data``, a workflows file, has too much of, and what to do."""
    workflows = data.get("workflows")
    if not isinstance(workflows, list):
        return None
    texts = {text for _, text in texts_of(workflows)}
    if len(texts) > MAX_EXPRESSIONS:
        return f"{len(texts):,} different expressions{_advice(MAX_EXPRESSIONS)}"
    if count_words(texts, MAX_WORDS) > MAX_WORDS:
        return f"more words and signs of expressions than can be read{_advice(MAX_WORDS)}"
    parameters = sum(
        len(declared)
        for one in workflows
        if isinstance(one, dict) and isinstance(declared := one.get("parameters"), dict)
    )
    return (
        f"{parameters:,} parameters{_advice(MAX_PARAMETERS)}"
        if parameters > MAX_PARAMETERS
        else None
    )


def _advice(limit: int) -> str:
    return f" in one file; at most {limit:,}, so split it"
