"""The instances of one partition in memory: all that are unfinished, and nothing else."""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from time import monotonic

from sagabus.core.instance import Attempt, Instance, InstanceState, InstanceStatus
from sagabus.errors import StoreError, StoreUnavailableError
from sagabus.ports import ActiveInstances, Store

#: Attempt that awaits a result: (instance, task, attempt).
Key = tuple[str, str, int]

#: ``active_workflows`` leaves out what has failed already: see the metric's definition.
_NOT_ACTIVE = frozenset({InstanceStatus.COMPENSATING})


def is_active(row: Instance) -> bool:
    """Whether ``active_workflows`` counts the instance: unfinished and not being undone."""
    return not row.status.is_terminal and row.status not in _NOT_ACTIVE


class Roster:
    """States by instance id; after a reload the closed attempts are read when first needed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._states: dict[str, InstanceState] = {}
        self._partial: set[str] = set()
        #: When the database was restored from a backup last; who had ended by then was not told.
        self.restored_at: datetime | None = None
        #: Instances that cannot be gone on with, and why: each alone, never the partition.
        self.unreadable: dict[str, str] = {}
        #: Unanswered attempts, longest without news first, with the time of the last send.
        self._unanswered: OrderedDict[Key, float] = OrderedDict()
        #: Those kept back from the bus by a hold; True: they never left.
        self._kept_back: dict[Key, bool] = {}
        self._counted: dict[str, str] = {}
        self.active: Counter[str] = Counter()

    def __contains__(self, instance: object) -> bool:
        return instance in self._states

    def __len__(self) -> int:
        return len(self._states)

    def load(self, found: ActiveInstances) -> None:
        """Take over what the store holds."""
        rows: dict[str, list[Attempt]] = {}
        for instance, attempt in found.open_attempts:
            rows.setdefault(instance, []).append(attempt)
        for row in found.instances:
            state = InstanceState.of(row, rows.get(row.id, ()))
            self._states[row.id] = state
            self._partial.add(row.id)
            self._count(row)
            for tries in state.attempts.values():
                for attempt in tries:
                    if attempt.is_unanswered and not attempt.is_local:
                        self._unanswered[(row.id, attempt.task, attempt.attempt)] = -math.inf

    def get(self, instance: str) -> InstanceState | None:
        """What is in memory of an instance: complete, or its row with the open attempts."""
        return self._states.get(instance)

    def states(self) -> Iterator[InstanceState]:
        """Every state, complete or not."""
        return iter(self._states.values())

    async def bring(self, ids: Iterable[str]) -> dict[str, InstanceState]:
        """Complete states of those ``ids`` that exist, from memory or the store."""
        wanted = list(ids)
        missing = [i for i in wanted if i not in self._states]
        partial = [i for i in wanted if i in self._partial]
        if missing or partial:
            await asyncio.gather(
                *(self._fetch(i) for i in missing), *(self._complete(i) for i in partial)
            )
        return {i: self._states[i] for i in wanted if i in self._states}

    async def _fetch(self, instance: str) -> None:
        try:
            state = await self._store.load_instance(instance)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.unreadable[instance] = str(error)
            return
        if state is not None:
            self._states[instance] = state

    async def _complete(self, instance: str) -> None:
        row = self._states[instance].row
        try:
            attempts = await self._store.load_attempts(instance)
            has_items = any(run.items is not None for run in row.runs.values())
            items = await self._store.load_items(instance) if has_items else None
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.unreadable[instance] = str(error)
            self.forget(instance)
            return
        self._states[instance] = InstanceState.of(row, attempts, items)
        self._partial.discard(instance)

    def add(self, state: InstanceState) -> None:
        """A new instance."""
        self._states[state.row.id] = state

    def forget(self, instance: str) -> None:
        """Drop a state that is no longer what is stored."""
        self._states.pop(instance, None)
        self._partial.discard(instance)

    def settle(self, rows: Iterable[Instance], attempts: Iterable[tuple[str, Attempt]]) -> None:
        """After a commit: note what awaits an answer, and drop what has ended."""
        now = monotonic()
        for instance, attempt in attempts:
            key = (instance, attempt.task, attempt.attempt)
            if attempt.is_unanswered and not attempt.is_local:
                self._unanswered[key] = now
                self._unanswered.move_to_end(key)
            else:
                self._unanswered.pop(key, None)
                self._kept_back.pop(key, None)
        for row in rows:
            self._count(row)
            self.release(row)

    def release(self, row: Instance) -> None:
        """Drop an instance that has ended and awaits nothing more."""
        if row.status.is_terminal and row.open_attempts == 0:
            self.forget(row.id)

    def _count(self, row: Instance) -> None:
        was = self._counted.get(row.id)
        if is_active(row) == (was is not None):
            return
        if was is None:
            self._counted[row.id] = row.workflow
            self.active[row.workflow] += 1
        else:
            del self._counted[row.id]
            self.active[was] -= 1

    def without_news(self, older_than_s: float, limit: int) -> list[Key]:
        """Attempts sent longer ago than that, which count as sent now."""
        now = monotonic()
        keys: list[Key] = []
        while self._unanswered and len(keys) < limit:
            key, sent = next(iter(self._unanswered.items()))
            if now - sent < older_than_s:
                break
            self._unanswered[key] = now
            self._unanswered.move_to_end(key)
            keys.append(key)
        return keys

    def keep_back(self, key: Key, *, is_new: bool) -> None:
        """Note that a hold kept an attempt from leaving: for the first time, or once more."""
        if self._unanswered.pop(key, None) is not None:
            self._kept_back.setdefault(key, is_new)

    def keep_back_all(self, is_held: Callable[[Attempt], bool]) -> None:
        """Note that the attempts that ``is_held`` says are not sent again."""
        for key in list(self._unanswered):
            attempt = self.attempt(key)
            if attempt is not None and is_held(attempt):
                self.keep_back(key, is_new=False)

    def let_go(self, is_held: Callable[[Attempt], bool]) -> list[tuple[Key, bool]]:
        """What no hold keeps back any more, and whether it leaves for the first time."""
        free: list[tuple[Key, bool]] = []
        for key, is_new in self._kept_back.items():
            attempt = self.attempt(key)
            if attempt is None or not is_held(attempt):
                free.append((key, is_new))
        now = monotonic()
        for key, _ in free:
            del self._kept_back[key]
            self._unanswered[key] = now
        return free

    def attempt(self, key: Key) -> Attempt | None:
        """An open attempt, of an instance that is complete here or not."""
        instance, task, number = key
        state = self._states.get(instance)
        tries = state.attempts.get(task, ()) if state is not None else ()
        return next((each for each in tries if each.attempt == number), None)
