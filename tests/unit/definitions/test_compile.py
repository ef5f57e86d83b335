"""What the machine gets: every default resolved, and the same again from the stored snapshot."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sagabus.core.definition import Approval, Compensation, Definition, RetryPolicy
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.compile import compile_snapshot, digest_of
from sagabus.errors import ConfigError, InvalidConfigError

ROOT = Path(__file__).parents[3]
VAPORA = ROOT / "tests/cases/vapora"

FULL = """
[engine]
max_parallel_tasks = 3
workflow_timeout = "2h"
[engine.defaults]
retry = {count = 1, delay = 2}
timeout = "10m"
start_timeout = 30
compensation = {retry = {count = 7}, timeout = 60}

[[workflows]]
name = "flow"
version = 2
label = "A flow"
description = "d"
tags = ["a"]
enabled = false
workflow_timeout = 0
labels = {team = "x"}
order = "written"
saga = {on_failure = "halt", on_failed_undo = "park"}

[[workflows.stages]]
name = "first"
agents = ["a", "b", "a"]
parallel = true
max_parallel = 2
action = "run"
input = {day = 2024-05-01, n = ["{{ parameters.n }}"]}
retry = {count = 5, delay = "1m", backoff = "linear", max_delay = "1h", jitter = false}
timeout = 0
start_timeout = "5s"
approval_required = true
compensation_agents = ["c"]

[workflows.stages.approval]
timeout = "1d"
on_timeout = "approve"
prompt = "Sure of {{ system.workflow_name }}?"
approvers = 2
self_approval = false
schema = {type = "object"}

[workflows.stages.compensation]
action = "unrun"
input = {id = "{{ task.first.result }}"}
retry = {count = 0}
timeout = 5
compensate_self = "never"

[[workflows.stages]]
name = "second"
agents = ["d"]
compensation = {}

