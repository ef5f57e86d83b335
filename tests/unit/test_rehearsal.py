"""Rehearsals: a definition run on paper, with what a script says of tasks, gates and questions."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sagabus.errors import ConfigError, InvalidRequestError
from sagabus.rehearsal.reading import read_scripts
from sagabus.rehearsal.report import unmet
from sagabus.rehearsal.script import Expectations
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
