"""How busy this machine is: promises in seconds are made for one that has nothing else to do."""

import time
from collections.abc import Callable
from typing import Final

#: How long the piece of work takes on the machine that all limits are written for.
REFERENCE_S: Final = 0.02
_PIECES: Final = 20


def piece_of_work(clock: Callable[[], float]) -> float:
    """How long a fixed piece of work takes here, now."""
    began = clock()
    total = 0
    for number in range(200_000):
        total += number % 7
    return clock() - began


def slowness() -> float:
    """How many times longer than there things take now, whoever else is at work here; at least 1.

    It looks for about half a second: less would fit between two turns of the others.
    """
    spent = sum(piece_of_work(time.monotonic) for _ in range(_PIECES))
    return max(1.0, spent / (_PIECES * REFERENCE_S))
