"""No expression costs much, whatever it is and whatever the parameters are.

``hostile_templates.txt`` holds the worst that was found, one a line; the search for more is here
too. Parameters have the size that the language allows them.
"""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from sagabus.core.definition import TemplateError
from sagabus.definitions.sandbox import SANDBOX
from sagabus.definitions.templates import compile_value

K = 1_000
PARAMETERS: dict[str, Any] = {
    "text": "a" * 500 * K,
    "uni": "é" * 250 * K,
    "hard": "a" * 150 * K + "b" + "a" * 150 * K,
    "lines": "a\n" * 250 * K,
    "blank": "\n" * 500 * K,
    "words": "ab " * 166 * K,
    "digits": "1" * 500 * K,
    "bits": "1" * 500 * K,
    "dots": "a." * 250 * K,
    "wide": "\U0001f600" * 125 * K,
    "ints": list(range(80 * K)),
    "zeros": [0] * 250 * K,
    "strs": ["abcd"] * 70 * K,
    "longs": ["x" * 500 + str(i) for i in range(950)],
    "lists": [[0] for _ in range(100 * K)],
    "dicts": [{"a": 1} for _ in range(60 * K)],
    "table": {str(i): 0 for i in range(50 * K)},
    "json": "[" + "0," * 249 * K + "0]",
    "json2": "[" * K + "]" * K,
    "deep_json": '{"a":' * 900 + "1" + "}" * 900,
    "big": 10**9,
    "floats": [2.0 ** (61 * (i % 16)) for i in range(50 * K)],
    "fmt": "%999999999d",
    "name": "a",
    "same": ["a"] * 100 * K,
}
PARAMETERS["nested"] = []
for _ in range(900):
    PARAMETERS["nested"] = [PARAMETERS["nested"]]

#: Seconds of the processor that one rendering may take.
LIMIT_S = 0.1
#: What ``reference`` took on the machine that the limit was measured on.
REFERENCE_S = 0.006

LONG = [
    "{% set a = parameters.text %}" + "{% set a = (a ~ a)[:900000] %}" * 1500 + "{{ a | length }}",
    "{% set a = parameters.wide %}" + "{% set a = (a ~ a)[:900000] %}" * 1500 + "{{ a | length }}",
    "{% set a = 'x' %}" + "{% set a = a ~ a ~ a %}" * 60 + "{{ a | length }}",
    "{% set a = [0] %}" + "{% set a = a + a %}" * 40 + "{{ a | length }}",
    "{% for i in range(9999) %}" + "{{ i }}" * 5000 + "{% endfor %}",
    "{% for i in range(99999) %}" + "{% if i %}{% endif %}" * 2500 + "{% endfor %}",
    "{{ " + " or ".join(["parameters.zeros != parameters.zeros"] * 60) + " }}",
    "{{ [" + ",".join(["parameters.zeros | sum"] * 2000) + "] }}",
    "{{ [" + ",".join(["parameters.json | from_json | length"] * 1500) + "] }}",
    "{{ [" + ",".join(["parameters.strs | sort | length"] * 1500) + "] }}",
    "{{ [" + ",".join(["parameters.text is lower"] * 2000) + "] }}",
    "{{ [" + ",".join(["parameters.text.upper().lower() | length"] * 1500) + "] }}",
]
HOSTILE = (Path(__file__).parent / "hostile_templates.txt").read_text().splitlines()


def reference() -> float:
    """Processor time of some Python, for machines slower than the one of the limit."""
    began = time.thread_time()
    total = 0
    for number in range(200_000):
        total += number % 7
    return time.thread_time() - began


@pytest.fixture(scope="module")
def limit_s() -> float:
    return LIMIT_S * max(1.0, min(reference() for _ in range(3)) / REFERENCE_S)


def cost(text: str) -> tuple[float, Any]:
    """Processor time of a rendering, or of a refusal, and what came of it."""
    began = time.thread_time()
    try:
        template = compile_value(text, "input")
        began = time.thread_time()
        outcome = template.render({"parameters": PARAMETERS})
    except TemplateError as error:
        outcome = error
    return time.thread_time() - began, outcome


def check(text: str, limit_s: float) -> Any:
    spent, outcome = cost(text)
    tries = 1
    while spent > limit_s and tries < 4:  # the machine may have been busy
        spent, outcome = cost(text)
        tries += 1
    assert spent < limit_s, f"{spent:.3f} s: {text[:100]}"
    if isinstance(outcome, TemplateError):
        assert len(str(outcome)) < 1_000
        assert "\n" not in str(outcome)[:60]
    return outcome


@pytest.mark.parametrize("text", HOSTILE)
def test_the_worst_that_was_found_ends_in_time(text: str, limit_s: float):
    check(text, limit_s)


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_long_templates_end_in_time(text: str, limit_s: float):
    assert isinstance(check(text, limit_s), TemplateError)


