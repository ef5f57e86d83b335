"""What the difference between two configurations means, workflow by workflow, key by key.

Compared is what an instance would be pinned to: the snapshot, every default resolved. So whatever
changes the digest shows here, wherever in the files it comes from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sagabus.core.definition import Definition
from sagabus.core.graph import Edge, graph_of
from sagabus.definitions.catalog import Catalog


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One key; ``old`` or ``new`` is None where the key is absent."""

    #: None: of the workflow, or of ``[engine]``.
    stage: str | None
    key: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class WorkflowChange:
    """What becomes of one workflow; of an added or removed one only stages are told."""

    name: str
    change: Literal["added", "removed", "changed"]
    old_digest: str | None
    new_digest: str | None
    added_stages: tuple[str, ...] = ()
    removed_stages: tuple[str, ...] = ()
    added_edges: tuple[Edge, ...] = ()
    removed_edges: tuple[Edge, ...] = ()
    keys: tuple[KeyChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that differs."""

    #: Of ``[engine]``.
    engine: tuple[KeyChange, ...]
    workflows: tuple[WorkflowChange, ...]
    #: Names of the workflows that are the same.
    unchanged: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """True when neither new nor running instances could tell the two apart."""
        return not self.engine and not self.workflows


def compare(old: Catalog, new: Catalog) -> Comparison:
    """What changes when ``new`` is put in force in place of ``old``."""
    names = dict.fromkeys([*old.definitions, *new.definitions])
    changes = {
        name: change_of(name, old.definitions.get(name), new.definitions.get(name))
        for name in names
    }
    before, after = (one.engine.model_dump(mode="json", exclude_none=True) for one in (old, new))
    return Comparison(
        engine=tuple(KeyChange(None, *one) for one in _differences(before, after)),
        workflows=tuple(change for change in changes.values() if change is not None),
        unchanged=tuple(name for name, change in changes.items() if change is None),
    )


def change_of(name: str, old: Definition | None, new: Definition | None) -> WorkflowChange | None:
    """What becomes of one workflow; None: nothing differs."""
    if old is None or new is None:
        return WorkflowChange(
            name,
            "added" if old is None else "removed",
            old.digest if old else None,
            new.digest if new else None,
            added_stages=tuple(new.stages) if new else (),
            removed_stages=tuple(old.stages) if old else (),
        )
    if old.digest == new.digest:
        return None
    old_edges, new_edges = graph_of(old).edges, graph_of(new).edges
    return WorkflowChange(
        name,
        "changed",
        old.digest,
        new.digest,
        added_stages=tuple(stage for stage in new.stages if stage not in old.stages),
        removed_stages=tuple(stage for stage in old.stages if stage not in new.stages),
        added_edges=tuple(edge for edge in new_edges if edge not in old_edges),
        removed_edges=tuple(edge for edge in old_edges if edge not in new_edges),
        keys=tuple(_keys(old.document, new.document)),
    )


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[KeyChange]:
    """Keys of the workflow and of the stages that both have, and what stands for their actions."""
    before, after = _parts(old), _parts(new)
    for place in before:
        if place in after:  # else a stage that was removed
            for difference in _differences(before[place], after[place]):
                yield KeyChange(place, *difference)


#: What of a snapshot says who carries a stage out.
_LINKS: Final = "links"


def _parts(document: Mapping[str, Any]) -> dict[str | None, dict[str, Any]]:
    """The tables of a snapshot: by stage, and under None what is the workflow's own."""
    workflow = dict(document["workflow"])
    stages = list(_stages(workflow.pop("stages")))
    others = {key: item for key, item in document.items() if key not in {"workflow", _LINKS}}
    outer = [stage["name"] for stage, block in stages if block is None]
    own = {**workflow, **others, "stages": outer}
    parts: dict[str | None, dict[str, Any]] = {None: own}
    for stage, block in stages:
        link = document.get(_LINKS, {}).get(stage["name"], {})
        children = [child["name"] for child in stage.get("stages", [])]
        extra = {"block": block, "stages": children or None, "carried out by": link or None}
        parts[stage["name"]] = {
            **{key: item for key, item in stage.items() if key not in {"name", "stages"}},
            **{key: item for key, item in extra.items() if item is not None},
        }
    return parts


def _stages(
    stages: Sequence[Mapping[str, Any]], block: str | None = None
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    for stage in stages:
        yield stage, block
        yield from _stages(stage.get("stages", ()), stage["name"])


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, old and new value of everything that differs; tables are gone into."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            inner = f"{key}.{name}" if key else str(name)
            yield from _differences(old.get(name), new.get(name), inner)
    elif old != new or type(old) is not type(new):
        yield key, old, new
