"""From workflows as they were read, one by one, to definitions that know of each other.

A workflow is compiled after those that it calls: their digests are part of its document, and so of
its own digest.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sagabus.core.definition import Definition
from sagabus.definitions.actions import ActionMetadata, Carrier, UnknownActionError, carrier_of
from sagabus.definitions.compile import compile_workflow
from sagabus.definitions.explain import Place
from sagabus.definitions.findings import EnoughFoundError, Findings, Located, Subject
from sagabus.definitions.lint import lint_workflow
from sagabus.definitions.models import EngineModel, StageModel, WorkflowModel
from sagabus.definitions.snapshot import Links, depth_of
from sagabus.definitions.source_file import KeyPath
from sagabus.errors import DefinitionError

__all__ = ["ActionMetadata", "Linked", "WorkflowSource", "link"]


@dataclass(frozen=True, slots=True, eq=False)
class WorkflowSource:
    """A workflow as it was read from a file."""

    place: Place
    #: What is sound of it; its name is ``name``.
    model: WorkflowModel
    #: Places in it whose value is not known: something is wrong, which whoever read it has said.
    unknown: frozenset[KeyPath] = frozenset()
    #: Settings of its pack, empty where it is in none; None: its pack is not known here, and any
    #: name of a setting is taken.
    pack_config: Mapping[str, Any] | None = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """Its name as written, if it has any."""
        name = self.place.at("name").value
        return name if isinstance(name, str) else None


@dataclass(slots=True)
class Linked:
    """What became of the workflows."""

    #: Those without any problem, by name, in the order of the sources.
    definitions: dict[str, Definition] = field(default_factory=dict)
    problems: list[DefinitionError] = field(default_factory=list)
    warnings: list[DefinitionError] = field(default_factory=list)


def link(
    sources: Sequence[WorkflowSource],
    engine: EngineModel,
    actions: Mapping[str, ActionMetadata],
    external: Mapping[str, Definition],
) -> Linked:
    """Check and compile ``sources``, which may call each other and what is in ``external``.

    ``actions``: of the packs, by ``pack.action``. ``external``: workflows registered in the
    database; a source of the same name wins. Names are unique in ``sources``: the caller has said
    where they are not, and of two the first counts.
    """
    linking = _Linking(sources, engine, actions, external)
    with suppress(EnoughFoundError):
        linking.resolve()
        for source in linking.in_order():
            linking.check_and_compile(source)
    names = dict.fromkeys(source.name for source in sources)
    return Linked(
        definitions={name: linking.made[name] for name in names if name in linking.made},
        problems=linking.found.problems,
        warnings=linking.found.warnings,
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A stage that names another workflow."""

    workflow: str
    #: None: it stands in no file.
    place: Place | None


def _is_carrier_unknown(subject: Subject, located: Located) -> bool:
    """Whether what is left out of a stage could be what carries it out."""
    stage, here = located.stage, located.place
    if isinstance(stage, StageModel) and stage.is_block:
        return False
    keys = (
        ("type", "stages") if stage.agents is not None else ("type", "stages", "agents", "action")
    )
    return subject.lacks(here, *keys)


