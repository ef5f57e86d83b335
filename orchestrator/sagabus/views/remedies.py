"""What a person may do about an instance: whole commands, each with what it does behind it.

``ID`` stands for the instance, other words in capitals for what only the person knows. Nothing is
offered that would be refused.
"""

from collections.abc import Iterator
from typing import Final

from sagabus.core import repair_retry, repair_undo
from sagabus.core.definition import Definition
from sagabus.core.instance import Instance, InstanceState, Parked
from sagabus.core.stages import is_forward

#: Of the instances below that have something left.
_MAX_BELOW: Final = 5


def undone_by_hand(
    state: InstanceState, definition: Definition | None, stage: str | None = None
) -> Iterator[str]:
    """How to say that what could not be undone was undone by hand, of each stage or of one."""
    for each in dict.fromkeys(each["stage"] for each in state.row.failed_compensations):
        if stage not in {None, each}:
            continue
        below = [] if definition is None else repair_undo.done_below(definition, state, each)
        if not below:
            yield (
                f"sagabus set-result ID {each} --output JSON --reason TEXT"
                " (says that it was undone by hand)"
            )
        for child in below[:_MAX_BELOW]:
            yield f"sagabus why {child} (the instance that has not undone it)"


def onward(state: InstanceState, definition: Definition | None, what: str) -> list[str]:
    """What a person may do with an instance that failed; nothing that would be refused."""
    ways: list[str] = []
    if definition is None:
        return ways
    if repair_retry.refusal(definition, state) is None:
        ways.append("sagabus retry ID (goes on from here)")
    if repair_undo.refusal(definition, state, None) is None:
        ways.append(f"sagabus compensate ID (undoes {what})")
    return ways


def undo_what_is_left(state: InstanceState, definition: Definition | None) -> list[str]:
    """How to undo what a completed instance has left, and not what it was to do."""
    left = [*state.row.effects_left, *state.row.failed_compensations]
    return [
        f"sagabus compensate ID --stage {stage} (undoes what is left of it)"
        for stage in dict.fromkeys(each["stage"] for each in left)
        if definition and repair_undo.refusal(definition, state, stage) is None
    ]


def resolving(parked: Parked, row: Instance) -> list[str]:
    """How to say what became of an attempt; it is named where the stage has others like it."""
    alike = [
        each for each in row.parked if (each.cause, each.stage) == (parked.cause, parked.stage)
    ]
    which = f" --attempt {parked.task}/{parked.attempt}" if len(alike) > 1 else ""
    command = f"sagabus resolve ID {parked.stage}{which} --reason TEXT"
    ways = [f"find out, then {command} --succeeded", f"{command} --failed"]
    return [*ways, f"{command} --retry"] if is_forward(row) else ways
