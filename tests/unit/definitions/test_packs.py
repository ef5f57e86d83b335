"""Packs on disk: what is read of them, what is said of their mistakes, and that they reload."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

import glob
import os
import shutil
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from sagabus.core.definition import WORKFLOW_ROLE
from sagabus.definitions.catalog import validate
from sagabus.definitions.holder import CatalogHolder
from sagabus.definitions.load import load_config
from tests.support.pack_files import Files

ATTUNE = Path(__file__).parents[2] / "cases/attune"
CONFIG = """\
schema:
  docker_registry: {type: string, required: true, description: "Where images go"}
  replicas: {type: integer, default: 3, minimum: 1}
values:
  docker_registry: registry.example:5000
"""
FLOW = "ref: {}\ntasks:\n  - name: one\n    action: web.get\n"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def attune(files: Files) -> Files:
    """The second seed as it is meant: its example in its pack, its snippets beside."""
    files.write(
        "packs/my_pack/pack.yaml", "ref: my_pack\nlabel: My pack\nversion: 1.10\ntags: [a]\n"
    )
    files.write("packs/my_pack/config.yaml", CONFIG)
    files.write("packs/my_pack/workflows/x", "")
    shutil.copy(ATTUNE / "deploy_application.yaml", files.root / "packs/my_pack/workflows")
    shutil.copy(ATTUNE / "features.yaml", files.root)
    files.main.write_text('include = ["*.yaml"]\n')
    return files


def test_the_second_seed_loads_as_printed(attune: Files):
    catalog = attune.catalog()
    assert set(catalog.definitions) == {
        "my_pack.deploy_application", "seed.parallel_checks", "seed.with_items", "seed.batches",
        "seed.conditional", "seed.retry", "seed.timeout", "seed.subworkflow", "seed.templates",
        "seed.simple_sequence",
    }  # fmt: skip
    assert [warning.message for warning in catalog.warnings] == [
        'workflow "seed.conditional", task "require_approval": `on_success`: the decision replaces '
        "it; leave one of them out"
    ]
    deploy = catalog.get("my_pack.deploy_application")
    assert deploy.order == "graph"
    assert deploy.entry == ("create_deployment",)
    assert deploy.pack_config == {"docker_registry": "registry.example:5000", "replicas": 3}
    assert deploy.stages["build_image"].roles == ("docker",)
    assert deploy.stages["build_image"].action == "build_and_push"
    sub = catalog.get("seed.subworkflow")
    assert sub.stages["deploy_application"].roles == (WORKFLOW_ROLE,)
    assert sub.workflows["my_pack.deploy_application"] == deploy.digest
    block = catalog.get("seed.parallel_checks").stages["parallel_checks"]
    assert block.children == ("check_database", "check_redis", "check_rabbitmq")


def test_a_pack_says_what_is_in_it(attune: Files):
    attune.write("packs/my_pack/tests/rollback.yaml", "anything")
    attune.write("packs/my_pack/tests/notes.md", "no test")
    attune.write(
        "packs/my_pack/rules/by_hand.yaml", "trigger: manual\naction: my_pack.deploy_application"
    )
    [pack] = attune.catalog().packs.values()
    assert (pack.name, pack.label, pack.version, pack.tags) == (
        "my_pack",
        "My pack",
        "1.10",
        ("a",),
    )
    assert pack.path == attune.root / "packs/my_pack"
    assert pack.workflows == ("my_pack.deploy_application",)
    assert pack.tests == (pack.path / "tests/rollback.yaml",)
    assert [(rule.name, rule.action) for rule in pack.rules] == [
        ("my_pack.by_hand", "my_pack.deploy_application")
    ]


def test_roles_of_the_engine_itself_reach_no_agent(attune: Files):
    roles = attune.catalog().roles
    assert {"docker", "kubernetes", "slack", "my_pack"} <= roles
    assert not [role for role in roles if role.startswith("_")]


def test_a_configuration_of_packs_loads_fast(attune: Files):
    attune.catalog()  # what is compiled once
    begun = perf_counter()
    attune.catalog()
    assert perf_counter() - begun < 0.5


# --- actions ------------------------------------------------------------------------------------


def test_an_action_file_says_who_serves_it_and_what_it_takes(files: Files):
    files.pack(
        actions__get="role: web\nlabel: Get\nparameters: {url: {type: string, required: true}}\noutput: {type: object}",
        actions__put="",
        workflows__flow="name: flow\ntasks:\n  - {name: a, action: p.get, input: {url: x}}\n  - {name: b, action: p.put}",
    )
    files.write("packs/p/actions/put.py", "def run(): ...")
    catalog = files.catalog()
    stages = catalog.get("p.flow").stages
    assert (stages["a"].roles, stages["a"].action) == (("web",), "get")
    assert (stages["b"].roles, stages["b"].action) == (("p",), "put"), "the role is the pack's name"
    actions = catalog.packs["p"].actions
    assert actions["p.put"].entry_point == files.root / "packs/p/actions/put.py"
    assert actions["p.get"].entry_point is None
    schema = stages["a"].input_schema
    assert schema is not None
    assert schema.problems({"url": "x", "previous": {}}) == [], "what the engine adds is no mistake"
    assert sorted(schema.problems({"ur": "x"})) == [
        '`ur` is unknown; did you mean "url"?',
        "`url` is missing",
    ]


def test_the_listing_of_actions_holds_workflows_actions_and_what_is_built_in(files: Files):
    files.pack(
        actions__get="role: web\nlabel: Get\nparameters: {url: {type: string}}",
        workflows__flow="name: flow\nlabel: Flow\nparameters: {n: {type: integer}}\noutput: {type: object}\n"
        "output_map: {a: 1}\ntasks: [{name: a, action: p.get, input: {url: x}}]",
    )
    files.main.write_text(
        '[[workflows]]\nname = "plain"\n[[workflows.stages]]\nname = "a"\nagents = ["x"]\n'
    )
    listed: dict[str, Any] = {action.name: action for action in files.catalog().actions()}
    assert list(listed) == [
        "core.echo",
        "core.inquiry",
        "core.noop",
        "core.sleep",
        "p.flow",
        "p.get",
        "plain",
    ]
    flow, get, plain = listed["p.flow"], listed["p.get"], listed["plain"]
    assert (flow.is_workflow, flow.pack, flow.label, flow.role) == (True, "p", "Flow", None)
    assert flow.parameters == {"n": {"type": "integer"}}
    assert flow.output == {"type": "object"}
    assert (get.is_workflow, get.pack, get.role, get.parameters) == (
        False,
        "p",
        "web",
        {"url": {"type": "string"}},
    )
    assert (plain.is_workflow, plain.pack, plain.parameters) == (True, None, None)


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pack.yaml", "ref: q", "packs/p/pack.yaml:1: `ref`: 'q' stands in the directory \"p\"; give both one name"),
        ("pack.yaml", "ref: p\nname: p", "packs/p/pack.yaml:2: `name` and `ref` are the same; leave one out"),
        ("pack.yaml", "ref: p\nversoin: 1", 'packs/p/pack.yaml:2: unknown key `versoin`; did you mean "version"?'),
        ("actions/get.yaml", "ref: q.get", "packs/p/actions/get.yaml:1: `ref`: 'q.get' stands in the pack \"p\"; write \"p.get\", or move the file"),
        ("actions/get.yaml", "ref: p.put", "packs/p/actions/get.yaml:1: `ref`: 'p.put' stands in get.yaml; name the file \"put.yaml\""),
        ("actions/get.yaml", "role: _x", "packs/p/actions/get.yaml:1: `role`: '_x' is not a role; write letters, digits, underscores and hyphens, at most 64, without an underscore at the beginning"),
        ("actions/get.yaml", "entry_point: get.py", "packs/p/actions/get.yaml:1: `entry_point`: there is no file packs/p/actions/get.py"),
        ("actions/get.yaml", "entry_point: ../x.py", "packs/p/actions/get.yaml:1: `entry_point`: '../x.py' is outside of packs/p/actions; move it there"),
        ("actions/get.yaml", "parameters:\n  a: {typ: string}", 'packs/p/actions/get.yaml:2: `parameters.a.typ`: is no keyword of a parameter; did you mean "type"?'),
        ("actions/a b.yaml", "", "packs/p/actions/a b.yaml: 'a b' is no name for an action; write letters, digits and underscores"),
        ("rules/push.yaml", "trigger: {event: github.push}\naction: core.noop", 'packs/p/rules/push.yaml:1: `trigger`: the trigger event is not built yet; write trigger: "manual"'),
        ("rules/push.yaml", "trigger: manual\naction: p.flwo", 'packs/p/rules/push.yaml:2: `action`: "p.flwo" is no workflow and no action of a pack; did you mean "p.flow"?'),
        ("rules/push.yaml", "actoin: p.flow", 'packs/p/rules/push.yaml:1: unknown key `actoin`; did you mean "action"?'),
        ("workflows/x.yaml", FLOW.format("q.x"), "packs/p/workflows/x.yaml:1: workflow \"q.x\": `ref`: 'q.x' stands in the pack \"p\"; write \"p.x\", or move the file"),
        ("workflows/x.yaml", FLOW.format("flow"), 'packs/p/workflows/x.yaml:1: workflow "p.flow": `ref`: "p.flow" is already defined at packs/p/workflows/flow.yaml:1; names are unique'),
        ("workflows/x.yaml", "a: 1\na: 2", "packs/p/workflows/x.yaml:2: `a` is written twice in one table; first at line 1"),
        ("workflows/x.yaml", "just text", "packs/p/workflows/x.yaml:1: workflow \"#1\": 'just text' does not fit; write a table, as in {key: value}"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_pack_has_its_file_and_line(files: Files, name: str, text: str, said: str):
    files.pack(workflows__flow=FLOW.format("flow"))
    files.write(f"packs/p/{name}", text)
    assert said in files.problems()


def test_every_problem_of_every_file_is_told_at_once(files: Files):
    files.main.write_text("[engin]\n")
    files.pack(
        config="x: 1",
        actions__get="y: 1",
        workflows__flow="z: 1",
        workflows__broken="a: [",
        rules__r="q: 1",
    )
    told = {problem.split(":")[0] for problem in files.problems()}
    assert told == {"w.toml", *(f"packs/p/{name}.yaml" for name in ("config", "actions/get", "workflows/flow", "workflows/broken", "rules/r"))}  # fmt: skip


def test_a_directory_that_is_no_pack_is_doubtful_and_one_without_pack_yaml_is_wrong(files: Files):
    files.write("packs/notes/readme.md", "")
    files.write("packs/.hidden/actions/a.yaml", "")
    files.write("packs/p/actions/a.yaml", "")
    report = validate([files.main])
    assert [str(one) for one in report.problems] == [
        f"{files.root}/packs/p/pack.yaml: is missing; write one with ref: p"
    ]
    assert f"{files.root}/packs/notes: no pack: it has no pack.yaml" in [
        str(one) for one in report.warnings
    ]


@pytest.mark.parametrize("name", ["core", "_x", "a b"])
def test_a_pack_needs_a_name_that_can_be_a_role(files: Files, name: str):
    files.write(f"packs/{name}/pack.yaml", "")
    if name.startswith("_"):
        assert files.problems() == [], "it is passed over"
    else:
        assert "is no name for a pack" in files.problems()[0]


def test_directories_of_packs_are_named_relative_to_the_file(files: Files):
    files.main.write_text('packs = ["one", "two"]\n')
    files.write("one/a/pack.yaml", "")
    files.write("two/b/pack.yaml", "")
    assert set(files.catalog().packs) == {"a", "b"}
    files.write("two/a/pack.yaml", "")
    assert files.problems() == ['two/a: the pack "a" is already in one/a']


def test_a_directory_of_packs_that_is_named_must_exist(files: Files):
    assert files.problems() == [], "the default need not"
    files.main.write_text('include = []\npacks = ["nowhere"]\n')
    assert files.problems() == [
        "w.toml:2: `packs.0`: there is no directory nowhere; create it, or leave it out"
    ]


def test_sensors_are_said_not_to_be_built(files: Files):
    files.pack(sensors__watch="ref: watch")
    assert any("sensors are not built yet" in str(one) for one in validate([files.main]).warnings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_pack_that_cannot_be_read_is_a_problem(files: Files):
    files.pack(actions__get="")
    directory = files.root / "packs/p/actions"
    directory.chmod(0)
    try:
        assert files.problems() == ["packs/p/actions: cannot be read: Permission denied"]
    finally:
        directory.chmod(0o755)


# --- validation of one pack ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["packs/p", "packs/p/workflows/flow.yaml", "packs/p/config.yaml"])
def test_one_pack_is_validated_with_the_others_read_along(files: Files, path: str):
    files.pack(
        config="values: {a: 1}",
        workflows__flow="name: flow\ntasks:\n  - {name: a, action: q.sub, input: {x: 1, b: '{{ pack.config.c }}'}}",
    )
    files.write("packs/q/pack.yaml", "nonsense: 1")
    files.write(
        "packs/q/workflows/sub.yaml",
        "name: sub\nparameters: {y: {}}\ntasks: [{name: a, action: a.b}]",
    )
    told = files.problems(files.root / path)
    assert len(told) == 3
    assert all(
        one.startswith('packs/p/workflows/flow.yaml:3: workflow "p.flow", task "a": `input')
        for one in told
    )


@pytest.mark.parametrize("path", [".", "pack.yaml", "workflows/flow.yaml", "../p"])
def test_a_pack_is_found_from_inside_of_it(
    files: Files, path: str, monkeypatch: pytest.MonkeyPatch
):
    files.pack(workflows__flow=FLOW.format("flow") + "nonsense: 1")
    monkeypatch.chdir(files.root / "packs/p")
    [problem] = validate([Path(path)]).problems
    assert 'flow.yaml:5: workflow "p.flow": unknown key `nonsense`' in str(problem)


# --- changes ------------------------------------------------------------------------------------


def test_every_file_of_a_pack_is_watched(files: Files):
    files.pack(
        config="",
        actions__get="",
        workflows__flow=FLOW.format("flow"),
        rules__r="action: p.flow",
        tests__t="",
        sensors__s="",
    )
    files.write("packs/p/actions/get.py", "")
    patterns = load_config(files.main).watched
    seen = {name for pattern in patterns for name in glob.glob(pattern, recursive=True)}  # noqa: PTH207
    assert seen >= {str(path) for path in files.root.rglob("*") if path.is_file()}
    fresh = [
        f"{files.root}/packs/p/{part}/*" for part in ("workflows", "actions", "rules", "tests")
    ]
    assert all(any(pattern.startswith(one) for pattern in patterns) for one in fresh), (
        "new files, too"
    )
    assert f"{files.root}/packs/*/pack.yaml" in patterns, "and new packs"


def test_a_pack_changes_while_running_and_a_bad_one_keeps_everything_in_force(files: Files):
    holder = CatalogHolder(files.main)
    files.pack(workflows__flow=FLOW.format("p.flow"), config="values: {a: 1}")
    assert holder.reload()
    assert holder.reloads == 1
    first = holder.current
    assert set(first.definitions) == {"p.flow"}

    files.pack(
        workflows__flow=FLOW.format("p.flow"),
        config="values: {a: 2}",
        workflows__next=FLOW.format("q.next"),
    )
    assert not holder.reload()
    assert holder.current is first
    assert "next.yaml:1:" in str(holder.last_error)

    files.write("packs/p/workflows/next.yaml", FLOW.format("p.next"))
    assert holder.reload()
    assert set(holder.current.definitions) == {"p.flow", "p.next"}
    assert holder.current.packs["p"].config == {"a": 2}
    assert holder.current.get("p.flow").digest != first.get("p.flow").digest, (
        "its settings are part of it"
    )

    shutil.rmtree(files.root / "packs")
    assert holder.reload()
    assert not holder.current.definitions
