"""Mistakes of every kind in one workflow: all are told at once, and none that follows from another.

A mistake is written into a stage of its own, or beside another one. What is said of several is what
is said of each alone.
"""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from pathlib import Path

import pytest

from sagabus.definitions.catalog import validate
from tests.support.workflow_files import problems_in

HEAD = '[[workflows]]\nname = "flow"\n'
#: One mistake each, none of which hides another: of keys, values, templates, targets, combinations.
MISTAKES = [
    "on_failur = 'end'",
    "colour = 'red'",
    "workflow_timeout = 5",
    "timeout = -1",
    "retry = {delay = 1}",
    "retry = {count = 'a'}",
    "compensation = {inptu = 1}",
    "approval_required = true\napproval = {approvers = 0}",
    "approval = {timeout = 5}",
    "classification = 'finl'",
    "classification = 'compensatable'",
    "idempotent = true",
    "batch_size = 3",
    "with_items = 5",
    "parallel = 1",
    "max_parallel = -1",
    "agents = ['x y']",
    "action = '{{ x }}'",
    "input = {v = '{{ task.nosuch.result }}', w = '{{ 1 + }}'}",
    "input = {v = '{{ oops'}",
    "publish = {x = '{{ error }}'}",
    "when = '{{ 1 }}{{ 2 }}'",
    "when = 1",
    "on_success = 'nowhere'",
    "on_success = []",
    "on_success = [{when = '{{ 1 + }}', do = 'nowhere'}, {when = '{{ true }}'}]",
    "on_failure = 'nowhere'",
    "on_timeout = [{do = 'nowhere', then = 1}]",
    "decision = [{when = true, next = 'nowhere'}, {default = 'end'}]",
    "decision = [{next = 'end'}]",
    "needs = 'nowhere'",
    "join = true",
]  # fmt: skip

#: Keys that say something of each other, so that the one may be what is wrong with the other.
ENTANGLED = {
    "approval",
    "classification",
    "idempotent",
    "compensation",
    "with_items",
    "batch_size",
    "publish",
}


def stage(name: str, *lines: str, agents: str = 'agents = ["r"]') -> str:
    own = "" if any("agents =" in line for line in lines) else agents
    return "\n".join(["[[workflows.stages]]", f'name = "{name}"', own, *lines, ""])


def block(*lines: str) -> str:
    """A block with one stage in it."""
    head = stage("a", 'type = "parallel"', agents="") + "[[workflows.stages.stages]]\nname = 'c'\n"
    return "\n".join([head, *lines, ""])


BLOCK_IN_BLOCK = block("type = 'parallel'", "stages = [{name = 'd', agents = ['r']}]")


def left_out(lines: str) -> str:
    """Nothing, in as many lines."""
    return "\n".join("#" for _ in lines.split("\n"))


