"""One random game from its seed to its end; what went wrong is told so that it can be repaired."""

import re
from collections.abc import Iterator
from pathlib import Path

from sagabus.core.definition import Definition
from tests.unit.language.choosing import Luck, possible
from tests.unit.language.drive import ENDS, MANY_EVENTS, Duel
from tests.unit.language.naive import Naive
from tests.unit.language.naive_graph import Doc
from tests.unit.language.random_graphs import Game, random_game
from tests.unit.language.shrinking import shrunk
from tests.unit.language.written import compiled, toml_of

#: The loader says that a stage can never start.
IMPOSSIBLE = re.compile(r'stage "(\w+)": `\w+`: can never (?:start|be satisfied)')
REFUSED_WAYS = 20
#: Ways that a smaller game is played before it is said to go well.
WAYS = 6


def load(seed: int, directory: Path) -> tuple[Game, Definition | None, list[str]]:
    """The game of a seed, its workflow as the machine reads it, and what the loader refuses."""
    game = random_game(seed)
    definition, problems = compiled(toml_of(game.engine, game.workflow), directory)
    return game, definition, problems


def play(seed: int, directory: Path) -> list[str]:
    """What happened in the game of a seed, in words; ``refused`` where the loader refuses it.

    Raises:
        AssertionError: the two do not agree, or the machine breaks a law of its own; or the
            loader calls impossible what happens.
    """
    game, definition, problems = load(seed, directory)
    if definition is None:
        return _refused(game, seed, problems)
    told: set[str] = set()
    for way in (seed, f"{seed} again"):  # the second instance finds nothing of the first one
        duel = Duel(game, definition)
        try:
            duel.play(Luck(way))
        except Exception as error:
            message = f"seed {seed}: {type(error).__name__}: {error}"
            raise AssertionError(f"{message}\n\n{_smallest(game, seed, directory)}") from error
        told.update(_told(duel))
    return sorted(told)


def _refused(game: Game, seed: int, problems: list[str]) -> list[str]:
    """What is refused because a stage can never start does never start."""
    claims = {found[1]: problem for problem in problems if (found := IMPOSSIBLE.search(problem))}
    for way in range(REFUSED_WAYS if claims else 0):
        naive = Naive(game.engine, game.workflow, game.parameters)
        choose = Luck(f"{seed} {way}")
        naive.happen({"what": "start"})
        for _ in range(MANY_EVENTS):
            if naive.status in ENDS:
                break
            naive.happen(choose(possible(naive.seen(), naive.stages)))
        for key, run in naive.runs.items():
            assert run["stage"] not in claims, f"seed {seed}: {key} began: {claims[run['stage']]}"
    return ["refused", "refused as impossible"] if claims else ["refused"]


def _smallest(game: Game, seed: int, directory: Path) -> str:
    """The game, as small as it goes wrong, with the trace of both."""
    small = shrunk(game, lambda each: _trouble(each, seed, directory) is not None)
    told = _trouble(small, seed, directory)
    text = toml_of(small.engine, small.workflow)
    about = f"# parameters: {small.parameters}\n# denied: {small.denied}"
    return f"{text}{about}\n\n{told}"


def _trouble(game: Game, seed: int, directory: Path) -> str | None:
    """What goes wrong, and how it came to that."""
    definition, _ = compiled(toml_of(game.engine, game.workflow), directory)
    if definition is None:
        return None
    for way in (seed, f"{seed} again", *(f"{seed} {number}" for number in range(WAYS))):
        duel = Duel(game, definition)
        try:
            duel.play(Luck(way))
        except Exception as error:
            return f"{duel.trace()}\n\n{type(error).__name__}: {error}"
    return None


def _told(duel: Duel) -> Iterator[str]:
    seen = duel.naive.seen()
    yield seen["status"]
    yield f"rollback {seen['rollback']}"
    yield f"error {seen['error'] and seen['error']['type']}"
    for key, run in seen["runs"].items():
        yield f"stage {run['status']}"
        if key.endswith("-2"):
            yield "a second pass"
        if len(run["parents"]) > 1:
            yield "a join"
        if key == "last-1":
            yield "an on_end"
    if seen["handled_failures"]:
        yield "a handled failure"
    if seen["ignored"]:
        yield "a second arm"
    if any(_is_retry(event) for event, _, _ in duel.steps):
        yield "a retry"
    if any(naive.get("status") == "needs_operator" for _, naive, _ in duel.steps):
        yield "held after a final success"
    if seen["left"]:
        yield "something left"


def _is_retry(event: Doc) -> bool:
    return event["what"] == "retry_due"
