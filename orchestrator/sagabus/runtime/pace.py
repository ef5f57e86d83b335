"""An instance with more tasks than it may send at once gives way to the others.

Its results come as fast as they are answered. Few in flight, each is a batch of its own and there
is always one; many, a batch takes so long that nobody else has a turn. So its batches get a limit,
and pauses between them in which they grow: whoever has a single step to do finds room.
"""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from sagabus.core.instance import InstanceState

#: Messages of a batch of who gives way.
BATCH: Final = 32
_LEAST_S: Final = 0.006
_MOST_S: Final = 0.05
#: Others are there as long as the last batch that concerned one of them is not older.
RECENTLY_S: Final = 0.1


def pause_s(took_s: float) -> float:
    """The pause after a batch that took ``took_s``: others have as much time, in seconds."""
    return min(max(took_s, _LEAST_S), _MOST_S)


class Pace:
    """What the partitions of one process know of each other's work."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._others_at = float("-inf")

    def gives_way(self, states: Iterable[InstanceState]) -> bool:
        """Whether who served ``states`` in one batch gives way to others now."""
        now = self._clock()
        # Of these there is more to send as soon as something of it has ended.
        is_wide = [bool(state.row.unfilled) for state in states]
        if not all(is_wide):
            self._others_at = now
            return False
        return bool(is_wide) and now - self._others_at < RECENTLY_S
