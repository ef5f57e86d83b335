"""Rules of the graph: targets, joins, what can start, and what starts twice."""

from collections.abc import Iterator, Mapping, Sequence

from sagabus.definitions.diamonds import find_diamonds
from sagabus.definitions.exclusive_arms import find_conflicts
from sagabus.definitions.explain import Place
from sagabus.definitions.findings import Findings, Subject, quoted
from sagabus.definitions.flow import RESERVED, Flow
from sagabus.definitions.keys import ROUTE_KEYS, did_you_mean
from sagabus.definitions.lint_finals import check_order
from sagabus.definitions.models import ChoiceModel, StageModel

#: What the stage of ``on_end`` cannot have.
_NOT_AT_THE_END = (
    *("on_success", "on_failure", "on_timeout", "on_complete", "decision", "needs", "join"),
    *("approval_required", "approval", "compensation_agents", "compensation"),
)


def lint_graph(subject: Subject, found: Findings) -> None:
    """Check how the stages of a workflow are connected."""
    for index, stage in enumerate(subject.model.stages):
        here = subject.place.at("stages", index)
        _check_targets(here, stage, subject, found)
        _check_decision(here, stage, subject, found)
    flow = subject.flow
    _check_end(subject, flow, found)
    # That such a join cannot be satisfied only follows from what is said of it already.
    wrong = _check_joins(subject, flow, found)
    _check_startable(subject, flow, wrong, found)
    _check_exclusive_arms(subject, flow, wrong, found)
    check_order(subject, flow, found)
    if not (wrong or flow.unsure or flow.unplaced):
        _warn_of_diamonds(subject, flow, found)


def _check_targets(here: Place, stage: StageModel, subject: Subject, found: Findings) -> None:
    for place, target in _named_targets(here, stage):
        if target not in RESERVED and (problem := _target_problem(target, subject)):
            found.add(place, problem)
    for need in stage.needs or ():
        if need == stage.name:
            found.add(here.at("needs"), "a stage cannot need itself")
        elif problem := _target_problem(need, subject):
            found.add(here.at("needs"), problem)


def _named_targets(here: Place, stage: StageModel) -> Iterator[tuple[Place, str]]:
    for key in ROUTE_KEYS:
        for index, route in enumerate(getattr(stage, key) or ()):
            # The short ways of writing have no tables inside, and their place is the key's.
            whole = here.at(key)
            line = whole.at(index)
            place = line.at("do") if isinstance(line.value, dict) else whole
            yield from ((place, target) for target in route.do)
    for index, choice in enumerate(stage.decision or ()):
        if choice.target is not None:
            key = "next" if choice.default is None else "default"
            yield here.at("decision", index, key), choice.target


def _target_problem(target: str, subject: Subject) -> str | None:
    if target in subject.targets:
        return None
    if target == subject.on_end:
        return f'"{target}" is the stage of on_end, which runs at the end by itself; leave it out'
    for located in subject.located:
        if located.block is not None and located.stage.name == target:
            return f'"{target}" stands in a block; write the block, "{located.block.name}"'
    known = [name for name in subject.names if name in subject.targets]
    hint = did_you_mean(target, [*known, *RESERVED])
    return f'there is no stage "{target}"{hint or f"; there are {quoted(known)}, end and fail"}'


def _check_decision(here: Place, stage: StageModel, subject: Subject, found: Findings) -> None:
    choices = stage.decision or ()
    for index, choice in enumerate(choices):
        if subject.lacks(here.at("decision", index), "when", "next", "default"):
            continue
        if problem := _choice_problem(choice, is_last=index == len(choices) - 1):
            found.add(here.at("decision", index), problem)
    if stage.decision is not None and stage.on_success is not None:
        found.doubt(here.at("on_success"), "the decision replaces it; leave one of them out")


def _choice_problem(choice: ChoiceModel, *, is_last: bool) -> str | None:
    example = 'write {when = "{{ ... }}", next = "x"} or {default = "x"}'
    if choice.default is not None:
        if choice.when is not None or choice.next is not None:
            return f"a default stands alone; {example}"
        return None if is_last else "what follows a default is never reached; move it to the end"
    if choice.next is None or choice.when is None:
        missing = "next" if choice.next is None else "when"
        return f"`{missing}` is missing; {example}"
    return None


def _check_end(subject: Subject, flow: Flow, found: Findings) -> None:
    written, top = subject.model.on_end, [stage.name for stage in flow.stages]
    if written is not None and written not in top:
        hint = did_you_mean(written, top) or f"; there are {quoted(top)}"
        found.add(subject.place.at("on_end"), f'there is no stage "{written}"{hint}')
    if flow.on_end not in top:
        return
    index = top.index(flow.on_end)
    here, stage = subject.place.at("stages", index), subject.model.stages[index]
    for key in _NOT_AT_THE_END:
        if getattr(stage, key):
            found.add(here.at(key), "the stage of on_end just runs at the end; leave it out")
    if stage.type == "parallel":
        found.add(here.at("type"), "the stage of on_end is a single one; write agents or an action")
    if subject.kind_of(stage) == "inquiry":
        found.add(here.at("action"), "at the end nobody is asked; write another action")


