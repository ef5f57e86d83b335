"""What is sound of a workflow that has something wrong with its shape.

Values that do not fit are left out, and what must be there is stood in for, until the rest has the
shape of the models: so the rules that go beyond the shape find what else is wrong at once. They
are told what is left out, and say nothing that would follow from that alone.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from pydantic import ValidationError

from sagabus.core.definition import END
from sagabus.definitions.findings import MAX_FINDINGS
from sagabus.definitions.keys import TABLES, nearest, words_of
from sagabus.definitions.models import ChildModel, StageModel, WorkflowModel
from sagabus.definitions.source_file import KeyPath

#: For what a table cannot do without; names are given anew afterwards.
_STAND_INS: Final[Mapping[str, Any]] = {"name": "x", "do": END, "count": 0, "stages": [{}]}
#: Each one leaves something out, from the innermost table to the outermost.
_MAX_ROUNDS: Final = 20


def sound_part(raw: Mapping[str, Any]) -> tuple[WorkflowModel | None, frozenset[KeyPath]]:
    """What is sound of ``raw``, and the places in it whose value is therefore not known.

    None: it is not worth a look, as there is so much to mend first. A sound workflow has no such
    places.
    """
    try:
        return _with_own_names(WorkflowModel.model_validate(raw), frozenset(), raw)
    except ValidationError as error:
        mistakes = error
    if mistakes.error_count() > MAX_FINDINGS:
        return None, frozenset()
    data, unknown = deepcopy(dict(raw)), set[KeyPath]()
    for _ in range(_MAX_ROUNDS):
        details = mistakes.errors(include_url=False, include_context=False, include_input=False)
        for one in details:
            unknown.update(_leave_out(data, one["loc"], one["type"]))
        try:
            model = WorkflowModel.model_validate(data)
        except ValidationError as error:
            mistakes = error
            continue
        return _with_own_names(model, frozenset(unknown), raw)
    return None, frozenset(unknown)


def _leave_out(data: dict[str, Any], place: KeyPath, kind: str) -> Iterator[KeyPath]:
    """Leave out, or stand in for, the value at ``place``; gives what is not known any more."""
    node: Any = data
    table, end = data, 0
    for number, key in enumerate(place):
        if isinstance(node, dict):
            table, end = node, number
            node = node.get(str(key))
        elif isinstance(node, list) and isinstance(key, int) and key < len(node):
            if number == len(place) - 1 and _words(place[:number]) in TABLES:
                # The others of the list keep their places.
                node[key] = {}
                yield place[: number + 1]
                return
            node = node[key]
        else:
            break
    if not place:
        return
    last, here = str(place[end]), place[: end + 1]
    if kind == "missing" and here == place:
        table[last] = deepcopy(_STAND_INS[last])
    else:
        table.pop(last, None)
    yield _meant(here) if kind == "extra_forbidden" else here


def _meant(place: KeyPath) -> KeyPath:
    """What an unknown key at ``place`` stands for, as far as that can be guessed."""
    *around, last = place
    table = TABLES[_words(around)]
    is_stage = issubclass(table, ChildModel)
    if is_stage and last in StageModel.model_fields:
        return place
    if is_stage and last in WorkflowModel.model_fields:
        return (last,)
    # Who does not know the word for the agents finds another one.
    near = nearest(str(last), words_of(table)) or ("agents" if is_stage else last)
    return (*around, near)


def _words(place: KeyPath | list[str | int]) -> tuple[str, ...]:
    return ("workflows", *(key for key in place if isinstance(key, str)))


def _with_own_names(
    model: WorkflowModel, unknown: frozenset[KeyPath], raw: Mapping[str, Any]
) -> tuple[WorkflowModel, frozenset[KeyPath]]:
    """``model`` with each stage under its name as written, or its number where it has no own."""
    names = [stage.name for stage in model.all_stages()]
    if not unknown and len(set(names)) == len(names):
        return model, unknown
    seen: set[str] = set()
    nameless: set[KeyPath] = set()

    def named(written: Any, place: KeyPath) -> dict[str, Any]:
        name = written.get("name") if isinstance(written, Mapping) else None
        if not isinstance(name, str) or name in seen:
            nameless.add((*place, "name"))
            name = "#" + ".".join(str(part + 1) for part in place if isinstance(part, int))
        seen.add(name)
        return {"name": name}

    stages = []
    for index, stage in enumerate(model.stages):
        place: KeyPath = ("stages", index)
        written = _item(raw, index)
        own = named(written, place)
        if stage.stages is not None:
            own["stages"] = [
                child.model_copy(update=named(_item(written, n), (*place, "stages", n)))
                for n, child in enumerate(stage.stages)
            ]
        stages.append(stage.model_copy(update=own))
    return model.model_copy(update={"stages": stages}), unknown | nameless


def _item(table: Any, index: int) -> Any:
    """The stage at ``index`` of a workflow or of a block, as written."""
    items = table.get("stages") if isinstance(table, Mapping) else None
    return items[index] if isinstance(items, list) and index < len(items) else None