[[workflows.stages]]
name = "third"
agents = ["e"]
classification = "read_only"
"""


def load(tmp_path: Path, text: str) -> Definition:
    path = tmp_path / "w.toml"
    path.write_text(text)
    (definition,) = Catalog.load(path).definitions.values()
    return definition


def test_the_seeds_pipeline_loads_as_printed():
    definition = Catalog.load(VAPORA / "workflows.toml").get("deploy_pipeline")
    assert definition.entry == ("provision",)
    assert [(s.name, s.roles, s.routes.next) for s in definition.stages.values()] == [
        ("provision", ("devops",), "migrate_db"),
        ("migrate_db", ("backend",), "smoke_test"),
        ("smoke_test", ("tester",), None),
    ]
    assert definition.max_parallel_tasks == 10
    assert definition.workflow_timeout == timedelta(hours=1)
    assert not definition.has_policies
    undo = definition.stages["migrate_db"].compensation
    assert undo == Compensation(("backend",), "migrate_db", retry=RetryPolicy(count=3))
    kinds = [stage.classification for stage in definition.stages.values()]
    assert kinds == ["compensatable", "compensatable", "unclassified"]


def test_the_seeds_reference_names_its_missing_policy_directory_and_nothing_else():
    with pytest.raises(InvalidConfigError) as caught:
        Catalog.load(VAPORA / "full_reference.toml")
    (problem,) = caught.value.problems
    assert str(problem).endswith(
        "full_reference.toml:5: `engine.cedar_policy_dir`: there is no directory "
        "/etc/vapora/cedar; create it, or leave the key out: then no policy is checked"
    )


def test_the_seeds_reference_loads_where_its_directory_exists(tmp_path: Path):
    text = (VAPORA / "full_reference.toml").read_text()
    definition = load(tmp_path, text.replace("/etc/vapora/cedar", str(tmp_path)))
    stage = definition.stages["stage_a"]
    assert definition.has_policies
    assert (stage.parallel, stage.max_parallel, stage.approval) == (False, 1, None)


def test_every_shipped_workflow_is_sound():
    catalog = Catalog.load(ROOT / "config/workflows.toml")
    assert set(catalog.definitions) == {"deploy_pipeline", "release", "production_deploy"}
    assert not catalog.warnings
    assert catalog.policies is None
    assert catalog.engine.cedar_policy_dir is None


def test_what_a_definition_says_reaches_the_machine(tmp_path: Path):
    definition = load(tmp_path, FULL)
    assert (definition.version, definition.description, definition.enabled) == ("2", "d", False)
    assert (definition.tags, definition.labels) == (("a",), {"team": "x"})
    assert definition.document["workflow"]["label"] == "A flow"
    assert definition.workflow_timeout is None
    assert (definition.saga_on_failure, definition.saga_on_failed_undo) == ("halt", "park")
    first = definition.stages["first"]
    assert (first.roles, first.action) == (("a", "b", "a"), "run")
    assert (first.parallel, first.max_parallel) == (True, 2)
    assert first.input is not None
    assert first.input.render({"parameters": {"n": 1}}) == {"day": "2024-05-01", "n": [1]}
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    assert first.retry == RetryPolicy(5, minute, "linear", hour, jitter=False)
    assert (first.timeout, first.start_timeout) == (None, timedelta(seconds=5))
    assert first.approval is not None
    assert first.approval.prompt is not None
    assert first.approval.prompt.render({"system": {"workflow_name": "x"}}) == "Sure of x?"
    assert first.approval.form is not None
    assert first.approval.form.document == {"type": "object"}
    others = replace(first.approval, prompt=None, form=None)
    assert others == Approval(timedelta(days=1), "approve", approvers=2, self_approval=False)
    undo = first.compensation
    assert undo is not None
    assert undo.input is not None
    assert undo.input.render({"task": {"first": {"result": 9}}}) == {"id": 9}
    assert (undo.roles, undo.action, undo.retry.count) == (("c",), "unrun", 0)
    assert (undo.timeout, undo.compensate_self) == (timedelta(seconds=5), "never")


def test_a_stage_that_sets_none_takes_the_engines_defaults(tmp_path: Path):
    second = load(tmp_path, FULL).stages["second"]
    assert second.retry == RetryPolicy(1, timedelta(seconds=2), "constant")
    assert (second.timeout, second.start_timeout) == (timedelta(minutes=10), timedelta(seconds=30))
    assert second.compensation == Compensation(
        ("d",), "second", retry=RetryPolicy(7, backoff="constant"), timeout=timedelta(seconds=60)
    )
    assert second.classification == "compensatable"


def test_gates_that_are_switched_off_are_not_compiled(tmp_path: Path):
    text = FULL.replace("[engine]", "[engine]\napproval_gates_enabled = false")
    assert load(tmp_path, text).stages["first"].approval is None


@pytest.mark.parametrize("text", [FULL, (VAPORA / "workflows.toml").read_text()])
def test_a_snapshot_that_went_through_json_gives_the_same_definition(tmp_path: Path, text: str):
    definition = load(tmp_path, text)
    stored = json.dumps(definition.document, sort_keys=True)
    again = compile_snapshot(json.loads(stored))
    assert again == definition
    assert again.digest == definition.digest == digest_of(definition.document)


def test_a_snapshot_holds_the_defaults_that_were_in_force(tmp_path: Path):
    before = load(tmp_path, FULL)
    after = load(tmp_path, FULL.replace('timeout = "10m"', 'timeout = "20m"'))
    assert before.digest != after.digest
    snapshot = compile_snapshot(before.document)
    assert snapshot.stages["second"].timeout == timedelta(minutes=10)


def test_the_digest_tells_definitions_apart_and_not_their_spelling(tmp_path: Path):
    base = load(tmp_path, FULL)
    assert load(tmp_path, "# comment\n" + FULL.replace('"2h"', "7200")).digest == base.digest
    assert load(tmp_path, FULL.replace('"unrun"', '"redo"')).digest != base.digest


@pytest.mark.parametrize("document", [{}, {"format": 2, "workflow": {}, "engine": {}}])
def test_a_snapshot_of_another_version_is_refused(document: dict[str, object]):
    with pytest.raises(ConfigError, match="cannot be read by this version"):
        compile_snapshot(document)
