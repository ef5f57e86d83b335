"""Keys and secrets in templates: what is read, what is placed, and what cannot be done."""

from typing import Any

import pytest

from sagabus.core.definition import SecretUse, TemplateError
from sagabus.core.kv import KnownKeys, Mark, UnknownKeyError, known_keys
from sagabus.definitions.templates import compile_value, uses_secrets

KV = known_keys(
    ["flag", "null", "gone", "token"], {"flag": True, "null": None, "token": Mark.SECRET}
)
SCOPE: dict[str, Any] = {
    "kv": KnownKeys(KV),
    "parameters": {"key": "flag", "fake": "[secret:token]", "name": "é🙂", "other": "unheard"},
}


def render(value: Any) -> Any:
    return compile_value(value, "input").render(SCOPE)


def place(value: Any) -> tuple[Any, list[SecretUse]]:
    rendered, uses = compile_value(value, "input").render_input(SCOPE)
    return rendered, list(uses)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ kv.get('flag') }}", True),
        ("{{ kv.get('flag', default=false) }}", True),
        ("{{ kv.get('flag', false) }}", True),
        ("{{ kv.get(parameters.key) }}", True),
        ("{{ kv.get(key='flag') }}", True),
        ("{{ kv.get('gone', default=false) }}", False),
        ("{{ kv.get('gone') }}", None),
        ("{{ kv.get('gone') | default('x') }}", "x"),
        ("{{ kv.get('null', default=1) }}", None),
        ("flag={{ kv.get('flag') }}", "flag=true"),
    ],
)
def test_a_value_is_read_by_its_key(text: str, value: Any):
    assert render(text) == value
    assert place(text) == (value, [])


@pytest.mark.parametrize(
    "text",
    [
        "{{ kv.get('unheard') }}",
        "a {{ kv.get('unheard') }}",
        "{{ kv.get('unheard', default=1) | default(2) }}",
        "{{ kv.get(parameters.other) is defined }}",
        "{% for i in [1] %}{{ kv.get('unheard') }}{% endfor %}",
        "{{ [1] | map('default', kv.get('unheard')) | list }}",
    ],
)
def test_a_key_that_nobody_looked_up_is_asked_for(text: str):
    for how in (render, place):
        with pytest.raises(UnknownKeyError) as caught:
            how({"a": [text]})
        assert caught.value.key == "unheard"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ kv.get('token') }}", "'token' is a secret; write kv.get_secret('token')"),
        ("{{ kv.get('token', default='x') }}", "is a secret"),
        ("{{ kv.get(1 + 1) }}", "a key is text, not int"),
        ("{{ kv.get('a' ~ ' ') }}", "'a ' is no key"),
        ("{{ kv.get() }}", "missing"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str):
    with pytest.raises(TemplateError) as caught:
        render(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ kv.none }}", "kv is read with kv.get"),
        ("{{ kv['get']('a') }}", "kv is read with kv.get"),
        ("{% set k = kv %}{{ k.get('a') }}", "kv is read with kv.get"),
        ("{{ [kv] | map(attribute='get') }}", "kv is read with kv.get"),
        ("{{ kv.get }}", "kv is read with kv.get"),
        ("{{ kv.get(1) }}", "1 is no key"),
        ("{{ kv.get('a b') }}", "'a b' is no key"),
        ("{% set x %}{{ kv.get_secret('a') }}{% endset %}{{ x }}", "cannot stand beside {% set %}"),
        ("{% filter upper %}{{ kv.get_secret('a') }}{% endfilter %}", "beside {% filter %}"),
        ("{% for a in [1] recursive %}{{ loop([2]) }}{% endfor %}", "cannot be recursive"),
    ],
)
def test_what_could_not_be_followed_is_refused_when_it_is_compiled(text: str, said: str):
    with pytest.raises(TemplateError) as caught:
        compile_value(text, "input")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value", "uses"),
    [
        ("{{ kv.get_secret('k') }}", "[secret:k]", [((), 0, 10, "k")]),
        ("Bearer {{ kv.get_secret('k') }}", "Bearer [secret:k]", [((), 7, 17, "k")]),
        ("{{ 'Bearer ' ~ kv.get_secret('k') }}", "Bearer [secret:k]", [((), 7, 17, "k")]),
        (
            "{{ parameters.name }}{{ kv.get_secret('k') }}!{{ kv.get_secret('l') }}",
            "é🙂[secret:k]![secret:l]",
            [((), 2, 12, "k"), ((), 13, 23, "l")],
        ),
        (
            "{{ parameters.fake }} {{ kv.get_secret('token') }} {{ parameters.fake }}",
            "[secret:token] [secret:token] [secret:token]",
            [((), 15, 29, "token")],
        ),
        ("{{ parameters.fake }}", "[secret:token]", []),
        (
            "{% set a = kv.get_secret('k') %}{% for i in [1, 2] %}{{ a }}{% endfor %}",
            "[secret:k][secret:k]",
            [((), 0, 10, "k"), ((), 10, 20, "k")],
        ),
        (
            "{{ kv.get_secret('k') ~ kv.get_secret('l') ~ 1 }}",
            "[secret:k][secret:l]1",
            [((), 0, 10, "k"), ((), 10, 20, "l")],
        ),
        (
            "{{ {'a': [1, kv.get_secret('k')]} }}",
            {"a": [1, "[secret:k]"]},
            [(("a", 1), 0, 10, "k")],
        ),
        (
            {"a": ["x", {"b": "u:{{ kv.get_secret(parameters.key) }}"}], "c": "{{ 1 }}"},
            {"a": ["x", {"b": "u:[secret:flag]"}], "c": 1},
            [(("a", 1, "b"), 2, 15, "flag")],
        ),
        (
            "{{ kv.get_secret('k') if parameters.key == 'flag' else 'none' }}",
            "[secret:k]",
            [((), 0, 10, "k")],
        ),
        ("{{ kv.get_secret('k') if parameters.key == 'x' else 'none' }}", "none", []),
    ],
)
def test_a_secret_is_placed_and_its_place_is_known(text: Any, value: Any, uses: list[Any]):
    assert place(text) == (value, [SecretUse(*use) for use in uses])


