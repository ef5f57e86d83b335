"""Parameters of a workflow, and JSON Schema as an operator meets it."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

import urllib.request
from typing import Any

import pytest

from sagabus.definitions.json_schema import MAX_PROBLEMS, Schema, schema_problems
from sagabus.definitions.parameters import Parameters, object_schema

DECLARED = Parameters(
    {
        "app": {"type": "string", "required": True},
        "environment": {"enum": ["dev", "staging", "production"], "default": "dev"},
        "sizes": {"type": "array", "items": {"type": "integer"}, "default": []},
        "key": {"type": "string", "minLength": 9, "secret": True},
        "nested": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}},
    }
)


def test_defaults_stand_where_nothing_is_given():
    completed, problems = DECLARED.complete({"app": "shop"})
    assert problems == []
    assert completed == {"app": "shop", "environment": "dev", "sizes": []}


def test_a_default_is_never_shared_between_instances():
    first, _ = DECLARED.complete({"app": "a"})
    first["sizes"].append(1)
    assert DECLARED.complete({"app": "b"})[0]["sizes"] == []


def test_every_mistake_is_named_at_once():
    given = {"enviroment": "dev", "environment": "prod", "sizes": [1, "x"], "nested": {}, "q": 1}
    _, problems = DECLARED.complete(given)
    assert problems == [
        'parameter `enviroment` is unknown; did you mean "environment"?',
        "parameter `q` is unknown; known: app, environment, sizes, key, nested",
        "parameter `app` is missing",
        "parameter `environment`: 'prod' is none of 'dev', 'staging' or 'production'",
        "parameter `sizes`: `1`: 'x' does not fit; write a whole number",
        "parameter `nested`: `x` is missing",
    ]


def test_the_value_of_a_secret_is_never_shown():
    for value in ("short", 5, None):
        _, problems = DECLARED.complete({"app": "a", "key": value})
        assert len(problems) == 1
        assert "short" not in problems[0]
        assert "5" not in problems[0]
    assert DECLARED.secret == {"key"}


def test_a_caller_has_to_give_what_is_required_and_has_no_default():
    assert DECLARED.required == ("app",)
    assert Parameters({"a": {"required": True, "default": 1}}).required == ()


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "integer"}, "x", "'x' does not fit; write a whole number"),
        ({"type": "integer"}, True, "true does not fit; write a whole number"),
        ({"type": ["string", "null"]}, 1, "1 does not fit; write text or null"),
        ({"minimum": 3}, 1, "1 is too small; at least 3"),
        ({"maximum": 3}, 4, "4 is too large; at most 3"),
        ({"pattern": "^a+$"}, "b", "'b' does not match the pattern ^a+$"),
        ({"enum": [1, None]}, 2, "2 is none of 1 or null"),
        ({"format": "email"}, "x", "'x' is not a 'email'"),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"b": 1}, "`b` is unknown; there are a"),
        ({"properties": {"name": {}}, "additionalProperties": False}, {"nmae": 1}, '`nmae` is unknown; did you mean "name"?'),
        ({"items": {"properties": {"a": {"type": "null"}}}}, [{"a": 1}], "`0.a`: 1 does not fit; write null"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_a_sentence(schema: dict[str, Any], value: Any, said: str):
    assert Schema(schema).problems(value) == [said]


def test_a_value_that_fits_has_no_problem():
    assert Schema({"type": "object", "required": ["a"]}).problems({"a": 1, "b": 2}) == []


def test_a_long_value_with_many_mistakes_is_told_in_few_words():
    problems = Schema({"items": {"type": "integer"}}).problems(["x" * 10_000] * 10_000)
    assert len(problems) == MAX_PROBLEMS
    assert all(len(problem) < 200 for problem in problems)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#"}, 1),
        ({"$ref": "#/$defs/gone"}, 1),
        ({"$ref": "http://127.0.0.1:1/schema"}, 1),
        ({"$schema": "http://127.0.0.1:1/dialect", "$ref": "other"}, 1),
        ({"pattern": "("}, "x"),
    ],
)
def test_a_schema_that_cannot_be_used_is_a_problem_and_never_an_exception(
    schema: dict[str, Any], value: Any
):
    (problem,) = Schema(schema).problems(value)
    assert problem.startswith("the schema ")


def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **_: asked.append(args))
    schema = {"$id": "http://example.com/a", "$ref": "b#/c", "$dynamicRef": "http://example.com/d"}
    assert list(schema_problems(schema))
    assert Schema(schema).problems(1)
    assert Schema({"$ref": "http://example.com/a"}).problems(1)
    assert asked == []


def test_a_schema_may_refer_to_itself():
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"child": {"$ref": "#/$defs/node"}}}},
    }
    assert list(schema_problems(tree)) == []
    assert Schema(tree).problems({"child": {"child": 1}}) == [
        "`child.child`: 1 does not fit; write a table"
    ]


def test_names_of_properties_are_no_keywords():
    schema = {
        "properties": {"type": {"type": "string"}, "$ref": {}, "pattern": {"const": {"type": 1}}}
    }
    assert list(schema_problems(schema)) == []


def test_parameters_as_one_schema():
    declared = {"a": {"type": "string", "required": True, "secret": True}}
    strict = Schema(object_schema(declared, allows_more=False))
    assert sorted(strict.problems({"b": 1})) == ["`a` is missing", "`b` is unknown; there are a"]
    assert Schema(object_schema({}, allows_more=True)).problems({"b": 1}) == []
