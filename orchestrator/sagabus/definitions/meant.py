"""The graph of a workflow with mistakes in it, as its author most likely means it.

A target that does not exist stands for the one that the message about it proposes: what is said of
the graph then holds for the mended file, too. Where nothing is proposed it is no edge, and its
stage may lead anywhere.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

from sagabus.core.definition import END
from sagabus.definitions.flow import RESERVED, Flow, has_success_route, targets_of
from sagabus.definitions.keys import ROUTE_KEYS, nearest
from sagabus.definitions.models import RouteModel, StageModel, WorkflowModel
from sagabus.definitions.source_file import KeyPath

#: Keys that say where a stage leads, and which of them replace the implied edge.
_LEADING: Final = frozenset({*ROUTE_KEYS, "decision"})
_AFTER_SUCCESS: Final = frozenset({"on_success", "on_complete", "decision"})
#: Keys that say what leads to a stage.
_PLACING: Final = frozenset({"name", "needs", "join"})
#: Parts of a route that do not say where it leads.
_BESIDE: Final = frozenset({"when", "publish"})


def flow_as_meant(
    model: WorkflowModel,
    on_end: str | None,
    targets: Collection[str],
    unknown: Collection[KeyPath],
) -> Flow:
    """The graph of ``model``; ``targets``: the names that routes can lead to."""
    if not unknown and _is_sound(model, targets):
        return Flow(tuple(model.stages), model.order, on_end)
    known = [*(stage.name for stage in model.stages if stage.name in targets), *RESERVED]
    blocks = {child.name: stage.name for stage in model.stages for child in stage.stages or ()}

    def meant(target: str) -> str:
        if target in known or target == on_end:
            return target
        return blocks.get(target) or nearest(target, known) or target

    stages = []
    unsure: set[str] = set()
    unplaced: set[str] = set()
    for index, one in enumerate(model.stages):
        lacking = _lacking(index, unknown)
        stage = _mended(one, meant, lacking)
        stages.append(stage)
        leads_on = all(choice.target is not None for choice in stage.decision or ())
        if lacking & _LEADING or not leads_on or not set(targets_of(stage)) <= {*known}:
            unsure.add(stage.name)
        if lacking & _PLACING or not set(stage.needs or ()) <= {*known} - {stage.name}:
            unplaced.add(stage.name)
    if ("order",) in unknown or ("on_end",) in unknown:
        # No edge is taken to be implied, and each stage may lead to any other.
        everything = frozenset(stage.name for stage in stages)
        return Flow(tuple(stages), "graph", on_end, everything, everything)
    return Flow(tuple(stages), model.order, on_end, frozenset(unsure), frozenset(unplaced))


def _is_sound(model: WorkflowModel, targets: Collection[str]) -> bool:
    known = {*targets, *RESERVED}
    return all(
        choice.target is not None for stage in model.stages for choice in stage.decision or ()
    ) and all(
        known.issuperset(targets_of(stage))
        and known.issuperset(stage.needs or ())
        and stage.name not in (stage.needs or ())
        for stage in model.stages
    )


def _lacking(index: int, unknown: Collection[KeyPath]) -> frozenset[str]:
    """Keys of the stage at ``index`` that are not known, or not wholly."""
    here = ("stages", index)
    if here in unknown:
        return frozenset(StageModel.model_fields)
    return frozenset(
        str(path[2])
        for path in unknown
        if path[:2] == here and len(path) > 2 and not (len(path) > 3 and path[-1] in _BESIDE)
    )


def _mended(stage: StageModel, meant: Callable[[str], str], lacking: frozenset[str]) -> StageModel:
    """``stage`` with the targets that are meant, and something for what is not known."""
    update: dict[str, Any] = {
        key: [one.model_copy(update={"do": [*map(meant, one.do)]}) for one in routes]
        for key in ROUTE_KEYS
        if (routes := getattr(stage, key)) is not None
    }
    if stage.needs is not None or "needs" in lacking:
        update["needs"] = [*map(meant, stage.needs or ())]
    if stage.decision is not None:
        update["decision"] = [
            one.model_copy(
                update={key: meant(to) for key in ("next", "default") if (to := getattr(one, key))}
            )
            for one in stage.decision
        ]
    if lacking & _AFTER_SUCCESS and not has_success_route(stage):
        update["on_success"] = [RouteModel(do=[END])]
    if "when" in lacking:
        update["when"] = True
    return stage.model_copy(update=update)
