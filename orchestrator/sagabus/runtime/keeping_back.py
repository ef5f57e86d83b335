"""What holds mean to one partition: instances are paused, tasks stay here until they may leave.

Nothing is stored for this. What waits for the end of a hold is what awaits an answer anyway.
"""

from collections import deque

from sagabus.core.commands import SetTimer
from sagabus.core.events import HoldEnded
from sagabus.core.instance import Attempt, TaskStatus
from sagabus.ports import OutgoingTask
from sagabus.runtime.engine import Engine
from sagabus.runtime.roster import Key, Roster
from sagabus.runtime.turn import Turn


class KeepingBack:
    """Carries out the holds for the instances of one partition, from its taking on."""

    def __init__(self, engine: Engine, roster: Roster) -> None:
        self._engine = engine
        self._roster = roster
        self._seen = 0
        self._emptied: frozenset[str] = frozenset()
        #: Instances that the newest words ask something of.
        self._asked: deque[str] = deque()
        #: Attempts that may leave, and whether for the first time.
        self._free: deque[tuple[Key, bool]] = deque()

    @property
    def seen(self) -> int:
        """The version of the holds that is carried out."""
        return self._seen

    @property
    def is_behind(self) -> bool:
        """True while instances or tasks have not heard of a change."""
        return bool(self._asked or self._free) or self._seen != self._engine.holds.version

    async def heed(self) -> None:
        """Take note of a change; what has left before is taken off the bus.

        Raises:
            BusUnavailableError: it is there still.
        """
        holds = self._engine.holds
        if self._seen == holds.version:
            return
        is_first, self._seen = self._seen == 0, holds.version
        for role in sorted(holds.queues - self._emptied):
            await self._engine.bus.purge_role(role)
        self._emptied = holds.queues
        if is_first:
            # The last owner may have died before these left.
            self._roster.keep_back_all(holds.was_kept_back)
        self._roster.keep_back_all(self._is_held)
        self._free += self._roster.let_go(self._is_held)
        if holds.has_workflows:
            at = self._engine.clock()
            states = self._roster.states()
            self._asked = deque(s.row.id for s in states if holds.meaning_for(s.row, at))

    def _is_held(self, attempt: Attempt) -> bool:
        return self._engine.holds.covers(attempt.role)

    def ask(self, turn: Turn) -> list[tuple[Key, bool]]:
        """Have ``turn`` tell as many as it may; gives the attempts that leave with it."""
        limits = self._engine.limits
        for _ in range(min(limits.batch, len(self._asked))):
            state = self._roster.get(self._asked.popleft())
            event = self._engine.holds.meaning_for(state.row, turn.at) if state else None
            if state is not None and event is not None:
                turn.own.append((state.row.id, event))
        free = [self._free.popleft() for _ in range(min(limits.resend_slice, len(self._free)))]
        turn.own += [
            (instance, HoldEnded(turn.at, task, number)) for (instance, task, number), _ in free
        ]
        return free

    def stands_still(self, instance: str, timer: SetTimer) -> bool:
        """Whether a limit does not count now: its attempt was kept from beginning."""
        if timer.kind != "attempt" or not self._engine.holds.keeps_back:
            return False
        attempt = self._roster.attempt((instance, timer.key, timer.attempt))
        if attempt is None or attempt.status is not TaskStatus.DISPATCHED:
            return False
        return self._is_held(attempt)

    def sift(self, turn: Turn) -> list[tuple[Key, bool]]:
        """Take out of a committed turn what may not leave; gives that, and whether it is new."""
        if not self._engine.holds.keeps_back:
            return []
        kept: list[tuple[Key, bool]] = []
        for tasks, is_new in ((turn.changes.tasks, True), (turn.resends, False)):
            kept += [(_key(task), is_new) for task in tasks if self._covers(task)]
            tasks[:] = [task for task in tasks if not self._covers(task)]
        return kept

    def _covers(self, task: OutgoingTask) -> bool:
        return self._engine.holds.covers(task.role)


def _key(task: OutgoingTask) -> Key:
    *_, instance, name, number = task.subject.split(".")
    return instance, name, int(number)
