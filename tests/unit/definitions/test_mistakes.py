"""What an operator is told: every mistake of a file at once, where it is, and what to write."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from pathlib import Path

import pytest

from sagabus.definitions.catalog import Catalog, validate
from sagabus.definitions.source_file import MAX_FILE_BYTES
from sagabus.errors import DefinitionError, InvalidConfigError

HEAD = '[[workflows]]\nname = "flow"\n'
STAGE = '[[workflows.stages]]\nname = "one"\nagents = ["devops"]\n'


def problems_of(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "w.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in validate([path]).problems]


def in_stage(tmp_path: Path, line: str) -> list[str]:
    """Problems of a stage with one further line, which is line 6."""
    return problems_of(tmp_path, HEAD + STAGE + line)


def test_every_problem_is_reported_at_once_in_the_order_of_the_lines(tmp_path: Path):
    text = """\
[engine]
max_parallel_task = 3
[[workflows]]
name = "flow"
[[workflows.stages]]
name = "run-it"
agents = []
trigger = "manual"
[[workflows.stages]]
name = "two"
agents = ["x"]
approval = {}
retry = {count = "a"}
input = {a = "{{ task.thre.result }}", b = "{{ oops"}
[[workflows.stages]]
name = "two"
agents = ["x y"]
"""
    assert problems_of(tmp_path, text) == [
        'w.toml:2: unknown key `max_parallel_task`; did you mean "max_parallel_tasks"?',
        'w.toml:6: workflow "flow", stage "run-it": `name`: \'run-it\' is not a stage name: a '
        'lower-case letter, then letters, digits and underscores, at most 40; write "run_it"',
        'w.toml:7: workflow "flow", stage "run-it": `agents`: is empty; write at least one entry',
        'w.toml:8: workflow "flow", stage "run-it": `trigger` belongs to the workflow, not to a '
        "stage; move it above [[workflows.stages]]",
        'w.toml:12: workflow "flow", stage "two": `approval`: nothing asks for this approval; write '
        "approval_required = true (or false)",
        'w.toml:13: workflow "flow", stage "two": `retry.count`: \'a\' does not fit; write a whole '
        "number",
        'w.toml:14: workflow "flow", stage "two": `input.a`: `task.thre` names no stage; stages are '
        "run-it, two, in {{ task.thre.result }}",
        'w.toml:14: workflow "flow", stage "two": `input.b`: unexpected end of template, expected '
        "'end of print statement' in {{ oops",
        'w.toml:16: workflow "flow", stage "two": `name`: "two" is already the name of the stage at '
        "line 10; names are unique in a workflow",
        'w.toml:17: workflow "flow", stage "two": `agents.0`: \'x y\' is not a role; write letters, '
        "digits, underscores and hyphens, at most 64, without an underscore at the beginning",
    ]


def test_templates_of_a_sound_stage_are_checked_although_another_stage_is_broken(tmp_path: Path):
    text = (
        HEAD + "[[workflows.stages]]\nnam = 1\n" + STAGE + 'input = {x = "{{ task.two.result }}"}'
    )
    found = problems_of(tmp_path, text)
    assert len(found) == 3, "its agents are missing, and its name is no more than misspelt"
    assert found[-1].startswith(
        'w.toml:8: workflow "flow", stage "one": `input.x`: `task.two` names'
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('input = {u = "{{ task.later.result }}"}', "`input.u`: `task.later` has not run when"),
        ('input = {u = "{{ task.one.result }}"}', "it is the first, in {{ task.one.result }}"),
        ('input = {u = "{{ task.oen.result }}"}', '`task.oen` names no stage; did you mean "one"?'),
        ('input = {u = ["a", "{{ paramters.x }}"]}', '`input.u.1`: `paramters` is not a name that templates know; did you mean "parameters"?'),
        ('input = {u = "{{ kv.get(1) }}"}', "1 is no key; keys match"),
        ('input = {u = "{{ system.host }}"}', "`system.host` does not exist"),
        ('input = {u = "{{ a b }}"}', "expected token"),
        ('input = {u = "{{ parameters.x | nope }}"}', 'there is no filter "nope"'),
        ('input = {u = "{% include \'x\' %}"}', "the tag include is not available here"),
        ('input = {"{{ parameters.x }}" = 1}', 'the key "{{ parameters.x }}" is not evaluated'),
        ('compensation = {input = {u = "{{ task.one.resul }}"}}', '`task.one.resul`: a stage has no `resul`; did you mean "result"?'),
        ("input = {u = inf}", "inf is not a number that JSON has"),
        ('input = "{{ parameters }}"', "does not fit; write a table"),
        ("timeout = -1", "-1 is not between 0 and 3650 days; write seconds, or text like"),
        ('timeout = "5 minutes"', "'5 minutes' is not a duration; write seconds, or text like"),
        ("parallel = 1", "1 does not fit; write true or false"),
        ("max_parallel = true", "true does not fit; write a whole number"),
        ("max_parallel = -1", "-1 is too small; at least 0"),
        ('classification = "finl"', "'finl' is none of"),
        ('classification = "compensatable"', 'needs a compensation; write compensation_agents = ["role"]'),
        ('classification = "read_only"\ncompensation = {}', "a read_only stage is never undone"),
        ("approval = {timeout = 5}", "nothing asks for this approval; write approval_required = true"),
        ("approval_required = true\napproval = {approvers = 0}", "`approval.approvers`: 0 is too small; at least 1"),
        ("approval_required = true\napproval = {approvers = 21}", "`approval.approvers`: 21 is too large; at most 20"),
        ("approval_required = true\napproval = {approvers = true}", "`approval.approvers`: true does not fit; write a whole number"),
        ("approval_required = true\napproval = {self_approval = 0}", "`approval.self_approval`: 0 does not fit; write true or false"),
        ("approval_required = true\napproval = {schema = 'x'}", "`approval.schema`: 'x' does not fit; write a table"),
        ("approval_required = true\napproval = {schema = {type = 'objct'}}", "`approval.schema.type`: 'objct' is not a type; did you mean \"object\"?"),
        ("approval_required = true\napproval = {schema = {title = '{{ x }}'}}", "`approval.schema.title`: expressions are not evaluated here; write plain text"),
        ("approval_required = true\napproval = {prompt = '{{ vars.x'}", "`approval.prompt`: unexpected end of template"),
        ("approval_required = true\napproval = {approver = 2}", 'unknown key `approver`; did you mean "approvers"?'),
        ("approval_required = true\napproval = {form = {}}", "unknown key `form`; known here: timeout, on_timeout, prompt, approvers, self_approval, schema"),
        ("input = {x = '{{ approvals }}'}", "`approvals` is not there: only the input and with_items of a stage with approval_required have it"),
        ("when = '{{ approvals }}'\napproval_required = true", "`approvals` is not there"),
        ("retry = {count = 1, on_error = 'x'}", "`retry.on_error`: 'x' gives text; write one expression alone"),
        ("retry = {delay = 1}", "`count` is missing"),
        ("on_success = 'x'", '`on_success`: there is no stage "x"; there are "one", "later", end and fail'),
        ("needs = ['latr']", '`needs`: there is no stage "latr"; did you mean "later"?'),
        ("type = 'sequence'", "`type`: 'sequence' is none of 'parallel'"),
        ("idempotent = true", '`idempotent`: is for final stages alone; leave it out, or write classification = "final"'),
        ("workflow_timeout = 5", "move it above [[workflows.stages]]"),
        ("agent = ['x']", 'unknown key `agent`; did you mean "agents"?'),
        ("action = '{{ x }}'", "is not an action"),
        ("compensation = {inptu = 1}", 'unknown key `inptu`; did you mean "input"?'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_stage_is_named_with_its_place_and_its_remedy(
    tmp_path: Path, line: str, said: str
):
    (problem,) = problems_of(
        tmp_path, HEAD + STAGE + line + "\n[[workflows.stages]]\nname = 'later'\nagents = ['x']\n"
    )
    assert problem.startswith(
        ('w.toml:6: workflow "flow", stage "one": ', 'w.toml:7: workflow "flow", stage "one": ')
    )
    assert said in problem


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('trigger = {cron = "0 3 * * *"}', 'the trigger cron is not built yet; write trigger = "manual"'),
        ('order = "graf"', "'graf' is none of 'written' or 'graph'"),
        ('saga = {after_final = "park"}', "'park' is none of 'hold' or 'compensate'"),
        ('saga = {on_failure = "stop"}', "'stop' is none of 'compensate' or 'halt'"),
        ("retry = {count = 1}", "`retry` belongs to a stage; move it below [[workflows.stages]]"),
        ("with_items = 1", "`with_items` belongs to a stage"),
        ('enabled = "yes"', "'yes' does not fit; write true or false"),
        ("labels = {a = 1}", "`labels.a`: 1 does not fit; write text in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_workflow_is_named_with_its_place_and_its_remedy(
    tmp_path: Path, line: str, said: str
):
    (problem,) = problems_of(tmp_path, f"{HEAD}{line}\n{STAGE}")
    assert problem.startswith('w.toml:3: workflow "flow": ')
    assert said in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine.retention]\ncompleted = '30 days'\n", "w.toml:2: `engine.retention.completed`: '30 days' is not a duration"),
        ("[engine.retention]\ncompleted = 0\n", "w.toml:2: `engine.retention.completed`: less than a second would delete every instance as it ends; leave the key out to keep them, or write a time"),
        ("[engine.retention]\ncompleted = '0.5s'\n", "w.toml:2: `engine.retention.completed`: less than a second would delete every instance"),
        ("[engine.retention]\nfailed = '30d'\n", "w.toml:2: unknown key `failed`; known here: completed"),
        ("packs = 'packs'\n", "w.toml:1: `packs`: 'packs' does not fit; write a list"),
        ("[engine.defaults.retry]\ncount = 1\non_error = 'x'\n", "w.toml:3: `on_error` is known in the `retry` of a stage alone"),
        ("[engine.limits]\nmax_stages = 0\n", "w.toml:2: `engine.limits.max_stages`: 0 is too small"),
        ("workflow_timeout = 3\n", "w.toml:1: `workflow_timeout` belongs to the engine; move it below [engine]"),
        ("[[workflow]]\nname = 'x'\n", 'w.toml:1: unknown key `workflow`; did you mean "workflows"?'),
        ("[workflows]\nname = 'x'\n", "w.toml:1: `workflows`: is one table where a list of tables belongs; write [[workflows]]"),
        ("[[workflows]]\nname = 'x'\n", 'w.toml:1: workflow "x": `stages` is missing'),
        ("[[workflows]]\nname = 'x'\nstages = []\n", 'w.toml:3: workflow "x": `stages`: is empty'),
        ("[[workflows]]\nstages = 5\n", 'workflow "#1"'),
        ("a = 1\nb =\n", "w.toml:2: not valid TOML: Invalid value"),
        (b"a = 1\nb = '\xff'\n", "w.toml:2: not UTF-8 text; save it as UTF-8"),
        ("a = " + "[" * 5000, "nested more than 64 deep"),
        (b"#" * (MAX_FILE_BYTES + 1), f"larger than {MAX_FILE_BYTES} bytes"),
        ("include = ['none.toml']\n", "w.toml:1: `include.0`: there is no file"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, said: str):
    assert said in "\n".join(problems_of(tmp_path, text))


def test_more_stages_than_the_limit_are_refused_by_the_name_of_the_limit(tmp_path: Path):
    stages = "".join(STAGE.replace("one", f"s{i}") for i in range(4))
    (problem,) = problems_of(tmp_path, f"[engine.limits]\nmax_stages = 3\n{HEAD}{stages}")
    assert "4 stages; engine.limits.max_stages allows 3" in problem


def test_a_missing_file_is_one_clear_line(tmp_path: Path):
    with pytest.raises(InvalidConfigError, match=r"nothing\.toml: there is no such file$"):
        Catalog.load(tmp_path / "nothing.toml")


def test_a_problem_carries_its_place_as_data(tmp_path: Path):
    (tmp_path / "w.toml").write_text(HEAD + STAGE + "retry = {count = -1}")
    (problem,) = validate([tmp_path / "w.toml"]).problems
    assert isinstance(problem, DefinitionError)
    assert (problem.line, problem.workflow, problem.stage, problem.key) == (
        6,
        "flow",
        "one",
        "retry.count",
    )


def test_a_second_workflow_of_the_same_name_names_the_first_across_files(tmp_path: Path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.toml").write_text("\n" + HEAD + STAGE)
    (problem,) = problems_of(tmp_path, 'include = ["more/*.toml"]\n' + HEAD + STAGE)
    assert problem.startswith("more/b.toml:3:")
    assert f'"flow" is already defined at {tmp_path}/w.toml:3' in problem


def test_an_included_file_holds_workflows_alone(tmp_path: Path):
    (tmp_path / "b.toml").write_text("[engine]\n" + HEAD + STAGE)
    (problem,) = problems_of(tmp_path, 'include = ["b.toml"]\n')
    assert problem == "b.toml:1: `engine` stands in the main file alone; move it"


def test_what_is_only_doubtful_is_a_warning(tmp_path: Path):
    text = "include = ['x/*.toml']\n[engine]\napproval_gates_enabled = false\n" + HEAD + STAGE
    (tmp_path / "w.toml").write_text(text + "approval_required = true\nmax_parallel = 2\n")
    report = validate([tmp_path / "w.toml"])
    assert report.is_valid
    first, second, third = (str(warning) for warning in report.warnings)
    assert "no file matches" in first
    assert "w.toml:3: `engine.approval_gates_enabled`: false: these stages start without" in second
    assert "flow.one" in second
    assert "w.toml:10: " in third
    assert "has no effect without parallel = true" in third


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path):
    text = (HEAD + STAGE + "bad = 1\n").replace("\n", "\r\n")
    (problem,) = problems_of(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert problem.startswith("w.toml:6: ")


def test_a_silence_that_approves_without_a_time_is_doubted(tmp_path: Path):
    gate = "approval_required = true\napproval = {on_timeout = 'approve'}\n"
    (tmp_path / "w.toml").write_text(HEAD + STAGE + gate)
    [warning] = Catalog.load(tmp_path / "w.toml").warnings
    assert "`approval.on_timeout`: has no effect without a timeout" in str(warning)
    (tmp_path / "w.toml").write_text(HEAD + STAGE + gate.replace("{", "{timeout = 5, "))
    assert not Catalog.load(tmp_path / "w.toml").warnings
