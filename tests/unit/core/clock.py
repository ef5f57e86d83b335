"""The simulated time, and the luck, of one schedule. The same seed is always the same schedule."""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

BASE = datetime(2030, 1, 1, tzinfo=UTC)
#: Nothing random takes nearly as long: a schedule that is not over by then never ends.
FOREVER_S = 20_000.0


class Clock:
    """Actions in the order of their time; faults as long as the schedule has some left."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        #: A fair world: after so many faults everything is delivered.
        self.faults = self.rng.choice((0, 4, 8, 16))
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()

    @property
    def at(self) -> datetime:
        return BASE + timedelta(seconds=self.now)

    def later(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        entry = (self.now + delay_s, next(self._numbers), action, arguments)
        heapq.heappush(self._heap, entry)

    def fault(self, chance: float) -> bool:
        """Whether something goes wrong here."""
        if self.faults and self.rng.random() < chance:
            self.faults -= 1
            return True
        return False

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._heap:
            self.now, _, action, arguments = heapq.heappop(self._heap)
            assert self.now < FOREVER_S, "the instance hangs"
            action(*arguments)
