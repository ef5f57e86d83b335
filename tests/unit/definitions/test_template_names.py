"""Names in templates, checked before anything runs."""

from dataclasses import replace

import pytest

from sagabus.definitions.template_names import (
    ERROR_SCOPES,
    ITEM_SCOPES,
    SCOPES,
    Visible,
    check_names,
)

ANYTHING = Visible(earlier=("build",), known=("build", "deploy"))
DECLARED = replace(
    ANYTHING,
    parameters=("region", "version"),
    vars=("total",),
    pack_config=("endpoint",),
)


@pytest.mark.parametrize(
    "text",
    [
        "{{ parameters.region }} {{ vars.total }} {{ pack.config.endpoint }}",
        "{{ parameters['region'] }}",
        "{{ parameters[parameters.version] }}",
        "{{ task.build.result.anything.at.all }} {{ stage.build.error.type }}",
        "{{ task[parameters.region].none }}",
        "{{ task.nobody.status | default('unknown') }}",
        "{{ task.nobody.result.a.b | d(1) }}",
        "{{ task.nobody is defined }}",
        "{{ task.nobody.result is not defined }}",
        "{{ task.deploy.status is undefined }}",
        "{{ parameters.later | default(1) }}",
        "{{ kv.get('x', default=1) }}",
        "{{ system.identity.login }} {{ system.timestamp }}",
        "{% for item in parameters.region %}{{ item.x }}{% endfor %}",
        "{% set vars = {'a': 1} %}{{ vars.a }}",
        "{{ range(3) | list }}",
    ],
)
def test_names_that_are_there_pass(text: str):
    assert check_names(text, DECLARED) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ parameters.regoin }}", "`parameters.regoin`: the workflow declares no `regoin`; did"),
        ("{{ vars.sum }}", "`vars.sum`: the workflow sets no variable `sum`; there are total"),
        ("{{ pack.config.none }}", "`pack.config.none`: the pack has no setting `none`; there"),
        ("{{ pack.name }}", "`pack.name` does not exist; there are config"),
        ("{{ system.host }}", "`system.host` does not exist; there are workflow_id"),
        ("{{ task.biuld.result }}", '`task.biuld` names no stage; did you mean "build"?'),
        ("{{ task.deploy.result }}", "`task.deploy` has not run when this stage starts; only"),
        ("{{ task.build.reslt }}", "`task.build.reslt`: a stage has no `reslt`; did you mean"),
        ("{{ task.nobody.status | upper | default('x') }}", "`task.nobody` names no stage"),
        ("{{ (task.nobody.status ~ 'x') | default('x') }}", "`task.nobody` names no stage"),
        ("{{ task.build.result | default(task.nobody.result) }}", "`task.nobody` names no stage"),
        ("{{ task.build.result[task.nobody.error] | d(1) }}", "`task.nobody` names no stage"),
        ("{{ paramters.x | d(1) }}", '`paramters` is not a name that templates know; did'),
        ("{{ item.x }}", "`item` is not there: only the input of a stage with with_items"),
        ("{{ index }}", "`index` is not there"),
        ("{{ error.type }}", "`error` is not there: only routes after a failure"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_is_said_with_a_remedy(text: str, said: str):
    problems = check_names(text, DECLARED)
    assert len(problems) == 1
    assert problems[0].startswith(said)


def test_what_only_some_places_have_is_there_in_those():
    visible = replace(DECLARED, scopes=SCOPES | ITEM_SCOPES | ERROR_SCOPES)
    assert check_names("{{ item.a }} {{ index }} {{ error.type }} {{ error.stage }}", visible) == []
    [problem] = check_names("{{ error.kind }}", visible)
    assert problem == "`error.kind` does not exist; there are type, message, stage"


def test_a_place_may_have_less_than_others():
    first = replace(ANYTHING, scopes=SCOPES - {"vars", "task", "stage"})
    assert check_names("{{ parameters.x }} {{ kv.get('a') }}", first) == []
    problems = check_names("{{ vars.a }} {{ task.build.result }}", first)
    assert problems == [
        "`task` is not there: no stage has run yet",
        "`vars` is not there: variables are not there yet",
    ]


def test_undeclared_parameters_and_variables_may_have_any_name():
    assert check_names("{{ parameters.a }} {{ vars.b }} {{ pack.config.c }}", ANYTHING) == []
    nothing = replace(ANYTHING, parameters=())
    [problem] = check_names("{{ parameters.a }}", nothing)
    assert problem.endswith("there is none at all")
