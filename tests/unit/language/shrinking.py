"""Makes a game that goes wrong smaller, as long as it goes wrong."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

from tests.unit.language import naive_graph as graph
from tests.unit.language.naive_graph import Doc
from tests.unit.language.random_graphs import Game

#: Keys that a stage cannot do without.
NEEDED = {"name", "agents", "action", "type", "stages"}


def shrunk(game: Game, goes_wrong: Callable[[Game], bool], tries: int = 400) -> Game:
    """The smallest game that removing one thing after another leads to."""
    while True:
        for smaller in _smaller(game):
            tries -= 1
            if tries == 0:
                return game
            if goes_wrong(smaller):
                game = smaller
                break
        else:
            return game


def _smaller(game: Game) -> Iterator[Game]:
    for number, stage in enumerate(game.workflow["stages"]):
        workflow = deepcopy(game.workflow)
        del workflow["stages"][number]
        _forget(workflow, stage["name"])
        yield replace(game, workflow=workflow)
    for path in list(_places(game.workflow)):
        workflow = deepcopy(game.workflow)
        *way, last = path
        inside: Any = workflow
        for step in way:
            inside = inside[step]
        del inside[last]
        yield replace(game, workflow=workflow)
    if game.denied:
        yield replace(game, denied=())
    if game.engine.get("max_parallel_tasks"):
        yield replace(game, engine={**game.engine, "max_parallel_tasks": 0})


def _forget(workflow: Doc, name: str) -> None:
    """Take a stage out of every place that names it."""
    if workflow.get("on_end") == name:
        del workflow["on_end"]
    for stage in workflow["stages"]:
        for key in ("needs", "on_success", "on_failure", "on_timeout", "on_complete"):
            if key in stage:
                stage[key] = _without(key, stage[key], name)
                if not stage[key]:
                    del stage[key]
        if "decision" in stage:
            lines = stage["decision"]
            lines[:] = [line for line in lines if line.get("next", line.get("default")) != name]
            if not lines:
                del stage["decision"]


def _without(key: str, value: Any, name: str) -> list[Any]:
    if key == "needs":
        return [other for other in value if other != name]
    routes = [
        {**route, "do": [other for other in route["do"] if other != name]}
        for route in graph.routes(value)
    ]
    return [route for route in routes if route["do"]]


def _places(workflow: Doc) -> Iterator[tuple[Any, ...]]:
    """Everything that can be left out, as the way to it."""
    for key in workflow:
        if key not in {"name", "order", "stages", "vars"}:
            yield (key,)
    for number, stage in enumerate(workflow["stages"]):
        yield from _inside(("stages", number), stage)
        for child, each in enumerate(stage.get("stages", [])):
            yield from _inside(("stages", number, "stages", child), each)


def _inside(way: tuple[Any, ...], stage: Doc) -> Iterator[tuple[Any, ...]]:
    for key, value in stage.items():
        if key in NEEDED:
            continue
        yield (*way, key)
        if isinstance(value, dict):
            yield from ((*way, key, each) for each in value)
        elif isinstance(value, list) and len(value) > 1:
            yield from ((*way, key, each) for each in range(len(value)))
