"""Colours that are clear on a light and on a dark page."""

from typing import Final

#: Fill and line of a stage, by status; text on it is dark.
STATUS: Final[dict[str | None, tuple[str, str]]] = {
    None: ("#eef1f4", "#7d8794"),
    "pending": ("#eef1f4", "#7d8794"),
    "running": ("#d6e8fb", "#2f7fd1"),
    "waiting": ("#fdf0c8", "#c08a10"),
    "succeeded": ("#d5f0dc", "#2f9a52"),
    "failed": ("#fadadb", "#cf4f4c"),
    "timed_out": ("#fadadb", "#cf4f4c"),
    "denied": ("#fadadb", "#cf4f4c"),
    "compensation_failed": ("#fadadb", "#cf4f4c"),
    "cancelled": ("#fdf0c8", "#c08a10"),
    "skipped": ("#f6f7f8", "#b3bac2"),
    "compensating": ("#eadcf8", "#8a56c4"),
    "compensated": ("#eadcf8", "#8a56c4"),
}
INK: Final = "#1d232b"
FAINT_INK: Final = "#5a6572"
#: Of an edge, by outcome.
EDGE: Final = {
    "success": "#7d8794",
    "next": "#7d8794",
    "needs": "#7d8794",
    "complete": "#7d8794",
    "decision": "#4a7fd6",
    "default": "#4a7fd6",
    "failure": "#d2605c",
    "timeout": "#c98a1a",
}
#: Outcomes that are drawn dashed: nothing in the file names the edge, or it only waits.
DASHED: Final = frozenset({"next", "needs"})


def of_status(status: str | None) -> tuple[str, str]:
    """Fill and line."""
    return STATUS.get(status, STATUS[None])
