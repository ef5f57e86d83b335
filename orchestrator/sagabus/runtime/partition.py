"""The loop of one partition: the whole engine. Batch, decide, commit, publish, acknowledge.

Nothing is published, replied or acknowledged before the commit. Whatever fails on the way, the
partition is dropped with all it has in memory and taken again: recovery is one mechanism.

One file, because the order of its steps is the promise that it keeps.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic, perf_counter
from typing import TypeVar

import structlog

from sagabus.core.commands import SetTimer
from sagabus.core.events import DatabaseRestored
from sagabus.core.instance import Answer, InstanceState
from sagabus.core.timers import timers_of
from sagabus.errors import (
    BusUnavailableError,
    InvariantError,
    OutdatedStoreError,
    PartitionLostError,
    StoreError,
    StoreUnavailableError,
)
from sagabus.ports import Batch, Delivery, Inbox, Mark
from sagabus.runtime import pace
from sagabus.runtime.engine import Engine, LocalCommand
from sagabus.runtime.intake import Intake
from sagabus.runtime.keeping_back import KeepingBack
from sagabus.runtime.outward import carry_out
from sagabus.runtime.reading import Item
from sagabus.runtime.restoring import refuse_outdated
from sagabus.runtime.retelling import tell_again
from sagabus.runtime.roster import Key, Roster
from sagabus.runtime.timer_queue import TimerQueue
from sagabus.runtime.turn import Turn

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: A failure of the bus counts as present for this long.
_STUCK_S = 20.0

#: Timers of ended instances are dropped beyond this many.
_MANY_TIMERS = 1_000

#: Clocks of bus and orchestrator may differ by this much where a message's time counts.
_CLOCK_MARGIN = timedelta(seconds=1)


class PartitionLoop:
    """Owns one partition for as long as nobody raises its epoch."""

    def __init__(self, number: int, engine: Engine) -> None:
        self.number = number
        self._engine = engine
        self._commands: deque[LocalCommand] = deque()
        self._stopping = False
        self._epoch = 0
        self._batch = 0
        self._published = 0
        self._inbox: Inbox | None = None
        self._roster = Roster(engine.store)
        self._keeping_back = KeepingBack(engine, self._roster)
        self._timers = TimerQueue()
        self._caught_up = False
        self._read_until: datetime | None = None
        self._gives_way = False
        self._took_s = 0.0
        self._taken_at = engine.clock()
        #: Failures of the bus in a row while it was connected, and when the last one was.
        self._bus_failures = 0
        self._bus_failed_at = 0.0
        self._corrupt: list[tuple[str, str]] = []
        #: Instances whose next state cannot be stored: they are parked instead.
        self._poisoned: dict[str, str] = {}
        #: ``taking``, ``serving``, ``database_away``, ``bus_away``, ``lost``, ``stopped``.
        self.status = "taking"

    @property
    def active(self) -> int:
        """Instances that have neither ended nor begun to compensate."""
        return self._roster.active.total()

    @property
    def unfinished(self) -> int:
        """Instances in memory."""
        return len(self._roster)

    @property
    def is_serving(self) -> bool:
        """True while commands are taken."""
        return self.status in {"serving", "database_away"}

    @property
    def is_bus_stuck(self) -> bool:
        """True when the bus is connected, and again and again fails to take what is published."""
        is_recent = monotonic() - self._bus_failed_at < _STUCK_S
        return self._bus_failures > 1 and is_recent and self._engine.bus.is_connected

    @property
    def corrupt(self) -> list[tuple[str, str]]:
        """Instances that cannot be gone on with: id and reason."""
        return [*self._corrupt, *self._roster.unreadable.items()]

    @property
    def mark(self) -> Mark | None:
        """How far the partition is stored; None while it is not served."""
        return Mark(self._epoch, self._batch) if self.is_serving else None

    def state_of(self, instance: str) -> InstanceState | None:
        """An unfinished instance as far as it is in memory: its row and its open attempts."""
        return self._roster.get(instance)

    def states(self) -> Iterator[InstanceState]:
        """Every unfinished instance as far as it is in memory."""
        return self._roster.states()

    def submit(self, command: LocalCommand) -> None:
        """Take a command of this process; answered when it is stored."""
        self._commands.append(command)
        self.wake()

    def wake(self) -> None:
        """Have a look at once at what has changed."""
        if self._inbox is not None:
            self._inbox.wake()

    @property
    def has_heeded_holds(self) -> bool:
        """True when everything that is on hold now is kept back here."""
        return not self._keeping_back.is_behind

    async def lag(self) -> int:
        """Messages in the inbox that were not read yet."""
        return await self._inbox.lag() if self._inbox is not None else 0

    def stop(self) -> None:
        """End after the batch at hand."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        """Serve until ``stop``, or until another owner has taken the partition.

        Raises:
            PartitionLostError: another owner has.
            OutdatedStoreError: the database is older than the bus.
        """
        bus = self._engine.bus
        try:
            while not self._stopping:
                try:
                    await self._take()
                    while not self._stopping:
                        await self._turn()
                    await self._leave()
                except BusUnavailableError as error:
                    self.status = "bus_away"
                    self._bus_failures = self._bus_failures + 1 if bus.is_connected else 0
                    self._bus_failed_at = monotonic()
                    log.warning("bus_away", partition=self.number, error=str(error))
                    await self._bus_back()
                except (PartitionLostError, OutdatedStoreError):
                    raise
                except InvariantError as error:
                    # What it was to be changed into cannot be stored: parked on the next try.
                    if error.instance_id is None or error.instance_id in self._poisoned:
                        raise
                    log.error("instance_poisoned", workflow_id=error.instance_id, error=str(error))
                    self._poisoned[error.instance_id] = str(error)
                except StoreError as error:
                    # Memory and database disagree: what is stored is right.
                    log.error("partition_retaken", partition=self.number, error=str(error))
                    await asyncio.sleep(self._engine.limits.retry_s)
                finally:
                    await self._drop()
        except PartitionLostError as error:
            self.status = "lost"
            log.warning("partition_lost", partition=self.number, error=str(error))
            raise
        finally:
            self.status = "lost" if self.status == "lost" else "stopped"
            self._refuse_commands()

    async def _bus_back(self) -> None:
        """Wait for the bus, and in any case a moment: it may be there and refuse."""
        await asyncio.sleep(self._engine.limits.retry_s)
        while not self._engine.bus.is_connected and not self._stopping:  # noqa: ASYNC110
            await asyncio.sleep(self._engine.limits.retry_s)

    def _refuse_commands(self) -> None:
        for command in self._commands:
            if not command.answer.done():
                error = BusUnavailableError("this orchestrator has stopped serving the instance")
                command.answer.set_exception(error)
        self._commands.clear()

    # --- taking -------------------------------------------------------------------------------

    async def _take(self) -> None:
        engine = self._engine
        self.status = "taking"
        self._taken_at = engine.clock()
        above = await self._above()
        restored_at = engine.clock() if self.number in engine.restoring else None
        claim = await self._patiently(
            lambda: engine.store.take_partition(self.number, above, restored_at)
        )
        self._epoch, self._batch, self._published = claim.epoch, claim.batch, claim.published
        self._inbox = await engine.bus.open_inbox(self.number, claim.epoch)
        found = await self._patiently(lambda: engine.store.load_active(self.number))
        self._corrupt = found.corrupt
        for instance, reason in found.corrupt:
            log.error("instance_unreadable", workflow_id=instance, error=reason)
        self._roster.load(found)
        for state in self._roster.states():
            for timer in timers_of(state):
                self._timers.add(state.row.id, timer)
        await tell_again(engine.bus, claim, self._roster.states(), self._load)
        self._published = claim.batch
        if restored_at is not None:
            await self._begin_again(restored_at)
        self._roster.restored_at = claim.restored_at
        # Last: until then a start without the operator's word is refused.
        await engine.bus.write_mark(self.number, Mark(self._epoch, self._batch))
        engine.restoring.discard(self.number)
        self.status = "serving"
        log.info(
            "partition_taken",
            partition=self.number,
            epoch=claim.epoch,
            instances=len(self._roster),
        )

    async def _above(self) -> int:
        """The epoch to begin beyond: of a restored database, what its lost future had."""
        engine = self._engine
        if self.number not in engine.restoring:
            numbers = [self.number]
            await self._patiently(lambda: refuse_outdated(engine.store, engine.bus, numbers))
            return 0
        known = await engine.bus.read_mark(self.number)
        return 0 if known is None else known.epoch

    async def _begin_again(self, at: datetime) -> None:
        """Tell what is unfinished that the database was restored, before anything of it is sent."""
        ids = [state.row.id for state in self._roster.states()]
        limit = self._engine.limits.batch
        for start in range(0, len(ids), limit):
            turn = Turn(at, (), ())
            turn.own = [(each, DatabaseRestored(at)) for each in ids[start : start + limit]]
            await self._intake().decide(turn, ())
            await self._store_and_tell(turn)
            self._settle(turn)
        log.warning("database_restored", partition=self.number, instances=len(ids))

    async def _load(self, instance: str) -> InstanceState | None:
        return await self._patiently(lambda: self._engine.store.load_instance(instance))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the store again and again while it is away."""
        status = self.status
        while True:
            try:
                result = await call()
            except StoreUnavailableError as error:
                if self._stopping:
                    raise
                if self.status != "database_away":
                    log.warning("database_away", partition=self.number, error=str(error))
                self.status = "database_away"
                await asyncio.sleep(self._engine.limits.retry_s)
            else:
                if self.status == "database_away":
                    log.info("database_back", partition=self.number)
                self.status = status
                return result

    async def _leave(self) -> None:
        """Note that everything is published, so that nothing is announced again."""
        if self._published == self._batch:
            batch = Batch(self.number, self._epoch, self._batch + 1, self._batch + 1)
            await self._engine.store.commit(batch)
            self._batch = batch.number
        with suppress(BusUnavailableError):
            await self._engine.bus.write_mark(self.number, Mark(self._epoch, self._batch))

    async def _drop(self) -> None:
        if self._inbox is not None:
            await self._inbox.close()
        self._inbox = None
        self._roster = Roster(self._engine.store)
        self._keeping_back = KeepingBack(self._engine, self._roster)
        self._timers = TimerQueue()
        self._caught_up = False
        self._read_until = None

    # --- one turn -----------------------------------------------------------------------------

    async def _turn(self) -> None:
        inbox = self._inbox
        if inbox is None:
            raise InvariantError("a partition is served before it was taken")
        limit = self._engine.limits.batch
        if self._gives_way:
            limit = min(limit, pace.BATCH)
            await asyncio.sleep(pace.pause_s(self._took_s))
        deliveries = await inbox.next(limit, 0 if self._commands else self._wait_s())
        commands = [self._commands.popleft() for _ in range(min(limit, len(self._commands)))]
        began = monotonic()
        try:
            await self._handle(inbox, deliveries, commands)
            self._took_s = monotonic() - began
        except BaseException:
            # Not answered: they are decided again when the partition is taken again.
            for command in reversed(commands):
                if not command.answer.done():
                    command.is_fresh_id = False
                    self._commands.appendleft(command)
            raise

    def _wait_s(self) -> float:
        idle = self._engine.limits.idle_s
        next_at = self._timers.next_at
        if self._keeping_back.is_behind:
            return 0.0
        # No timer fires while the bus is away: to wait for none would be to wait for nothing.
        if next_at is None or not self._engine.bus.is_connected or self._engine.holds.is_all_held:
            return idle
        return min(idle, max(0.0, (next_at - self._engine.clock()).total_seconds()))

    async def _handle(
        self, inbox: Inbox, deliveries: Sequence[Delivery], commands: Sequence[LocalCommand]
    ) -> None:
        turn = Turn(self._engine.clock(), deliveries, commands)
        if deliveries:
            self._read_until = deliveries[-1].stored_at
        await self._keeping_back.heed()
        free = self._keeping_back.ask(turn)
        due = await self._due_timers(inbox, turn.at)
        again = await self._without_news(inbox, is_idle=not deliveries)
        if not (deliveries or commands or due or again or turn.own):
            return
        intake = self._intake()
        await intake.decide(turn, due)
        again += [key for key, is_new in free if not is_new]
        if again:
            await intake.send_again(turn, again, f":{self._epoch}-{self._batch + 1}")
        if free:
            await intake.send_again(turn, [key for key, is_new in free if is_new], "")
        kept = await self._store_and_tell(turn)
        await inbox.ack(deliveries)
        self._settle(turn)
        self._gives_way = self._engine.pace.gives_way(turn.states)
        for key, is_new in kept:
            self._roster.keep_back(key, is_new=is_new)

    def _intake(self) -> Intake:
        return Intake(self._engine, self._roster, self._patiently, self._poisoned)

    async def _store_and_tell(self, turn: Turn) -> list[tuple[Key, bool]]:
        """Commit a turn, then carry it out; gives the attempts that a hold kept back."""
        await self._commit(turn)
        answers = turn.answers()
        self._tell_here(turn, answers)
        kept = self._keeping_back.sift(turn)
        try:
            await carry_out(self._engine.bus, turn, answers, self._timers.add)
        finally:
            self._record(turn)  # it is stored, whoever has heard of it
        self._published = self._batch
        self._bus_failures = 0
        return kept

    async def _due_timers(self, inbox: Inbox, now: datetime) -> list[tuple[str, SetTimer]]:
        """Timers that may fire: the inbox has been read past their due time."""
        next_at = self._timers.next_at
        if next_at is None or next_at > now or not self._engine.bus.is_connected:
            return []
        if self._engine.holds.is_all_held or self._keeping_back.is_behind:
            return []  # a limit may have come up while it did not count
        if self._has_read_past(next_at) and self._read_until is not None:
            now = min(now, self._read_until - _CLOCK_MARGIN)
        elif not await inbox.is_drained():
            return []
        due = self._timers.pop_due(now, self._engine.limits.batch)
        due = [each for each in due if not self._keeping_back.stands_still(*each)]
        if self._engine.knows_presence():
            return due
        # A limit of an attempt cannot be judged before it is known who runs what.
        later = self._engine.clock() + timedelta(seconds=self._engine.limits.idle_s)
        for instance, timer in due:
            if timer.kind == "attempt":
                self._timers.add(instance, replace(timer, at=later))
        return [each for each in due if each[1].kind != "attempt"]

    def _has_read_past(self, at: datetime) -> bool:
        """Whether everything was read that was stored before ``at``."""
        return self._read_until is not None and self._read_until >= at + _CLOCK_MARGIN

    async def _without_news(self, inbox: Inbox, *, is_idle: bool) -> list[Key]:
        """Attempts to be sent again: never before all was read that was there at the taking."""
        if not self._caught_up:
            # Where messages never cease the inbox is never empty.
            is_past = self._has_read_past(self._taken_at)
            if not is_past and (not is_idle or not await inbox.is_drained()):
                return []
            self._caught_up = True
        limits = self._engine.limits
        return self._roster.without_news(limits.resend_after_s, limits.resend_slice)

    # --- storing ------------------------------------------------------------------------------

    async def _commit(self, turn: Turn) -> None:
        changes = turn.changes
        batch = Batch(
            partition=self.number,
            epoch=self._epoch,
            number=self._batch + 1,
            published=self._published,
            instances=changes.instances,
            attempts=[each for each in changes.attempts if each[1].has_row],
            history=changes.history,
            items=changes.items,
            resources=changes.resources,
        )
        began = perf_counter()
        try:
            await self._engine.store.commit(batch)
        except StoreUnavailableError:
            await self._patiently(lambda: self._commit_again(batch))
        self._batch = batch.number
        self._engine.metrics.committed(len(changes.instances), perf_counter() - began)

    async def _commit_again(self, batch: Batch) -> None:
        """Settle a commit whose outcome is unknown: the partition row tells."""
        store = self._engine.store
        if not await store.is_committed(batch.partition, batch.epoch, batch.number):
            await store.commit(batch)

    def _tell_here(self, turn: Turn, answers: Sequence[tuple[Item, Answer]]) -> None:
        """Answer and tell who is in this process: that needs no bus."""
        for item, answer in answers:
            if item.local is not None and not item.local.answer.done():
                item.local.answer.set_result(answer)
        for listener in self._engine.listeners:
            listener(turn.states, turn.changes.history)

    def _record(self, turn: Turn) -> None:
        """Count and log what has happened."""
        engine = self._engine
        for entry in turn.changes.history:
            for event in entry.events:
                engine.metrics.on_event(entry.workflow, event)
                engine.event_log.on_event(entry.instance, entry.workflow, event)

    def _settle(self, turn: Turn) -> None:
        engine = self._engine
        changes = turn.changes
        for _, ignored in changes.ignored:
            engine.metrics.ignored(ignored.reason)
        for dead in turn.dead:
            engine.metrics.dead_letter(dead.reason.partition(":")[0])
        if turn.resends:
            engine.metrics.resent(len(turn.resends))
        self._roster.settle(changes.instances, changes.attempts)
        for state in turn.states:
            self._roster.release(state.row)
        # Most timers outlive their instance: a time limit of an hour, an end after a second.
        if len(self._timers) > _MANY_TIMERS + 4 * len(self._roster):
            self._timers.keep(self._roster)
