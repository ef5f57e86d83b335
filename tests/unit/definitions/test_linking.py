"""What an action stands for, and workflows that call each other."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

import json
from pathlib import Path

import pytest

from sagabus.core.definition import Compensation, Definition, RetryPolicy
from sagabus.definitions.actions import ActionMetadata
from sagabus.definitions.compile import compile_snapshot
from sagabus.definitions.explain import Place
from sagabus.definitions.linking import Linked, WorkflowSource, link
from sagabus.definitions.models import EngineModel, LimitsModel, WorkflowModel
from sagabus.definitions.toml_file import read_toml

PACK = {
    "my_pack.build": ActionMetadata("my_pack.build", "docker", "build_and_push"),
    "my_pack.check": ActionMetadata(
        "my_pack.check",
        "tester",
        "check",
        {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
    ),
}


def workflow(name: str, *stages: str, head: str = "") -> str:
    """A workflow of stages that have an action each, one after the other."""
    text = f'[[workflows]]\nname = "{name}"\n{head}'
    return text + "".join(
        f'[[workflows.stages]]\nname = "s{index}"\n{stage}\n' for index, stage in enumerate(stages)
    )


def calls(*names: str) -> list[str]:
    return [f'action = "{name}"' for name in names]


def linked(
    tmp_path: Path,
    text: str,
    external: dict[str, Definition] | None = None,
    engine: EngineModel | None = None,
) -> Linked:
    path = tmp_path / "w.toml"
    path.write_text(text)
    file = read_toml(path)
    sources = [
        WorkflowSource(
            Place(file, ("workflows", index)),
            WorkflowModel.model_validate(raw),
            pack_config={"registry": "r1"},
        )
        for index, raw in enumerate(file.data["workflows"])
    ]
    return link(sources, engine or EngineModel(), PACK, external or {})


def problems(result: Linked) -> list[str]:
    return [str(problem).split("w.toml:")[1] for problem in result.problems]


def made(result: Linked) -> dict[str, Definition]:
    assert not result.problems, problems(result)
    return result.definitions


@pytest.mark.parametrize(
    ("action", "kind", "roles", "name"),
    [
        ("core.noop", "core", ("_core",), "core.noop"),
        ("core.inquiry", "inquiry", (), "core.inquiry"),
        ("child", "workflow", ("_workflow",), "child"),
        ("my_pack.build", "agents", ("docker",), "build_and_push"),
        ("my_pack.other", "agents", ("my_pack",), "other"),
        ("slack.chat.post", "agents", ("slack",), "chat.post"),
    ],
)
def test_an_action_stands_for_the_first_that_is_known_by_its_name(
    tmp_path: Path, action: str, kind: str, roles: tuple[str, ...], name: str
):
    text = workflow("flow", f'action = "{action}"') + workflow("child", 'agents = ["x"]')
    stage = made(linked(tmp_path, text))["flow"].stages["s0"]
    assert (stage.kind, stage.roles, stage.action) == (kind, roles, name)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ('action = "chidl"', '"chidl" is no workflow; did you mean "child"?'),
        ('action = "compile"', '"compile" is no workflow; write agents = ["role"] beside it, or "role.compile"'),
        ('action = "core.nop"', '"core.nop" is not built in; did you mean "core.noop"?'),
        ('action = "_x.y"', "begins with '_x', which is not a role"),
        ("", '`agents` is missing; write agents = ["role"], or an action, as in "role.action"'),
    ],
)  # fmt: skip
def test_an_action_that_is_nothing_known_says_what_to_write(tmp_path: Path, stage: str, said: str):
    text = workflow("flow", stage) + workflow("child", 'agents = ["x"]')
    (problem,) = problems(linked(tmp_path, text))
    assert problem.startswith(("5:", "3:"))
    assert 'workflow "flow", stage "s0"' in problem
    assert said in problem


def test_a_workflows_name_beside_agents_names_a_handler_which_is_doubted(tmp_path: Path):
    text = workflow("flow", 'agents = ["x"]\naction = "child"')
    text += workflow("child", 'agents = ["x"]\naction = "child"')
    found = linked(tmp_path, text)
    assert made(found)["flow"].stages["s0"].roles == ("x",)
    (warning,) = found.warnings
    assert '"child" is a workflow, too, and goes to the agents' in str(warning)
    assert 'workflow "flow", stage "s0"' in str(warning)


def test_a_sub_workflow_is_pinned_by_digest_and_part_of_its_callers_digest(tmp_path: Path):
    text = workflow("flow", *calls("child")) + workflow("child", 'agents = ["x"]')
    before = made(linked(tmp_path, text))
    stage = before["flow"].stages["s0"]
    assert list(before) == ["flow", "child"], "in the order of the file"
    assert stage.workflow == "child"
    assert stage.workflow_digest == before["child"].digest
    assert before["flow"].workflows == {"child": before["child"].digest}

    assert made(linked(tmp_path, "# again\n" + text))["flow"].digest == before["flow"].digest
    after = made(linked(tmp_path, text.replace('"x"', '"y"')))
    assert after["child"].digest != before["child"].digest
    assert after["flow"].digest != before["flow"].digest


def test_what_was_resolved_survives_in_the_snapshot(tmp_path: Path):
    text = workflow("flow", *calls("child", "my_pack.check", "core.inquiry"))
    definition = made(linked(tmp_path, text + workflow("child", 'agents = ["x"]')))["flow"]
    again = compile_snapshot(json.loads(json.dumps(definition.document)))
    assert again == definition
    assert again.pack_config == {"registry": "r1"}
    schema = again.stages["s1"].input_schema
    assert schema is not None
    assert schema.problems({}) == ["`url` is missing"]


def test_a_sub_workflow_that_undoes_something_is_undone_by_undoing_it(tmp_path: Path):
    text = (
        workflow("top", *calls("middle"))
        + workflow("middle", *calls("bottom", "plain"))
        + workflow("bottom", 'agents = ["x"]\ncompensation_agents = ["x"]')
        + workflow("plain", 'agents = ["x"]\nclassification = "read_only"')
    )
    definitions = made(linked(tmp_path, text))
    top, middle = definitions["top"].stages["s0"], definitions["middle"].stages
    assert top.classification == middle["s0"].classification == "compensatable"
    assert top.compensation == Compensation(("_workflow",), "middle", retry=RetryPolicy(count=3))
    assert (middle["s1"].classification, middle["s1"].compensation) == ("read_only", None)


def test_at_the_end_a_sub_workflow_is_not_undone(tmp_path: Path):
    child = workflow("child", 'agents = ["x"]\ncompensation_agents = ["x"]')
    flow = workflow("flow", 'agents = ["x"]', *calls("child"), head='on_end = "s1"\n')
    stage = made(linked(tmp_path, flow + child))["flow"].stages["s1"]
    assert (stage.compensation, stage.classification) == (None, "unclassified")


def test_a_workflow_that_contains_itself_is_refused_with_the_whole_circle(tmp_path: Path):
    text = (
        workflow("outer", *calls("a"))
        + workflow("a", *calls("b"))
        + workflow("b", 'agents = ["x"]', *calls("a"))
        + workflow("me", *calls("me"))
        + workflow("fine", 'agents = ["x"]')
    )
    result = linked(tmp_path, text)
    assert problems(result) == [
        '18: workflow "b", stage "s1": `action`: a workflow cannot contain itself: '
        '"a" -> "b" -> "a"',
        '23: workflow "me", stage "s0": `action`: a workflow cannot contain itself: "me" -> "me"',
    ]
    assert list(result.definitions) == ["fine"]


def test_a_circle_through_a_registered_workflow_names_the_file(tmp_path: Path):
    old = made(linked(tmp_path, workflow("a", 'agents = ["x"]') + workflow("b", *calls("a"))))
    (problem,) = problems(linked(tmp_path, workflow("a", *calls("b")), external={"b": old["b"]}))
    assert problem == (
        '5: workflow "a", stage "s0": `action`: a workflow cannot contain itself: "a" -> "b" -> "a"'
    )


def test_more_levels_than_the_limit_are_refused_by_its_name(tmp_path: Path):
    text = "".join(workflow(f"w{i}", *calls(f"w{i + 1}")) for i in range(4))
    engine = EngineModel(limits=LimitsModel(max_depth=3))
    result = linked(tmp_path, text + workflow("w4", 'agents = ["x"]'), engine=engine)
    assert problems(result) == [
        '10: workflow "w1", stage "s0": `action`: "w2" makes 4 levels of workflows; '
        "engine.limits.max_depth allows 3"
    ]
    assert list(result.definitions) == ["w2", "w3", "w4"]


def test_levels_count_through_registered_workflows(tmp_path: Path):
    registered = made(
        linked(tmp_path, workflow("a", *calls("b")) + workflow("b", 'agents = ["x"]'))
    )
    engine = EngineModel(limits=LimitsModel(max_depth=2))
    text = workflow("flow", *calls("a"))
    assert "makes 3 levels" in problems(linked(tmp_path, text, registered, engine))[0]


def test_a_thousand_levels_are_refused_and_do_no_harm(tmp_path: Path):
    text = "".join(workflow(f"w{i}", *calls(f"w{i + 1}")) for i in range(1_000))
    result = linked(tmp_path, text + workflow("w1000", 'agents = ["x"]'))
    assert len(result.problems) == 1


def test_a_file_wins_over_a_registered_workflow_of_the_same_name(tmp_path: Path):
    old = made(linked(tmp_path, workflow("child", 'agents = ["old"]')))
    text = workflow("flow", *calls("child"))
    registered = made(linked(tmp_path, text, old))["flow"]
    assert registered.workflows == {"child": old["child"].digest}
    both = made(linked(tmp_path, text + workflow("child", 'agents = ["new"]'), old))
    assert both["flow"].workflows == {"child": both["child"].digest} != registered.workflows


def test_a_workflow_that_calls_a_faulty_one_is_not_compiled_and_not_blamed(tmp_path: Path):
    text = workflow("flow", *calls("child")) + workflow("child", 'agents = ["x"]\njoin = 3')
    result = linked(tmp_path, text)
    assert len(result.problems) == 1
    assert 'workflow "child"' in str(result.problems[0])
    assert not result.definitions


def test_a_registered_workflow_never_stands_in_for_a_faulty_file(tmp_path: Path):
    old = made(linked(tmp_path, workflow("child", 'agents = ["old"]')))
    text = workflow("flow", *calls("child")) + workflow("child", 'agents = ["x"]\njoin = 3')
    result = linked(tmp_path, text, old)
    assert len(result.problems) == 1
    assert not result.definitions


CHILD = workflow(
    "child",
    'agents = ["x"]',
    head="""parameters.name = {type = "string", required = true}
