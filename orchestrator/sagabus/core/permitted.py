"""Which command makes sense in which status of an instance: the one table, for machine and guide.

A cell says yes, yes where something else is true, or no with the reason. What a cell makes depend
on more than the status is judged by the command's own function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from sagabus.core.instance import Instance, InstanceStatus

CommandName = Literal[
    "approve",
    "reject",
    "answer",
    "pause",
    "resume",
    "cancel",
    "cancel_no_compensate",
    "skip",
    "set_result",
    "fail",
    "resolve",
    "retry",
    "compensate",
]
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)


@dataclass(frozen=True, slots=True)
class Cell:
    """What becomes of a command in a status; ``text``: where it is permitted, or why it is not."""

    is_permitted: bool
    text: str = ""


_YES = Cell(True)
#: What is permitted of an instance that has ended, unless it carried out a stage of another one.
_TOLD = "the instance carried out a stage of instance {above!r}, which knows its end: repair that"
#: The one above has undone what a failed stage of it left: it would not stay as it is.
_UNDONE_ABOVE = (
    "the instance carries out a stage of instance {above!r}, which has undone what that leaves: "
    "cancel {above!r} with --no-compensate"
)


def _where(text: str) -> Cell:
    return Cell(True, text)


def _no(text: str) -> Cell:
    return Cell(False, text)


def _row(rest: Cell | None = None, **cells: Cell) -> Mapping[InstanceStatus, Cell]:
    """A command's cells by status; ``rest``: of the statuses that are not named."""
    row = {status: cells.get(status.value, rest) for status in InstanceStatus}
    return {status: cell for status, cell in row.items() if cell is not None}


def _ended(why: str, **others: Cell) -> dict[str, Cell]:
    """Cells of an instance that has ended, for what then makes no sense."""
    no = _no(f"the instance is {{status}}: {why}")
    return dict.fromkeys(("completed", "failed", "rolled_back", "cancelled"), no) | others


_ASKED = _row(
    pending=_no("the instance has not begun: nobody waits for an answer yet"),
    running=_where("a stage waits for it"),
    waiting=_where("a stage waits for it"),
    paused=_where("a stage waits for it"),
    needs_operator=_no("the instance needs an operator: it takes answers again when that is done"),
    compensating=_no("the instance is being undone: nobody waits for an answer any more"),
    **_ended("nothing to answer"),
)
_ACTIVE = _where("the stage has begun and has not ended")
_LAST = _where("it is the stage of on_end, and runs")
_NOT_BEGUN = _no("the instance has not begun: ask again when it has")
_NOT_AT_WORK = "no stage of it is under way"
_UNDO_FAILED = _where("a compensation of the stage failed")
_STILL_GOING = _no("the instance is still going: skip, fail or set the result of a stage instead")
_NOTHING_UNKNOWN = _no("the outcome of no final stage is unknown: nothing to resolve")

