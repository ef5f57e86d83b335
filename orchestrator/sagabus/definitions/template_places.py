"""Every place of a workflow that holds templates, and what may be named there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sagabus.definitions.explain import Place
from sagabus.definitions.findings import Located, Subject
from sagabus.definitions.keys import ROUTE_KEYS
from sagabus.definitions.models import StageModel
from sagabus.definitions.template_names import (
    APPROVAL_SCOPES,
    ERROR_SCOPES,
    ITEM_SCOPES,
    SCOPES,
    Visible,
)

_NOTHING: Final[frozenset[str]] = frozenset()
#: Not there before anything ran.
_LATER: Final = frozenset({"vars", "task", "stage"})
#: Keys that set variables, or hold what does.
_SETTING: Final = frozenset({"vars", "publish", "stages", *ROUTE_KEYS})


@dataclass(frozen=True, slots=True)
class TemplatePlace:
    """A value that may hold expressions, and what these see."""

    place: Place
    value: Any
    visible: Visible
    #: It may read secrets: the place is the input of an agent's task.
    takes_secrets: bool = False
    #: It must give a value of its own kind, and no text: one single expression.
    is_single: bool = False


def template_places(subject: Subject) -> Iterator[TemplatePlace]:
    """Every value of ``subject`` that may hold expressions."""
    sight = _Sight(subject)
    for key, visible in (("vars", sight.first), ("output_map", sight.everything)):
        place = subject.place.at(key)
        if isinstance(place.value, Mapping):
            yield TemplatePlace(place, place.value, visible)
    for located in subject.located:
        yield from _of_stage(located, subject, sight)


class _Sight:
    """Which stages a template of each stage sees: those that may have run."""

    def __init__(self, subject: Subject) -> None:
        self._flow = subject.flow
        declared = subject.place.at("parameters").value
        self.everything = Visible(
            earlier=subject.names,
            known=subject.names,
            parameters=tuple(declared) if isinstance(declared, Mapping) else None,
            vars=None if _lacks_variables(subject) else tuple(dict.fromkeys(_variables(subject))),
            pack_config=None if subject.pack_config is None else tuple(subject.pack_config),
        )
        self.first = replace(self.everything, earlier=(), scopes=SCOPES - _LATER)
        #: Of the others it is said that they cannot start; what they see only follows from that.
        self._led_to = subject.flow.closure(subject.flow.entry)
        self._before: dict[str, Visible] = {}

    def before(self, located: Located) -> Visible:
        """When ``located`` starts: what leads to it, itself too where it stands in a loop."""
        name = located.block.name if located.block else located.stage.name
        flow = self._flow
        if name not in self._led_to or not flow.is_sure_before(name):
            return self.everything
        if name not in self._before:
            tops = [
                one
                for one in flow.by_name
                if (name in flow.reach[one] if one != name else flow.is_loop(name))
            ]
            seen = [each for top in tops for each in (top, *flow.children[top])]
            self._before[name] = replace(self.everything, earlier=tuple(seen))
        return self._before[name]

    def after(self, located: Located) -> Visible:
        """When ``located`` has ended: that and itself, a block with its stages."""
        before = self.before(located)
        own = [located.stage.name]
        if isinstance(located.stage, StageModel):
            own += [child.name for child in located.stage.stages or ()]
        return replace(before, earlier=tuple(dict.fromkeys([*before.earlier, *own])))


def _variables(subject: Subject) -> Iterator[str]:
    """Every variable that is set anywhere."""
    declared = subject.place.at("vars").value
    yield from declared if isinstance(declared, Mapping) else ()
    for located in subject.located:
        stage = located.stage
        tables = list(stage.publish or ())
        if isinstance(stage, StageModel):
            routes = [route for key in ROUTE_KEYS for route in getattr(stage, key) or ()]
            tables += [table for route in routes for table in route.publish or ()]
        for table in tables:
            yield from table


def _lacks_variables(subject: Subject) -> bool:
    """Whether a variable may be set in what is not known."""
    return any(not isinstance(path[-1], str) or path[-1] in _SETTING for path in subject.unknown)


def _with(visible: Visible, scopes: frozenset[str]) -> Visible:
    return replace(visible, scopes=visible.scopes | scopes) if scopes else visible


def _of_stage(located: Located, subject: Subject, sight: _Sight) -> Iterator[TemplatePlace]:
    here, stage = located.place, located.stage
    extra = ERROR_SCOPES if stage.name == subject.on_end else _NOTHING
    before, after = _with(sight.before(located), extra), _with(sight.after(located), extra)
    work = _with(before, APPROVAL_SCOPES if stage.approval_required else _NOTHING)
    yield from _input(located, subject, work)
    for key, seen in (("when", before), ("with_items", work)):
        yield TemplatePlace(here.at(key), getattr(stage, key), seen, is_single=True)
    if stage.approval is not None:
        yield TemplatePlace(here.at("approval", "prompt"), stage.approval.prompt, before)
    yield from _published(here.at("publish"), stage.publish, after)
    if stage.retry is not None:
        place, seen = here.at("retry", "on_error"), _with(after, ERROR_SCOPES)
        yield TemplatePlace(place, stage.retry.on_error, seen, is_single=True)
    if stage.compensation is not None:
        undo = here.at("compensation", "input")
        yield TemplatePlace(undo, stage.compensation.input, after, takes_secrets=True)
    if isinstance(stage, StageModel):
        yield from _routes(here, stage, after)


def _input(located: Located, subject: Subject, visible: Visible) -> Iterator[TemplatePlace]:
    here, stage = located.place.at("input"), located.stage
    kind = subject.kind_of(stage)
    if kind == "inquiry":
        yield TemplatePlace(here.at("prompt"), (stage.input or {}).get("prompt"), visible)
        return
    seen = _with(visible, _NOTHING if stage.with_items is None else ITEM_SCOPES)
    yield TemplatePlace(here, stage.input, seen, takes_secrets=kind in {"agents", None})


def _published(
    here: Place, tables: Sequence[Mapping[str, Any]] | None, visible: Visible
) -> Iterator[TemplatePlace]:
    is_list = isinstance(here.value, list)
    for index, table in enumerate(tables or ()):
        yield TemplatePlace(here.at(index) if is_list else here, table, visible)


def _routes(here: Place, stage: StageModel, visible: Visible) -> Iterator[TemplatePlace]:
    for key in ROUTE_KEYS:
        seen = _with(visible, _NOTHING if key == "on_success" else ERROR_SCOPES)
        for index, route in enumerate(getattr(stage, key) or ()):
            line = here.at(key, index)
            yield TemplatePlace(line.at("when"), route.when, seen, is_single=True)
            yield from _published(line.at("publish"), route.publish, seen)
    for index, choice in enumerate(stage.decision or ()):
        place = here.at("decision", index, "when")
        yield TemplatePlace(place, choice.when, visible, is_single=True)
