"""Python's garbage collector, set for a server: fewer and later rounds over what lives long."""

import gc
from typing import Final

#: The engine makes no cycles on its way; the default of 700 costs a tenth of its time.
_THRESHOLDS: Final = (50_000, 20, 100)


def collect_rarely() -> None:
    """Set the whole process; a program that embeds the orchestrator decides for itself."""
    gc.set_threshold(*_THRESHOLDS)