_TABLE: Mapping[CommandName, Mapping[InstanceStatus, Cell]] = {
    "approve": _ASKED,
    "reject": _ASKED,
    "answer": _ASKED,
    "pause": _row(
        pending=_YES,
        running=_YES,
        waiting=_YES,
        paused=_no("the instance is paused already{by}"),
        needs_operator=_where("it is not paused: it stays paused when that is settled"),
        compensating=_where("it is not paused"),
        **_ended("nothing to pause"),
    ),
    "resume": _row(
        pending=_where("it is paused"),
        running=_no("the instance is not paused"),
        waiting=_no("the instance is not paused"),
        paused=_YES,
        needs_operator=_where("it is paused, or the engine failed on it: it tries once more"),
        compensating=_where("it is paused"),
        **_ended("nothing to resume"),
    ),
    "cancel": _row(
        pending=_YES,
        running=_YES,
        waiting=_YES,
        paused=_YES,
        needs_operator=_YES,
        compensating=_where("it is paused: the undo goes on"),
        **_ended("nothing to cancel"),
    ),
    "cancel_no_compensate": _row(
        pending=_YES,
        running=_YES,
        waiting=_YES,
        paused=_YES,
        needs_operator=_YES,
        compensating=_no(
            "the instance is being undone already: skip the stage whose compensation is stuck"
        ),
        **_ended("nothing to cancel"),
    ),
    "skip": _row(
        pending=_NOT_BEGUN,
        running=_ACTIVE,
        waiting=_ACTIVE,
        paused=_ACTIVE,
        needs_operator=_where(
            "the stage has not ended, or failed after a final stage, or is not undone"
        ),
        compensating=_where("the stage is being undone, or is that of on_end"),
        **_ended(_NOT_AT_WORK, failed=_UNDO_FAILED, cancelled=_UNDO_FAILED),
    ),
    "set_result": _row(
        pending=_NOT_BEGUN,
        running=_ACTIVE,
        waiting=_ACTIVE,
        paused=_ACTIVE,
        needs_operator=_where(
            "the stage has not ended, or failed after a final stage, or is not undone"
        ),
        compensating=_where("the stage is being undone, or is that of on_end"),
        **_ended(_NOT_AT_WORK, completed=_UNDO_FAILED, failed=_UNDO_FAILED, cancelled=_UNDO_FAILED),
    ),
    "fail": _row(
        pending=_NOT_BEGUN,
        running=_ACTIVE,
        waiting=_ACTIVE,
        paused=_ACTIVE,
        needs_operator=_ACTIVE,
        compensating=_LAST,
        **_ended(_NOT_AT_WORK),
    ),
    "resolve": _row(
        rest=_where("an attempt of the final stage may have had its effect, and nobody knows"),
        pending=_NOTHING_UNKNOWN,
        rolled_back=_NOTHING_UNKNOWN,
    ),
    "retry": _row(
        pending=_NOT_BEGUN,
        running=_STILL_GOING,
        waiting=_STILL_GOING,
        paused=_STILL_GOING,
        needs_operator=_where("it failed after a final stage, or a compensation failed"),
        compensating=_no("the instance is being undone: ask again when it has ended"),
        completed=_no("the instance is {status}: start a new one"),
        failed=_YES,
        rolled_back=_YES,
        cancelled=_YES,
    ),
    "compensate": _row(
        pending=_no("the instance has not begun: there is nothing to undo"),
        running=_no("the instance is still going: cancel it, and what it did is undone"),
        waiting=_no("the instance is still going: cancel it, and what it did is undone"),
        paused=_no("the instance is still going: cancel it, and what it did is undone"),
        needs_operator=_where("it failed after a final stage, or a compensation failed"),
        compensating=_no("the instance is being undone already"),
        completed=_where("something of it can be undone"),
        failed=_where("something of it stands that can be undone"),
        rolled_back=_no("the instance is {status}: everything is undone"),
        cancelled=_where("something of it stands that can be undone"),
    ),
}


def cell(command: CommandName, status: InstanceStatus) -> Cell:
    """What becomes of ``command`` in ``status``."""
    return _TABLE[command][status]


def refusal(command: CommandName, row: Instance, by: str = "") -> str | None:
    """Why ``command`` makes no sense in the status of an instance; None: it may.

    ``by``: who gives it, be it the instance above.
    """
    found = _TABLE[command][row.status]
    if not found.is_permitted:
        who = row.paused.by if row.paused is not None else ""
        return found.text.format(status=row.status, by=f" by {who}" if who else "")
    if row.parent is None:
        return None
    above = row.parent.instance
    # What a person undid by hand, or found out, is said where it was done, and told from there.
    if row.status.is_terminal and command not in {"set_result", "resolve"}:
        return _TOLD.format(above=above)
    if command == "cancel_no_compensate" and by != above:
        return _UNDONE_ABOVE.format(above=above)
    return None
