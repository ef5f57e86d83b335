"""What expressions give, what they may name, and that none of them can cost much."""

import re
import time
from typing import Any

import pytest

from sagabus.core.definition import TemplateError
from sagabus.core.kv import KnownKeys, known_keys
from sagabus.definitions.templates import Constant, compile_value

SCOPE: dict[str, Any] = {
    "parameters": {
        "items": [1, 2],
        "host": "example.org",
        "count": 3,
        "ratio": 0.5,
        "is_live": True,
        "nothing": None,
        "not_number": "nan",
        "table": {"a": {"b": 1}, "values": "key"},
        "evil": "{{ 7 * 7 }}",
        "long": "x" * 1_000,
        "big": 10**9,
        "many": list(range(1_000)),
    },
    "task": {
        "build": {"result": {"items": ["i"], "tag": "v1"}, "status": "succeeded", "error": None}
    },
    "system": {"workflow_id": "abc", "identity": {"login": "ada"}},
}


def render(value: Any) -> Any:
    return compile_value(value, "input").render(SCOPE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ parameters.items }}", [1, 2]),
        ("{{ parameters.count }}", 3),
        ("{{ parameters.count + 1 }}", 4),
        ("{{ parameters.is_live }}", True),
        ("{{ parameters.nothing }}", None),
        ("{{ parameters.table }}", SCOPE["parameters"]["table"]),
        ("{{ parameters.table.a.b }}", 1),
        ("{{ parameters.table['a']['b'] }}", 1),
        ("{{ task.build.result.items }}", ["i"]),
        ("{{ stage.build.result.tag }}", "v1"),
        ("{{ task.build.error }}", None),
        ("{{ parameters.many | map('string') | first }}", "0"),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ parameters.items | map('abs') }}", [1, 2]),
        ("{{ {'a': parameters.count} }}", {"a": 3}),
        ("{{ parameters.host.upper() }}", "EXAMPLE.ORG"),
        ("{{ parameters.host.replace('.', '-') }}", "example-org"),
        ("{{ ','.join(parameters['items']) }}", "1,2"),
        ("{{ parameters.items | join('+') }}", "1+2"),
        ("{{ parameters.table.items() | list | length }}", 2),
        ("{{ '[1]' | from_json }}", [1]),
        ("{{ parameters.table.a | to_json }}", '{"b":1}'),
    ],
)
def test_a_single_expression_keeps_the_type_of_its_value(text: str, value: Any):
    assert render(text) == value
    assert type(render(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("https://{{ parameters.host }}/{{ parameters.count }}", "https://example.org/3"),
        ("l={{ parameters.items }}", "l=[1,2]"),
        ("t={{ parameters.table.a }}", 't={"b":1}'),
        ("b={{ parameters.is_live }}", "b=true"),
        ("{{ parameters.host }}{{ parameters.host }}", "example.orgexample.org"),
        ("{{ 'l=' ~ parameters.items }}", "l=[1,2]"),
        ("{% if parameters.is_live %}live{% else %}test{% endif %}", "live"),
        ("{% for i in parameters['items'] %}{{ loop.index }}:{{ i }} {% endfor %}", "1:1 2:2 "),
        ("by {{ system.identity.login }}", "by ada"),
    ],
)
def test_mixed_text_shows_values_as_json(text: str, value: str):
    assert render(text) == value


def test_parameters_are_never_evaluated():
    assert render("{{ parameters.evil }}") == "{{ 7 * 7 }}"
    assert render("a {{ parameters.evil }}") == "a {{ 7 * 7 }}"


