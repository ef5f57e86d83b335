"""Plays a workflow on the machine and on the naive interpreter at once; compares at every event.

What happens next is chosen among what can happen: an agent claims or answers, a retry is due, a
person decides, a gate's time is over, somebody cancels. Both are told the same.
"""

from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pprint import pformat
from typing import Any

from sagabus.core.commands import AuthorizeTask, DispatchTask
from sagabus.core.definition import Definition
from sagabus.core.events import (
    ApprovalAnswered,
    AttemptTimerFired,
    CancelRequested,
    ClaimReceived,
    Event,
    GateTimerFired,
    InquiryAnswered,
    PolicyDecided,
    ResultReceived,
    StartRequested,
    WorkflowTimerFired,
)
from sagabus.core.instance import Attempt, Instance, InstanceState, InstanceStatus, run_key
from sagabus.core.machine import decide
from sagabus.core.transition import Decision
from tests.unit.language import naive_graph as graph
from tests.unit.language.checks import check_step
from tests.unit.language.choosing import Chooser, about, possible
from tests.unit.language.naive import Naive
from tests.unit.language.naive_graph import Doc
from tests.unit.language.random_graphs import Game

BASE = datetime(2030, 1, 1, tzinfo=UTC)
#: No random workflow needs nearly as many: one that is not over by then never ends.
MANY_EVENTS = 600
ENDS = ("completed", "failed", "rolled_back", "cancelled")


class Machine:
    """The real machine, in memory, seen as the naive interpreter shows itself."""

    def __init__(
        self, definition: Definition, parameters: Doc, denied: tuple[str, ...] = ()
    ) -> None:
        self.definition = replace(definition, has_policies=bool(denied))
        self.denied = denied
        row = Instance(
            id="i",
            workflow=definition.name,
            digest=definition.digest,
            status=InstanceStatus.PENDING,
            created_at=BASE,
            updated_at=BASE,
            parameters=parameters,
        )
        self.state = InstanceState(row)
        self.at = BASE
        self.ignored: list[tuple[str, str]] = []
        self.sent: list[tuple[str, int]] = []
        self._number = 0

    def happen(self, event: Doc) -> list[Doc]:
        """Take an event; what the policies say to the attempts that it leads to."""
        self.at += timedelta(seconds=1)
        self._number += 1
        made = self._event(**event)
        decision = self._decide(made)
        assert decision is not None, f"{made} was ignored"
        if isinstance(made, StartRequested | ResultReceived):
            assert self._decide(made) is None, f"{made} counted twice"
        verdicts = []
        questions = deque(decision.commands)
        while questions:
            asked = questions.popleft()
            if isinstance(asked, AuthorizeTask):
                is_allowed = self._is_allowed(asked)
                answer = PolicyDecided(self.at, asked.task, asked.attempt, is_allowed, ["p"], "no")
                answered = self._decide(answer)
                questions.extend(answered.commands if answered is not None else ())
                if answered is not None:
                    verdict = "permitted" if is_allowed else "denied"
                    verdicts.append({"what": verdict, "task": about(asked.task)})
        return verdicts

    def _is_allowed(self, asked: AuthorizeTask) -> bool:
        prefix = "undo of " if asked.action == "compensate-stage" else ""
        return f"{prefix}{asked.stage}" not in self.denied

    def _decide(self, event: Event) -> Decision | None:
        before = self.state.row.status
        decision = decide(self.definition, self.state, event)
        if not isinstance(decision, Decision):
            return None
        for entry in decision.events:
            if entry["type"] == "ArmIgnored":
                data = entry["data"]
                self.ignored.append((data["stage"], run_key(data["from"], data["pass"])))
        sent = [
            (command.attempt.task, command.attempt.attempt)
            for command in decision.commands
            if isinstance(command, DispatchTask)
        ]
        self.sent += sent
        check_step(before, self.state, sent, self.sent)
        return decision

    def _event(self, what: str, **details: Any) -> Event:
        number = f"n{self._number}"
        match what:
            case "start":
                return StartRequested(self.at, number)
            case "cancel":
                return CancelRequested(self.at, number, "ann", "enough")
            case "answer":
                stage, is_approved = details["stage"], details["is_approved"]
                return ApprovalAnswered(self.at, number, stage, is_approved, "ann")
            case "gate_timeout":
                self._wait_until(self.state.row.runs[details["run"]].gate.due_at)
                return GateTimerFired(self.at, details["run"])
            case "inquiry":
                return InquiryAnswered(self.at, number, details["stage"], details["data"], "ann")
            case "time_is_up":
                self._wait_until(self.state.row.deadline_at)
                return WorkflowTimerFired(self.at)
        attempt = self._attempt(**details["task"])
        match what:
            case "claim":
                return ClaimReceived(
                    at=self.at,
                    source=attempt.role,
                    claim=number,
                    task=attempt.task,
                    attempt=attempt.attempt,
                    agent="agent",
                    delivery=1,
                    reply="reply",
                )
            case "retry_due" | "wake_up":
                self._wait_until(attempt.due_at)
                return AttemptTimerFired(self.at, attempt.task, attempt.attempt)
            case "result":
                return self._result(attempt, details["outcome"], details["output"])
        raise NotImplementedError(what)

    def _result(self, attempt: Attempt, outcome: str, output: Any) -> ResultReceived:
        is_ok = outcome == "ok"
        return ResultReceived(
            at=self.at,
            source=attempt.role,
            task=attempt.task,
            attempt=attempt.attempt,
            status="succeeded" if is_ok else "failed",
            agent="agent",
            output=output if is_ok else None,
            error_type="" if is_ok else outcome,
            error_message="" if is_ok else f"{outcome}!",
            is_retryable=outcome != "permanent",
        )

    def _attempt(self, run: str, index: int, entry: int | None = None) -> Attempt:
        task = f"{run}-{index}" if entry is None else f"{run}-{index}-undo-{entry}"
        return self.state.attempts[task][-1]

    def _wait_until(self, due_at: datetime | None) -> None:
        assert due_at is not None
        self.at = max(self.at, due_at)

    def seen(self) -> Doc:
        row = self.state.row
        error = row.error and {"type": row.error.type, "stage": row.error.stage}
        stages = self.definition.stages
        ended = [(run.ended_order, key) for key, run in row.runs.items() if run.ended_order]
        return {
            "status": row.status.value,
            "error": error,
            "handled_failures": row.handled_failures,
            "rollback": row.rollback,
            "vars": row.vars,
            "output": row.output,
            "runs": {
                key: {
                    "status": run.status.value,
                    "parents": [] if stages[run.stage].block else run.parents,
                    "gate": run.gate and (run.gate.decision or "waiting"),
                    "is_handled": run.is_handled,
                }
                for key, run in row.runs.items()
            },
            "order": list(row.runs),
            "ended": [key for _, key in sorted(ended)],
            "open": {
                f"{tries[-1].task}/{tries[-1].attempt}": self._open(tries[-1])
                for tries in self.state.attempts.values()
                if tries[-1].is_open
            },
            "arrived": row.arrived,
            "clock_runs": row.deadline_at is not None,
            "ignored": self.ignored,
            "left": sorted(each["task"] for each in row.effects_left if row.status in ENDS),
        }

    def _open(self, attempt: Attempt) -> Doc:
        states = {"dispatched": "sent", "running": "claimed"}
        return {
            "state": "retry" if attempt.retry else states[attempt.status.value],
            "asks": attempt.claim,
            "role": attempt.role,
            "input": attempt.input,
        }