parameters.size = {type = "integer", required = true, default = 1}
""",
)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{size = 2}", "`input`: parameter `name` is missing"),
        ('{name = "x", sice = 2}', '`input.sice`: parameter `sice` is unknown; did you mean "size"?'),
        ('{name = "x", size = "big"}', "`input.size`: parameter `size`: 'big' does not fit; write a whole number"),
        ('{name = "x"}', None),
        ('{name = "{{ parameters.x }}", size = "{{ parameters.y }}"}', None),
    ],
)  # fmt: skip
def test_the_input_of_a_sub_workflow_is_checked_against_its_parameters(
    tmp_path: Path, given: str, said: str | None
):
    found = problems(
        linked(tmp_path, workflow("flow", f'action = "child"\ninput = {given}') + CHILD)
    )
    assert [said in problem for problem in found] == ([] if said is None else [True])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{url = 5}", "does not fit the action: `url`: 5 does not fit; write text"),
        ('{uri = "{{ parameters.x }}"}', "does not fit the action: `url` is missing"),
        ('{url = "{{ parameters.x }}"}', None),
    ],
)
def test_the_input_of_an_action_is_checked_against_its_metadata(
    tmp_path: Path, given: str, said: str | None
):
    text = workflow("flow", f'action = "my_pack.check"\ninput = {given}')
    found = problems(linked(tmp_path, text))
    assert [said in problem for problem in found] == ([] if said is None else [True])