def test_a_key_comes_before_the_method_of_the_same_name():
    assert render("{{ parameters.table.values }}") == "key"
    assert render("{{ parameters.items }}") == [1, 2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ parameters.none_such | default(4) }}", 4),
        ("{{ parameters.none_such.below.that | default(4) }}", 4),
        ("{{ parameters.nothing | default(4) }}", 4),
        ("{{ parameters.nothing.below | d(4) }}", 4),
        ("{{ parameters.keys | default(4) }}", 4),
        ("{{ parameters.count | default(4) }}", 3),
        ("{{ task.other.result | default('x') }}", "x"),
        ("{{ parameters.none_such is defined }}", False),
        ("{{ parameters.count is defined }}", True),
        ("n={{ parameters.nothing | default('-') }}", "n=-"),
    ],
)
def test_default_replaces_what_is_missing_and_null(text: str, value: Any):
    assert render(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ parameters.none_such }}", "there is no `none_such`, only "),
        ("{{ parameters.none_such.below }}", "there is no `none_such`"),
        ("a {{ parameters.none_such }}", "there is no `none_such`"),
        ("{{ parameters.none_such + 1 }}", "there is no `none_such`"),
        ("{{ 1 if parameters.none_such else 2 }}", "there is no `none_such`"),
        ("{{ [parameters.none_such] }}", "there is no `none_such`"),
        ("{{ parameters['items'][5] }}", "there is no element 5, only 2"),
        ("{{ task.other.result }}", "there is no `other`, only build"),
        ("{{ nobody }}", "'nobody' is undefined"),
        ("n={{ parameters.nothing }}", "null has no text"),
        ("{{ 'n=' ~ parameters.nothing }}", "null has no text"),
        ("{{ parameters.host.upper }}", "upper is a function; call it with ()"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ parameters.not_number | float }}", "nan is not a number that JSON has"),
        ("{{ parameters.host.__class__ }}", "str has no `__class__`"),
        ("{{ parameters.host['__class__'] }}", "str has no `__class__`"),
        ("{{ parameters.items | map(attribute='__class__') | list }}", "int has no `__class__`"),
        ("{{ range.__globals__ }}", "has no `__globals__`"),
        ("{{ 'x'.format(1) }}", "str has no `format`"),
        ("{{ parameters.table.update({}) }}", "there is no `update`"),
    ],
)
def test_an_error_names_the_key_the_expression_and_the_reason(text: str, said: str):
    with pytest.raises(TemplateError) as caught:
        compile_value({"a": [text]}, "input").render(SCOPE)
    assert said in str(caught.value)
    assert caught.value.key == "input.a[0]"
    assert caught.value.expression == text


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 10**9 }}",
        "{{ parameters.long * parameters.big }}",
        "{{ parameters.big * parameters.items }}",
        "{{ 10 ** 10 ** 10 ** 10 }}",
        "{{ parameters.big ** parameters.big }}",
        "{{ range(10**9) }}",
        "{{ range(parameters.big) | list }}",
        "{{ 'x' | center(parameters.big) }}",
        "{{ 'x\n' | indent(parameters.big) }}",
        "{{ [1] | batch(parameters.big, 'x') | list }}",
        "{{ [1] | slice(parameters.big) | list }}",
        "{{ ['x'] | map('center', parameters.big) | list }}",
        "{{ 5 | round(parameters.big) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'x'.ljust(parameters.big) }}",
        "{{ parameters.long.replace('', parameters.long * 900) }}",
        "{{ parameters.long | replace('x', parameters.long * 900) }}",
        "{{ (parameters.long * 900).join(parameters.many) }}",
        "{{ parameters.many | join(parameters.long * 900) }}",
        "{{ [parameters.long] * 100000 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{{ parameters.long }}{% endfor %}",
    ],
)
def test_an_expression_that_would_cost_much_is_refused_quickly(text: str):
    start = time.perf_counter()
    with pytest.raises(TemplateError):
        render(text)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ a b }}", "expected token"),
        ("{{ a", "unexpected end of template"),
        ("{% if a %}", "Unexpected end of template"),
        ("{{ a | nope }}", 'there is no filter "nope"; leave it out'),
        ("{{ a is nope }}", 'there is no test "nope"'),
        ("{{ [1] | random }}", 'there is no filter "random"'),
        ("{{ a | fitler(b=1) }}", 'there is no filter "fitler"; did you mean "filter"?'),
        ("{{ a | count | counte }}", 'there is no filter "counte"; did you mean "count"?'),
        ("{{ a is deffined }}", 'there is no test "deffined"; did you mean "defined"?'),
        ("{% include 'x' %}", "the tag include is not available here"),
        ("{% macro x() %}{% endmacro %}", "the tag macro is not available here"),
        ("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}", "nested too deeply"),
        ("{{ " + " + ".join("1" * 5_000) + " }}", "more than 3,000 words"),
        ("{{ " + " + ".join("1" * 50) + " }}", "nested too deeply"),
        ("{{ 1 }}" + "x" * 70_000, "70,007 characters; at most 65,536"),
    ],
)
def test_what_is_no_template_is_refused_when_it_is_compiled(text: str, said: str):
    with pytest.raises(TemplateError, match="(?i)" + said[:12]) as caught:
        compile_value({"x": text}, "input")
    assert said in str(caught.value)
    assert caught.value.key == "input.x"


