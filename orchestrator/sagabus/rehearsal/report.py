"""What came of a rehearsal, for people and for programs, and whether it was what was expected."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson

from sagabus.core.instance import Attempt, StageStatus
from sagabus.rehearsal.answers import undone_task
from sagabus.rehearsal.script import Expectations
from sagabus.rehearsal.simulator import Rehearsed


def document_of(rehearsed: Rehearsed, undone: Rehearsed | None) -> dict[str, Any]:
    """Everything as one JSON document; ``undone``: what undoing it now would do."""
    row = rehearsed.state.row
    return {
        "workflow": row.workflow,
        "status": row.status.value,
        "rollback": row.rollback,
        "handled_failures": row.handled_failures,
        "error": None
        if row.error is None
        else {"type": row.error.type, "message": row.error.message, "stage": row.error.stage},
        "path": path_of(rehearsed),
        "variables": row.vars,
        "output": row.output,
        "warnings": row.warnings,
        "waiting_for": waiting_for(rehearsed),
        "never_used": unused(rehearsed, undone),
        "tasks": [_task(instance, attempt) for instance, attempt in rehearsed.sent],
        "would_undo": [] if undone is None else [_task(*each) for each in undone.sent],
    }


def _task(instance: str, attempt: Attempt) -> dict[str, Any]:
    return {
        "instance": instance,
        "task": attempt.task,
        "attempt": attempt.attempt,
        "stage": attempt.stage,
        "kind": attempt.kind,
        "role": attempt.role,
        "action": attempt.action,
        "input": attempt.input,
        "status": attempt.status.value,
        "output": attempt.output,
        "error": None
        if attempt.error is None
        else {"type": attempt.error.type, "message": attempt.error.message},
    }


def path_of(rehearsed: Rehearsed) -> list[str]:
    """Stages in the order in which they began, once per pass; those skipped are left out."""
    runs = rehearsed.state.row.runs.values()
    return [run.stage for run in runs if run.status is not StageStatus.SKIPPED]


def waiting_for(rehearsed: Rehearsed) -> list[str]:
    """Stages that wait for a person the script does not speak of."""
    runs = rehearsed.state.row.runs.values()
    return [run.stage for run in runs if run.status is StageStatus.WAITING]


def unused(rehearsed: Rehearsed, undone: Rehearsed | None = None) -> list[str]:
    """Names of the script that came to nothing, also when it was undone: ``outcomes.build``."""
    return [
        ".".join(place) for place in rehearsed.unused if undone is None or place in undone.unused
    ]


def never_used(rehearsed: Rehearsed, undone: Rehearsed | None = None) -> list[str]:
    """A sentence for each name of the script that came to nothing."""
    return [f"{name} was never used" for name in unused(rehearsed, undone)]


def compensated(rehearsed: Rehearsed) -> list[str]:
    """Stages in the order in which their compensations were sent."""
    sent = (
        each.data["stage"]
        for each in rehearsed.happened
        if each.type == "CompensationScheduled" and each.instance == "rehearsal"
    )
    return list(dict.fromkeys(sent))


def lines_of(rehearsed: Rehearsed, undone: Rehearsed | None) -> Iterator[str]:
    """The account as it is printed."""
    inputs = {
        (instance, attempt.task, attempt.attempt): attempt for instance, attempt in rehearsed.sent
    }
    for each in rehearsed.happened:
        data = dict(each.data)
        below = "" if each.instance == "rehearsal" else f"  {each.workflow}:"
        words = _words(each.type, data)
        yield f"{_clock(each.after):>8}{below}  {words}"
        if each.type in {"TaskScheduled", "CompensationScheduled"}:
            found = inputs.get((each.instance, data["task"], data["attempt"]))
            if found is not None and found.input is not None:
                yield f"{'':>8}{below}    input {_json(found.input)}"
        elif each.type == "InquiryAsked":
            asked = {name: data[name] for name in ("prompt", "schema")}
            yield f"{'':>8}{below}    input {_json(asked)}"
    yield from _end(rehearsed, undone)
    if undone is not None and undone.sent:
        yield "if it were undone now:"
        for instance, attempt in undone.sent:
            place = " > ".join([*_above(rehearsed, instance), undone_task(attempt)])
            if attempt.is_child:
                yield f"  {place}: what {attempt.action} did"
                continue
            given = f" {_json(attempt.input)}" if attempt.input is not None else ""
            yield f"  {place}: {attempt.action} by {attempt.role}{given}"


def _above(rehearsed: Rehearsed, instance: str) -> list[str]:
    """The tasks, from the topmost, that led to an instance."""
    tasks: list[str] = []
    while instance in rehearsed.children:
        parent = rehearsed.children[instance].row.parent
        if parent is None:
            raise RuntimeError("an instance below has none above")
        tasks.insert(0, parent.task)
        instance = parent.instance
    return tasks


def _end(rehearsed: Rehearsed, undone: Rehearsed | None) -> Iterator[str]:
    row = rehearsed.state.row
    plural = "s" if row.handled_failures > 1 else ""
    handled = f", {row.handled_failures} failure{plural} handled" if row.handled_failures else ""
    rollback = f", rollback {row.rollback}" if row.rollback != "none" else ""
    yield f"{row.status.value}{handled}{rollback}"
    if row.error is not None:
        yield f"error {row.error.type}: {row.error.message}"
    waiting = waiting_for(rehearsed)
    if waiting:
        yield f"waits for {', '.join(waiting)}: the script says nothing of it"
    for name, values in (("variables", row.vars), ("output", row.output)):
        if values:
            yield f"{name} {_json(values)}"
    for warning in row.warnings:
        yield f"warning: {warning}"
    if names := unused(rehearsed, undone):
        yield f"never used: {', '.join(names)}"


def _words(type_: str, data: dict[str, Any]) -> str:
    place = data.get("task") or data.get("stage") or ""
    match type_:
        case "TaskScheduled" | "CompensationScheduled":
            what = "undo" if type_ == "CompensationScheduled" else "send"
            role = str(data["role"])
            to = "the engine" if role == "_core" else "a sub-workflow"
            return f"{what} {place} {data['action']} to {to if role.startswith('_') else role}"
        case "TaskCompleted":
            return f"done {place}"
        case "Refused":
            return f"refused: {data['message']}"
        case "TaskFailed" | "StageFailed" | "StageDenied" | "CompensationFailed":
            handled = ", handled" if data.get("is_handled") else ""
            error = data["error"]
            return f"{type_} {place}: {error['type']}: {error['message']}{handled}"
        case _:
            return f"{type_} {place}".rstrip()


def _clock(after: timedelta) -> str:
    return f"{after.total_seconds():g}s"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def unmet(rehearsed: Rehearsed, expected: Expectations) -> list[str]:
    """Every expectation that was not met, a sentence each."""
    row = rehearsed.state.row
    found = {
        "status": row.status.value,
        "path": path_of(rehearsed),
        "output": row.output,
        "variables": row.vars,
        "compensated": compensated(rehearsed),
        "rollback": row.rollback,
        "error": None if row.error is None else row.error.type,
        "handled_failures": row.handled_failures,
        "waiting_for": waiting_for(rehearsed),
    }
    problems = []
    for name in expected.model_fields_set - {"inputs"}:
        wanted = getattr(expected, name)
        if found[name] != wanted:
            problems.append(f"{name}: expected {_json(wanted)}, got {_json(found[name])}")
    for name, wanted in (expected.inputs or {}).items():
        problems += _unmet_input(rehearsed, name, wanted)
    return problems


def _unmet_input(rehearsed: Rehearsed, name: str, wanted: Any) -> list[str]:
    tries = rehearsed.state.attempts
    attempts = tries.get(name) or next(
        (each for each in tries.values() if each[0].stage == name and each[0].kind == "task"), None
    )
    if attempts is None:
        return [f"inputs: {name} was never sent"]
    given = attempts[0].input
    if given == wanted:
        return []
    return [f"inputs: {name}: expected {_json(wanted)}, got {_json(given)}"]
