"""Scripts of rehearsals that do not fit: answers, time limits, words, and what comes too late."""

from pathlib import Path

import pytest

from sagabus.definitions.catalog import Catalog
from sagabus.errors import InvalidRequestError
from sagabus.rehearsal.reading import read_written
from sagabus.testing import rehearse

ASKS = """
[[workflows]]
name = "grow"
[[workflows.stages]]
name = "ask"
action = "core.inquiry"
timeout = "1m"
on_timeout = "end"
[workflows.stages.input]
prompt = "How many?"
schema = {type = "object", required = ["nodes"], properties = {nodes = {minimum = 1}}}
[[workflows.stages]]
name = "place"
agents = ["cloud"]
compensation_agents = ["cloud"]

[[workflows]]
name = "above"
[[workflows.stages]]
name = "below"
action = "grow"
"""
UNFIT = """
parameters: {}
outcomes:
  below: [{takes: 1}, {timeout: true}]
  undo below: {timeout: true}
workflows:
  grow:
    ask:
      - answer: {nodes: 2}
      - answer: {nodes: 0}
    place-1-0:
      timeout: true
"""


@pytest.fixture
def asks(tmp_path: Path) -> Path:
    path = tmp_path / "workflows.toml"
    path.write_text(ASKS, encoding="utf-8")
    return path


def test_an_answer_that_does_not_fit_and_a_timeout_of_what_has_none_are_mistakes_in_their_line(
    tmp_path: Path, asks: Path
) -> None:
    path = tmp_path / "outcomes.yaml"
    path.write_text(UNFIT, encoding="utf-8")
    catalog = Catalog.load(asks)
    (written,) = read_written(path)
    unlimited = "has no timeout that could end it; give it one, or write error: timeout"
    assert [
        str(one).removeprefix(f"{path}:")
        for one in written.problems_beside(catalog.get("above"), catalog.get)
    ] == [
        f'4: `outcomes.below.1.timeout`: "below" {unlimited}',
        f'5: `outcomes.undo below.timeout`: "undo below" {unlimited}',
        "10: `workflows.grow.ask.1.answer`: the answer to ask does not fit: "
        "`nodes`: 0 is too small; at least 1",
        f'12: `workflows.grow.place-1-0.timeout`: "place" {unlimited}',
    ]


def test_a_question_that_is_answered_with_nothing_is_refused_where_its_form_wants_something(
    asks: Path,
) -> None:
    with pytest.raises(InvalidRequestError, match=r"outcomes\.ask: .*does not fit"):
        rehearse(asks, "grow", outcomes={"ask": {"by": "ann"}})


def test_what_a_person_says_too_late_is_told_and_changes_nothing(asks: Path) -> None:
    late = {"ask": {"answer": {"nodes": 2}, "takes": "1h"}}
    run = rehearse(asks, "grow", outcomes=late, cancel_after="2h")
    assert (run.status, run.path) == ("completed", ["ask"])
    assert run.rehearsed.refused == [
        "outcomes.ask: stage 'ask' was timed out at 2030-01-01 00:01:00Z already",
        "cancel_after: the instance is completed: nothing to cancel",
    ]
    assert "refused: cancel_after: the instance is completed: nothing to cancel" in str(run)


def test_values_of_the_wrong_kind_are_told_as_those_of_a_workflow(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.yaml"
    path.write_text(
        "outcomes: {g: {approve: maybe}}\nexpect: {handled_failures: x}\n", encoding="utf-8"
    )
    (written,) = read_written(path)
    assert [str(one).removeprefix(f"{path}:") for one in written.problems] == [
        "1: `outcomes.g.approve`: 'maybe' does not fit; write true or false",
        "2: `expect.handled_failures`: 'x' does not fit; write a whole number",
    ]
