"""Every definition of the corpus, on paper: the path that the specification says, and no other."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from sagabus.definitions.keys import words_of
from sagabus.definitions.models import (
    ApprovalModel,
    ChildModel,
    ChoiceModel,
    CompensationModel,
    RouteModel,
    SagaModel,
    StageModel,
    StageRetryModel,
    WorkflowModel,
)
from sagabus.rehearsal.report import lines_of, unmet
from tests.corpus.cases import (
    PAIRS,
    Case,
    all_cases,
    catalog_of,
    definitions,
    pairs_of,
    scripts_of,
    written_workflows,
)

ROUTES = ("on_success", "on_failure", "on_timeout", "on_complete")


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_script_goes_as_the_specification_says(case: Case) -> None:
    rehearsed = case.rehearse()
    problems = unmet(rehearsed, case.script.expect)
    account = "\n".join(lines_of(rehearsed, None))
    assert not problems, "\n".join([*problems, "", account])


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_script_says_how_it_ends(case: Case) -> None:
    assert {"status", "path"} <= case.script.expect.model_fields_set


def test_there_are_many_definitions_in_both_formats_each_with_a_script_and_a_word_about_it() -> (
    None
):
    found = definitions()
    assert len(found) >= 40
    assert len([path for path in found if path.suffix == ".yaml"]) >= 10
    for path in found:
        assert scripts_of(path).exists(), path.name
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), f"{path.name} says what it shows in its first line"
        assert path.stem in {one["name"].rpartition(".")[2] for one in written_workflows(path)}


def test_no_two_scripts_have_one_name() -> None:
    ids = [case.id for case in all_cases()]
    assert len(set(ids)) == len(ids)


def test_every_pair_that_interacts_has_a_definition() -> None:
    found = {pair for path in definitions() for pair in pairs_of(path)}
    assert set(PAIRS) <= found
    assert found <= set(PAIRS), "a pair is misspelt, or is to be added to the list"


def _tables(path_of: str, table: Any) -> Iterator[tuple[str, str]]:
    """Every key of a list or table, with what it is a key of."""
    for each in table if isinstance(table, list) else [table]:
        if isinstance(each, dict):
            yield from ((path_of, key) for key in each)


def _keys(stage: dict[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    yield from _tables(kind, stage)
    for key in ("retry", "approval", "compensation"):
        yield from _tables(key, stage.get(key, {}))
    for key in ROUTES:
        yield from _tables(key, stage.get(key, []))
    yield from _tables("decision", stage.get("decision", []))
    for child in stage.get("stages", []):
        yield from _keys(child, "child")


def _used() -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for path in definitions():
        for workflow in written_workflows(path):
            found.update(_tables("workflow", workflow))
            found.update(_tables("saga", workflow.get("saga", {})))
            for stage in workflow["stages"]:
                found.update(_keys(stage, "stage"))
    return found


def test_every_key_of_the_language_is_used_somewhere() -> None:
    models: dict[str, type[BaseModel]] = {
        "workflow": WorkflowModel,
        "saga": SagaModel,
        "stage": StageModel,
        "child": ChildModel,
        "retry": StageRetryModel,
        "approval": ApprovalModel,
        "compensation": CompensationModel,
        "decision": ChoiceModel,
        **dict.fromkeys(ROUTES, RouteModel),
    }
    wanted = {(kind, key) for kind, model in models.items() for key in words_of(model)}
    assert wanted <= _used(), f"never used: {sorted(wanted - _used())}"


def test_definitions_are_warned_of_where_they_say_so_and_nowhere_else() -> None:
    for path in definitions():
        doubts = [str(one) for one in catalog_of(path).warnings]
        is_expected = "\n# warned: " in path.read_text(encoding="utf-8")
        assert bool(doubts) == is_expected, "\n".join([path.name, *doubts])
