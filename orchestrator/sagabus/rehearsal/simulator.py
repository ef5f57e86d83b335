"""Runs a definition on the machine with scripted outcomes; time passes only in its own clock.

One file, because it is one stage: every part of it acts on the same clock, queue and instances.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

from sagabus.core.commands import (
    AnswerCommand,
    AuthorizeTask,
    Command,
    CommandChild,
    DispatchTask,
    SetTimer,
    StartChild,
    TellParent,
    UndoChild,
)
from sagabus.core.definition import Definition
from sagabus.core.events import (
    ApprovalAnswered,
    AttemptTimerFired,
    CancelRequested,
    Event,
    GateTimerFired,
    InquiryAnswered,
    MoreToSend,
    PolicyDecided,
    StartRequested,
    UndoRequested,
    WorkflowTimerFired,
)
from sagabus.core.instance import (
    Attempt,
    Failure,
    Instance,
    InstanceState,
    InstanceStatus,
    ParentRef,
)
from sagabus.core.kv import Mark
from sagabus.core.machine import decide
from sagabus.core.tasks import plan_of
from sagabus.core.transition import Ignored
from sagabus.errors import InvalidRequestError
from sagabus.rehearsal.answers import claim_of, names_of, news_of, result_of
from sagabus.rehearsal.checking import mistakes_in
from sagabus.rehearsal.script import Outcome, Outcomes, Script, ScriptedError

#: When every rehearsal begins.
BEGIN: Final = datetime(2030, 1, 1, tzinfo=UTC)
#: A rehearsal of more events than this goes round for ever.
MAX_EVENTS: Final = 100_000
_SENT: Final = frozenset({"TaskScheduled", "CompensationScheduled"})
_SUCCESS: Final = Outcome()


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of an instance's history, with the instance and the time since the beginning."""

    after: timedelta
    instance: str
    workflow: str
    type: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Rehearsed:
    """What came of a rehearsal."""

    definition: Definition
    state: InstanceState
    happened: list[Happening] = field(default_factory=list)
    #: Attempts in the order in which they were sent, with their instance's id.
    sent: list[tuple[str, Attempt]] = field(default_factory=list)
    #: The instances below, by id.
    children: dict[str, InstanceState] = field(default_factory=dict)
    #: Names of the script that came to nothing, by their place in it.
    unused: list[tuple[str, ...]] = field(default_factory=list)
    #: Why what the script has people say came to nothing, a sentence each.
    refused: list[str] = field(default_factory=list)