def _check_joins(subject: Subject, flow: Flow, found: Findings) -> frozenset[str]:
    """Check what waits for several stages; gives those that do so in a wrong way."""
    named = dict(_first_namings(flow))
    wrong: set[str] = set()
    for index, stage in enumerate(subject.model.stages):
        here = subject.place.at("stages", index)
        if stage.name not in flow.by_name:
            continue
        before = len(found.problems)
        if stage.join is not None and (stage.needs is not None or subject.lacks(here, "needs")):
            found.add(
                here.at("join"), "`needs` waits for all of them already; leave out one of both"
            )
        if stage.needs is not None:
            _check_needs(here, stage, named, found)
        elif stage.join is not None and flow.is_sure_before(stage.name):
            _check_join(here, stage, flow.arms[stage.name], found)
        if len(found.problems) > before:
            wrong.add(stage.name)
    return frozenset(wrong)


def _first_namings(flow: Flow) -> Iterator[tuple[str, str]]:
    for edge in reversed(flow.edges):
        if edge.cause not in {"needs", "next"}:
            yield edge.target, edge.source


def _check_needs(here: Place, stage: StageModel, named: Mapping[str, str], found: Findings) -> None:
    if stage.name in named:
        found.add(
            here.at("needs"),
            f'"{named[stage.name]}" leads here by a route, too; leave that out, or write '
            'join = "all" and routes in place of `needs`',
        )
    needs = stage.needs or []
    if len(set(needs)) < len(needs):
        found.add(here.at("needs"), "names a stage twice")


def _check_join(here: Place, stage: StageModel, arms: Sequence[str], found: Findings) -> None:
    shown = f": {quoted(arms)}" if arms else ""
    if len(arms) < 2:
        found.add(
            here.at("join"),
            f"a join waits for two stages or more, and {len(arms)} lead here{shown}; leave it out",
        )
    elif isinstance(stage.join, int) and stage.join > len(arms):
        found.add(
            here.at("join"), f"{stage.join} arms to wait for, and {len(arms)} lead here{shown}"
        )


def _check_startable(subject: Subject, flow: Flow, wrong: frozenset[str], found: Findings) -> None:
    startable = flow.startable(wrong)
    if not startable:
        found.add(
            subject.place.at("stages"),
            "no stage can start: each is led to by another one, or needs one; write a stage before "
            "them that none of them names, and have it lead to the first",
        )
        return
    # That what they alone lead to cannot start, either, only follows.
    lost = {name for name in flow.by_name if name not in startable and not flow.arms[name]}
    startable = flow.startable(wrong | lost) - lost
    for index, stage in enumerate(subject.model.stages):
        if stage.name in startable or stage.name not in flow.by_name:
            continue
        here = subject.place.at("stages", index)
        arms = flow.arms[stage.name]
        missing = [arm for arm in arms if arm not in startable]
        if flow.join_of(stage) is not None and arms:
            key = "needs" if stage.needs is not None else "join"
            found.add(here.at(key), f"can never be satisfied: {quoted(missing)} can never start")
        elif arms:
            found.add(
                here.at("name"),
                f"can never start: only {quoted(arms)} leads here, and can never start either",
            )
        else:
            found.add(here.at("name"), f"can never start: nothing leads here{_advice(flow, stage)}")


def _advice(flow: Flow, stage: StageModel) -> str:
    for one in flow.by_name.values():
        if one.decision and any(stage.name in route.do for route in one.on_success or ()):
            return f'; the decision of "{one.name}" replaces the on_success that names it'
    if flow.order == "graph" or stage.name not in flow.main_line:
        return "; name it in a route"
    before = flow.main_line[flow.main_line.index(stage.name) - 1]
    return f'; "{before}", which stands before it, has routes of its own: name it there'


def _check_exclusive_arms(
    subject: Subject, flow: Flow, wrong: frozenset[str], found: Findings
) -> None:
    places = {stage.name: index for index, stage in enumerate(subject.model.stages)}
    for join, fork, (one, two) in find_conflicts(flow):
        if join in wrong or not flow.is_sure_before(join):
            continue
        key = "needs" if flow.by_name[join].needs is not None else "join"
        found.add(
            subject.place.at("stages", places[join], key),
            f'can never be satisfied: of "{one}" and "{two}" one can fire at most, as "{fork}" '
            "ends in one way; leave it out",
        )


def _warn_of_diamonds(subject: Subject, flow: Flow, found: Findings) -> None:
    places = {stage.name: index for index, stage in enumerate(subject.model.stages)}
    for target, fork in find_diamonds(flow):
        arms = quoted(flow.arms[target])
        begins = f'"{fork}" starts both ways here' if fork else "both ways start at the beginning"
        found.doubt(
            subject.place.at("stages", places[target]),
            f"several of {arms} can lead here in one pass ({begins}), and the first alone counts; "
            'write join = "all" to wait for all of them',
        )
