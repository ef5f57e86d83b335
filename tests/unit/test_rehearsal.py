"""Rehearsals: a definition run on paper, with what a script says of tasks, gates and questions."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sagabus.definitions.catalog import Catalog
from sagabus.errors import ConfigError, InvalidRequestError
from sagabus.rehearsal.reading import read_scripts, read_written
from sagabus.rehearsal.report import lines_of, unmet
from sagabus.rehearsal.script import Expectations, Outcome, Script
from sagabus.rehearsal.simulator import rehearse as play
from sagabus.rehearsal.simulator import undo
from sagabus.testing import rehearse

CONFIG = """
[[workflows]]
name = "pipeline"
parameters = {size = {type = "integer", default = 3}}
output_map = {size = "{{ parameters.size }}", image = "{{ task.build.result.image }}"}
[[workflows.stages]]
name = "build"
agents = ["backend"]
input = {size = "{{ parameters.size }}"}
compensation_agents = ["backend"]
[[workflows.stages]]
name = "check"
agents = ["tester"]
timeout = "30s"
retry = {count = 1, delay = "10s", jitter = false}
[[workflows.stages]]
name = "ship"
agents = ["devops"]
approval_required = true

[[workflows]]
name = "outer"
[[workflows.stages]]
name = "inner"
action = "pipeline"
input = {size = 7}
[[workflows.stages]]
name = "after"
agents = ["tester"]
input = {all = "{{ task.inner.result }}"}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "workflows.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


APPROVED = {"approve": True, "by": "ann"}


def test_what_the_script_does_not_name_succeeds_and_gates_wait(config: Path) -> None:
    run = rehearse(config, "pipeline")
    assert run.status == "waiting"
    assert run.path == ["build", "check", "ship"]
    assert run.input("build") == {"size": 3}


def test_outputs_reach_the_end(config: Path) -> None:
    outcomes = {"build": {"output": {"image": "a:1"}}, "ship": APPROVED}
    with pytest.raises(ValidationError):
        rehearse(config, "pipeline", outcomes={"ship": {"output": 1, "error": "x"}})
    run = rehearse(config, "pipeline", outcomes=outcomes)
    assert run.status == "completed"
    assert run.output == {"size": 3, "image": "a:1"}


def test_failures_are_retried_and_then_undone(config: Path) -> None:
    run = rehearse(config, "pipeline", outcomes={"check": {"error": "broken"}})
    assert run.status == "rolled_back"
    assert run.compensated == ["build"]
    assert len(run.state.attempts["check-1-0"]) == 2
    assert "check" in str(run)


def test_the_second_attempt_may_end_otherwise(config: Path) -> None:
    run = rehearse(config, "pipeline", outcomes={"check": [{"error": "flaky"}, {"output": 1}]})
    assert run.status == "waiting"
    assert run.state.row.runs["check-1"].status == "succeeded"


def test_a_timeout_takes_its_time(config: Path) -> None:
    run = rehearse(config, "pipeline", outcomes={"check": {"timeout": True}})
    assert run.state.row.runs["check-1"].status == "timed_out"
    assert run.state.row.error.type == "timeout"


def test_a_failed_compensation_leaves_the_rollback_partial(config: Path) -> None:
    outcomes = {
        "check": {"error": "broken"},
        "undo build": {"error": {"type": "locked", "retryable": False}},
    }
    run = rehearse(config, "pipeline", outcomes=outcomes)
    assert (run.status, run.state.row.rollback) == ("failed", "partial")


def test_a_sub_workflow_is_rehearsed_too(config: Path) -> None:
    run = rehearse(
        config,
        "outer",
        workflows={"pipeline": {"build": {"output": {"image": "i"}}, "ship": APPROVED}},
    )
    assert run.status == "completed"
    assert run.input("after") == {"all": {"size": 7, "image": "i"}}


def test_a_task_that_is_not_named_gives_null_as_a_handler_that_returns_nothing(
    config: Path,
) -> None:
    text = CONFIG.replace(
        'agents = ["tester"]\ntimeout',
        'agents = ["tester"]\ninput = {built = "{{ task.build.result }}"}\ntimeout',
    )
    config.write_text(text, encoding="utf-8")
    assert rehearse(config, "pipeline").input("check") == {"built": None}


