"""Workflows written in YAML: the same language, and what is said of them in their own words."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from pathlib import Path

import pytest

from sagabus.definitions.catalog import Catalog, validate
from sagabus.definitions.load import load_config
from sagabus.errors import DefinitionError

HEAD = "ref: flow\ntasks:\n  - name: one\n    action: web.get\n"


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in validate([path]).problems]


def test_yaml_and_toml_mean_the_same(tmp_path: Path):
    (tmp_path / "f.yaml").write_text("""\
name: flow
version: 1.10
description: text
labels: {team: a}
order: written
parameters: {n: {type: integer, default: 1}}
vars: {x: null}
tasks:
  - name: build
    agents: [backend, backend]
    parallel: true
    retry: {count: 2, delay: 90s, on_error: "{{ error.type == 'timeout' }}"}
    compensation_agents: [backend]
  - name: both
    type: parallel
    tasks:
      - {name: a, action: core.noop}
      - {name: b, action: web.get, input: {n: "{{ parameters.n }}"}}
    on_failure: [end]
output_map: {n: "{{ vars.x }}"}
""")
    (tmp_path / "f.toml").write_text("""\
[[workflows]]
name = "flow"
version = "1.10"
description = "text"
labels = {team = "a"}
parameters = {n = {type = "integer", default = 1}}
vars = {x = "{{ none }}"}
output_map = {n = "{{ vars.x }}"}
[[workflows.stages]]
name = "build"
agents = ["backend", "backend"]
parallel = true
retry = {count = 2, delay = "90s", on_error = "{{ error.type == 'timeout' }}"}
compensation_agents = ["backend"]
[[workflows.stages]]
name = "both"
type = "parallel"
on_failure = ["end"]
[[workflows.stages.stages]]
name = "a"
action = "core.noop"
[[workflows.stages.stages]]
name = "b"
action = "web.get"
input = {n = "{{ parameters.n }}"}
""")
    yaml, toml = (
        Catalog.load(tmp_path / f"f.{kind}").get("flow").document for kind in ("yaml", "toml")
    )
    assert yaml["workflow"] | {"vars": None} == toml["workflow"] | {"vars": None}, (
        "TOML has no null"
    )


def test_a_document_is_a_graph_unless_it_says_otherwise(tmp_path: Path):
    path = tmp_path / "f.yaml"
    path.write_text("name: a\ntasks: [{name: x, action: a.b}, {name: y, action: a.b}]\n---\n"
                    "name: b\norder: written\ntasks: [{name: x, action: a.b}, {name: y, action: a.b}]\n---\n")  # fmt: skip
    catalog = Catalog.load(path)
    assert catalog.get("a").entry == ("x", "y")
    assert catalog.get("b").entry == ("x",)


@pytest.mark.parametrize("pattern", ["*.yaml", "*.yml", "d/**/*.y*ml"])
def test_yaml_files_are_included_like_others(tmp_path: Path, pattern: str):
    (tmp_path / "d/e").mkdir(parents=True)
    for name in ("a.yaml", "b.yml", "d/e/c.yaml"):
        (tmp_path / name).write_text(HEAD.replace("flow", Path(name).stem))
    (tmp_path / "w.toml").write_text(f'include = ["{pattern}"]')
    expected = {"*.yaml": {"a"}, "*.yml": {"b"}, "d/**/*.y*ml": {"c"}}[pattern]
    assert set(Catalog.load(tmp_path / "w.toml").definitions) == expected


def test_a_file_without_documents_loads_with_a_warning(tmp_path: Path):
    (tmp_path / "f.yaml").write_text("# nothing\n")
    loading = load_config(tmp_path / "f.yaml")
    assert [str(one) for one in loading.warnings] == [f"{tmp_path}/f.yaml: no workflow here"]


def test_a_problem_says_where_it_is_in_the_words_of_the_file(tmp_path: Path):
    path = tmp_path / "f.yaml"
    path.write_text(
        HEAD
        + "  - name: two\n    type: parallel\n    tasks:\n      - name: in\n        action: 5\n"
    )
    [problem] = validate([path]).problems
    assert isinstance(problem, DefinitionError)
    assert (
        str(problem)
        == f'{path}:9: workflow "flow", task "in": `action`: 5 does not fit; write text in quotes'
    )
    assert (problem.workflow, problem.stage, problem.key) == ("flow", "in", "action")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trigger: manual", "`trigger` belongs to the workflow, not to a task; move it above `tasks:`"),
        ("timeuot: 5", 'unknown key `timeuot`; did you mean "timeout"?'),
        ("stages: []", "stages stand under `tasks:` in YAML; write that"),
        ("input: text", "`input`: 'text' does not fit; write a table, as in {key: value}"),
        ("retry: {count: null}", "`retry.count`: null does not fit; write a whole number"),
        ("parallel: yes", "`parallel`: 'yes' does not fit; write true or false"),
        ("classification: compensatable", '`classification`: a compensatable task needs a compensation; write compensation_agents: ["role"]'),
        ("approval: {timeout: 1}", "`approval`: nothing asks for this approval; write approval_required: true (or false)"),
        ("on_success: {when: 1}", '`on_success`: does not fit; write a target, as in "build", a list of targets, or a list of tables, as in [{when: "{{ ... }}", do: "build"}]'),
        ("max_parallel: 2.5", "`max_parallel`: 2.5 does not fit; write a whole number"),
        ("when: \"{{ oops\"", "`when`: "),
    ],
)  # fmt: skip
def test_remedies_are_written_in_yaml(tmp_path: Path, line: str, said: str):
    [problem] = problems_of(tmp_path, f"{HEAD}    {line}\n")
    said = said.replace("compensatable task", "compensatable stage")
    assert problem.startswith(f'f.yaml:5: workflow "flow", task "one": {said}')
    assert "[[" not in problem
    assert " = " not in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: 1", ["f.yaml:1: workflow \"#1\": `name` is missing; write name: ...", "f.yaml:1: workflow \"#1\": `tasks`: 1 does not fit; write a list, as in [\"a\", \"b\"]"]),
        ("ref: a", ['f.yaml:1: workflow "a": `tasks` is missing; write tasks: ...']),
        ("ref: a b\n" + HEAD[10:], ["f.yaml:1: workflow \"a b\": `ref`: 'a b' is not a workflow name; write letters, digits, underscores and hyphens, at most 64, with one dot between a pack and its workflow"]),
        ("name: a\n" + HEAD, ["f.yaml:2: workflow \"flow\": `name` and `ref` are the same; leave one out"]),
        (HEAD + "task: 1", ['f.yaml:5: workflow "flow": unknown key `task`; did you mean "tasks"?']),
        (HEAD + "needs: [a]", ['f.yaml:5: workflow "flow": `needs` belongs to a stage; move it into one of the `tasks`']),
        (HEAD + "stages: []", ['f.yaml:5: workflow "flow": stages stand under `tasks:` in YAML; write that']),
        ("ref: a\ntasks: {name: one}", ['f.yaml:2: workflow "a": `tasks`: is one table where a list of tables belongs; write a dash before each of them']),
        ("ref: a\ntasks: [one]", ["f.yaml:2: workflow \"a\", task \"#1\": 'one' does not fit; write a table, as in {key: value}"]),
        ("- 1", ["f.yaml:1: workflow \"#1\": [1] does not fit; write a table, as in {key: value}"]),
        (HEAD + "trigger: {cron: x}", ['f.yaml:5: workflow "flow": `trigger`: the trigger cron is not built yet; write trigger: "manual"']),
    ],
)  # fmt: skip
def test_mistakes_of_a_document_are_named(tmp_path: Path, text: str, said: list[str]):
    assert problems_of(tmp_path, text) == said


def test_what_an_author_wrote_is_not_rewritten(tmp_path: Path):
    [problem] = problems_of(tmp_path, HEAD + '    classification: "x = 1 [[workflows]]"\n')
    assert "'x = 1 " in problem


def test_a_file_with_too_much_in_it_is_refused_with_one_error(tmp_path: Path):
    many = "".join(f"---\nref: a{n}\ntasks: [{{name: a, action: b.c}}]\n" for n in range(1_001))
    assert problems_of(tmp_path, many) == [
        "f.yaml: 1001 workflows in one file; at most 1000, so split it"
    ]
    long = "ref: a\ntasks:\n" + "- {name: a, action: b.c}\n" * 501
    assert problems_of(tmp_path, long) == [
        'f.yaml:2: workflow "a": 501 stages; engine.limits.max_stages allows 500'
    ]


def test_many_mistakes_of_one_kind_are_told_up_to_a_number(tmp_path: Path):
    found = problems_of(tmp_path, HEAD + "".join(f"wrong_{n}: 1\n" for n in range(1_000)))
    assert len(found) == 101
    assert found[0].endswith("... and 900 more mistakes like these")


def test_in_a_pack_a_workflow_without_a_name_is_told_the_word_that_packs_use(tmp_path: Path):
    pack = tmp_path / "p"
    (pack / "workflows").mkdir(parents=True)
    (pack / "pack.yaml").write_text("ref: p")
    (pack / "workflows/f.yaml").write_text("tasks: [{name: one, action: a.b}]")
    [problem] = validate([pack]).problems
    assert str(problem).endswith('f.yaml:1: workflow "#1": `ref` is missing; write ref: ...')
