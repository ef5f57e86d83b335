"""``sagabus diff``: what a change of workflows files means before it is put in force."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from rich.text import Text

from sagabus.cli.output import clean, say, say_json
from sagabus.core.graph import Edge
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.compare import Comparison, KeyChange, WorkflowChange, compare
from sagabus.definitions.diagrams.captions import label_of
from sagabus.errors import InvalidConfigError

UNREADABLE: Final = 2
_MAX_VALUE: Final = 120
#: The first part tells two of them apart.
_DIGEST: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_COLOURS: Final = {"+": "green", "-": "red", "~": "yellow"}


def run(old: Path, new: Path, *, is_json: bool) -> int:
    """Compare the files; the exit code."""
    try:
        found = compare(_load(old), _load(new))
    except InvalidConfigError as error:
        for problem in error.problems:
            say(f"sagabus: {problem}", is_error=True)
        return UNREADABLE
    if is_json:
        say_json(_document(found))
    else:
        for mark, words in _lines(found):
            say(Text(clean(words), style=_COLOURS.get(mark, "")))
    return 0 if found.is_same else 1


def _load(path: Path) -> Catalog:
    """What is compared: of a pack, or of a file in one, not the packs beside it."""
    catalog = Catalog.load(path)
    if not catalog.is_of_one_pack:
        return catalog
    return replace(catalog, definitions={name: catalog.get(name) for name in catalog.named()})


def change_lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A change of one workflow, as of the API, line by line, each with its colour."""
    change = TypeAdapter(WorkflowChange).validate_python(document)
    for mark, words in _workflow(change):
        yield _COLOURS.get(mark, ""), words


def _document(found: Comparison) -> dict[str, Any]:
    document = asdict(found)
    for workflow in document["workflows"]:
        for edge in (*workflow["added_edges"], *workflow["removed_edges"]):
            del edge["is_taken"]
    return {"same": found.is_same, **document}


def _lines(found: Comparison) -> Iterator[tuple[str, str]]:
    """Lines with a mark: added, removed, changed, or neither."""
    if found.is_same:
        yield "", "nothing differs"
        return
    if found.engine:
        yield "~", "~ [engine]"
        yield from (_key(change) for change in found.engine)
    for workflow in found.workflows:
        yield from _workflow(workflow)
    yield "", ""
    yield from (("", line) for line in _meaning(found))


def _workflow(change: WorkflowChange) -> Iterator[tuple[str, str]]:
    mark = {"added": "+", "removed": "-", "changed": "~"}[change.change]
    stages = change.added_stages or change.removed_stages
    told = "" if change.change == "changed" else f" ({', '.join(stages)})"
    yield mark, f"{mark} workflow {change.name}{told}"
    if change.change != "changed":
        return
    for mark, names in (("+", change.added_stages), ("-", change.removed_stages)):
        yield from ((mark, f"  {mark} stage {name}") for name in names)
    for mark, edges in (("+", change.added_edges), ("-", change.removed_edges)):
        yield from ((mark, f"  {mark} edge {_edge(edge)}") for edge in edges)
    yield from (_key(key) for key in change.keys)


def _edge(edge: Edge) -> str:
    return f"{edge.source} → {edge.target} ({label_of(edge, _MAX_VALUE)})"


def _key(change: KeyChange) -> tuple[str, str]:
    mark = "+" if change.old is None else "-" if change.new is None else "~"
    place = f"stage {change.stage}: " if change.stage else ""
    return mark, f"  {mark} {place}{change.key}: {_value(change.old)} → {_value(change.new)}"


def _value(value: Any) -> str:
    if value is None:
        return "(absent)"
    text = _DIGEST.sub(r"\1", orjson.dumps(value).decode())
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}..."


def _meaning(found: Comparison) -> Iterator[str]:
    kept = _named(found, {"changed", "removed"})
    yield (
        "Running instances: nothing changes; each keeps the definition that it started on"
        + (f", those of {', '.join(kept)} the old one." if kept else ".")
    )
    if new := _named(found, {"added", "changed"}):
        yield f"New instances of {', '.join(new)} start on the new one."
    if gone := _named(found, {"removed"}):
        yield f"{', '.join(gone)} can no longer be started."
    if found.unchanged:
        yield f"Unchanged: {', '.join(found.unchanged)}."


def _named(found: Comparison, changes: set[str]) -> Sequence[str]:
    return [one.name for one in found.workflows if one.change in changes]
