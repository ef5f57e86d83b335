"""What a command says that it undoes, held against what is undone until the instance ends."""

from collections.abc import Sequence

from sagabus.core.definition import Definition
from sagabus.core.events import CancelRequested, CompensateRequested, Event, RetryRequested
from sagabus.core.instance import InstanceState
from sagabus.core.preview import what_would_be_undone
from sagabus.core.transition import Decision
from tests.unit.core.turn import Parked

#: What takes the undo out of the course that was promised.
_OTHERWISE = {
    "WorkflowCancelRequested",
    "WorkflowRetried",
    "CompensationSkipped",
    "StageUndoneByHand",
    "TaskCompletedLate",
}
_ENDS = {"WorkflowSettled", "WorkflowRolledBack", "WorkflowCancelled"}


class Promises:
    """The newest promise of one instance."""

    def __init__(self) -> None:
        #: Compensations in the order in which they are to be sent; None: nothing is promised.
        self._promised: list[str] | None = None
        self._undone: list[str] = []
        self._foreseen: list[str] | None = None
        self._running: set[str] = set()
        #: How many promises were kept to the end, and how many while one stage alone was undone.
        self.kept = self.kept_after_one = 0
        self._is_after_one = False

    def foresee(self, definition: Definition, state: InstanceState, event: Event | Parked) -> None:
        """Before an event is decided: what it would undo, if it is a command that does."""
        self._foreseen = None
        row = state.row
        if row.active_runs:
            return  # what they come to is not known
        match event:
            case CompensateRequested():
                undos = what_would_be_undone(definition, state, event.stage)
            case RetryRequested(from_stage=stage) if stage is not None:
                undos = what_would_be_undone(definition, state, stage)
            case CancelRequested(is_undone=True) if row.parked and row.undo_order is not None:
                again = {task for run in row.runs.values() for task in run.undo_again}
                undos = [
                    each
                    for each in what_would_be_undone(definition, state)
                    if not each.is_again or each.task in again
                ]
            case _:
                return
        self._foreseen = [each.task for each in undos]
        self._running = {task for task, tries in state.attempts.items() if tries[-1].is_open}
        self._is_after_one = row.undo_only is not None and bool(row.parked)

    def hear(self, state: InstanceState, decisions: Sequence[Decision]) -> None:
        """After it: what has become of the promise."""
        events = [event for decision in decisions for event in decision.events]
        types = {event["type"] for event in events}
        if types & _OTHERWISE:
            self._promised = None
        if self._foreseen is not None and types & {"UndoRequested", "WorkflowCancelRequested"}:
            self._promised, self._undone = self._foreseen, []
        self._foreseen = None
        if self._promised is None:
            return
        self._undone += [
            event["data"]["task"]
            for event in events
            # What cannot be sent is named at once.
            if event["type"] in {"CompensationScheduled", "CompensationFailed"}
            and event["data"]["task"] not in self._running
        ]
        undone = list(dict.fromkeys(self._undone))
        assert undone == self._promised[: len(undone)], f"{undone}, promised: {self._promised}"
        if types & _ENDS or state.row.status.is_terminal:
            assert undone == self._promised, f"{undone} were undone, promised: {self._promised}"
            self._promised = None
            self.kept += 1
            self.kept_after_one += self._is_after_one