def test_a_sub_workflow_may_be_stood_in_for(config: Path) -> None:
    run = rehearse(config, "outer", outcomes={"inner": {"output": {"image": "x"}}})
    assert run.input("after") == {"all": {"image": "x"}}


def test_a_cancellation_is_rehearsed(config: Path) -> None:
    run = rehearse(config, "pipeline", cancel_after="1h")
    assert (run.status, run.compensated) == ("cancelled", ["build"])


def test_wrong_parameters_and_unknown_names_are_refused(config: Path) -> None:
    with pytest.raises(InvalidRequestError, match="size"):
        rehearse(config, "pipeline", {"size": "big"})
    with pytest.raises(InvalidRequestError, match="names no stage"):
        rehearse(config, "pipeline", outcomes={"biuld": {"output": 1}})


def test_what_is_not_as_expected_is_said_by_name(config: Path) -> None:
    run = rehearse(config, "pipeline", outcomes={"check": {"error": "broken"}})
    expected = Expectations(
        status="completed",
        path=["build", "check"],
        inputs={"build": {"size": 4}, "ship": {}},
        compensated=["build"],
    )
    problems = "\n".join(unmet(run.rehearsed, expected))
    assert 'status: expected "completed", got "rolled_back"' in problems
    assert 'inputs: build: expected {"size":4}, got {"size":3}' in problems
    assert "inputs: ship was never sent" in problems
    assert "path" not in problems
    assert "compensated" not in problems