class _Linking:
    """One call of ``link``."""

    def __init__(
        self,
        sources: Sequence[WorkflowSource],
        engine: EngineModel,
        actions: Mapping[str, ActionMetadata],
        external: Mapping[str, Definition],
    ) -> None:
        self._engine = engine
        self._actions = actions
        self._sources = sources
        self._named: dict[str, WorkflowSource] = {}
        for source in sources:
            if source.name is not None:
                self._named.setdefault(source.name, source)
        self._external = {
            name: definition for name, definition in external.items() if name not in self._named
        }
        self._known = {*self._named, *self._external}
        self.found = Findings()
        self.made: dict[str, Definition] = {}
        self._faulty: set[WorkflowSource] = set()
        self._carriers: dict[WorkflowSource, dict[str, Carrier]] = {}
        #: By name of the caller.
        self._calls: dict[str, list[_Call]] = {
            name: [_Call(called, None) for called in definition.workflows]
            for name, definition in self._external.items()
        }

    def resolve(self) -> None:
        """Find out what the actions of all stages stand for.

        Raises:
            EnoughFoundError: see ``Findings.add``; also of the other methods.
        """
        for source in self._sources:
            self._resolve(source)

    def in_order(self) -> Iterator[WorkflowSource]:
        """The sources, each after those that it calls; says which ones call themselves."""
        done: set[str] = set()
        for source in self._sources:
            if source.name is None or self._named[source.name] is not source:
                yield source
                continue
            for name in self._after_called(source.name, done):
                if name in self._named:
                    yield self._named[name]

    def check_and_compile(self, source: WorkflowSource) -> None:
        """Say what is wrong with ``source``, or make its definition."""
        carriers = self._carriers[source]
        called = {carrier.workflow for carrier in carriers.values() if carrier.workflow is not None}
        children = {name: child for name in called if (child := self._definition(name))}
        subject = Subject(
            source.place,
            source.model,
            source.unknown,
            limits=self._engine.limits,
            carriers=carriers,
            children=children,
            pack_config=source.pack_config,
        )
        findings = lint_workflow(subject)
        self.found.extend(findings)
        if findings.problems or source in self._faulty or len(children) < len(called):
            return
        if not source.unknown and self._named[source.model.name] is source:
            links = Links(carriers, children, source.pack_config or {})
            self._add(compile_workflow(source.model, self._engine, links))

    def _resolve(self, source: WorkflowSource) -> None:
        """Find out what the stages' actions stand for."""
        subject = Subject(source.place, source.model, source.unknown)
        carriers = self._carriers[source] = {}
        calls = []
        for located in subject.located:
            if _is_carrier_unknown(subject, located):
                continue
            try:
                carrier = carrier_of(located.stage, self._actions, self._known)
            except UnknownActionError as error:
                is_absent = located.stage.action is None
                place = located.place.at("agents" if is_absent else "action")
                self.found.add(place, str(error), is_whole=is_absent)
                self._faulty.add(source)
                continue
            carriers[located.stage.name] = carrier
            self._doubt_handler(source, located)
            if carrier.workflow is not None:
                calls.append(_Call(carrier.workflow, located.place.at("action")))
        if source.name is not None:
            self._calls.setdefault(source.name, calls)

    def _doubt_handler(self, source: WorkflowSource, located: Located) -> None:
        """Warn of a handler that has a workflow's name; not of its own, which it cannot call."""
        action, agents = located.stage.action, located.stage.agents
        if agents is not None and action in self._known and action != source.name:
            self.found.doubt(
                located.place.at("action"),
                f'"{action}" is a workflow, too, and goes to the agents as the name of a handler; '
                "leave out `agents` to have the workflow carry the stage out",
            )

    def _after_called(self, root: str, done: set[str]) -> Iterator[str]:
        """Names from ``root`` on down, the called before the caller, those in ``done`` left out."""
        way: dict[str, Iterator[_Call]] = {}
        if root not in done:
            way[root] = iter(self._calls[root])
        while way:
            name, calls = next(reversed(way.items()))
            call = next((one for one in calls if one.workflow not in done), None)
            if call is None:
                del way[name]
                done.add(name)
                yield name
            elif call.workflow in way:
                self._refuse_cycle([*way], call)
            else:
                way[call.workflow] = iter(self._calls.get(call.workflow, ()))

    def _refuse_cycle(self, way: list[str], call: _Call) -> None:
        cycle = way[way.index(call.workflow) :]
        shown = " -> ".join(f'"{name}"' for name in [*cycle, call.workflow])
        # Of a cycle that ends in the database, the last call that stands in a file is named.
        before = pairwise(cycle)
        places = [call.place] + [
            one.place
            for caller, called in reversed(list(before))
            for one in self._calls[caller]
            if one.workflow == called
        ]
        place = next(place for place in places if place is not None)
        self.found.add(place, f"a workflow cannot contain itself: {shown}")
        self._faulty.update(self._named[name] for name in cycle if name in self._named)

    def _definition(self, name: str) -> Definition | None:
        return self.made.get(name) or self._external.get(name)

    def _add(self, definition: Definition) -> None:
        limit, depth = self._engine.limits.max_depth, depth_of(definition)
        if depth <= limit:
            self.made[definition.name] = definition
            return
        deepest = next(
            call
            for call in self._calls[definition.name]
            if (child := self._definition(call.workflow)) and depth_of(child) == depth - 1
        )
        if deepest.place is not None:
            self.found.add(
                deepest.place,
                f'"{deepest.workflow}" makes {depth} levels of workflows; '
                f"engine.limits.max_depth allows {limit}",
            )