@pytest.mark.parametrize("one", MISTAKES)
def test_mistakes_in_two_stages_are_both_told(tmp_path: Path, one: str):
    for other in MISTAKES[MISTAKES.index(one) :]:
        # Neither stage leads to the other, whatever becomes of their routes.
        head = HEAD + 'order = "graph"\n'
        both = problems_in(tmp_path, head + stage("a", one) + stage("b", other))
        first = problems_in(tmp_path, head + stage("a", one) + stage("b", left_out(other)))
        second = problems_in(tmp_path, head + stage("a", left_out(one)) + stage("b", other))
        assert first, one
        assert sorted(both) == sorted(first + second), other


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_stage_hides_nothing_of_the_graph(tmp_path: Path, mistake: str):
    graph = [
        stage("f", 'classification = "final"'),
        stage("g", 'needs = "f"'),
        stage("h", "compensation = {input = {v = '{{ task.g.result }}'}}"),
    ]
    text = HEAD + 'order = "graph"\n' + "".join(graph)
    alone, together = problems_in(tmp_path, text), problems_in(tmp_path, text + stage("a", mistake))
    assert [one.split(" ")[0] for one in alone] == ["w.toml:9:", "w.toml:15:"]
    assert alone[0] in together
    # Where anything may lead anywhere, `g` may have run by then.
    assert alone[1] in together or any(key in mistake for key in ("on_", "decision"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            stage("a", "on_failur = 'end'", "on_success = 'nowhere'", "input = {v = '{{ task.nosuch.result }}', w = '{{ 1 + }}'}"),
            ["unknown key `on_failur`", 'no stage "nowhere"', "`task.nosuch` names no stage", "unexpected 'end of print"],
        ),
        (
            stage("f", "classification = 'final'") + stage("g", "on_failure = 'nowhere'"),
            ['it can run after the final stage "f"', 'no stage "nowhere"'],
        ),
        (
            stage("a", "on_success = 'end'") + stage("b", "on_failure = 'nowhere'"),
            ["can never start: nothing leads here", 'no stage "nowhere"'],
        ),
        (
            stage("a", "on_success = ['b', 'j']") + stage("b", "on_success = 'end'") + stage("j", "join = 3") + stage("c", "needs = ['c']"),
            ["`join`: a join waits for two stages or more", "a stage cannot need itself"],
        ),
        (stage("a", "timout = 1") + stage("a", "input = {v = '{{ oops'}"), ["unknown key `timout`", "is already the name", "`input.v`: unexpected"]),
        (BLOCK_IN_BLOCK + stage("b", "input = {v = '{{ oops'}", "join = 2"), ["`type`: a block has no place in a block", "`input.v`: unexpected", "`join`: a join waits"]),
        (block("on_success = 'end'", "action = 'core.sleep'", "input = {seconds = -5}"), ["`on_success`: a stage of a block leads nowhere", "-5 is not between"]),
        (stage("a", "action = 'core.sleep'", "input = {duration = 'x', until = 'y'}", agents=""), ["duration and until each say how long", "'x' is not a duration", "'y' is no instant"]),
        (stage("a", "agents = []", "classification = 'compensatable'"), ["`agents`: is empty", "a compensatable stage needs a compensation"]),
        (stage("a") + stage("a", "on_success = 'nowhere'"), ["is already the name", 'there are "a", end and fail']),
        (stage("a") + stage("B", "on_success = 'nowhere'"), ["'B' is not a stage name", 'no stage "nowhere"']),
    ],
)  # fmt: skip
def test_what_came_to_light_one_by_one_is_told_at_once(tmp_path: Path, text: str, said: list[str]):
    found = problems_in(tmp_path, HEAD + text)
    assert len(found) == len(said), found
    for words, problem in zip(said, found, strict=True):
        assert words in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # A misspelt handler is off the main line, and what is behind it can start.
        (stage("f", "classification = 'final'", "on_failure = 'cleanu'") + stage("cleanup"), 'no stage "cleanu"'),
        (stage("a", "on_failure = 'nowhere'", "on_success = 'end'") + stage("handler"), 'no stage "nowhere"'),
        (stage("a", "on_failur = 'handler'", "on_success = 'end'") + stage("handler"), "unknown key `on_failur`"),
        (stage("f", "classification = 'final'", "on_success = 5") + stage("g"), "`on_success`: does not fit"),
        (stage("f", "classification = 'final'") + stage("g", "classification = 'finl'"), "'finl' is none of"),
        (stage("f", "classification = 'final'") + stage("g", "action = 'nothing'", agents=""), '"nothing" is no workflow'),
        (stage("a", "on_success = 'end'") + stage("g", "need = 'a'"), "unknown key `need`"),
        ("on_en = 'z'\n" + stage("f", "classification = 'final'") + stage("z"), "unknown key `on_en`"),
        ("on_end = 'zz'\n" + stage("f", "classification = 'final'") + stage("zzz"), 'no stage "zz"'),
        ("order = 'graf'\n" + stage("f", "classification = 'final'") + stage("z"), "'graf' is none of"),
        # What is there, and only wrong, is not missing.
        (stage("a", agents="agent = ['r']"), "unknown key `agent`"),
        (stage("a", agents="who = ['r']"), "unknown key `who`"),
        (stage("a", "agents = []"), "`agents`: is empty"),
        ("[[workflows.stages]]\nnam = 'a'\nagents = ['r']\n", "unknown key `nam`"),
        (stage("a", "with_item = [1]", "batch_size = 3"), "unknown key `with_item`"),
        (stage("a", "classification = 'compensatable'", "compensation_agent = ['r']"), "unknown key `compensation_agent`"),
        (stage("a", "approval_require = true", "approval = {}"), "unknown key `approval_require`"),
        (stage("a", "publis = {x = 1}", "when = '{{ vars.x }}'"), "unknown key `publis`"),
        (stage("a", "vars = {x = 1}", "when = '{{ vars.x }}'"), "`vars` belongs to the workflow"),
        (stage("a", "on_success = ['b', 'jj']") + stage("b", "on_success = 'j'") + stage("j", "join = 2"), 'no stage "jj"'),
        (stage("a", "type = 'paralel'", agents="") + "[[workflows.stages.stages]]\nname = 'c'\nagents = ['r']\n", "'paralel' is none of"),
        # A stage that cannot start, and what is behind it.
        (stage("a", "on_success = 'end'") + stage("b", "when = '{{ task.a.result }}'") + stage("c", "needs = 'b'", "when = '{{ task.a.result }}'"), "can never start: nothing leads here"),
        (stage("a", "on_success = 'end'") + stage("b", "on_failure = 'c'") + stage("c"), "can never start: nothing leads here"),
        (stage("a", "on_success = ['b', 'j']") + stage("b", "on_success = 'end'") + stage("c", "on_success = 'j'") + stage("j", "join = 2"), "can never start: nothing leads here"),
        (stage("a", "on_success = 'b'", "on_failure = [{do = []}]") + stage("b", "on_success = 'a'") + stage("c", "when = '{{ task.a.result }}'", "on_success = 'a'"), "`on_failure.0.do`: is empty"),
        # What the place lacks it lacks as a whole.
        ("vars = {x = '{{ task.a.result }}'}\n" + stage("a"), "`task` is not there: no stage has run yet"),
        (stage("a", "action = 'core.sleep'", "input = {secs = 5}", agents=""), '`input.secs`: is not known here; did you mean "seconds"?'),
        (BLOCK_IN_BLOCK, "`type`: a block has no place in a block"),
        (stage("a", "on_success = 'nowhere'") + stage("b", "when = '{{ task.c.result }}'") + stage("c"), 'no stage "nowhere"'),
        (stage("a", "decision = [{when = true, nxt = 'b'}]") + stage("b"), "unknown key `nxt`"),
        (stage("a") + stage("b", "needs = ['nowhere']"), 'no stage "nowhere"'),
    ],
)  # fmt: skip
def test_what_follows_from_a_mistake_alone_is_not_told(tmp_path: Path, text: str, said: str):
    [problem] = problems_in(tmp_path, HEAD + text)
    assert said in problem