class _Everything(dict[str, Any]):
    """The key-value store of a script: what is not there is known not to be."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return Mark.ABSENT


def rehearse(
    definition: Definition, script: Script, find: Callable[[str], Definition]
) -> Rehearsed:
    """Run ``definition``; ``find`` gives the definitions of sub-workflows by name.

    Raises:
        InvalidRequestError: the parameters do not fit, or the script names what cannot be.
    """
    if mistakes := [
        f"{'.'.join(map(str, place))}: {text}"
        for place, text in mistakes_in(script, definition, find)
    ]:
        raise InvalidRequestError("; ".join(mistakes))
    return _Stage(definition, script, find).play()


def undo(rehearsed: Rehearsed, script: Script, find: Callable[[str], Definition]) -> Rehearsed:
    """What would be undone if a completed run were undone now."""
    stage = _Stage(rehearsed.definition, script, find)
    stage.take_over(rehearsed)
    return stage.play_undo()


class _Stage:
    """The theatre, not a node of the graph: every instance of one rehearsal, and its clock."""

    def __init__(
        self, definition: Definition, script: Script, find: Callable[[str], Definition]
    ) -> None:
        self._script = script
        self._find = find
        self._kv = _Everything(script.kv)
        self._now = BEGIN
        self._queue: list[tuple[datetime, int, str, Event]] = []
        self._number = count()
        self._taken: Counter[tuple[str, str]] = Counter()
        self._definitions: dict[str, Definition] = {}
        self._states: dict[str, InstanceState] = {}
        #: Attempts that no agent takes.
        self._untaken: set[tuple[str, str, int]] = set()
        #: Where the script has a person give a command, by instance and id of the command.
        self._said: dict[tuple[str, str], tuple[str, ...]] = {}
        self._definition = definition
        self._result: Rehearsed | None = None
        #: Names in the script, by their place in it, that nothing asked for yet.
        self._unused = dict.fromkeys(_names(script))

    def play(self) -> Rehearsed:
        definition = self._definition
        parameters = dict(self._script.parameters)
        if definition.parameters is not None:
            parameters, problems = definition.parameters.complete(parameters)
            if problems:
                raise InvalidRequestError("; ".join(problems))
        state = self._new("rehearsal", definition, parameters)
        self._result = Rehearsed(definition, state)
        self._later("rehearsal", timedelta(), StartRequested(BEGIN, "start"))
        if self._script.cancel_after is not None:
            at = BEGIN + self._script.cancel_after
            self._said["rehearsal", "cancel"] = ("cancel_after",)
            self._later(
                "rehearsal", self._script.cancel_after, CancelRequested(at, "cancel", "script")
            )
        return self._run()

    def take_over(self, rehearsed: Rehearsed) -> None:
        copy = deepcopy((rehearsed.state, rehearsed.children))
        self._states = {"rehearsal": copy[0], **copy[1]}
        self._definitions = {
            name: self._definition if name == "rehearsal" else self._find(state.row.workflow)
            for name, state in self._states.items()
        }
        self._now = rehearsed.state.row.updated_at
        self._result = Rehearsed(self._definition, copy[0])

    def play_undo(self) -> Rehearsed:
        parent = ParentRef("rehearsal", "preview", 1)
        self._later("rehearsal", timedelta(), UndoRequested(self._now, "undo", parent))
        return self._run()

    def _new(
        self,
        instance: str,
        definition: Definition,
        parameters: Mapping[str, Any],
        parent: ParentRef | None = None,
    ) -> InstanceState:
        row = Instance(
            id=instance,
            workflow=definition.name,
            digest=definition.digest,
            status=InstanceStatus.PENDING,
            created_at=self._now,
            updated_at=self._now,
            parameters=dict(parameters),
            started_by=self._script.started_by,
            trace="rehearsal",
            parent=parent,
        )
        self._definitions[instance] = definition
        self._states[instance] = state = InstanceState(row)
        return state

    def _later(self, instance: str, after: timedelta, event: Event) -> None:
        heapq.heappush(self._queue, (self._now + after, next(self._number), instance, event))

    def _run(self) -> Rehearsed:
        result = self._result
        if result is None:
            raise RuntimeError("nothing is on")
        for _ in range(MAX_EVENTS):
            if not self._queue:
                result.children = {
                    name: state for name, state in self._states.items() if name != "rehearsal"
                }
                result.unused = list(self._unused)
                return result
            at, _, instance, event = heapq.heappop(self._queue)
            self._now = max(self._now, at)
            self._apply(instance, event, result)
        raise InvalidRequestError(
            f"the rehearsal goes round for ever: more than {MAX_EVENTS:,} events"
        )

    def _apply(self, instance: str, event: Event, result: Rehearsed) -> None:
        definition, state = self._definitions[instance], self._states[instance]
        if isinstance(event, AttemptTimerFired):
            is_untaken = (instance, event.task, event.attempt) in self._untaken
            event = replace(event, running_since=None) if is_untaken else event
        outcome = decide(definition, state, event, self._kv)
        commands = outcome.commands
        if not isinstance(outcome, Ignored):
            for entry in outcome.events:
                result.happened.append(
                    Happening(
                        self._now - BEGIN, instance, definition.name, entry["type"], entry["data"]
                    )
                )
                self._answer_people(instance, entry)
                if entry["type"] in _SENT:
                    data = entry["data"]
                    attempt = state.attempts[data["task"]][data["attempt"] - 1]
                    result.sent.append((instance, attempt))
        for command in commands:
            self._carry_out(instance, command, result)

    # --- people -------------------------------------------------------------------------------

    def _answer_people(self, instance: str, entry: Mapping[str, Any]) -> None:
        if entry["type"] not in {"ApprovalRequested", "InquiryAsked"}:
            return
        stage = entry["data"]["stage"]
        is_question = entry["type"] == "InquiryAsked"
        outcome = self._next(instance, (stage,), is_peek=True)
        if outcome is None:
            return
        self._use(instance, stage)
        has_task = self._definitions[instance].stages[stage].kind in {"agents", "workflow"}
        if not (outcome.approve and has_task):
            self._next(instance, (stage,))  # no task will use it up
        at = self._now + outcome.takes
        for by in outcome.by:
            command = f"command-{next(self._number)}"
            self._said[instance, command] = (*self._place_of(instance), stage)
            event: Event
            if is_question:
                event = InquiryAnswered(at, command, stage, outcome.answer, by)
            elif outcome.approve is None:
                return
            else:
                event = ApprovalAnswered(
                    at, command, stage, outcome.approve, by, outcome.reason, outcome.data
                )
            self._later(instance, outcome.takes, event)

    # --- agents, policies, other instances ------------------------------------------------------

    def _carry_out(self, instance: str, command: Command, result: Rehearsed) -> None:
        match command:
            case AnswerCommand(name, answer) if not answer.ok and (instance, name) in self._said:
                problem = f"{'.'.join(self._said[instance, name])}: {answer.message}"
                if answer.code == InvalidRequestError.code:
                    raise InvalidRequestError(problem)
                result.refused.append(problem)  # it came too late
            case AuthorizeTask():
                self._authorize(instance, command)
            case DispatchTask(attempt) if attempt.is_unanswered:
                self._perform(instance, attempt)
            case SetTimer():
                self._set_timer(instance, command)
            case StartChild():
                self._start_child(command)
            case UndoChild(child, parent, _, is_asked) if child in self._states:
                undo = UndoRequested(self._now, "undo", parent, is_asked=is_asked)
                self._later(child, timedelta(), undo)
            case CommandChild(name="cancel") if command.child in self._states:
                event = CancelRequested(self._now, "cancel", command.by, command.reason)
                self._later(command.child, timedelta(), event)
            case TellParent() if command.parent.instance in self._states:
                self._tell_parent(instance, command)
            case _:
                pass  # answers to claims, and to commands that were obeyed: everybody here knows

    def _authorize(self, instance: str, command: AuthorizeTask) -> None:
        outcome = self._next(instance, (command.task, command.stage), is_peek=True)
        is_denied = outcome is not None and outcome.denied
        if is_denied:
            self._use(instance, command.task, command.stage)
        reason = "the script denies it" if is_denied else ""
        event = PolicyDecided(
            self._now, command.task, command.attempt, not is_denied, ["script"], reason
        )
        # Before anything else: it is part of the same decision.
        heapq.heappush(self._queue, (datetime.min.replace(tzinfo=UTC), 0, instance, event))

    def _perform(self, instance: str, attempt: Attempt) -> None:
        outcome = self._next(instance, names_of(attempt)) or _SUCCESS
        if outcome.untaken:
            self._untaken.add((instance, attempt.task, attempt.attempt))
            return  # its start_timeout ends it, if it has one
        if attempt.claim:
            claim = claim_of(attempt, self._now, f"claim-{next(self._number)}")
            self._later(instance, timedelta(), claim)
        self._answer(instance, attempt, outcome)

    def _answer(self, instance: str, attempt: Attempt, outcome: Outcome) -> None:
        """Have an attempt end as the script says, when it says so."""
        after = outcome.takes
        if outcome.timeout:
            limit = plan_of(self._definitions[instance], attempt).timeout
            if limit is None:
                raise RuntimeError("the script was not checked")
            error = ScriptedError(
                type="timeout", message=f"ran longer than {limit.total_seconds():g} s"
            )
            outcome, after = Outcome(error=error), limit
        self._later(instance, after, result_of(attempt, outcome, self._now + after))

    def _set_timer(self, instance: str, timer: SetTimer) -> None:
        at = max(timer.at, self._now)
        event: Event
        match timer.kind:
            case "workflow":
                event = WorkflowTimerFired(at)
            case "gate":
                event = GateTimerFired(at, timer.key)
            case "more":
                event = MoreToSend(at)
            case "attempt" | "due":
                attempt = self._states[instance].find(timer.key, timer.attempt)
                since = attempt.created_at if attempt is not None else None
                event = AttemptTimerFired(at, timer.key, timer.attempt, since)
        self._later(instance, at - self._now, event)

    def _start_child(self, command: StartChild) -> None:
        parent = command.parent
        attempt = self._states[parent.instance].attempts[parent.task][parent.attempt - 1]
        outcome = self._next(parent.instance, names_of(attempt))
        if outcome is not None:  # the script says how it ends, whatever is in it
            self._answer(parent.instance, attempt, outcome)
            return
        definition = self._find(command.workflow)
        parameters = command.parameters if isinstance(command.parameters, dict) else {}
        problems: list[str] = []
        if definition.parameters is not None:
            parameters, problems = definition.parameters.complete(parameters)
        if problems:
            failure = Failure("bad_input", "; ".join(problems))
            self._tell_parent(command.child, TellParent(parent, "failed", error=failure))
            return
        self._new(command.child, definition, parameters, parent)
        self._later(command.child, timedelta(), StartRequested(self._now, "start"))

    def _tell_parent(self, instance: str, command: TellParent) -> None:
        self._later(command.parent.instance, timedelta(), news_of(instance, command, self._now))

    # --- the script ---------------------------------------------------------------------------

    def _next(
        self, instance: str, names: tuple[str, ...], *, is_peek: bool = False
    ) -> Outcome | None:
        """The next outcome under the first of ``names`` that the script has; the last one stays."""
        outcomes = self._outcomes_of(instance)
        for name in names:
            if name in outcomes:
                listed = outcomes[name]
                key = (instance, name)
                number = min(self._taken[key], len(listed) - 1)
                if not is_peek:
                    self._taken[key] += 1
                    self._use(instance, name)
                return listed[number]
        return None

    def _use(self, instance: str, *names: str) -> None:
        """The first of ``names`` that the script has is of use."""
        outcomes, place = self._outcomes_of(instance), self._place_of(instance)
        name = next((each for each in names if each in outcomes), None)
        self._unused.pop((*place, name or ""), None)

    def _outcomes_of(self, instance: str) -> Outcomes:
        if instance == "rehearsal":
            return self._script.outcomes
        return self._script.workflows.get(self._definitions[instance].name, {})

    def _place_of(self, instance: str) -> tuple[str, ...]:
        if instance == "rehearsal":
            return ("outcomes",)
        return ("workflows", self._definitions[instance].name)


def _names(script: Script) -> Iterator[tuple[str, ...]]:
    yield from (("outcomes", name) for name in script.outcomes)
    for workflow, outcomes in script.workflows.items():
        yield from (("workflows", workflow, name) for name in outcomes)
