"""One batch being decided: events in, everything that is to be stored and carried out, out.

Instances are decided one after another, each with its events in stream order. Nothing here waits
for anything but the store's answer to "what do you have of this instance".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from sagabus.core.commands import AuthorizeTask, Command, DispatchTask
from sagabus.core.definition import Definition
from sagabus.core.events import Event, PolicyDecided, RetryRequested, TaskRefused
from sagabus.core.instance import Attempt, Instance, InstanceState
from sagabus.core.kv import UnknownKeyError
from sagabus.core.machine import decide, park
from sagabus.core.transition import Decision, Ignored, ResourceChange
from sagabus.errors import BadMessageError
from sagabus.ports import HistoryEntry, OutgoingTask, Policies
from sagabus.runtime.messages import task_message

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Changes:
    """What a batch changes and asks for; instances in the order in which they were decided."""

    instances: list[Instance] = field(default_factory=list)
    attempts: list[tuple[str, Attempt]] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)
    #: New lists that runs have one task per element of: instance, run key, list.
    items: list[tuple[str, str, list[Any]]] = field(default_factory=list)
    resources: list[ResourceChange] = field(default_factory=list)
    #: With the instance's id.
    commands: list[tuple[str, Command]] = field(default_factory=list)
    tasks: list[OutgoingTask] = field(default_factory=list)
    #: Events that changed nothing, and why.
    ignored: list[tuple[Event, Ignored]] = field(default_factory=list)


class Decider:
    """Applies events to one instance after another."""

    def __init__(self, policies: Callable[[], Policies | None], changes: Changes) -> None:
        self._policies = policies
        self.changes = changes

    def apply(
        self,
        definition: Definition,
        state: InstanceState,
        events: Sequence[Event],
        kv: Mapping[str, Any] | None = None,
    ) -> Exception | None:
        """Decide all ``events`` of an instance; on a bug, the exception, and nothing is kept.

        ``UnknownKeyError`` is no bug: look the key up and decide again, on a fresh state.
        """
        decisions: list[Decision] = []
        tasks: list[tuple[Attempt, OutgoingTask]] = []
        ignored: list[tuple[Event, Ignored]] = []
        try:
            for event in events:
                outcome = decide(definition, state, event, kv)
                if isinstance(event, RetryRequested):
                    definition = _definition_after(event, definition, state)
                if isinstance(outcome, Ignored):
                    ignored.append((event, outcome))
                else:
                    decisions.append(outcome)
                    tasks += self._follow_up(definition, state, outcome, decisions, event.at, kv)
        except UnknownKeyError as error:
            return error
        except Exception as error:
            log.exception("invariant_broken", workflow_id=state.row.id)
            return error
        self._keep(state, decisions, tasks, ignored)
        return None

    def park(self, definition: Definition, state: InstanceState, at: datetime, why: str) -> None:
        """Stop an instance for an operator."""
        self._keep(state, [park(definition, state, at, why)], [], [])

    def _follow_up(
        self,
        definition: Definition,
        state: InstanceState,
        decision: Decision,
        decisions: list[Decision],
        at: datetime,
        kv: Mapping[str, Any] | None,
    ) -> list[tuple[Attempt, OutgoingTask]]:
        """Answer what a decision asks before it can be stored, until it asks nothing more."""
        tasks: list[tuple[Attempt, OutgoingTask]] = []
        pending = [decision]
        while pending:
            for command in pending.pop().commands:
                event: Event
                if isinstance(command, DispatchTask):
                    attempt = command.attempt
                    try:
                        tasks.append((attempt, task_message(definition, state, attempt)))
                        continue
                    except BadMessageError as error:
                        event = TaskRefused(at, attempt.task, attempt.attempt, error.reason)
                elif isinstance(command, AuthorizeTask):
                    event = self._authorize(command, at)
                else:
                    continue
                outcome = decide(definition, state, event, kv)
                if isinstance(outcome, Decision):
                    decisions.append(outcome)
                    pending.append(outcome)
        return tasks

    def _authorize(self, command: AuthorizeTask, at: datetime) -> PolicyDecided:
        policies = self._policies()
        if policies is None and command.action == "compensate-stage":
            # Undoing needs no permit; only a policy could have forbidden it, and there is none.
            return PolicyDecided(at, command.task, command.attempt, True)
        if policies is None:
            reason = "the instance was started under policies, and now none are configured"
            return PolicyDecided(at, command.task, command.attempt, False, (), reason)
        verdict = policies.authorize(command.action, command.stage, command.context)
        return PolicyDecided(
            at,
            command.task,
            command.attempt,
            verdict.is_allowed,
            verdict.policies,
            verdict.reason,
        )

    def _keep(
        self,
        state: InstanceState,
        decisions: list[Decision],
        tasks: list[tuple[Attempt, OutgoingTask]],
        ignored: list[tuple[Event, Ignored]],
    ) -> None:
        row = state.row
        changes = self.changes
        changes.ignored += ignored
        for _, outcome in ignored:
            changes.commands += [(row.id, command) for command in outcome.commands]
        if not decisions:
            return
        row.version += 1
        attempts: dict[tuple[str, int], Attempt] = {}
        events: list[dict[str, Any]] = []
        for decision in decisions:
            attempts |= decision.attempts
            events += decision.events
            changes.items += [(row.id, run, items) for run, items in decision.items.items()]
            changes.commands += [(row.id, command) for command in decision.commands]
            if decision.resources:
                changes.resources += decision.resources
        changes.instances.append(row)
        changes.attempts += [(row.id, attempt) for attempt in attempts.values()]
        if events:
            changes.history.append(HistoryEntry(row.id, row.version, row.workflow, events))
        # What was sent and settled again within the batch never leaves.
        changes.tasks += [task for attempt, task in tasks if attempt.is_unanswered]


def _definition_after(
    event: RetryRequested, definition: Definition, state: InstanceState
) -> Definition:
    """What an instance goes on with: a retry that was granted may have changed it."""
    changed = event.definition
    return changed if changed is not None and state.row.digest == changed.digest else definition
