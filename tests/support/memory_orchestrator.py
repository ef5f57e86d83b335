"""An orchestrator without store and bus: the real machine in memory, and agents played by hand."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sagabus.adapters.memory_kv import MemoryKeyValues
from sagabus.adapters.memory_resources import MemoryResources
from sagabus.adapters.secret_box import SecretBox
from sagabus.app import ComponentHealth, Health, Started
from sagabus.app.dead_letters import Letters
from sagabus.app.why import Explained
from sagabus.core.commands import AnswerCommand
from sagabus.core.definition import Approval, Compensation, Definition, RetryPolicy, Routes, Stage
from sagabus.core.drift import DriftReport
from sagabus.core.events import (
    ApprovalAnswered,
    CancelRequested,
    ClaimReceived,
    Event,
    ResultReceived,
    StartRequested,
)
from sagabus.core.graph import Graph
from sagabus.core.instance import Attempt, Instance, InstanceState, InstanceStatus
from sagabus.core.intents import Intent, intents_of, oldest_untold
from sagabus.core.machine import decide
from sagabus.core.transition import Decision
from sagabus.definitions.templates import compile_value
from sagabus.errors import (
    ConflictError,
    InstanceNotFoundError,
    SagabusError,
    WorkflowNotFoundError,
)
from sagabus.observe.metrics import Metrics
from sagabus.ports import HistoryEntry, Page
from sagabus.views.causes import Surroundings
from sagabus.views.graphs import instance_graph
from sagabus.views.why import causes_of
from sagabus_agents.wire import PresenceMessage


def stage(name: str, role: str, following: str | None = None, **settings: Any) -> Stage:
    """A stage of one task."""
    routes = Routes(next=following)
    return Stage(name, (role,), name, routes=routes, **settings)


def undone_by(role: str, name: str) -> dict[str, Any]:
    """Settings of a stage that ``role`` undoes."""
    return {
        "classification": "compensatable",
        "compensation": Compensation((role,), name, retry=RetryPolicy(count=0)),
    }


PIPELINE = Definition(
    name="deploy_pipeline",
    digest="d1",
    entry=("provision",),
    stages={
        "provision": stage("provision", "devops", "migrate_db", **undone_by("devops", "provision")),
        "migrate_db": stage(
            "migrate_db", "backend", "smoke_test", **undone_by("backend", "migrate_db")
        ),
        "smoke_test": stage("smoke_test", "tester"),
    },
)
SHIP = Approval(prompt=compile_value("Ship it?", "prompt"))
RELEASE = Definition(
    name="release",
    digest="d2",
    entry=("publish",),
    stages={"publish": stage("publish", "devops", approval=SHIP)},
)


FINE = ComponentHealth(ok=True, detail="fine")


class NothingRegistered:
    """The registry of an orchestrator that has none."""

    def of(self, name):
        return None


class MemoryWhy:
    """As ``sagabus.app.why.WhyDesk``, of one instance and without any agents."""

    def __init__(self, orchestrator: "MemoryOrchestrator") -> None:
        self._orchestrator = orchestrator

    async def explain(self, instance_id: str) -> Explained:
        state = await self._orchestrator.get(instance_id)
        definition = self._orchestrator.definitions.get(state.row.workflow)
        return Explained(state.row, causes_of(state, definition, Surroundings()))


class NoDeadLetters:
    """Those of an orchestrator that has none."""

    async def list(self, **_: Any) -> Letters:
        return Letters([], None, 0)


class MemoryOrchestrator:
    """The facade of ``sagabus.app.Orchestrator`` over the pure machine."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.kv = MemoryKeyValues(SecretBox(bytes(32)))
        self.dead_letters = NoDeadLetters()
        self.registry = NothingRegistered()
        self.resources = MemoryResources()
        self.why = MemoryWhy(self)
        #: What a look for drift answers; what was asked.
        self.report: DriftReport | None = None
        self.looks: list[tuple[str | None, float]] = []
        self.definitions = {flow.name: flow for flow in (PIPELINE, RELEASE)}
        self.states: dict[str, InstanceState] = {}
        self.events: dict[str, list[Mapping[str, Any]]] = {}
        self.present: list[PresenceMessage] = []
        self.health_now = Health("ok", FINE, FINE, FINE, FINE, 0)
        #: Raised by every call from now on.
        self.failure: SagabusError | None = None
        self.changed = asyncio.Condition()
        #: Somebody waits for an end.
        self.waited_for = asyncio.Event()

    def workflows(self) -> Mapping[str, Definition]:
        return self.definitions

    def workflow(self, name: str) -> Definition:
        if name not in self.definitions:
            raise WorkflowNotFoundError(f'there is no workflow "{name}"')
        return self.definitions[name]

    def refusal(self) -> None:
        return None

    def agents(self) -> list[PresenceMessage]:
        return self.present

    async def drift(self, kind: str | None, timeout_s: float) -> DriftReport:
        self._check()
        self.looks.append((kind, timeout_s))
        assert self.report is not None
        await asyncio.sleep(0)  # agents are asked
        return self.report

    async def health(self) -> Health:
        return replace(self.health_now, agents=len(self.present))

    async def start(self, workflow, parameters=None, *, id=None, by="", command=None) -> Started:
        self._check()
        if workflow not in self.definitions:
            raise WorkflowNotFoundError(f"no workflow {workflow!r} is loaded")
        name = id or f"i{len(self.states) + 1}"
        if name in self.states:
            if self.states[name].row.parameters != dict(parameters or {}):
                raise ConflictError(f"instance {name!r} exists with other parameters")
            return Started(name, is_new=False)
        now = datetime.now(UTC)
        digest = self.definitions[workflow].digest
        row = Instance(name, workflow, digest, InstanceStatus.PENDING, now, now)
        row.parameters, row.started_by = dict(parameters or {}), by
        self.states[name], self.events[name] = InstanceState(row), []
        await self._apply(name, StartRequested(at=now, command=command or uuid.uuid4().hex))
        return Started(name, is_new=True)

    async def approve_stage(self, instance_id, stage, *, data=None, by="", reason="", command=None):
        name = command or uuid.uuid4().hex
        event = ApprovalAnswered(self._now(), name, stage, True, by, reason, data)
        return await self._command(instance_id, event)

    async def reject_stage(self, instance_id, stage, *, by="", reason="", command=None):
        event = ApprovalAnswered(self._now(), command or uuid.uuid4().hex, stage, False, by, reason)
        return await self._command(instance_id, event)

    async def cancel(self, instance_id, *, compensate=True, by="", reason="", command=None):
        name = command or uuid.uuid4().hex
        return await self._command(
            instance_id, CancelRequested(self._now(), name, by, reason, compensate)
        )

    async def get(self, instance_id) -> InstanceState:
        self._check()
        if instance_id not in self.states:
            raise InstanceNotFoundError(f"no instance {instance_id!r}")
        return self.states[instance_id]

    async def get_row(self, instance_id) -> Instance:
        return (await self.get(instance_id)).row

    async def definition_of(self, row) -> Definition | None:
        return self.definitions.get(row.workflow)

    async def intents(self) -> list[Intent]:
        self._check()
        return oldest_untold(
            Intent(state.row.id, state.row.workflow, attempt)
            for state in self.states.values()
            for attempt in intents_of(state)
        )

    async def graph(self, instance_id) -> Graph:
        state = await self.get(instance_id)
        return instance_graph(state, self.definitions[state.row.workflow])

    async def history(self, instance_id) -> list[HistoryEntry]:
        row = (await self.get(instance_id)).row
        return [HistoryEntry(row.id, row.version, row.workflow, self.events[row.id])]

    async def list_instances(self, *, workflow=None, status=None, limit=50, cursor=None) -> Page:
        self._check()
        rows = [state.row for state in reversed(self.states.values())]
        rows = [row for row in rows if workflow in {None, row.workflow}]
        rows = [row for row in rows if status in {None, row.status}]
        begin = int(cursor or 0)
        end = begin + limit
        return Page(rows[begin:end], str(end) if end < len(rows) else None)

    async def wait(self, instance_id, timeout_s=None) -> InstanceState:
        state = await self.get(instance_id)
        self.waited_for.set()
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(lambda: state.row.status.is_terminal)
        return state

    async def watch(self, instance_id) -> AsyncIterator[Mapping[str, Any]]:
        state, events = await self.get(instance_id), self.events[instance_id]
        sent = 0
        while True:
            for event in events[sent:]:
                sent += 1
                yield event
            if state.row.status.is_terminal:
                return
            async with self.changed:
                if sent == len(events):
                    await self.changed.wait()

    def open_attempts(self, instance_id: str) -> Iterator[Attempt]:
        """What waits for an agent."""
        for tries in self.states[instance_id].attempts.values():
            if tries[-1].is_open:
                yield tries[-1]

    async def succeed(self, instance_id: str, output: Any = None) -> None:
        """Play the agent of the one open task: it succeeds."""
        await self._result(instance_id, status="succeeded", output=output)

    async def fail(
        self, instance_id: str, message: str = "boom", error: str = "agent_error"
    ) -> None:
        """Play the agent of the one open task: it fails."""
        await self._result(instance_id, status="failed", error_type=error, error_message=message)

    async def _result(self, instance_id: str, **outcome: Any) -> None:
        (attempt,) = self.open_attempts(instance_id)
        name = {"task": attempt.task, "attempt": attempt.attempt, "agent": "a1"}
        if attempt.claim:
            claim = {"source": attempt.role, "claim": "k", "delivery": 1, "reply": "r"}
            await self._apply(instance_id, ClaimReceived(at=self._now(), **claim, **name))
        result = ResultReceived(at=self._now(), source=attempt.role, **name, **outcome)
        await self._apply(instance_id, result)

    async def _command(self, instance_id: str, event: Event) -> Mapping[str, Any]:
        await self.get(instance_id)
        commands = await self._apply(instance_id, event)
        answer = next(c.answer for c in commands if isinstance(c, AnswerCommand))
        if not answer.ok:
            raise ConflictError(answer.message or "")
        return answer.result

    async def _apply(self, instance_id: str, event: Event) -> list[Any]:
        state = self.states[instance_id]
        decision = decide(self.definitions[state.row.workflow], state, event)
        if isinstance(decision, Decision):
            for entry in decision.events:
                self.metrics.on_event(state.row.workflow, entry)
            self.events[instance_id].extend(decision.events)
        async with self.changed:
            self.changed.notify_all()
        return list(decision.commands)

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _now(self) -> datetime:
        return datetime.now(UTC)