def test_scripts_are_read_from_documents_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "tests.yaml"
    path.write_text(
        "tests:\n  - name: a\n    workflow: x\n  - name: b\n---\nname: c\n", encoding="utf-8"
    )
    assert [script.name for script in read_scripts(path)] == ["a", "b", "c"]
    path.write_text("outcomez: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="outcomez"):
        read_scripts(path)


WRONG = """\
tests:
  - name: all at once
    workflow: pipeline
    outcomes:
      biuld: {output: 1}
      build: {outptu: 1, error: boom, timeout: true}
      check: [{error: {type: x, mesage: y}}, null]
      ship: {answer: 3, takes: long}
      check-0-0: {}
      check-1-1: {}
      check-1001-0: {}
      undo check: {error: x}
    workflows:
      pipelin: {build: {}}
      outer: {inner-x: {}}
    expect: {status: complete, rollback: ful, path: [build, chek], inputs: {shop: {}}}
  - name: nothing wrong here
    workflow: pipeline
"""


def test_every_mistake_of_a_script_is_told_with_its_line(tmp_path: Path, config: Path) -> None:
    path = tmp_path / "outcomes.yaml"
    path.write_text(WRONG, encoding="utf-8")
    catalog = Catalog.load(config)
    first, second = read_written(path)
    assert second.problems_beside(catalog.get("pipeline"), catalog.get) == []
    problems = [
        str(one).removeprefix(f"{path}:")
        for one in first.problems_beside(catalog.get("pipeline"), catalog.get)
    ]
    wanted = [
        '5: `outcomes.biuld`: "biuld" names no stage of "pipeline"; did you mean "build"?',
        '6: unknown key `outptu`; did you mean "output"?',
        "6: `outcomes.build`: error and timeout cannot be together; write one of them",
        '7: unknown key `mesage`; did you mean "message"?',
        "7: `outcomes.check.1`: null does not fit; write a table, as in {key: value}",
        "8: `outcomes.ship.takes`: 'long' is not a duration; write seconds, "
        'or text like "90s", "15m", "2h", "30d"',
        '8: `outcomes.ship.answer`: "ship" asks nothing; write output',
        "9: `outcomes.check-0-0`: is no task; write its pass, from 1, and its number, from 0, "
        'as in "check-1-0"',
        '10: `outcomes.check-1-1`: cannot be: the last task of "check" is "check-1-0"',
        '11: `outcomes.check-1001-0`: cannot be: "check" has at most 1000 passes '
        "(engine.limits.max_passes)",
        '12: `outcomes.undo check`: nothing undoes "check"; leave it out, '
        "or give it a compensation",
        '14: `workflows.pipelin`: there is no workflow "pipelin"; did you mean "pipeline"?',
        "15: `workflows.outer.inner-x`: is no task; write its pass, from 1, and its number, "
        'from 0, as in "inner-1-0"',
        '16: `expect.status`: "complete" is no status; did you mean "completed"?',
        '16: `expect.rollback`: "ful" is no rollback; did you mean "full"?',
        '16: `expect.path.1`: "chek" names no stage of "pipeline"; did you mean "check"?',
        '16: `expect.inputs.shop`: "shop" names no stage of "pipeline"; did you mean "ship"?',
    ]
    assert sorted(problems) == sorted(wanted)
    assert [int(one.partition(":")[0]) for one in problems] == sorted(
        int(one.partition(":")[0]) for one in wanted
    )


def test_what_stands_beside_tests_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tests.yaml"
    path.write_text("tests:\n  - name: a\nworkflow: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tests.yaml:3: `workflow`: stands beside `tests`"):
        read_scripts(path)


def test_blocks_and_questions_are_scripted_as_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "workflows.toml"
    path.write_text(
        """
[[workflows]]
name = "asks"
[[workflows.stages]]
name = "together"
type = "parallel"
stages = [{name = "one", agents = ["a"]}, {name = "two", agents = ["a"]}]
[[workflows.stages]]
name = "ask"
action = "core.inquiry"
input = {prompt = "Well?"}
""",
        encoding="utf-8",
    )
    for name, outcome, problem in (
        ("together", {"error": "x"}, "name the stages in it: one, two"),
        ("ask", {"output": 1}, "asks a person"),
        ("ask-1-0", {"answer": 1}, "asks a person"),
    ):
        with pytest.raises(InvalidRequestError, match=problem):
            rehearse(path, "asks", outcomes={name: outcome})
    assert rehearse(path, "asks", outcomes={"ask": {"answer": 1}}).status == "completed"


def test_a_name_that_came_to_nothing_is_told(config: Path) -> None:
    outcomes = {
        "build-2-0": {"error": "x"},
        "undo build": {"error": "x"},
        "check": {"error": "broken"},
        "ship": APPROVED,
    }
    run = rehearse(config, "pipeline", outcomes=outcomes, workflows={"outer": {"after": {}}})
    assert run.never_used == ["outcomes.build-2-0", "outcomes.ship", "workflows.outer.after"]
    assert "never used: outcomes.build-2-0, outcomes.ship, workflows.outer.after" in str(run)
    assert rehearse(config, "pipeline", outcomes={"ship": APPROVED}).never_used == []


def test_what_would_be_undone_is_named_by_task_and_by_what_is_above_it(config: Path) -> None:
    catalog = Catalog.load(config)
    script = Script(workflows={"pipeline": {"ship": [Outcome(approve=True)]}})
    run = play(catalog.get("outer"), script, catalog.get)
    lines = list(lines_of(run, undo(run, script, catalog.get)))
    begin = lines.index("if it were undone now:") + 1
    assert lines[begin:] == [
        "  inner-1-0: what pipeline did",
        "  inner-1-0 > build-1-0: build by backend",
    ]


def test_several_people_approve_and_what_is_refused_is_told(config: Path) -> None:
    config.write_text(
        CONFIG.replace(
            "approval_required = true",
            "approval_required = true\n"
            "approval = {approvers = 2, schema = {required = ['ticket']}}",
        )
    )
    ship = {"approve": True, "by": ["ann", "bob"], "data": {"ticket": 7}}
    run = rehearse(config, "pipeline", outcomes={"build": {"output": {"image": 1}}, "ship": ship})
    assert run.status == "completed"
    run = rehearse(config, "pipeline", outcomes={"ship": {**ship, "by": ["ann", "ann"]}})
    assert run.status == "waiting"
    assert "refused: outcomes.ship: ann has approved already; 1 more approval is needed" in str(run)
    with pytest.raises(InvalidRequestError, match="data of an approval of stage 'ship' does not f"):
        rehearse(config, "pipeline", outcomes={"ship": {"approve": True, "by": "ann"}})
