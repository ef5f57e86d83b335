"""The judge judged: small workflows from the language's description, on both interpreters."""

from pathlib import Path

import pytest

from tests.unit.language.cases import CASES, Case
from tests.unit.language.choosing import Script, possible
from tests.unit.language.drive import ENDS, Duel, snapshot
from tests.unit.language.naive import Naive
from tests.unit.language.naive_graph import Doc
from tests.unit.language.random_graphs import Game
from tests.unit.language.written import compiled, read

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))


def check(case: Case, seen: Doc) -> None:
    path = ", ".join(f"{key} {run['status']}" for key, run in seen["runs"].items())
    assert path == case.path
    assert (seen["status"], seen["rollback"]) == (case.end, case.rollback)
    assert (seen["error"] and seen["error"]["type"]) == case.error
    assert seen["handled_failures"] == case.handled
    assert snapshot(seen["ignored"]) == snapshot(case.ignored)
    if case.vars is not None:
        assert seen["vars"] == case.vars
    if case.output is not None:
        assert seen["output"] == case.output


def script(case: Case) -> Script:
    return Script(case.outcomes, case.outputs, case.first)


@by_name
def test_naively(case: Case) -> None:
    naive = Naive(*read(case.toml()), case.parameters)
    choose = script(case)
    naive.happen({"what": "start"})
    while naive.status not in ENDS:
        naive.happen(choose(possible(naive.seen(), naive.stages)))
    check(case, naive.seen())


@by_name
def test_both_agree(case: Case, tmp_path: Path) -> None:
    definition, problems = compiled(case.toml(), tmp_path)
    assert definition is not None, problems
    duel = Duel(Game(*read(case.toml()), case.parameters), definition)
    check(case, duel.play(script(case)))
    check(case, duel.machine.seen())
