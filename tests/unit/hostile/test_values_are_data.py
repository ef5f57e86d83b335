"""Parameters, results, answers, items, stored values and errors are data, whatever they look like.

What goes in comes out of the next stage's input as it was: never evaluated, never of another type.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from sagabus.testing import rehearse

TEXTS = (
    *("{{ 7*7 }}", "{% raw %}", "{% endraw %}", "{#", "#}", "{{", "}}", "{{ self }}"),
    *("{{ ''.__class__.__mro__ }}", "{{ kv.get_secret('x') }}", "[secret:db]", "[secret:x]x"),
    *("{0.__class__}", "%s%n%(x)s", "${HOME}", "$(id)", "`id`", "<script>", "' OR 1=1 --"),
    *("\x00", "\x1b[31m", "\u202e", "\ufeff", "\u2028", "\U0001f4a9", "e\u0301", "\r\n", "  x  "),
    *("true", "null", "None", "1", "1.0", "[]", "{}", '{"a": 1}', '"', "", " ", "\\n", "\\u0000"),
    "A" * 100_000,
    "{{" * 10_000,
)

CONFIG = """
[[workflows]]
name = "data"
vars = {kept = "{{ parameters.value }}"}
output_map = {value = "{{ task.first.result }}", kept = "{{ vars.kept }}"}

[[workflows.stages]]
name = "first"
agents = ["worker"]
publish = {kept = "{{ task.first.result }}"}
[workflows.stages.input]
value = "{{ parameters.value }}"
in_text = "<{{ parameters.text }}>"
vars = "{{ vars.kept }}"

[[workflows.stages]]
name = "second"
agents = ["worker"]
[workflows.stages.input]
value = "{{ task.first.result }}"
vars = "{{ vars.kept }}"
kv = "{{ kv.get('key') }}"
list = ["{{ task.first.result }}"]

[[workflows.stages]]
name = "each"
agents = ["worker"]
with_items = "{{ parameters.items }}"
input = {value = "{{ item }}", index = "{{ index }}"}

[[workflows.stages]]
name = "ask"
action = "core.inquiry"
input = {prompt = "Say: {{ parameters.text }}"}

[[workflows.stages]]
name = "third"
agents = ["worker"]
input = {answer = "{{ task.ask.result }}", items = "{{ task.each.result }}"}
on_failure = [{do = "handler", publish = {message = "{{ error.message }}"}}]

[[workflows.stages]]
name = "plain"
agents = ["worker"]

[[workflows.stages]]
name = "echoed"
action = "core.echo"
input = {value = "{{ task.plain.result }}"}
on_success = "end"

[[workflows.stages]]
name = "handler"
agents = ["worker"]
input = {kept = "{{ vars.message }}"}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "w.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def any_value(random: Random, depth: int = 3) -> Any:
    kind = random.randrange(9 if depth else 6)
    match kind:
        case 0:
            return random.choice((0, -1, 2**53, -(2**63), 2**63 - 1))
        case 1:
            return random.choice((0.1, -0.0, 1e308, 5e-324))
        case 2:
            return random.choice((True, False))
        case 6 | 7:
            size = random.randrange(4)
            return {random.choice(TEXTS[:-2]): any_value(random, depth - 1) for _ in range(size)}
        case 8:
            return [any_value(random, depth - 1) for _ in range(random.randrange(4))]
        case _:
            return random.choice(TEXTS)


def same(one: Any, other: Any) -> bool:
    """Byte for byte, as it is stored and sent."""
    return orjson.dumps(one) == orjson.dumps(other)


def check(config: Path, value: Any, text: str) -> None:
    items = [value, text, {"k": value}]
    run = rehearse(
        config,
        "data",
        {"value": value, "text": text, "items": items},
        kv={"key": value},
        outcomes={
            "first": {"output": value},
            "each": [{"output": value}],
            "ask": {"answer": value},
            "third": {"output": text},
            "plain": {"output": value},
        },
    )
    assert run.status == "completed", str(run)[-2_000:]
    given = run.input("first")
    assert same(given, {"value": value, "in_text": f"<{text}>", "vars": value})
    assert same(run.input("second"), {"value": value, "vars": value, "kv": value, "list": [value]})
    for index, item in enumerate(items):
        assert same(run.input("each", index), {"value": item, "index": index})
    assert same(run.input("third"), {"answer": value, "items": [value] * 3})
    assert same(run.input("plain")["previous"], {"third": text})
    assert same(run.input("echoed"), {"value": value})
    assert same(run.output, {"value": value, "kept": value})


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_text_comes_out_as_it_went_in(text: str, config: Path):
    check(config, text, text)


@pytest.mark.parametrize("seed", range(25))
def test_any_value_comes_out_as_it_went_in(seed: int, config: Path):
    random = Random(seed)
    check(config, any_value(random), random.choice(TEXTS))


@pytest.mark.parametrize("text", [one for one in TEXTS if one], ids=range(len(TEXTS) - 1))
def test_a_message_of_an_agents_error_is_not_evaluated(text: str, config: Path):
    run = rehearse(
        config,
        "data",
        {"value": 1, "text": "", "items": []},
        kv={"key": 1},
        outcomes={
            "ask": {"answer": 1},
            "first": {"output": 1},
            "third": {"error": {"type": "broken", "message": text, "retryable": False}},
        },
    )
    assert run.status == "completed", str(run)[-2_000:]
    assert same(run.input("handler"), {"kept": text})


def test_settings_of_a_pack_are_not_evaluated(tmp_path: Path):
    pack = tmp_path / "packs" / "p"
    (pack / "workflows").mkdir(parents=True)
    (pack / "pack.yaml").write_text("ref: p\n")
    values = [text for text in TEXTS if text.isprintable()]
    (pack / "config.yaml").write_text(json.dumps({"values": {"texts": values}}, ensure_ascii=False))
    (pack / "workflows" / "w.yaml").write_text(
        'name: w\ntasks:\n- {name: s, agents: [r], input: {texts: "{{ pack.config.texts }}"}}\n'
    )
    main = tmp_path / "w.toml"
    main.write_text("")
    run = rehearse(main, "p.w")
    assert same(run.input("s"), {"texts": values})
