"""A clock that stands still while the process does: a busy machine makes nobody late."""

import asyncio
from datetime import UTC, datetime, timedelta
from time import monotonic

STEP_S = 0.01
#: What counts of a longer wait for a turn: less than agents are silent between two beats.
MOST_S = 0.03


class PatientClock:
    """Counts only time in which everybody in this process had a turn."""

    def __init__(self) -> None:
        self._begun = datetime.now(UTC)
        self._elapsed_s = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        last = monotonic()
        while True:
            await asyncio.sleep(STEP_S)
            now = monotonic()
            self._elapsed_s += min(now - last, MOST_S)
            last = now

    def seconds(self) -> float:
        """Since the beginning."""
        return self._elapsed_s

    def now(self) -> datetime:
        """The moment, aware."""
        return self._begun + timedelta(seconds=self._elapsed_s)