def test_mistakes_of_one_stage_are_all_told(tmp_path: Path):
    mistakes = [one for one in MISTAKES if one.split(" ")[0] not in ENTANGLED]
    by_key = {one.split(" ")[0]: one for one in mistakes}.values()
    alone = [
        problem
        for mine in by_key
        for problem in problems_in(
            tmp_path, HEAD + stage("a", *(one if one is mine else left_out(one) for one in by_key))
        )
    ]
    assert sorted(problems_in(tmp_path, HEAD + stage("a", *by_key))) == sorted(alone)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f'{HEAD}[[workflows.stages]]\nname = "a"\naction = "core.noop"\n'
            '[[workflows.stages]]\nname = "b"\naction = "core.noop"\nneeds = []\njoin = 2\n',
            [
                'w.toml:9: workflow "flow", stage "b": `needs`: is empty; write at least one entry',
                'w.toml:10: workflow "flow", stage "b": `join`: `needs` waits for all of them '
                "already; leave out one of both",
            ],
        ),
        (
            f'{HEAD}[[workflows.stages]]\nname = "a"\naction = "core.inquiry"\n'
            '[workflows.stages.input]\nprompt = "?"\nn = [1, nan]\n'
            '[workflows.stages.input.schema]\ntype = "objekt"\n'
            'properties = {a = {type = "intger"}}\n',
            [
                'w.toml:8: workflow "flow", stage "a": `input.n.1`: nan is not a number that '
                "JSON has",
            ],
        ),
        (
            f'{HEAD}[[workflows.stages]]\nname = "a"\naction = "core.inquiry"\n'
            '[workflows.stages.input]\nprompt = "?"\n'
            '[workflows.stages.input.schema]\ntype = "objekt"\n'
            'properties = {a = {type = "intger"}}\n',
            [
                'w.toml:9: workflow "flow", stage "a": `input.schema.type`: \'objekt\' is not a '
                'type; did you mean "object"?',
                'w.toml:10: workflow "flow", stage "a": `input.schema.properties.a.type`: '
                "'intger' is not a type; did you mean \"integer\"?",
            ],
        ),
        (
            f'{HEAD}order = "graph"\nworkflow_timeout = true\n'
            '[[workflows.stages]]\nname = "a"\naction = "core.noop"\non_success = "a"\n',
            [
                'w.toml:4: workflow "flow": `workflow_timeout`: true is not a duration; write '
                'seconds, or text like "90s", "15m", "2h", "30d"',
                'w.toml:5: workflow "flow": `stages`: no stage can start: each is led to by another '
                "one, or needs one; write a stage before them that none of them names, and have it "
                "lead to the first",
            ],
        ),
    ],
)
def test_what_is_wrong_besides_is_told_at_once(tmp_path: Path, text: str, said: list[str]):
    path = tmp_path / "w.toml"
    path.write_text(text)
    found = [str(one).removeprefix(f"{tmp_path}/") for one in validate([path]).problems]
    assert found == said
