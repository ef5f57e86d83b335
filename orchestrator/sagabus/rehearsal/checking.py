"""What a script speaks of and its workflow does not have, or cannot do."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from sagabus.core.definition import Definition, Stage
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.source_file import KeyPath
from sagabus.errors import WorkflowNotFoundError
from sagabus.rehearsal.script import KINDS, UNDO, Expectations, Outcome, Outcomes, Script

#: Behind a stage's name, in the id of one of its tasks: the pass, and the number of the task.
_TASK: Final = re.compile(r"([1-9][0-9]{0,8})-(0|[1-9][0-9]{0,8})")
_UNDO_ID: Final = re.compile(r"-undo-[0-9]+$")
_UNLIMITED: Final = '"{}" has no timeout that could end it; give it one, or write error: timeout'
_ASKS: Final = 'asks a person and has no task; write an answer, as in "{}": {{answer: ...}}'

#: A place in the script, and what is wrong there.
Mistake = tuple[KeyPath, str]


def mistakes_in(
    script: Script, definition: Definition, find: Callable[[str], Definition]
) -> Iterator[Mistake]:
    """Everything in ``script`` that a run of ``definition`` can be seen never to come to.

    ``find`` gives the definitions of sub-workflows by name, or raises a ``WorkflowNotFoundError``.
    """
    yield from _in_outcomes(("outcomes",), script.outcomes, definition)
    for name, outcomes in script.workflows.items():
        here = ("workflows", name)
        try:
            below = find(name)
        except WorkflowNotFoundError as error:
            yield here, str(error)
        else:
            yield from _in_outcomes(here, outcomes, below)
    yield from _in_expectations(script.expect, definition)


def _in_outcomes(place: KeyPath, outcomes: Outcomes, definition: Definition) -> Iterator[Mistake]:
    for name, listed in outcomes.items():
        here = (*place, name)
        if problem := _name_problem(name, definition):
            yield here, problem
            continue
        is_undo = name.startswith(UNDO)
        stage_name, dash, _ = name.removeprefix(UNDO).partition("-")
        stage = definition.stages[stage_name]
        limited = stage.compensation if is_undo and stage.compensation is not None else stage
        given = {kind for outcome in listed for kind in KINDS if kind in outcome.model_fields_set}
        if is_undo and stage.compensation is None and stage.kind != "workflow":
            yield here, f'nothing undoes "{stage_name}"; leave it out, or give it a compensation'
        elif stage.kind == "block" and (dash or given):
            inside = ", ".join(stage.children)
            yield here, f"is a block and has no task of its own; name the stages in it: {inside}"
        elif stage.kind == "inquiry" and (dash or given - {"answer"}):
            yield here, _ASKS.format(stage_name)
        else:
            for number, outcome in enumerate(listed):
                at = (*here, number) if len(listed) > 1 else here
                if "answer" in outcome.model_fields_set and (problem := _unasked(stage, outcome)):
                    yield (*at, "answer"), problem
                if outcome.timeout and limited.timeout is None:
                    yield (
                        (*at, "timeout"),
                        _UNLIMITED.format((UNDO if is_undo else "") + stage_name),
                    )


def _unasked(stage: Stage, outcome: Outcome) -> str | None:
    """What is wrong with an answer that ``stage`` is given."""
    if stage.kind != "inquiry":
        return f'"{stage.name}" asks nothing; write output'
    problems = [] if stage.form is None else stage.form.problems(outcome.answer)
    return f"the answer to {stage.name} does not fit: {'; '.join(problems)}" if problems else None


def _in_expectations(expect: Expectations, definition: Definition) -> Iterator[Mistake]:
    for key in ("path", "compensated", "waiting_for"):
        for index, name in enumerate(getattr(expect, key) or ()):
            if name not in definition.stages:
                yield ("expect", key, index), _no_stage(name, definition)
    for name in expect.inputs or ():
        if problem := _name_problem(_UNDO_ID.sub("", name), definition):
            yield ("expect", "inputs", name), problem


def _name_problem(name: str, definition: Definition) -> str | None:
    """What is wrong with the name of a stage or of one task, be it for its undo."""
    stage_name, dash, numbers = name.removeprefix(UNDO).partition("-")
    stage = definition.stages.get(stage_name)
    if stage is None:
        return _no_stage(name, definition)
    if not dash:
        return None
    task = _TASK.fullmatch(numbers)
    if task is None:
        return (
            f'is no task; write its pass, from 1, and its number, from 0, as in "{stage_name}-1-0"'
        )
    return _task_problem(stage, int(task[1]), int(task[2]), definition)


def _task_problem(stage: Stage, pass_: int, index: int, definition: Definition) -> str | None:
    if pass_ > definition.max_passes:
        most = definition.max_passes
        return f'cannot be: "{stage.name}" has at most {most} passes (engine.limits.max_passes)'
    most = definition.max_items if stage.items is not None else max(1, len(stage.roles))
    if index >= most:
        return f'cannot be: the last task of "{stage.name}" is "{stage.name}-{pass_}-{most - 1}"'
    return None


def _no_stage(name: str, definition: Definition) -> str:
    undo = [UNDO + stage for stage in definition.stages] if name.startswith(UNDO[:-1]) else []
    known = list(definition.stages)
    hint = did_you_mean(name, [*undo, *known]) or f"; stages are {', '.join(known)}"
    return f'"{name}" names no stage of "{definition.name}"{hint}'
