"""Plays a script of the corpus on the real loop, whose owners may die; and what came of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from sagabus.core.instance import InstanceState, StageRun, run_key
from sagabus.rehearsal.report import unmet
from sagabus.rehearsal.simulator import Happening, Rehearsed
from tests.corpus.actors import ROOT, People, Play, Player, name_of
from tests.support.engine import Dynasty, running
from tests.support.worlds import World, until

Document = dict[str, Any]


@dataclass
class End:
    """What is compared of two runs of one script: everything but times and who did it."""

    rows: dict[str, Document]
    #: By instance and task; without what is doubtful.
    attempts: dict[str, dict[str, list[tuple[Any, ...]]]]
    #: What happened, in any order; without starts, and without what is doubtful.
    history: dict[str, list[str]]
    undone: list[tuple[str, ...]]


@dataclass
class Played:
    """What came of a run in earnest."""

    end: End
    rehearsed: Rehearsed
    effects: Counter[str]
    deaths: int


async def perform(play: Play, world: World, dies: Callable[[str], bool]) -> Played:
    """Run a script while owners die where ``dies`` says so."""
    dynasty = Dynasty(play.case.path, world, dies)
    link = await world.link()
    crew = Player(await world.link(), sorted(play.roles), play=play, store=world.store)
    people = People(play, world.store, link, crew)
    async with running(dynasty.reign), AsyncExitStack() as jobs:
        await jobs.enter_async_context(running(crew.work))
        await _start(play, dynasty)
        await jobs.enter_async_context(running(people.work))
        await people.cancel_in_time()
        states = await until(lambda: _all_over(play, world, crew))
        return await _played(play, world, states, crew, dynasty.deaths)


async def _start(play: Play, dynasty: Dynasty) -> None:
    script = play.case.script
    started = await dynasty.ask(
        lambda o: o.start(
            play.case.workflow, script.parameters, id=ROOT, by=script.started_by, command="start"
        )
    )
    assert started.is_new  # the first answer died with its owner: a repeat gets the same


async def _all_over(play: Play, world: World, crew: Player) -> dict[str, InstanceState] | None:
    states: dict[str, InstanceState] = {}
    for instance in play.states:
        state = await world.store.load_instance(instance)
        if state is None or not play.is_over(state):
            return None
        states[instance] = state
    return states if crew.is_idle and not await world.left() else None


async def _played(
    play: Play, world: World, states: dict[str, InstanceState], crew: Player, deaths: int
) -> Played:
    histories = {
        instance: [event for entry in await world.store.history(instance) for event in entry.events]
        for instance in states
    }
    for instance, history in histories.items():
        await _check_events(world, instance, history)
    happened = [
        Happening(timedelta(), instance, states[instance].row.workflow, each["type"], each["data"])
        for instance, history in histories.items()
        for each in history
    ]
    children = {instance: state for instance, state in states.items() if instance != ROOT}
    undone = (message for message in crew.ran if message.type == "compensation")
    end = End(
        rows=rows_of(play, states),
        attempts={instance: _attempts_of(play, state) for instance, state in states.items()},
        history={
            instance: sorted(_words(play, instance, history))
            for instance, history in histories.items()
        },
        undone=sorted(
            (each.workflow_id, each.task, str(each.artifacts_to_undo), str(each.original_context))
            for each in undone
        ),
    )
    rehearsed = Rehearsed(play.paper.definition, states[ROOT], happened, children=children)
    return Played(end, rehearsed, crew.effects, deaths)


async def _check_events(world: World, instance: str, history: Sequence[Mapping[str, Any]]) -> None:
    """Everything that happened is announced, under its own number."""
    stored = [(event["seq"], event["type"]) for event in history]
    assert [seq for seq, _ in stored] == list(range(1, len(stored) + 1))

    async def are_told() -> bool:
        events = map(orjson.loads, await world.events(instance))
        return {(event["seq"], event["type"]) for event in events} == set(stored)

    await until(are_told)


def _words(play: Play, instance: str, history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    doubtful = {task for name, task, _ in play.doubtful if name == instance}
    for event in history:
        data = event["data"]
        if event["type"] != "TaskStarted" and data.get("task") not in doubtful:
            yield f"{event['type']} {data.get('task') or data.get('stage', '')}"


def rows_of(play: Play, states: dict[str, InstanceState]) -> dict[str, Document]:
    """What is compared of instances, on paper and in earnest."""
    return {instance: _row_of(play, state) for instance, state in states.items()}


def _row_of(play: Play, state: InstanceState) -> Document:
    row = state.row
    runs = {key: _run_of(run) for key, run in row.runs.items()}
    for key in play.doubtful:
        if key[0] == row.id:
            attempt = play.sent[key]
            runs[run_key(attempt.stage, attempt.pass_)] = ()
    return {
        "status": row.status,
        "rollback": row.rollback,
        "error": row.error and (row.error.type, row.error.stage, row.error.task),
        "handled_failures": row.handled_failures,
        "not_undone": [each["task"] for each in row.failed_compensations],
        "variables": row.vars,
        "output": row.output,
        "warnings": row.warnings,
        "arrived": row.arrived,
        "left": (row.in_flight, row.open_attempts, row.unfilled),
        "path": list(row.runs),
        "runs": runs,
    }


def _run_of(run: StageRun) -> tuple[Any, ...]:
    return (
        run.status,
        run.parents,
        run.ended_order,
        (run.total, run.items, run.next_index, run.succeeded, run.failed),
        (run.undo_sent, run.undo_failed, run.undo_in_flight),
        run.error and (run.error.type, run.error.stage),
        (run.is_handled, run.gate and run.gate.decision),
    )


def _attempts_of(play: Play, state: InstanceState) -> dict[str, list[tuple[Any, ...]]]:
    doubtful = {task for name, task, _ in play.doubtful if name == state.row.id}
    return {
        task: [
            (
                *(each.attempt, each.status, each.kind, each.role, each.action),
                *(each.input, each.output, each.artifacts, each.error and each.error.type),
            )
            for each in tries
        ]
        for task, tries in state.attempts.items()
        if task not in doubtful
    }


def inputs_of(states: dict[str, InstanceState]) -> dict[str, dict[str, list[Any]]]:
    """What each attempt was given, by instance and task."""
    return {
        instance: {task: [each.input for each in tries] for task, tries in state.attempts.items()}
        for instance, state in states.items()
    }


def unexpected(play: Play, played: Played) -> list[str]:
    """What of a run in earnest is not as the script expects, a sentence each."""
    return unmet(played.rehearsed, play.case.script.expect)


def wrong_effects(play: Play, effects: Counter[str]) -> list[str]:
    """What agents did twice, did not do, or did though nobody was to ask them."""
    may = {name_of(key) for key, each in play.sent.items() if each.role in play.roles}
    must = may - {name_of(key) for key in play.doubtful}
    twice = [f"{name} ran {count} times" for name, count in effects.items() if count > 1]
    missing = [f"{name} never ran" for name in sorted(must - set(effects))]
    return twice + missing + [f"{name} ran" for name in sorted(set(effects) - may)]
