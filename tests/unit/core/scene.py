"""For tests by table: one instance, a clock, and a hand on everything that happens to it."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sagabus.core.commands import (
    AnswerClaim,
    AnswerCommand,
    Command,
    CommandChild,
    DispatchTask,
    SetTimer,
    StartChild,
    TellParent,
    UndoChild,
    WithdrawTask,
)
from sagabus.core.definition import (
    Compensation,
    Definition,
    RetryPolicy,
    Route,
    Routes,
    Stage,
    TemplateError,
)
from sagabus.core.events import (
    ApprovalAnswered,
    AttemptTimerFired,
    CancelRequested,
    ClaimReceived,
    Event,
    GateTimerFired,
    InquiryAnswered,
    MoreToSend,
    PauseRequested,
    ResultReceived,
    ResumeRequested,
    RetryRequested,
    StartRequested,
    WorkflowTimerFired,
)
from sagabus.core.instance import Answer, Attempt, InstanceState, StageRun
from sagabus.core.transition import Ignored, ResourceChange
from tests.unit.core.clock import BASE
from tests.unit.core.invariants import check_counters, check_decisions
from tests.unit.core.turn import Parked, decide_fully
from tests.unit.core.world import new_state

NEVER = RetryPolicy(count=0)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def stage(name: str, *roles: str, undo: tuple[str, ...] = (), **settings: Any) -> Stage:
    """A stage; ``undo`` = the roles that compensate it, ``undo_<setting>`` how they do it."""
    if undo:
        how = {key[5:]: settings.pop(key) for key in list(settings) if key.startswith("undo_")}
        how = {"retry": NEVER, **how}
        settings["compensation"] = Compensation(undo, f"undo_{name}", **how)
        settings["classification"] = "compensatable"
    return Stage(name, roles or ("devops",), name, **settings)


def sequence(*stages: Stage, **settings: Any) -> Definition:
    """Stages one after another."""
    linked = {
        each.name: replace(each, routes=Routes(next=next_.name)) for each, next_ in pairwise(stages)
    }
    linked[stages[-1].name] = stages[-1]
    return Definition("flow", "d", linked, (stages[0].name,), **settings)


def graph(*stages: Stage, entry: tuple[str, ...], **settings: Any) -> Definition:
    """Stages with routes of their own."""
    return Definition("flow", "d", {each.name: each for each in stages}, entry, **settings)


def core(name: str, action: str = "core.noop", **settings: Any) -> Stage:
    """A stage that needs no agent."""
    return Stage(name, ("_core",), action, kind="core", **settings)


def leads_to(*names: str) -> Routes:
    """Routes of a stage that leads to all of ``names`` when it succeeds."""
    return Routes(on_success=(Route(names),))


class Says:
    """A template that takes what ``read`` finds in the scope."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def render(self, scope: Any) -> Any:
        return self._read(scope)

    def render_input(self, scope: Any) -> Any:
        return self.render(scope), ()


class Broken:
    """A template that cannot be rendered."""

    def render(self, scope: Any) -> Any:
        raise TemplateError("'vm' is undefined", key="input.vm", expression="{{ vm }}")

    render_input = render


