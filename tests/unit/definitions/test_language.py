"""Every key of the language as the machine gets it: written so, it means this."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sagabus.core.definition import Choice, Definition, Route, Stage
from sagabus.definitions.compile import compile_snapshot
from tests.support.workflow_files import definitions_in

HEAD = '[[workflows]]\nname = "flow"\n'
OTHERS = "".join(f'[[workflows.stages]]\nname = "{name}"\nagents = ["x"]\n' for name in "xyz")


def flow_of(tmp_path: Path, head: str = "", stages: str = OTHERS) -> Definition:
    return definitions_in(tmp_path, f"{HEAD}{head}\n{stages}")["flow"]


def stage_of(tmp_path: Path, lines: str, more: str = OTHERS) -> Stage:
    """A first stage with ``lines``, before three others."""
    stage = f'[[workflows.stages]]\nname = "one"\n{lines}\n'
    if "action" not in lines:
        stage += 'agents = ["r"]\n'
    return flow_of(tmp_path, stages=stage + more).stages["one"]


def routes(*lines: tuple[str, ...]) -> tuple[Route, ...]:
    return tuple(Route(line) for line in lines)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('on_success = "x"', {"on_success": routes(("x",))}),
        ('on_success = ["x", "y"]', {"on_success": routes(("x", "y"))}),
        ('on_success = ["x", {do = "y"}]', {"on_success": routes(("x",), ("y",))}),
        ('on_success = [{do = ["x", "end"]}]', {"on_success": routes(("x", "end"))}),
        ('on_failure = "fail"', {"on_failure": routes(("fail",)), "next": "x"}),
        ('on_timeout = "z"', {"on_timeout": routes(("z",)), "next": "x"}),
        ('on_complete = "y"', {"on_complete": routes(("y",))}),
        ('decision = [{default = "y"}]', {"decision": (Choice("y"),)}),
        ('on_success = "z"\ndecision = [{default = "z"}]', {"decision": (Choice("z"),), "on_success": ()}),
        ("", {"next": "x", "on_timeout": None}),
    ],
)  # fmt: skip
def test_routes_in_every_form(tmp_path: Path, written: str, expected: dict[str, Any]):
    # What the others are is said by what leads to them, so that all can start.
    names = {"x", "y", "z"}
    named = {name for name in names if f'"{name}"' in written}
    rest = "".join(
        f'[[workflows.stages]]\nname = "{name}"\nagents = ["x"]\n'
        for name in sorted(named or {"x"}) + (["x"] if "next" in expected and named - {"x"} else [])
    )
    found = stage_of(tmp_path, written, rest).routes
    assert {key: getattr(found, key) for key in expected} == expected


def test_a_route_has_a_condition_and_publishes(tmp_path: Path):
    text = (
        'on_success = [{when = "{{ 1 > 2 }}", do = "x", publish = [{a = 1}, {b = "{{ 2 * 2 }}"}]}]'
    )
    (route,) = stage_of(
        tmp_path,
        text,
        OTHERS.replace('"y"', '"y"\nneeds = ["x"]').replace('"z"', '"z"\nneeds = ["x"]'),
    ).routes.on_success
    assert route.when is not None
    assert route.when.render({}) is False
    assert [(name, value.render({})) for name, value in route.publish] == [("a", 1), ("b", 4)]


def test_a_decision_is_tried_line_by_line(tmp_path: Path):
    text = 'decision = [{when = "{{ false }}", next = "x"}, {when = true, next = "y"}, {default = "z"}]'
    found = stage_of(tmp_path, text).routes.decision
    assert [choice.to for choice in found] == ["x", "y", "z"]
    assert [choice.when and choice.when.render({}) for choice in found] == [False, True, None]


def test_what_a_stage_publishes_keeps_its_order(tmp_path: Path):
    one = stage_of(tmp_path, 'publish = [{a = 1, b = "{{ 1 + 1 }}"}, {a = 3}]')
    assert [(name, value.render({})) for name, value in one.publish] == [
        ("a", 1),
        ("b", 2),
        ("a", 3),
    ]
    assert [name for name, _ in stage_of(tmp_path, "publish = {a = 1, b = 2}").publish] == [
        "a",
        "b",
    ]


def test_a_stage_per_item(tmp_path: Path):
    one = stage_of(
        tmp_path,
        'with_items = "{{ parameters.list }}"\nbatch_size = 10\nconcurrency = 3\nfail_fast = true',
    )
    assert one.items is not None
    assert one.items.list.render({"parameters": {"list": [1]}}) == [1]
    assert (one.items.batch_size, one.items.concurrency, one.items.fail_fast) == (10, 3, True)
    assert one.is_list
    plain = stage_of(tmp_path, "with_items = [1, 2]").items
    assert plain is not None
    assert plain.list.render({}) == [1, 2]
    assert (plain.batch_size, plain.concurrency, plain.fail_fast) == (None, 0, False)


def test_when_and_on_error_are_conditions(tmp_path: Path):
    one = stage_of(
        tmp_path,
        'when = "{{ 1 == 1 }}"\nretry = {count = 1, on_error = "{{ error.type == \'x\' }}"}',
    )
    assert one.when is not None
    assert one.when.render({}) is True
    assert one.retry.on_error is not None
    assert one.retry.on_error.render({"error": {"type": "x"}}) is True


def test_joins_and_needs(tmp_path: Path):
    text = """
