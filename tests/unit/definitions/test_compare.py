"""What a change of the files means: every change of what an instance is pinned to is named."""

import random
from pathlib import Path

import pytest

from sagabus.core.graph import Edge
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.compare import Comparison, KeyChange, compare

FLOW = """
[engine]
max_parallel_tasks = 10

[[workflows]]
name = "ship"
tags = ["a"]

[[workflows.stages]]
name = "build"
agents = ["builder"]
retry = {count = 2}

[[workflows.stages]]
name = "checks"
type = "parallel"
on_failure = "tell"
[[workflows.stages.stages]]
name = "lint"
agents = ["tester"]

[[workflows.stages]]
name = "roll_out"
agents = ["eu", "us"]
timeout = "5m"

[[workflows.stages]]
name = "tell"
agents = ["slack"]

[[workflows]]
name = "other"
[[workflows.stages]]
name = "only"
agents = ["r"]
"""


def between(tmp_path: Path, *changes: tuple[str, str]) -> Comparison:
    """From the example to the example with some text replaced."""
    new = FLOW
    for old_text, new_text in changes:
        assert old_text in new
        new = new.replace(old_text, new_text)
    paths = [tmp_path / "old.toml", tmp_path / "new.toml"]
    for path, text in zip(paths, (FLOW, new), strict=True):
        path.write_text(text)
    return compare(*(Catalog.load(path) for path in paths))


def test_same_text_is_the_same(tmp_path: Path) -> None:
    found = between(tmp_path)
    assert found.is_same
    assert found.unchanged == ("ship", "other")


def test_comment_or_another_way_of_writing_changes_nothing(tmp_path: Path) -> None:
    assert between(tmp_path, ('"5m"', "300 # seconds"), ('"tell"\n[[', '["tell"]\n[[')).is_same


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ('"5m"', '"1m"', KeyChange("roll_out", "timeout", 300, 60)),
        ("count = 2", "count = 3", KeyChange("build", "retry.count", 2, 3)),
        ('["a"]', '["a", "b"]', KeyChange(None, "tags", ["a"], ["a", "b"])),
        ('["tester"]', '["critic"]', KeyChange("lint", "agents", ["tester"], ["critic"])),
        (
            'timeout = "5m"',
            'timeout = "5m"\nclassification = "read_only"',
            KeyChange("roll_out", "classification", None, "read_only"),
        ),
        (
            'timeout = "5m"',
            'timeout = "5m"\ninput = {x = {y = 1}}',
            KeyChange("roll_out", "input", None, {"x": {"y": 1}}),
        ),
    ],
)
def test_changed_key_is_named_with_both_values(
    tmp_path: Path, old: str, new: str, change: KeyChange
) -> None:
    found = between(tmp_path, (old, new))
    [workflow] = found.workflows
    assert (workflow.name, workflow.change, found.unchanged) == ("ship", "changed", ("other",))
    assert change in workflow.keys
    assert not workflow.added_stages
    assert workflow.old_digest != workflow.new_digest


def test_changed_keys_of_an_approval_are_named_as_they_are_written(tmp_path: Path) -> None:
    approval = "approvers = 2, self_approval = false, schema = {type = 'object'}"
    old = 'agents = ["builder"]\napproval_required = true\napproval = {prompt = "sure?"'
    paths = [tmp_path / "old.toml", tmp_path / "new.toml"]
    for path, more in zip(paths, ("", f", {approval}"), strict=True):
        path.write_text(FLOW.replace('agents = ["builder"]', f"{old}{more}}}"))
    [change] = compare(*(Catalog.load(path) for path in paths)).workflows
    assert change.keys == (
        KeyChange("build", "approval.approvers", 1, 2),
        KeyChange("build", "approval.self_approval", None, False),
        KeyChange("build", "approval.schema", None, {"type": "object"}),
    )


def test_default_of_the_engine_shows_where_it_applies(tmp_path: Path) -> None:
    found = between(
        tmp_path,
        ("max_parallel_tasks = 10", 'max_parallel_tasks = 10\ndefaults = {timeout = "9s"}'),
    )
    assert KeyChange(None, "defaults.timeout", None, 9) in found.engine
    ship, other = found.workflows
    changed = {key.stage for key in ship.keys if key.key == "timeout"}
    assert changed == {"build", "lint", "tell"}  # roll_out has its own
    assert [key.stage for key in other.keys] == ["only"]


def test_added_stage_and_its_edges(tmp_path: Path) -> None:
    stage = '[[workflows.stages]]\nname = "warn"\nagents = ["slack"]\n\n'
    found = between(
        tmp_path,
        (
            '[[workflows.stages]]\nname = "roll_out"',
            f'{stage}[[workflows.stages]]\nname = "roll_out"',
        ),
    )
    [workflow] = found.workflows
    assert workflow.added_stages == ("warn",)
    assert workflow.added_edges == (
        Edge("checks", "warn", "next"),
        Edge("warn", "roll_out", "next"),
    )
    assert workflow.removed_edges == (Edge("checks", "roll_out", "next"),)
    [order] = workflow.keys
    assert (order.key, order.new) == ("stages", ["build", "checks", "warn", "roll_out", "tell"])


def test_renamed_workflow_is_removed_and_added(tmp_path: Path) -> None:
    found = between(tmp_path, ('name = "other"', 'name = "another"'))
    assert [(one.name, one.change) for one in found.workflows] == [
        ("other", "removed"),
        ("another", "added"),
    ]
    assert found.workflows[0].removed_stages == found.workflows[1].added_stages == ("only",)


def test_limit_that_no_instance_is_pinned_to_is_the_engines_alone(tmp_path: Path) -> None:
    limits = "max_parallel_tasks = 10\nlimits = {max_stages = 50}"
    found = between(tmp_path, ("max_parallel_tasks = 10", limits))
    assert found.engine == (KeyChange(None, "limits.max_stages", 500, 50),)
    assert not found.workflows
    assert not found.is_same


CHANGES = [
    ('["a"]', "[]"),
    ("count = 2", "count = 2, jitter = false"),
    ('"5m"', "0"),
    ('["eu", "us"]', '["us", "eu"]'),
    ('on_failure = "tell"', 'on_failure = "fail"\non_timeout = "tell"'),
    ('name = "lint"', 'name = "lint"\nwhen = "{{ parameters.x }}"'),
    ("max_parallel_tasks = 10", "max_parallel_tasks = 0"),
    ("max_parallel_tasks = 10", "max_parallel_tasks = 10\nworkflow_timeout = 1"),
    ('agents = ["builder"]', 'agents = ["builder"]\napproval_required = true'),
    (
        'agents = ["builder"]',
        'agents = ["builder"]\napproval_required = true\napproval = {approvers = 2}',
    ),
    ('agents = ["builder"]', 'agents = ["builder"]\ncompensation_agents = ["builder"]'),
    ('agents = ["builder"]', 'agents = ["builder"]\npublish = {a = 1}'),
    ('name = "only"\nagents = ["r"]', 'name = "only"\naction = "ship"'),
]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_changes_a_digest_is_named(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    chosen: dict[str, str] = {}
    for old, new in rng.sample(CHANGES, rng.randint(1, 4)):
        chosen.setdefault(old, new)
    chosen = {
        old: new
        for old, new in chosen.items()
        if not any(old in one and old != one for one in chosen)
    }
    found = between(tmp_path, *chosen.items())
    assert found.workflows or found.engine
    for workflow in found.workflows:
        assert workflow.old_digest != workflow.new_digest
        assert workflow.keys
        assert all(key.old != key.new for key in workflow.keys)