class Duel:
    """One workflow on both."""

    def __init__(self, game: Game, definition: Definition) -> None:
        has_policies = bool(game.denied)
        self.naive = Naive(game.engine, game.workflow, game.parameters, has_policies=has_policies)
        self.machine = Machine(definition, game.parameters, game.denied)
        #: What happened, each with what was seen then: of the naive interpreter, of the machine.
        self.steps: list[tuple[Doc, Doc, Doc]] = []

    def play(self, choose: Chooser) -> Doc:
        """To the end; what is seen there.

        Raises:
            AssertionError: the two do not agree, or the machine breaks a law of its own.
        """
        self._compare_graphs()
        seen = self._step({"what": "start"})
        while seen["status"] not in ENDS:
            choices = possible(seen, self.naive.stages)
            assert choices, f"it hangs in {seen['status']}"
            assert len(self.steps) < MANY_EVENTS, "it never ends"
            seen = self._step(choose(choices))
        return seen

    def _compare_graphs(self) -> None:
        """What the compiler made of the document is what the document says."""
        naive, definition = self.naive, self.machine.definition
        assert list(definition.entry) == graph.entry(naive.workflow), "entry"
        for name in naive.arms:
            stage = definition.stages[name]
            assert stage.join == naive.join[name], f"join of {name}"
            if stage.join is not None:
                assert list(stage.arms) == naive.arms[name], f"arms of {name}"
            assert stage.routes.next == naive.next[name], f"next of {name}"
            reached = definition.reach[name] & naive.arms.keys()
            assert reached == naive.reach[name], f"reach of {name}"

    def _step(self, event: Doc) -> Doc:
        self.steps.append((event, {}, {}))
        verdicts = self.machine.happen(event)
        real = snapshot(self.machine.seen())
        self.steps[-1] = (event, {}, real)
        self.naive.happen(event)
        for each in verdicts:
            assert self.naive.has_sent(**each["task"]), (
                f"the policies were asked for {each['task']}"
            )
            self.naive.happen(each)
        naive = snapshot(self.naive.seen())
        self.steps[-1] = (event, naive, real)
        for what, expected in naive.items():
            assert real[what] == expected, (
                f"{what}: the machine says\n{pformat(real[what])}\n"
                f"and the naive interpreter\n{pformat(expected)}"
            )
        return naive

    def trace(self) -> str:
        """Every event with what it changed, on both sides."""
        lines = []
        before: tuple[Doc, Doc] = ({}, {})
        for number, (event, naive, real) in enumerate(self.steps):
            lines.append(f"{number}. {_told(event)}")
            ours, theirs = _changes(before[0], naive), _changes(before[1], real)
            if ours == theirs:
                lines += [f"      both     {each}" for each in ours]
            else:
                lines += [f"      naive    {each}" for each in ours]
                lines += [f"      machine  {each}" for each in theirs]
            before = (naive, real)
        return "\n".join(lines)


def snapshot(seen: Any) -> Any:
    """A copy that later events do not change, without the wording of errors."""
    if isinstance(seen, dict):
        return {key: snapshot(each) for key, each in seen.items() if key != "message"}
    if isinstance(seen, list | tuple):
        return [snapshot(each) for each in seen]
    return seen


def _told(event: Doc) -> str:
    details = " ".join(f"{name}={each}" for name, each in event.items() if name != "what")
    return f"{event['what']} {details}"


def _changes(before: Doc, after: Doc) -> list[str]:
    lines = []
    for what, now in after.items():
        was = before.get(what)
        if was == now:
            continue
        if isinstance(now, dict) and isinstance(was, dict):
            lines += [f"{what}.{key} = {now[key]}" for key in now if now[key] != was.get(key)]
            lines += [f"{what}.{key} is gone" for key in was if key not in now]
        else:
            lines.append(f"{what} = {now}")
    return lines
