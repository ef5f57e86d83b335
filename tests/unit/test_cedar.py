"""Policies: merged, checked when they are loaded, and closed wherever there is doubt."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from pathlib import Path
from typing import Any

import cedarpy
import pytest

from sagabus.adapters.cedar import CedarPolicies
from sagabus.definitions.catalog import Catalog, validate
from sagabus.errors import InvalidConfigError

SHIPPED = Path(__file__).parents[2] / "config/cedar"
CONTEXT: dict[str, Any] = {
    "workflow": "deploy",
    "workflow_id": "w1",
    "approved": False,
    "approved_by": [],
    "classification": "compensatable",
    "attempt": 1,
    "started_by": "ada",
}
PERMIT = (
    'permit(principal == Orchestrator::"sagabus", action == Action::"execute-stage", resource);'
)


def load(directory: Path, **files: str) -> CedarPolicies:
    for name, text in files.items():
        (directory / f"{name}.cedar").write_text(text)
    return CedarPolicies.load(directory)


def problems_of(directory: Path, **files: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        load(directory, **files)
    return [str(problem).removeprefix(f"{directory}/") for problem in caught.value.problems]


def test_the_shipped_examples_permit_and_forbid_as_they_say():
    policies = CedarPolicies.load(SHIPPED)
    allowed = policies.authorize("execute-stage", "testing", CONTEXT)
    assert (allowed.is_allowed, allowed.policies) == (True, ("allow-all", "listed-stages"))
    denied = policies.authorize("execute-stage", "production_deploy", CONTEXT)
    assert (denied.is_allowed, denied.policies) == (False, ("no-production-deploy",))
    assert denied.reason == "forbidden by no-production-deploy"


def test_forbid_unless_approved_really_forbids():
    policies = CedarPolicies.load(SHIPPED)
    denied = policies.authorize("execute-stage", "deployment", CONTEXT)
    assert (denied.is_allowed, denied.policies) == (False, ("restrict-deploy",))
    assert policies.authorize(
        "execute-stage", "deployment", CONTEXT | {"approved": True}
    ).is_allowed


def test_a_policy_may_ask_who_approved(tmp_path: Path):
    both = 'context.approved_by.containsAll(["ann", "bob"])'
    policies = load(tmp_path, a=f"permit(principal, action, resource) when {{ {both} }};")
    for names, is_allowed in ((["bob", "ann"], True), (["ann"], False), ([], False)):
        context = CONTEXT | {"approved": True, "approved_by": names}
        assert policies.authorize("execute-stage", "x", context).is_allowed is is_allowed


def test_a_condition_that_cannot_be_evaluated_denies_although_cedar_itself_would_permit(
    tmp_path: Path,
):
    forbid = "forbid(principal, action, resource) unless { context.approved == true };"
    request = {"principal": 'U::"u"', "action": 'Action::"execute-stage"', "resource": 'Stage::"x"'}
    trap = cedarpy.is_authorized(
        {**request, "context": {}}, PERMIT.replace(' == Orchestrator::"sagabus"', "") + forbid, []
    )
    assert trap.allowed, "the trap that this test is about"

    policies = load(tmp_path, a=PERMIT, b=forbid)
    assert policies.authorize("execute-stage", "x", CONTEXT | {"approved": True}).is_allowed
    without = {key: value for key, value in CONTEXT.items() if key != "approved"}
    decision = policies.authorize("execute-stage", "x", without)
    assert not decision.is_allowed
    assert "could not be evaluated" in decision.reason


@pytest.mark.parametrize(
    "context",
    [
        {},
        CONTEXT | {"approved": "true"},
        CONTEXT | {"attempt": None},
        CONTEXT | {"attempt": 1.5},
        CONTEXT | {"attempt": 2**70},
        CONTEXT | {"more": 1},
        CONTEXT | {"approved": object()},
    ],
)
def test_a_context_that_does_not_fit_the_schema_denies(tmp_path: Path, context: dict[str, Any]):
    decision = load(tmp_path, a=PERMIT).authorize("execute-stage", "x", context)
    assert not decision.is_allowed
    assert "could not be evaluated" in decision.reason


def test_an_error_while_evaluating_denies(tmp_path: Path):
    overflow = (
        "forbid(principal, action, resource) when { context.attempt * 9223372036854775807 > 0 };"
    )
    policies = load(tmp_path, a=PERMIT, b=overflow)
    decision = policies.authorize("execute-stage", "x", CONTEXT | {"attempt": 2})
    assert not decision.is_allowed
    assert "could not be evaluated" in decision.reason


def test_an_unknown_action_denies(tmp_path: Path):
    assert not load(tmp_path, a=PERMIT).authorize("start-workflow", "x", CONTEXT).is_allowed


@pytest.mark.parametrize(
    "stage", ['a"b', "a\nb", "", "x" * 10_000, "}; permit(principal,action,resource);"]
)
def test_a_stage_name_is_data_whatever_it_holds(tmp_path: Path, stage: str):
    forbid = 'forbid(principal, action, resource == Stage::"x");'
    assert load(tmp_path, a=PERMIT, b=forbid).authorize("execute-stage", stage, CONTEXT).is_allowed


def test_a_default_deny_says_that_a_permit_is_needed(tmp_path: Path):
    policies = load(tmp_path, a='forbid(principal, action, resource == Stage::"x");')
    decision = policies.authorize("execute-stage", "other", CONTEXT)
    assert (decision.is_allowed, decision.policies) == (False, ())
    assert decision.reason == (
        f'no policy permits execute-stage on Stage::"other"; a permit is needed in {tmp_path}'
    )
    (warning,) = policies.warnings
    assert "no policy permits anything, so every stage will be denied; write a permit" in str(
        warning
    )


def test_an_empty_directory_denies_everything_and_warns(tmp_path: Path):
    policies = load(tmp_path)
    assert not policies.authorize("execute-stage", "x", CONTEXT).is_allowed
    (warning,) = policies.warnings
    assert "there is no *.cedar file, so every stage will be denied" in str(warning)


def test_compensation_is_permitted_unless_a_policy_forbids_it(tmp_path: Path):
    policies = load(tmp_path, a='@id("stop") forbid(principal, action, resource == Stage::"x");')
    assert policies.authorize("compensate-stage", "y", CONTEXT).policies == (
        "sagabus:compensation",
    )
    denied = policies.authorize("compensate-stage", "x", CONTEXT)
    assert (denied.is_allowed, denied.policies) == (False, ("stop",))


def test_a_policy_without_id_is_named_by_file_and_line(tmp_path: Path):
    text = (
        '// one; "two"\n\n'
        + PERMIT
        + '\nforbid(principal, action,\n resource == Stage::"a;//b"); // x;\n'
    )
    policies = load(tmp_path, p=text)
    assert policies.names == ("p.cedar:3", "p.cedar:4")
    assert policies.authorize("execute-stage", "x", CONTEXT).policies == ("p.cedar:3",)
    assert policies.authorize("execute-stage", "a;//b", CONTEXT).policies == ("p.cedar:4",)


def test_annotations_other_than_id_and_the_word_in_a_string_are_no_name(tmp_path: Path):
    text = '@note("@id(\\"x\\")") ' + PERMIT
    assert load(tmp_path, p=text).names == ("p.cedar:1",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('permit(\n  principal == "vapora-orchestrator",\n  action == Action::"execute-stage",\n  resource\n);',
         'not valid Cedar: expected an entity uid or matching template slot, found literal `"vapora-orchestrator"`; '
         'a principal is an entity; write principal == Orchestrator::"sagabus"'),
        ('permit(principal, action == Action::"execute-stage", resource in [Stage::"a",\n Stage::"b"]);',
         'write `resource` alone, and after the parentheses: when { [Stage::"a", Stage::"b"].contains(resource) }'),
        ('permit(principal, action == "execute-stage", resource);', 'write action == Action::"execute-stage"'),
        ('permit(principal, action, resource == "deployment");', 'write resource == Stage::"deployment"'),
        ("permit(principal, action, resource)", "a policy ends with a semicolon"),
        ("permit(principal, action, resource) when { foo };", "not valid Cedar: invalid variable: foo"),
        (";", "not valid Cedar"),
        ('permit(principal == User::"x", action, resource);', "unrecognized entity type `User`; known are"),
        ('permit(principal, action == Action::"excute-stage", resource);', "unrecognized action"),
        ("permit(principal, action, resource) when { context.aproved };", "attribute `aproved` in context"),
        ("permit(principal, action, resource) when { context.approved == 3 };", "types Bool and Long are not compatible"),
        ("permit(principal == ?principal, action, resource);", "policy templates"),
        ("@id " + PERMIT, '@id("") cannot be used; write a name of your own'),
        ('@id("sagabus:compensation") ' + PERMIT, "cannot be used"),
    ],
)  # fmt: skip
def test_a_policy_that_is_wrong_is_refused_with_its_line_and_its_remedy(
    tmp_path: Path, text: str, said: str
):
    found = problems_of(tmp_path, p=f"// comment\n\n{PERMIT}\n{text}")
    assert all(problem.startswith("p.cedar:4: ") for problem in found)
    assert any(said in problem for problem in found), found


def test_every_problem_of_every_file_is_reported(tmp_path: Path):
    found = problems_of(
        tmp_path, a="permit(x);\n\npermit(y);", b='@id("n") ' + PERMIT + '\n@id("n") ' + PERMIT
    )
    assert [problem.split(" ")[0] for problem in found] == [
        "a.cedar:1:",
        "a.cedar:3:",
        "b.cedar:2:",
    ]
    assert f'@id("n") is already the name of the policy at {tmp_path}/b.cedar:1' in found[2]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path):
    (tmp_path / "x.cedar").write_bytes(b"//\n\xff")
    assert problems_of(tmp_path) == ["x.cedar:2: not UTF-8 text; save it as UTF-8"]


def test_a_missing_directory_is_a_clear_error(tmp_path: Path):
    with pytest.raises(InvalidConfigError, match="/none: there is no such directory"):
        CedarPolicies.load(tmp_path / "none")


def test_policies_are_equal_when_they_say_the_same(tmp_path: Path):
    first = load(tmp_path, a=PERMIT)
    assert CedarPolicies.load(tmp_path) == first
    twice = load(tmp_path, a=PERMIT + PERMIT)
    assert twice != first
    assert twice.names == ("a.cedar:1", "a.cedar:1#2")


def test_a_catalog_takes_the_policies_of_the_directory_it_names(tmp_path: Path):
    (tmp_path / "cedar").mkdir()
    stage = '[[workflows]]\nname = "f"\n[[workflows.stages]]\nname = "one"\nagents = ["x"]\n'
    path = tmp_path / "w.toml"
    path.write_text('[engine]\ncedar_policy_dir = "cedar"\n' + stage)
    catalog = Catalog.load(path, CedarPolicies.load)
    assert catalog.get("f").has_policies
    assert catalog.policies is not None
    assert not catalog.policies.authorize("execute-stage", "one", CONTEXT).is_allowed
    assert len(catalog.warnings) == 1
    (tmp_path / "cedar/a.cedar").write_text("permit(x);")
    report = validate([path], CedarPolicies.load)
    assert [str(problem).split(": ")[0] for problem in report.problems] == [
        f"{tmp_path}/cedar/a.cedar:1"
    ]
