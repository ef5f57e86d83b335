"""Doubts about the saga: failures that are handled, and leave effects that nobody undoes."""

from collections.abc import Iterator

from sagabus.core.definition import FAIL
from sagabus.definitions.findings import Findings, Subject, quoted
from sagabus.definitions.flow import Flow, targets_of
from sagabus.definitions.models import StageModel

_HANDLERS = ("on_failure", "on_timeout", "on_complete")


def lint_saga(subject: Subject, found: Findings) -> None:
    """Warn where a failure is handled after something was done that only a failed workflow undoes.

    A handler that leads on to ``fail`` somewhere is taken to know what it does.
    """
    flow = subject.flow
    undone = [stage.name for stage in flow.by_name.values() if subject.has_effects(stage)]
    if not undone:
        return
    for index, stage in enumerate(subject.model.stages):
        if stage.name not in flow.by_name:
            continue
        standing = [
            name for name in undone if name != stage.name and stage.name in flow.reach[name]
        ]
        for key in _handling_keys(stage, flow) if standing else ():
            found.doubt(
                subject.place.at("stages", index, key),
                f"the failure is handled here, so that what {quoted(standing)} did stands; lead on "
                'to "fail" where it is to be undone',
            )


def _handling_keys(stage: StageModel, flow: Flow) -> Iterator[str]:
    for key in _HANDLERS:
        targets = [target for route in getattr(stage, key) or () for target in route.do]
        after = flow.closure(target for target in targets if target in flow.by_name)
        leads_to_fail = FAIL in targets or any(
            FAIL in targets_of(flow.by_name[name]) for name in after
        )
        if targets and not leads_to_fail:
            yield key