class Scene:
    """An instance from its start on; every event is followed by the checks of its counters."""

    def __init__(self, definition: Definition, *, denied: tuple[str, ...] = ()) -> None:
        self.definition = definition
        self.state: InstanceState = new_state()
        self.at: datetime = BASE
        #: Tasks that the policies deny, and tasks that are too large for the bus.
        self.denied = set(denied)
        self.refused: set[str] = set()
        #: Tasks as they were sent: ``<task>/<attempt>``.
        self.sent: list[str] = []
        self.withdrawn: list[str] = []
        #: What was said to other instances.
        self.said: list[StartChild | UndoChild | CommandChild | TellParent] = []
        self.history: list[dict[str, Any]] = []
        #: What results and undoing meant for resources.
        self.resources: list[ResourceChange] = []
        self.timers: list[SetTimer] = []
        self.replies: list[Answer] = []
        self._commands = 0
        self._claims = 0

    # --- reading ------------------------------------------------------------------------------

    @property
    def row(self):
        return self.state.row

    @property
    def status(self) -> str:
        return self.row.status.value

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.history]

    def data(self, type_: str) -> dict[str, Any]:
        """What the newest history entry of a type says."""
        return next(event["data"] for event in reversed(self.history) if event["type"] == type_)

    def run_of(self, name: str) -> StageRun:
        return self.row.runs[f"{name}-1"]

    def attempt(self, task: str, number: int | None = None) -> Attempt:
        found = self.state.current(task) if number is None else self.state.find(task, number)
        assert found is not None, f"{task} was never sent; sent were {self.sent}"
        return found

    # --- events -------------------------------------------------------------------------------

    def decide(self, event: Event | Parked) -> str | None:
        """Apply an event; the reason when it is ignored."""
        before = self.row.phase
        seq = self.row.seq
        outcome = decide_fully(
            self.definition,
            self.state,
            event,
            is_denied=lambda task, _: task in self.denied,
            is_refused=lambda task, _: task in self.refused,
        )
        if isinstance(outcome, Ignored):
            self._carry_out(list(outcome.commands))
            return outcome.reason
        if isinstance(event, RetryRequested) and event.definition is not None:
            self.definition = event.definition if self.row.digest != "d" else self.definition
        check_decisions(before, self.state, outcome, seq)
        check_counters(self.definition, self.state)
        for decision in outcome:
            self.history += decision.events
            self.resources += decision.resources
            self._carry_out(decision.commands)
        return None

    def _carry_out(self, commands: list[Command]) -> None:
        self.verdict: str | None = None
        for command in commands:
            match command:
                case DispatchTask(attempt) if attempt.is_unanswered:
                    self.sent.append(f"{attempt.task}/{attempt.attempt}")
                case StartChild() | UndoChild() | CommandChild() | TellParent():
                    self.said.append(command)
                case WithdrawTask(attempt):
                    self.withdrawn.append(f"{attempt.task}/{attempt.attempt}")
                case SetTimer():
                    self.timers.append(command)
                case AnswerClaim():
                    self.verdict = command.answer
                case AnswerCommand():
                    self.replies.append(command.answer)

    def start(self) -> "Scene":
        self.decide(StartRequested(self.at, "start"))
        return self

    def claim(self, task: str, number: int | None = None, /, **changes: Any) -> str | None:
        """Claim as a new delivery; the answer, or None when there is none."""
        self._claims += 1
        self.verdict = None
        attempt = self.attempt(task, number)
        event = ClaimReceived(
            at=self.at,
            source=attempt.role,
            claim=f"c{self._claims}",
            task=task,
            attempt=attempt.attempt,
            agent="a1",
            delivery=1,
            reply="reply",
        )
        self.reason = self.decide(replace(event, **changes))
        return self.verdict

    def result(self, task: str, number: int | None = None, /, **changes: Any) -> str | None:
        """A result; the reason when it is ignored."""
        attempt = self.attempt(task, number)
        event = ResultReceived(
            at=self.at,
            source=attempt.role,
            task=task,
            attempt=attempt.attempt,
            status="succeeded",
            agent="a1",
        )
        return self.decide(replace(event, **changes))

    def succeed(self, *tasks: str, output: Any = None) -> "Scene":
        """Claim where needed, and succeed."""
        for task in tasks:
            if self.attempt(task).claim and self.attempt(task).claim_id is None:
                assert self.claim(task) == "run"
            assert self.result(task, output=output) is None
        return self

    def fail(self, task: str, error: str = "boom", **changes: Any) -> "Scene":
        """Claim where needed, and fail."""
        if self.attempt(task).claim and self.attempt(task).claim_id is None:
            assert self.claim(task) == "run"
        failure = {"status": "failed", "error_type": error, "error_message": f"{error}!"}
        assert self.result(task, **failure, **changes) is None
        return self

    def wait(
        self,
        seconds_: float,
        running_since: datetime | None = None,
        *,
        is_presence_known: bool = True,
    ) -> "Scene":
        """Let time pass; timers fire when they are due, earliest first."""
        end = self.at + seconds(seconds_)
        while due := [timer for timer in self.timers if timer.at <= end]:
            timer = min(due, key=lambda each: each.at)
            self.timers.remove(timer)
            self.at = max(self.at, timer.at)
            match timer.kind:
                case "workflow":
                    self.decide(WorkflowTimerFired(self.at))
                case "gate":
                    self.decide(GateTimerFired(self.at, timer.key))
                case "more":
                    self.decide(MoreToSend(self.at))
                case "attempt" | "due":
                    self.decide(
                        AttemptTimerFired(
                            self.at, timer.key, timer.attempt, running_since, is_presence_known
                        )
                    )
        self.at = end
        return self

    def approve(
        self,
        name: str,
        command: str | None = None,
        *,
        yes: bool = True,
        by: str = "ann",
        data: Any = None,
    ) -> Answer:
        self._commands += 1
        command = command or f"command{self._commands}"
        self.decide(ApprovalAnswered(self.at, command, name, yes, by, "because", data))
        return self.replies[-1]

    def answer(self, name: str, data: Any, command: str | None = None) -> Answer:
        self._commands += 1
        command = command or f"command{self._commands}"
        self.decide(InquiryAnswered(self.at, command, name, data, "ann"))
        return self.replies[-1]

    def pause(self, command: str | None = None) -> Answer:
        self._commands += 1
        command = command or f"command{self._commands}"
        self.decide(PauseRequested(self.at, command, "ann", "lunch"))
        return self.replies[-1]

    def resume(self) -> Answer:
        self._commands += 1
        self.decide(ResumeRequested(self.at, f"command{self._commands}", "ann"))
        return self.replies[-1]

    def cancel(self, command: str | None = None) -> Answer:
        self._commands += 1
        self.decide(
            CancelRequested(self.at, command or f"command{self._commands}", "ann", "enough")
        )
        return self.replies[-1]

    def ask(
        self, event: type[Any], *arguments: Any, command: str | None = None, **more: Any
    ) -> Answer:
        """Give a command: ``arguments`` are what its event has after its id."""
        self._commands += 1
        command = command or f"command{self._commands}"
        more = {"by": "ann", "reason": "because", **more}
        self.decide(event(self.at, command, *arguments, **more))
        return self.replies[-1]

    def park(self) -> "Scene":
        self.decide(Parked(self.at))
        return self
