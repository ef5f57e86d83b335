"""The order of final stages: what follows one that has succeeded must be final itself.

What is final cannot be undone. A later failure would have to leave it standing beside what is
undone, so nothing that could be undone, or only fail, stands behind it.
"""

from collections.abc import Iterator
from typing import Final

from sagabus.core.definition import Definition
from sagabus.definitions.explain import Place
from sagabus.definitions.findings import Findings, Subject
from sagabus.definitions.flow import Cause, Flow
from sagabus.definitions.models import ChildModel, StageModel

#: When an edge is followed by a stage that has succeeded.
_AFTER_SUCCESS: Final[frozenset[Cause]] = frozenset({"success", "complete", "next", "needs"})


def check_order(subject: Subject, flow: Flow, found: Findings) -> None:
    """Name every stage that can run after a final one has succeeded, and is not final."""
    places = {stage.name: index for index, stage in enumerate(subject.model.stages)}
    for name, final in _followers(subject, flow):
        stage = flow.by_name[name]
        here = subject.place.at("stages", places[name])
        for place, what in _not_final(subject, here, stage):
            found.add(
                place.at("name"),
                f'{what} can run after the final stage "{final}" has succeeded, when nothing is to '
                f'be undone any more; move it before "{final}", or make it final, too',
            )


def _followers(subject: Subject, flow: Flow) -> Iterator[tuple[str, str]]:
    """Stages that can run after a final one has succeeded, each with the first such stage."""
    seen: set[str] = set()
    for stage in flow.by_name.values():
        if not _has_final(subject, stage):
            continue
        begin = [
            edge.target
            for edge in flow.edges
            if edge.source == stage.name and edge.cause in _AFTER_SUCCESS
        ]
        after = flow.closure(begin) - seen
        seen |= after
        yield from ((name, stage.name) for name in flow.by_name if name in after)


def _child(subject: Subject, stage: ChildModel) -> Definition | None:
    carrier = subject.carriers.get(stage.name)
    return subject.children.get(carrier.workflow or "") if carrier else None


def _has_final(subject: Subject, stage: ChildModel) -> bool:
    """Whether something final has happened when ``stage`` has succeeded."""
    if isinstance(stage, StageModel) and stage.stages is not None:
        return any(_has_final(subject, one) for one in stage.stages)
    child = _child(subject, stage)
    if child is not None:
        return child.has_finals
    return stage.classification == "final"


def _not_final(subject: Subject, here: Place, stage: ChildModel) -> Iterator[tuple[Place, str]]:
    """What of a stage is not final, and where it is written."""
    if isinstance(stage, StageModel) and stage.stages is not None:
        for number, one in enumerate(stage.stages):
            yield from _not_final(subject, here.at("stages", number), one)
        return
    carrier, child = subject.carriers.get(stage.name), _child(subject, stage)
    if carrier is None or (carrier.workflow is not None and child is None):
        return  # it is not known what it does
    if child is not None:
        rest = [
            one.name
            for one in child.stages.values()
            if one.classification != "final" and not one.children and one.name != child.on_end
        ]
        if rest:
            yield here, f'"{rest[0]}" of sub-workflow "{child.name}"'
    elif stage.classification != "final" and not subject.lacks(here, "classification"):
        yield here, "it"