[[workflows.stages]]
name = "a"
agents = ["r"]
on_success = ["b", "c"]
[[workflows.stages]]
name = "b"
agents = ["r"]
on_success = ["all", "one"]
[[workflows.stages]]
name = "c"
agents = ["r"]
on_success = ["all", "one"]
[[workflows.stages]]
name = "all"
agents = ["r"]
join = "all"
[[workflows.stages]]
name = "one"
agents = ["r"]
join = 1
[[workflows.stages]]
name = "needy"
agents = ["r"]
needs = ["a", "b"]
[[workflows.stages]]
name = "single"
agents = ["r"]
needs = "a"
"""
    stages = flow_of(tmp_path, stages=text).stages
    found = {n: (s.arms, s.join, s.has_needs) for n, s in stages.items() if s.join is not None}
    assert found == {
        "all": (("b", "c"), 2, False),
        "one": (("b", "c"), 1, False),
        "needy": (("a", "b"), 2, True),
        "single": (("a",), 1, True),
    }
    assert stages["a"].arms == ()


def test_a_block_holds_its_stages(tmp_path: Path):
    block = """
[[workflows.stages]]
name = "checks"
type = "parallel"
when = true
on_failure = "x"
[[workflows.stages.stages]]
name = "db"
agents = ["r"]
when = "{{ true }}"
with_items = [1]
compensation_agents = ["r"]
[[workflows.stages.stages]]
name = "redis"
action = "redis.ping"
approval_required = true
"""
    definition = flow_of(tmp_path, stages=block + OTHERS)
    stages = definition.stages
    assert list(stages) == ["checks", "db", "redis", "x", "y", "z"]
    checks = stages["checks"]
    assert (checks.kind, checks.roles, checks.children) == ("block", (), ("db", "redis"))
    assert checks.routes.next == "y"
    assert [(stages[n].block, stages[n].kind) for n in checks.children] == [
        ("checks", "agents")
    ] * 2
    assert stages["redis"].roles == ("redis",)
    assert stages["redis"].approval is not None
    assert stages["db"].classification == "compensatable"
    assert definition.reach["db"] == {"checks", "db", "redis", "x", "y", "z"}


def test_an_inquiry_asks_with_a_form_and_a_time_limit(tmp_path: Path):
    one = stage_of(
        tmp_path,
        """action = "core.inquiry"
input = {prompt = "Sure, {{ parameters.name }}?", timeout = "1d", schema = {type = "object", required = ["ok"], properties = {ok = {type = "boolean"}}}}""",
    )
    assert (one.kind, one.roles, one.input) == ("inquiry", (), None)
    assert one.prompt is not None
    assert one.prompt.render({"parameters": {"name": "Eve"}}) == "Sure, Eve?"
    assert one.form is not None
    assert one.form.problems({"ok": True}) == []
    assert one.form.problems({"ok": "yes"}) == ["`ok`: 'yes' does not fit; write true or false"]
    assert one.form.problems({}) == ["`ok` is missing"]
    assert one.timeout == timedelta(days=1)


def test_an_agents_default_time_limit_hurries_no_person(tmp_path: Path):
    text = (
        '[engine.defaults]\ntimeout = "5m"\n'
        + HEAD
        + '[[workflows.stages]]\nname = "ask"\naction = "core.inquiry"\n[[workflows.stages]]\nname = "nap"\naction = "core.noop"\n'
    )
    stages = definitions_in(tmp_path, text)["flow"].stages
    assert (stages["ask"].timeout, stages["nap"].timeout) == (None, timedelta(minutes=5))


def test_parameters_variables_and_output(tmp_path: Path):
    head = """order = "graph"
