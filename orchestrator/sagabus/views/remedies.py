"""What a person may do about an instance: whole commands, each with what it does behind it.

``ID`` stands for the instance, other words in capitals for what only the person knows. Nothing is
offered that would be refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sagabus.core import permitted, repair_retry, repair_stage, repair_undo
from sagabus.core.definition import Definition
from sagabus.core.instance import Attempt, Instance, InstanceState, TaskStatus
from sagabus.core.intents import doubts_of
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


def onward(state: InstanceState, definition: Definition | None) -> list[str]:
    """What a person may do with an instance that ended without completing."""
    if definition is None:
        return []
    ways = [*found_out(state, definition)]
    if repair_retry.refusal(definition, state) is None:
        ways.append("sagabus retry ID (goes on from here)")
    if repair_undo.refusal(definition, state, None) is None:
        ways.append("sagabus compensate ID (undoes what is left)")
    return ways


def past_final(state: InstanceState, definition: Definition | None) -> list[str]:
    """All that a person may do with an instance that failed after a final stage.

    First what is only said, then what goes on, what leaves everything as it is, what undoes.
    """
    ways: list[str] = []
    is_undoable = definition is None
    if definition is not None:
        ways += found_out(state, definition)
        if repair_retry.refusal(definition, state) is None:
            ways.append("sagabus retry ID (goes on from here)")
        ways += [
            f"sagabus set-result ID {stage} --output JSON --reason TEXT (goes on as if it gave it)"
            for stage in repair_stage.past_final(definition, state, "set_result")
        ]
        ways += [
            f"sagabus skip ID {stage} --reason TEXT (goes on without it)"
            for stage in repair_stage.past_final(definition, state, "skip")
        ]
        is_undoable = repair_undo.refusal(definition, state, None) is None
    if permitted.refusal("cancel_no_compensate", state.row) is None:
        ways.append("sagabus cancel ID --no-compensate (ends it, and leaves everything as it is)")
    if definition is not None and is_undoable:
        ways.append("sagabus compensate ID (undoes the rest)")
    rest = "undoes the rest, and ends it cancelled" if is_undoable else "ends it, nothing is undone"
    return [*ways, f"sagabus cancel ID ({rest})"]


def undo_what_is_left(state: InstanceState, definition: Definition | None) -> list[str]:
    """How to undo what a completed instance has left, and not what it was to do."""
    if definition is None:
        return []
    left = [*state.row.effects_left, *state.row.failed_compensations]
    return [*found_out(state, definition)] + [
        f"sagabus compensate ID --stage {stage} (undoes what is left of it)"
        for stage in dict.fromkeys(each["stage"] for each in left)
        if repair_undo.refusal(definition, state, stage) is None
    ]


def found_out(state: InstanceState, definition: Definition) -> Iterator[str]:
    """How to say what became of final effects that may be there, and that nothing waits for."""
    doubts = [
        each
        for each in doubts_of(definition, state)
        if not any(other.acted and _is_done(other) for other in state.attempts[each.task])
    ]
    for stage, attempts in _by_stage(doubts).items():
        command = _resolve(stage, attempts)
        yield f"{command} --failed (you found out that it had no effect)"
        yield f"{command} --succeeded (it had: that is recorded, and the instance stays as it is)"
        yield from _of_one(stage, attempts, "as with --succeeded")


def _is_done(attempt: Attempt) -> bool:
    return attempt.status is TaskStatus.SUCCEEDED


def resolving(stage: str, attempts: Sequence[str], row: Instance) -> Iterator[str]:
    """How to say what became of attempts of a stage that are held, of all or of one of several."""
    command = _resolve(stage, attempts)
    yield f"{command} --succeeded (you found out that it had its effect)"
    yield f"{command} --failed (that it had none)"
    if is_forward(row):
        yield f"{command} --retry (sends it once more)"
    yield from _of_one(stage, attempts, "as with the others")


def _by_stage(attempts: Iterable[Attempt]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for each in attempts:
        names.setdefault(each.stage, []).append(f"{each.task}/{each.attempt}")
    return names


def _resolve(stage: str, attempts: Sequence[str]) -> str:
    which = " --all" if len(attempts) > 1 else ""
    return f"sagabus resolve ID {stage}{which} --reason TEXT"


def _of_one(stage: str, attempts: Sequence[str], others: str) -> Iterator[str]:
    if len(attempts) > 1:
        command = f"sagabus resolve ID {stage} --attempt {attempts[0]} --reason TEXT --failed"
        yield f"{command} (that of one of them, {others})"
