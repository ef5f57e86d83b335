"""Why an instance stands where it stands: causes by name, each with what to do about it.

A pure function of what is stored and of what is known of agents, queues and holds at the moment.
In a remedy ``ID`` stands for the instance. Commands in it can be given as they are printed, but for
words in capitals; what is said of one stands behind it in parentheses.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

from sagabus.core import permitted, repair_undo
from sagabus.core.definition import Definition
from sagabus.core.examples import argument_of
from sagabus.core.gates import form_of
from sagabus.core.instance import (
    Attempt,
    Gate,
    Instance,
    InstanceState,
    InstanceStatus,
    Parked,
)
from sagabus.core.subworkflows import child_of
from sagabus.core.tasks import plan_of
from sagabus.views import remedies
from sagabus.views.causes import Cause, CauseName, RoleState, Surroundings
from sagabus.views.shared import with_stage

#: Of a sentence that names others.
_MAX_NAMED: Final = 5


def causes_of(
    state: InstanceState, definition: Definition | None, around: Surroundings
) -> list[Cause]:
    """Every cause, what holds up all first; never empty.

    ``definition``: the one that it runs on, where it can be read.
    """
    row = state.row
    if row.status.is_terminal and row.open_attempts == 0:
        return [_ended(state, definition)]
    found = [
        *around.troubles,
        *(_parked(alike, state, definition) for alike in _alike(row.parked)),
        *_paused(row, around),
        *_gates(row, definition),
        *_unless_held(_tasks(state, definition, around), row, around),
        *_joins(row, definition),
    ]
    return found or [Cause("moving", "it has just moved, and goes on by itself")]


def _ended(state: InstanceState, definition: Definition | None) -> Cause:
    row = state.row
    title = f"{row.status}, rollback {row.rollback}"
    detail = _failure(row)
    if row.status is InstanceStatus.COMPLETED and not _has_left(row):
        ways = []
    elif row.parent is not None:
        above = row.parent.instance
        ways = [] if definition is None else [*remedies.found_out(state, definition)]
        ways += remedies.undone_by_hand(state, definition)
        ways.append(f"sagabus why {above}, the instance that it carried out a stage of")
    elif row.status is InstanceStatus.COMPLETED:
        ways = remedies.undo_what_is_left(state, definition)
    else:
        ways = remedies.onward(state, definition)
    return Cause("ended", title, detail, ways, since=row.ended_at)


def _failure(row: Instance) -> str:
    error = row.error
    return "" if error is None else f": {with_stage(error.message, error.stage)}"


def _has_left(row: Instance) -> bool:
    return row.rollback == "partial" or bool(row.effects_left)


def _alike(parked: Sequence[Parked]) -> Iterable[Sequence[Parked]]:
    """Those of one stage together: one word may settle them all."""
    found: dict[tuple[str, str | None], list[Parked]] = {}
    for each in parked:
        found.setdefault((each.cause, each.stage), []).append(each)
    return found.values()


def _parked(alike: Sequence[Parked], state: InstanceState, definition: Definition | None) -> Cause:
    parked = alike[0]
    stage, detail = parked.stage or "STAGE", f": {parked.message}"
    match parked.cause:
        case "intent_unknown":
            name: CauseName = "intent_unknown"
            title = f"whether final stage {stage!r} had its effect is not known"
            tries = state.attempts.get(parked.task or "")
            why = tries[-1].error if tries else None
            attempts = [f"{each.task}/{each.attempt}" for each in alike]
            more = len(alike) - _MAX_NAMED
            named = ", ".join(attempts[:_MAX_NAMED]) if len(alike) > 1 else parked.task
            named = f"{named} and {more} more" if more > 0 else named
            detail = f" ({named})" + ("" if why is None else f": {why.message}")
            ways = [*remedies.resolving(stage, attempts, state.row)]
        case "compensation_failed":
            name, title = "compensation_failed", f"a compensation of stage {stage!r} failed"
            failed = [each for each in state.row.failed_compensations if each["stage"] == stage]
            detail = f": {failed[-1]['error']['message']}" if failed else ""
            ways = [f"sagabus skip ID {stage} --reason TEXT (goes on without it)"]
            ways += remedies.undone_by_hand(state, definition, stage)
            if definition and repair_undo.refusal(definition, state, parked.stage) is None:
                ways.insert(0, f"sagabus retry ID --from {stage} (tries it again)")
        case "after_final":
            name, title = "after_final", "it failed after a final stage had succeeded"
            detail = _failure(state.row)
            ways = remedies.past_final(state, definition)
        case "invariant":
            name, title = "engine_failed", "the engine failed on it"
            ways = ["sagabus resume ID (tries once more); report it with sagabus history ID --json"]
    return Cause(name, title, detail, ways, parked.stage, parked.task, since=parked.at)


def _paused(row: Instance, around: Surroundings) -> Iterator[Cause]:
    if row.paused is not None:
        of_workflow = row.paused.is_of_workflow
        what = f"workflow {row.workflow!r} is paused" if of_workflow else "it is paused"
        which = f"--workflow {row.workflow}" if of_workflow else "ID"
        yield Cause(
            "paused",
            f"{what} by {row.paused.by or 'somebody'}",
            _because(row.paused.reason),
            [f"sagabus resume {which}"],
            since=row.paused.at,
        )
    for hold in around.holds:
        if hold.kind == "all":
            title = f"everything is paused by {hold.by or 'somebody'}"
            ways = ["sagabus resume --all"]
            yield Cause("on_hold", title, _because(hold.reason), ways, since=hold.at)


def _gates(row: Instance, definition: Definition | None) -> Iterator[Cause]:
    if permitted.refusal("answer", row) is not None:
        return  # what holds it up comes first, and takes no answer
    for run in row.runs.values():
        gate = run.gate
        if gate is None or gate.decision is not None or run.ended_at is not None:
            continue
        detail = f" ({gate.prompt})" if gate.prompt else ""
        if not gate.is_question:
            detail += _by_whom(row, gate)
        if gate.due_at is not None:
            detail += f", until {_clock(gate.due_at)}"
        stage = definition.stages.get(run.stage) if definition is not None else None
        form = form_of(stage, gate) if stage is not None else None
        data = argument_of(form)
        if gate.is_question:
            title = f"stage {run.stage!r} of {row.workflow!r} waits for an answer"
            ways = [f"sagabus answer ID {run.stage} --data {data}"]
        else:
            whom = " by whom the policies permit" if definition and definition.has_policies else ""
            title = f"stage {run.stage!r} of {row.workflow!r} waits for {_missing(gate)}{whom}"
            ways = [
                f"sagabus approve ID {run.stage}{f' --data {data}' if form is not None else ''}",
                f"sagabus reject ID {run.stage} --reason TEXT",
            ]
        yield Cause(
            "question" if gate.is_question else "approval",
            title,
            detail,
            ways,
            stage=run.stage,
            since=gate.asked_at,
            until=gate.due_at,
        )


def _missing(gate: Gate) -> str:
    """The approvals that are not there yet."""
    if gate.approvers == 1:
        return "approval"
    more = "more " if gate.approvals else ""
    return f"{gate.missing} {more}approval{'s' if gate.missing > 1 else ''}"


def _by_whom(row: Instance, gate: Gate) -> str:
    """Who may not give them; nothing where anybody may."""
    others = [each.by for each in gate.approvals]
    if not gate.self_approval and row.started_by:
        others.append(row.started_by)
    return f", by somebody else than {', '.join(others)}" if others else ""


def _unless_held(causes: Iterator[Cause], row: Instance, around: Surroundings) -> Iterator[Cause]:
    """Without what does not happen where nothing is sent: nothing is taken, or tried again."""
    untrue: set[CauseName] = set()
    if any(hold.kind == "all" for hold in around.holds):
        untrue.add("queued")
    if row.paused is not None or row.parked:
        untrue.add("retry")
    return (each for each in causes if each.cause not in untrue)


def _tasks(
    state: InstanceState, definition: Definition | None, around: Surroundings
) -> Iterator[Cause]:
    """What becomes of its open tasks: those of a stage that stand alike are one cause."""
    open_ = [
        (_task(state, tries[-1], definition, around), tries[-1])
        for tries in state.attempts.values()
        if tries[-1].is_open and not tries[-1].is_held
    ]
    by_title = sorted(open_, key=lambda each: (each[1].stage, each[0].title))
    for _, alike in groupby(by_title, key=lambda each: (each[1].stage, each[0].title)):
        first, *more = [cause for cause, _ in alike]
        if not more:
            yield first
            continue
        others = dict.fromkeys(id for cause in (first, *more) for id in cause.others)
        yield Cause(
            first.cause,
            first.title,
            f"{first.detail} (and {len(more)} more of its tasks)",
            first.ways,
            first.stage,
            first.task,
            first.role,
            min((each.since for each in (first, *more) if each.since), default=None),
            min((each.until for each in (first, *more) if each.until), default=None),
            [*others],
        )
    limit = definition.max_parallel_tasks if definition else 0
    if limit and state.row.in_flight >= limit and state.row.unfilled:
        title = f"{limit} of its tasks are in flight, all that engine.max_parallel_tasks allows"
        yield Cause("task_limit", title)


def _task(
    state: InstanceState, attempt: Attempt, definition: Definition | None, around: Surroundings
) -> Cause:
    what = "the undo of stage" if attempt.kind == "compensation" else "stage"
    of = f"{what} {attempt.stage!r}"
    if attempt.retry:
        return _retry(attempt, definition, of)
    if attempt.is_child:
        child = child_of(state, attempt)
        return Cause(
            "sub_workflow",
            f"{of} is carried out by another instance",
            f", {child}",
            [f"sagabus why {child}"],
            attempt.stage,
            attempt.task,
            since=attempt.created_at,
            others=[child],
        )
    if attempt.is_local:
        until = attempt.due_at
        detail = f" until {_clock(until)}" if until else ""
        title = f"{of} sleeps"
        return Cause("sleeping", title, detail, (), attempt.stage, attempt.task, until=until)
    return _sent(attempt, of, around)


def _retry(attempt: Attempt, definition: Definition | None, of: str) -> Cause:
    total = ""
    if definition is not None:
        total = f" of {plan_of(definition, attempt).retry.count + 1}"
    due = "" if attempt.due_at is None else f", begins at {_clock(attempt.due_at)}"
    error = "" if attempt.error is None else f"; the last one failed: {attempt.error.message}"
    ways = ["wait"]
    if attempt.kind == "task":
        ways.append(f"sagabus skip ID {attempt.stage} --reason TEXT")
    return Cause(
        "retry",
        f"{of} waits for its next attempt",
        f": attempt {attempt.attempt + 1}{total}{due}{error}",
        ways,
        attempt.stage,
        attempt.task,
        attempt.role,
        attempt.ended_at,
        attempt.due_at,
    )


def _sent(attempt: Attempt, of: str, around: Surroundings) -> Cause:
    """Of a task that agents do: on hold, with no agent, in the queue, or under way."""
    role = around.roles.get(attempt.role, RoleState())
    since = attempt.started_at or attempt.created_at
    place = attempt.stage, attempt.task, attempt.role
    for hold in around.holds:
        if (hold.kind, hold.name) == ("role", attempt.role):
            title = f"role {attempt.role!r} is paused by {hold.by or 'somebody'}"
            ways = [f"sagabus resume --role {attempt.role}"]
            return Cause("on_hold", title, _because(hold.reason), ways, *place, hold.at)
    if attempt.agent in around.agents and attempt.started_at is not None:
        return Cause("running", f"{of} is being done", f" by {attempt.agent}", (), *place, since)
    if not role.alive:
        title = f"no agent of role {attempt.role!r} is alive"
        detail = f", so {of} waits"
        if role.last_heard_at is not None:
            detail = f" since {_clock(role.last_heard_at)}{detail}"
        if role.queued is not None:
            detail += f" (tasks in its queue: {role.queued})"
        ways = [f"start an agent of role {attempt.role}"]
        return Cause("no_agent", title, detail, ways, *place, role.last_heard_at or since)
    if attempt.agent is not None:
        title = f"{of} is taken over from an agent that is gone"
        return Cause("queued", title, f", {attempt.agent}", (), *place, since)
    if not role.free:
        named = ", ".join(role.working_for[:_MAX_NAMED])
        more = len(role.working_for) - _MAX_NAMED
        named += f" and {more} more" if more > 0 else ""
        return Cause(
            "agents_busy",
            f"all agents of role {attempt.role!r} are at their limit",
            f", with tasks of {named or 'others'}",
            ["wait", f"start more agents of role {attempt.role}"],
            *place,
            since,
            others=role.working_for,
        )
    return Cause(
        "queued", f"{of} waits in the queue of role {attempt.role!r}", "", (), *place, since
    )


def _joins(row: Instance, definition: Definition | None) -> Iterator[Cause]:
    for name, arrived in row.arrived.items():
        stage = definition.stages.get(name) if definition is not None else None
        missing = [arm for arm in stage.arms if arm not in arrived] if stage is not None else []
        detail = f"; {', '.join(arrived)} arrived"
        title = f"stage {name!r} waits for {' and '.join(missing) or 'other stages'}"
        yield Cause("join", title, detail, stage=name)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
