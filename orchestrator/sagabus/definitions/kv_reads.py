"""Which keys of the key-value store templates read, so that the values are at hand in time."""

from collections.abc import Iterable

from jinja2 import nodes

from sagabus.definitions.templates import kv_reads, parse_text


def kv_keys_of(texts: Iterable[str]) -> tuple[frozenset[str], bool]:
    """The keys that ``texts`` read by a constant name, and whether they read any at all.

    Raises:
        ValueError: one of them is no valid template.
    """
    keys: set[str] = set()
    reads_kv = False
    for text in texts:
        if "kv" not in text:
            continue
        for call in kv_reads(parse_text(text), "get"):
            reads_kv = True
            if call.args and isinstance(call.args[0], nodes.Const):
                keys.add(str(call.args[0].value))
    return frozenset(keys), reads_kv
