"""Deciding a turn: every message, command and due timer becomes an event of its instance."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import structlog

from sagabus.core.commands import SetTimer
from sagabus.core.definition import Definition, TemplateError
from sagabus.core.events import (
    Beginning,
    DatabaseRestored,
    EndAsked,
    Event,
    OperatorRequest,
    RetryRequested,
    StartRequested,
)
from sagabus.core.instance import Failure, InstanceState, InstanceStatus
from sagabus.core.kv import MAX_ASKED, Closed, UnknownKeyError, known_keys
from sagabus.core.restoring import is_untold
from sagabus.core.subworkflows import ask_again
from sagabus.errors import BadMessageError, ConfigError, InvariantError, RequestError
from sagabus.runtime.deciding import Decider
from sagabus.runtime.engine import Engine
from sagabus.runtime.holds import wait
from sagabus.runtime.messages import task_message
from sagabus.runtime.payloads import complete_results
from sagabus.runtime.reading import Dead, Item, Reading, event_of, nothing_undone, read, skip
from sagabus.runtime.repairing import retry_event
from sagabus.runtime.roster import Key, Roster
from sagabus.runtime.starting import (
    StartArguments,
    existing_answer,
    new_instance,
    read_arguments,
)
from sagabus.runtime.subworkflows import refusal
from sagabus.runtime.timer_queue import timer_event
from sagabus.runtime.turn import Turn
from sagabus_agents.wire import ClaimMessage, CommandMessage

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Patience(Protocol):
    """Calls the store again and again while it is away."""

    async def __call__(self, call: Callable[[], Awaitable[T]], /) -> T:
        """The first result of ``call`` that is not ``StoreUnavailableError``."""


class Intake:
    """Decides the turns of one partition."""

    def __init__(
        self,
        engine: Engine,
        roster: Roster,
        patiently: Patience,
        poisoned: Mapping[str, str],
    ) -> None:
        """Decide for ``roster``; ``poisoned`` instances are parked, whatever is asked of them."""
        self._engine = engine
        self._roster = roster
        self._patiently = patiently
        self._poisoned = poisoned
        #: What was read of the key-value store for this turn.
        self._known: dict[str, Any] = {}

    async def decide(self, turn: Turn, due: Iterable[tuple[str, SetTimer]]) -> None:
        """Decide everything in ``turn``: messages in stream order, commands, then timers."""
        reading = read(turn.deliveries, turn.commands)
        turn.dead += reading.dead
        timers: dict[str, list[Event]] = {}
        for instance, event in turn.own:
            timers.setdefault(instance, []).append(event)
        for instance, timer in due:
            event = timer_event(self._engine, instance, timer, turn.at)
            timers.setdefault(instance, []).append(event)
        ids = dict.fromkeys([*reading.items, *timers])
        stored = [instance for instance in ids if not _is_fresh(reading, instance)]
        states = await self._patiently(lambda: self._roster.bring(stored))
        turn.dead += await complete_results(self._engine.bus, reading, states)
        decider = Decider(self._engine.policies, turn.changes)
        for instance in ids:
            items = reading.items.get(instance, [])
            if instance in self._roster.unreadable:
                _give_up(turn, instance, items, self._roster.unreadable[instance])
                continue
            state, events = await self._events(turn, instance, states.get(instance), items)
            events += timers.get(instance, [])
            if state is not None:
                if events and is_untold(state.row, self._roster.restored_at):
                    events.insert(0, DatabaseRestored(turn.at))
                await self._apply(turn, decider, state, events, items)
        turn.bury_ignored()

    async def _events(
        self, turn: Turn, instance: str, state: InstanceState | None, items: list[Item]
    ) -> tuple[InstanceState | None, list[Event]]:
        """The events that ``items`` mean; a start makes the state they are for."""
        events: list[Event] = []
        for item in items:
            message = item.message
            if isinstance(message, CommandMessage) and message.name == "start":
                turn.note_asked(instance, message.command, "", item)
                state, event = await self._start(turn, instance, state, item, message)
                events += [] if event is None else [event]
                continue
            if state is None:
                _reject_unknown(turn, instance, item)
                continue
            if isinstance(message, ClaimMessage) and self._has_to_wait(state, message, item.source):
                turn.changes.commands.append((instance, wait(message)))
                continue
            if isinstance(message, CommandMessage) and message.name == "retry":
                retry = await self._retry(turn, state, item, message)
                if retry is not None:
                    turn.note_asked(instance, retry.command, retry.asked, item)
                    events.append(retry)
                continue
            try:
                event = event_of(self._engine, instance, item, turn.at)
            except BadMessageError as error:
                turn.refuse(item, "invalid_request", error.reason)
                continue
            turn.note_origin(event, instance, item)
            if isinstance(event, OperatorRequest):
                turn.note_asked(instance, event.command, event.asked, item)
            events.append(event)
        hold = None if state is None else self._engine.holds.pause_at_start(state.row, turn.at)
        if hold is not None:
            events = [
                replace(each, hold=hold) if isinstance(each, Beginning) else each for each in events
            ]
        return state, events

    async def _retry(
        self, turn: Turn, state: InstanceState, item: Item, message: CommandMessage
    ) -> RetryRequested | None:
        """What a retry means; it may bring another definition with it."""
        snapshots = self._engine.snapshots

        async def understand() -> RetryRequested:
            event = await retry_event(message, state.row, snapshots, turn.at)
            if event.definition is not None:
                await snapshots.keep(event.definition)
            return event

        try:
            return await self._patiently(understand)
        except BadMessageError as error:
            turn.refuse(item, "invalid_request", error.reason)
        except (ConfigError, InvariantError, RequestError, TemplateError) as error:
            code = error.code if isinstance(error, RequestError) else "internal"
            turn.refuse(item, code, str(error))
        return None

    def _has_to_wait(self, state: InstanceState, claim: ClaimMessage, role: str) -> bool:
        """Whether a hold keeps an attempt from beginning; one that was told to run, runs."""
        if not self._engine.holds.covers(role):
            return False
        attempt = state.find(claim.task, claim.attempt)
        return attempt is not None and attempt.is_unanswered and attempt.claim_id != claim.claim

    async def _start(
        self,
        turn: Turn,
        instance: str,
        state: InstanceState | None,
        item: Item,
        message: CommandMessage,
    ) -> tuple[InstanceState | None, Event | None]:
        """The instance that a start command is for, new or not, and what it means to it."""
        snapshots = self._engine.snapshots
        arguments: StartArguments | None = None
        try:
            arguments = given = read_arguments(message)
            if state is None:
                made = await self._patiently(
                    lambda: new_instance(instance, message, given, snapshots, turn.at)
                )
                return made, StartRequested(turn.at, message.command, given.paused)
            if arguments.parent is not None:
                return state, EndAsked(turn.at, arguments.parent, given.paused)
            digest = state.row.digest
            definition = await self._patiently(lambda: snapshots.of(digest))
            turn.refusals.append((item, existing_answer(state, message, arguments, definition)))
        except (ConfigError, InvariantError, RequestError, TemplateError) as error:
            code = error.code if isinstance(error, RequestError) else "internal"
            turn.refuse(item, code, str(error))
            if arguments is not None and arguments.parent is not None:
                told = refusal(arguments.parent, Failure("bad_input", str(error)))
                turn.changes.commands.append((instance, told))
        return state, None

    async def _apply(
        self,
        turn: Turn,
        decider: Decider,
        state: InstanceState,
        events: list[Event],
        items: list[Item],
    ) -> None:
        instance = state.row.id
        digest = state.row.digest
        try:
            definition = await self._patiently(lambda: self._engine.snapshots.of(digest))
        except (ConfigError, InvariantError, TemplateError) as unreadable:
            self._roster.unreadable[instance] = f"its definition: {unreadable}"
            _give_up(turn, instance, items, self._roster.unreadable[instance])
            return
        error: Exception | None = None
        if instance in self._poisoned:
            error = InvariantError(self._poisoned[instance])
        elif events:
            state, error = await self._decide(decider, definition, state, events)
        if error is None:
            self._roster.add(state)
            turn.states.append(state)
            return
        # The state in memory is half changed. What is stored is right: park that.
        message = f"the engine failed on this instance: {type(error).__name__}: {error}"
        _give_up(turn, instance, items, message)
        self._roster.forget(instance)
        stored = (await self._patiently(lambda: self._roster.bring([instance]))).get(instance)
        is_parked = stored is not None and stored.row.status is InstanceStatus.NEEDS_OPERATOR
        if stored is not None and not stored.row.status.is_terminal and not is_parked:
            decider.park(definition, stored, turn.at, message)
            turn.states.append(stored)

    async def _decide(
        self,
        decider: Decider,
        definition: Definition,
        state: InstanceState,
        events: list[Event],
    ) -> tuple[InstanceState, Exception | None]:
        """Decide ``events``; again from what is stored for each key that turns out to be read."""
        used = [definition, *_brought(events)]
        if not any(each.reads_kv for each in used):
            return state, decider.apply(definition, state, events)
        instance = state.row.id
        await self._look_up(frozenset().union(*(each.kv_keys for each in used)))
        for asked in range(MAX_ASKED + 1):
            # What is new is stored nowhere, and small.
            spare = deepcopy(state) if state.row.version == 0 else None
            known = Closed(self._known) if asked == MAX_ASKED else self._known
            error = decider.apply(definition, state, events, known)
            if not isinstance(error, UnknownKeyError):
                return state, error
            await self._look_up({error.key})
            if spare is not None:
                state = spare
            else:
                self._roster.forget(instance)
                brought = await self._patiently(lambda: self._roster.bring([instance]))
                if instance not in brought:
                    why = self._roster.unreadable.get(instance, "it is gone from the store")
                    return state, InvariantError(why)
                state = brought[instance]
        raise InvariantError("a decision asked on where nothing more is looked up")

    async def _look_up(self, keys: Collection[str]) -> None:
        """Read keys of the key-value store, each once for all instances of the turn."""
        missing = [key for key in keys if key not in self._known]
        if missing:
            found = await self._patiently(lambda: self._engine.kv.get_many(missing))
            self._known |= known_keys(missing, found)

    async def send_again(self, turn: Turn, keys: list[Key], mark: str) -> None:
        """Tasks without news leave once more, marked; the bus refuses those it still holds."""
        ids = list(dict.fromkeys(key[0] for key in keys))
        states = await self._patiently(lambda: self._roster.bring(ids))
        for instance, task, number in keys:
            state = states.get(instance)
            attempt = state.find(task, number) if state is not None else None
            if state is None or attempt is None or not attempt.may_be_sent_again:
                continue
            try:
                definition = await self._engine.snapshots.of(state.row.digest)
                if attempt.is_child:
                    asked = ask_again(definition, state, attempt)
                    turn.changes.commands += [(instance, command) for command in asked]
                elif not attempt.is_local:
                    turn.resends.append(task_message(definition, state, attempt, resend=mark))
            except (BadMessageError, ConfigError, InvariantError, TemplateError) as error:
                log.error("task_not_sent_again", workflow_id=instance, error=str(error))


def _brought(events: Iterable[Event]) -> list[Definition]:
    """Definitions that retries bring with them."""
    return [
        event.definition
        for event in events
        if isinstance(event, RetryRequested) and event.definition is not None
    ]


def _is_fresh(reading: Reading, instance: str) -> bool:
    """Whether the id was just made for a start: the store cannot know it."""
    items = reading.items.get(instance, ())
    return len(items) == 1 and items[0].local is not None and items[0].local.is_fresh_id


def _give_up(turn: Turn, instance: str, items: Iterable[Item], reason: str) -> None:
    """Refuse what is asked of an instance that cannot go on, and keep what it was told."""
    log.error("instance_given_up", workflow_id=instance, error=reason)
    for item in items:
        if isinstance(item.message, CommandMessage):
            turn.refuse(item, "internal", f"instance {instance!r}: {reason}")
        elif item.delivery is not None:
            dead = Dead(f"engine_failed: {reason}", item.source, instance, item.delivery)
            turn.dead.append(dead)


def _reject_unknown(turn: Turn, instance: str, item: Item) -> None:
    message = item.message
    if isinstance(message, CommandMessage):
        turn.refuse(item, "instance_not_found", f"there is no instance {instance!r}")
        if message.name == "undo":
            told = nothing_undone(message)
            turn.changes.commands += [] if told is None else [(instance, told)]
        return
    if isinstance(message, ClaimMessage):
        turn.changes.commands.append((instance, skip(message)))
    if item.delivery is not None:
        turn.dead.append(Dead("unknown_instance", item.source, instance, item.delivery))