SEED: dict[str, Any] = {
    "parameters": {
        "app_name": "shop",
        "all_regions": [{"name": "a", "enabled": True}, {"name": "b", "enabled": False}],
    },
    "vars": {
        "base_path": "  /srv ",
        "raw_config": '{"a": 1}',
        "data": {"k": [1, 2]},
        "host": None,
    },
    "task": {},
    "pack": {"config": {"region": "eu"}},
    "kv": KnownKeys(known_keys(["feature.flags.enabled"], {})),
    "item": {"id": 7},
    "index": 3,
    "error": {"type": "timeout", "message": "late"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ parameters.app_name | upper }}", "SHOP"),
        ("{{ vars.base_path | trim | append('/logs') }}", "/srv/logs"),
        ("{{ vars.raw_config | from_json }}", {"a": 1}),
        ("{{ vars.data | to_json }}", '{"k":[1,2]}'),
        ("{{ parameters.all_regions | filter(enabled=true) }}", [{"name": "a", "enabled": True}]),
        ("{{ parameters.all_regions | first }}", {"name": "a", "enabled": True}),
        ("{{ vars.data.k | length }}", 2),
        ("{{ vars.data.k | batch(size=1) }}", [[1], [2]]),
        ("{{ task.deploy.status | default('unknown') }}", "unknown"),
        ("{{ vars.host | default('localhost') | prepend('https://') }}", "https://localhost"),
        ("{{ kv.get('feature.flags.enabled', default=false) }}", False),
        ("{{ pack.config.region }}", "eu"),
        ("{{ item }}", {"id": 7}),
        ("{{ index }}", 3),
        ("{{ error.type == 'timeout' }}", True),
        ("{{ item.id }}-{{ index }}", "7-3"),
    ],
)
def test_what_the_language_shows_gives_what_one_expects(text: str, value: Any):
    rendered = compile_value(text, "input").render(SEED)
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ [1, 2] | append(3) }}", [1, 2, 3]),
        ("{{ [1, 2] | prepend([3]) }}", [[3], 1, 2]),
        ("{{ 'a' | append(1) }}", "a1"),
        ("{{ 1 | prepend('n') }}", "n1"),
        ("{{ [1, 2, 3] | batch(2) }}", [[1, 2], [3]]),
        ("{{ [1, 2, 3] | batch(2, 0) }}", [[1, 2], [3, 0]]),
        ("{{ [1, 2, 3] | batch(size=2, fill_with='x') }}", [[1, 2], [3, "x"]]),
        ("{{ [] | batch(size=2) }}", []),
        ("{{ range(3) | batch(size=5) | first }}", [0, 1, 2]),
        ("{{ [{'a': 1, 'b': 2}, {'a': 1}, 'a', 1] | filter(a=1, b=2) }}", [{"a": 1, "b": 2}]),
        ("{{ [{'a': none}, {}] | filter(a=none) }}", [{"a": None}]),
        ("{{ [{'a': 'x'}] | map(attribute='a') | first }}", "x"),
        ("{{ [3, 1] | sort | first }}", 1),
        ("{{ [{'n': 2}, {'n': 1}] | sort(attribute='n') }}", [{"n": 1}, {"n": 2}]),
        ("{{ [{'n': 2}, {'n': 1}] | sum(attribute='n') }}", 3),
        ("{{ [0.5, 1] | sum }}", 1.5),
        ("{{ 'a b&c' | urlencode }}", "a%20b%26c"),
        ("{{ {'q': 'a b', 'n': 1} | urlencode }}", "q=a+b&n=1"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ 'a\n\nb' | indent('> ', first=true, blank=true) }}", "> a\n> \n> b"),
        ("{{ 'aXbX' | replace('X', '-', 1) }}", "a-bX"),
        ("{{ [1, 2] | join(', ') }}", "1, 2"),
        ("{% for g in [{'a': 1}, {'a': 2}] | groupby('a') %}{{ g.grouper }}{% endfor %}", "12"),
        ("{{ '[1]' | from_json | to_json }}", "[1]"),
        ("{{ '42' | int + 1 }}", 43),
        ("{{ 4 is even and 3 is odd and 9 is divisibleby 3 }}", True),
        ("{{ 'ABC' is upper }}", True),
        ("{{ [1, 2, 3][1:] }}", [2, 3]),
        ("{{ 2 in [1, 2] and 'a' in 'abc' }}", True),
    ],
)  # fmt: skip
def test_filters_and_tests(text: str, value: Any):
    assert render(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ [1] | batch }}", "batch needs a size"),
        ("{{ [1] | batch(size=0) }}", "batch needs a size"),
        ("{{ [1] | filter }}", "write filter(key=value)"),
        ("{{ [[1]] | sum(start=[]) }}", "sum adds numbers"),
        ("{{ {} | from_json }}", "from_json reads text"),
        ("{{ '{' | from_json }}", "unexpected end"),
        ("{{ 'x' is odd }}", "only numbers are odd"),
        ("{{ none | append('x') }}", "null has no text"),
        ("{{ [1] | sort(attribute=[1]) }}", "a number or a word"),
    ],
)
def test_a_filter_says_what_it_needs(text: str, said: str):
    with pytest.raises(TemplateError, match="(?i)" + re.escape(said)):
        render(text)


def test_a_table_without_any_expression_renders_at_no_cost():
    value = {"a": [1, {"b": "c } } %"}], "d": None}
    template = compile_value(value, "input")
    assert template == Constant(value)
    assert template.render({}) is value


def test_a_table_is_rendered_through_and_through():
    template = compile_value({"a": ["{{ parameters.count }}", 1], "b": {"c": "x"}}, "input")
    assert template.render(SCOPE) == {"a": [3, 1], "b": {"c": "x"}}


def test_templates_of_the_same_text_at_the_same_key_are_equal():
    assert compile_value("{{ 1 }}", "a") == compile_value("{{ 1 }}", "a")
    assert compile_value("{{ 1 }}", "a") != compile_value("{{ 2 }}", "a")
    assert compile_value("{{ 1 }}", "a") != compile_value("{{ 1 }}", "b")