@pytest.mark.parametrize(
    "expression",
    [
        *("S | upper", "S | default('x')", "S | length", "S | to_json", "S | string", "S | first"),
        *("[S] | join", "[S] | join(',')", "[S] | to_json", "[S, S] | sort", "[S] | map('upper')"),
        *("[S] | unique | list", "{'a': S} | to_json", "{S: 1}", "'x' | replace('x', S)"),
        *("S + 'x'", "'x' + S", "S * 2", "2 * S", "S - 1", "-S", "S % 2", "S == 'x'", "'x' == S"),
        *("S != 'x'", "S < 'x'", "'x' in S", "S in ['x']", "S in 'x'", "not S", "1 if S else 2"),
        *("S and 1", "S is string", "S is eq('x')", "'x' is in(S)", "S is sameas(S)", "S.upper()"),
        *("S.parts", "S.__class__", "S[0]", "S['parts']", "S[1:]", "S()", "range(S)", "dict(a=S)"),
        *("['x'] | select('in', S) | list", "[S] | select('eq', 'x') | list", "['x'].count(S)"),
        *("kv.get(S)", "kv.get_secret(S)", "[{'a': S}] | filter(a='x')", "[[S]] | sum(start=S)"),
        *(
            "[{'a': S}, {'a': S}] | groupby('a')",
            "parameters[S]",
            "['a', 'b'][S]",
            "'x,y'.split(S)",
        ),
    ],
)
def test_a_secret_cannot_be_changed_or_tested(expression: str):
    for text in (expression, f"({expression}) ~ ''"):
        single = "{{ " + text.replace("S", "kv.get_secret('k')") + " }}"
        for template in (single, "x" + single):
            if expression == "S is string":  # what it is may be asked, and says nothing
                assert place(template)[1] == []
                continue
            with pytest.raises(TemplateError):
                place(template)


@pytest.mark.parametrize("text", ["{{ kv.get_secret('k') }}", "x{{ kv.get_secret('k') ~ 1 }}"])
def test_a_secret_stands_in_no_other_value(text: str):
    with pytest.raises(TemplateError, match="only stand in the input of a stage's agents"):
        render(text)


def test_an_error_beside_a_secret_does_not_name_what_stands_for_it():
    with pytest.raises(TemplateError) as caught:
        place("{{ kv.get_secret('k') | upper }}")
    assert str(caught.value) == (
        "a secret can only be placed, as a value or inside text, never changed or tested"
    )


def test_whether_a_text_reads_a_secret_can_be_asked():
    assert uses_secrets("Bearer {{ kv.get_secret('x') }}")
    assert not uses_secrets("{{ kv.get('get_secret') }}")
    assert not uses_secrets("get_secret {{ 1 }}")