on_end = "z"
parameters = {env = {type = "string", enum = ["dev", "prod"], default = "dev"}, app = {type = "string", required = true}}
vars = {host = "{{ parameters.app }}.example", n = 0}
output = {type = "object", properties = {n = {type = "integer"}}}
output_map = {n = "{{ vars.n }}", fixed = 1}
"""
    definition = flow_of(tmp_path, head)
    assert (definition.order, definition.entry, definition.on_end) == ("graph", ("x", "y"), "z")
    assert definition.parameters is not None
    assert definition.parameters.complete({"app": "shop"}) == ({"app": "shop", "env": "dev"}, [])
    assert definition.vars is not None
    assert definition.vars.render({"parameters": {"app": "shop"}}) == {
        "host": "shop.example",
        "n": 0,
    }
    scope = {"vars": {"n": 7}}
    assert {key: value.render(scope) for key, value in definition.output_map.items()} == {
        "n": 7,
        "fixed": 1,
    }
    assert definition.output_schema is not None
    assert definition.output_schema.problems({"n": "x"}) == [
        "`n`: 'x' does not fit; write a whole number"
    ]


def test_limits_reach_the_machine(tmp_path: Path):
    text = "[engine.limits]\nmax_items = 5\nmax_passes = 6\nmax_payload_bytes = 2048\n[engine.retention]\ncompleted = '30d'\n"
    definition = definitions_in(tmp_path, text + HEAD + OTHERS)["flow"]
    limits = (definition.max_items, definition.max_passes, definition.max_payload_bytes)
    assert limits == (5, 6, 2048)


def test_keys_of_the_store_that_templates_read_are_known(tmp_path: Path):
    one = "when = \"{{ kv.get('a') == 1 }}\"\ninput = {x = [\"{{ kv.get('b.c', default=2) }}\"]}"
    stage = f'[[workflows.stages]]\nname = "one"\nagents = ["r"]\n{one}\n'
    definition = flow_of(tmp_path, "vars = {v = \"{{ kv.get('d') }}\"}", stage + OTHERS)
    assert (definition.kv_keys, definition.reads_kv) == ({"a", "b.c", "d"}, True)
    computed = stage.replace("kv.get('a')", "kv.get(parameters.key)")
    definition = flow_of(tmp_path, stages=computed + OTHERS)
    assert (definition.kv_keys, definition.reads_kv) == ({"b.c"}, True)
    assert not flow_of(tmp_path).reads_kv


def test_what_an_earlier_version_stored_still_compiles():
    stage = {"description": "", "agents": ["r"], "parallel": False, "max_parallel": 0, "timeout": 5}
    stage |= {
        "retry": {
            "count": 0,
            "delay": 1,
            "backoff": "exponential",
            "max_delay": 300,
            "jitter": True,
        }
    }
    stored = {
        "format": 1,
        "engine": {
            "max_parallel_tasks": 10,
            "approval_gates_enabled": True,
            "has_policies": False,
            "max_payload_bytes": 524288,
        },
        "workflow": {
            "name": "flow",
            "version": "",
            "label": "",
            "description": "",
            "tags": [],
            "enabled": True,
            "trigger": "manual",
            "workflow_timeout": 3600,
            "labels": {},
            "order": "written",
            "saga": {"on_failure": "compensate", "on_failed_undo": "continue"},
            "stages": [
                stage | {"name": "one", "action": "one", "approval_required": False},
                stage
                | {
                    "name": "two",
                    "action": "two",
                    "approval_required": True,
                    "compensation_agents": ["r"],
                    "compensation": {"action": "two", "compensate_self": "unknown"},
                },
            ],
        },
    }  # fmt: skip
    definition = compile_snapshot(stored)
    assert definition.document == stored
    assert definition.stages["one"].routes.next == "two"
    assert definition.stages["two"].arms == ("one",)
    assert definition.stages["two"].classification == "compensatable"
    assert definition.max_items == 10_000