VALUES = [
    *(f"parameters.{name}" for name in ("ints", "strs", "dicts", "lists", "longs", "zeros")),
    *(f"parameters.{name}" for name in ("table", "text", "nested", "same", "big", "floats")),
    *("[parameters.text]*1000", "[parameters.zeros]*500", "[parameters.dicts]*100"),
    *("[{'a': parameters.zeros}]*400", "[{'a': parameters.text}]*400", "range(99999)"),
    *("parameters.table.items()", "parameters.zeros|map('abs')", "[parameters.table]*20"),
    *("parameters.lists|batch(1)", "[[parameters.zeros]*500]*500"),
]
ARGUMENTS = [
    *("", "(1)", "('a')", "(attribute='a')", "(0)", "('a', 'b')", "('upper')"),
    *("('==', parameters.zeros)", "('in', parameters.zeros)", "('a','==',parameters.zeros)"),
    *("(parameters.text)", "(parameters.zeros)", "(9999, 'x')", "(a=parameters.zeros)"),
    *("(default=parameters.text)", "('replace','a',parameters.text)", "('join',parameters.text)"),
    *("(9999,parameters.same)", "(parameters.hard)", "(parameters.dots)"),
]
METHODS = [
    *("count", "find", "index", "rfind", "rindex", "rsplit", "split", "strip", "lstrip", "rstrip"),
    *("partition", "rpartition", "startswith", "endswith", "removeprefix", "replace", "join"),
    *("title", "upper", "splitlines", "casefold", "swapcase", "get", "items", "keys", "values"),
]


def test_no_filter_test_or_method_on_large_values_takes_long(limit_s: float):
    draw = random.Random(20_240)
    filters = sorted(name for name in SANDBOX.filters if not name.startswith(" "))
    tests = sorted(name for name in SANDBOX.tests if name.isalpha())
    for _ in range(800):
        value, arguments = draw.choice(VALUES), draw.choice(ARGUMENTS)
        kind = draw.choice(["filter", "filter", "filter", "test", "method"])
        if kind == "filter":
            end = draw.choice(["", " | list | length"])
            text = f"{{{{ ({value}) | {draw.choice(filters)}{arguments}{end} }}}}"
        elif kind == "test":
            text = f"{{{{ ({value}) is {draw.choice(tests)}{arguments} }}}}"
        else:
            text = f"{{{{ ({value}).{draw.choice(METHODS)}{arguments or '()'} }}}}"
        check(text, limit_s)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in parameters.rows %}{{ i.name }}: {{ i.n }}\n{% endfor %}",
        "{{ parameters.rows | map(attribute='name') | list }}",
        "{{ parameters.rows | filter(even=true) | map(attribute='name') | sort | join(',') }}",
        "{{ parameters.rows | selectattr('even') | sum(attribute='n') }}",
        "{{ parameters.rows | groupby('even') | length }}",
        "{{ parameters.rows | batch(size=100) }}",
        "{{ parameters.rows | to_json | from_json }}",
        "rows: {{ parameters.rows }}",
    ],
)
def test_ten_thousand_items_are_not_too_much(text: str):
    rows = [{"name": f"n{i}", "n": i, "even": i % 2 == 0} for i in range(10 * K)]
    compile_value(text, "input").render({"parameters": {"rows": rows}})


def test_all_of_a_value_shares_one_budget():
    text = "{% for i in parameters.ints[:15000] %}{{ i }}{% endfor %}"
    compile_value(text, "input").render({"parameters": PARAMETERS})
    with pytest.raises(TemplateError, match="too much") as caught:
        compile_value({"a": [text] * 9}, "input").render({"parameters": PARAMETERS})
    assert caught.value.key.startswith("input.a[")


def test_the_same_data_costs_the_same_however_busy_the_machine_is():
    text = (
        "{% for i in parameters.ints %}{{ i }}{% if i == 33000 %}{{ 1 / 0 }}{% endif %}{% endfor %}"
    )
    outcomes = {str(cost(text)[1]) for _ in range(5)}
    assert len(outcomes) == 1


def test_a_stage_result_is_gathered_once_for_a_whole_value():
    class Stages(dict):  # type: ignore[type-arg]
        made = 0

        def __getitem__(self, key: str) -> Any:
            Stages.made += 1
            return {"result": [1, 2, 3]}

    text = "{% for i in range(3) %}{{ task.many.result[i] }}{% endfor %}"
    rendered = compile_value([text, "{{ stage.many.result }}"], "x").render({"task": Stages()})
    assert rendered == ["123", [1, 2, 3]]
    assert Stages.made == 1
