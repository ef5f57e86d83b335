"""What an operator is told of a graph, a value or a key that is wrong, and of what is doubtful."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from pathlib import Path

import pytest

from tests.support.workflow_files import problems_in, warnings_in

HEAD = '[[workflows]]\nname = "flow"\n'


def stage(name: str, lines: str = "", agents: bool = True) -> str:
    head = f'[[workflows.stages]]\nname = "{name}"\n' + 'agents = ["r"]\n' * agents
    return f"{head}{lines}\n"


def a_then_b(lines: str) -> str:
    """A first stage with ``lines``, its first line 6, and another."""
    return HEAD + stage("a", lines) + stage("b")


def block(child: str = "", parent: str = "", name: str = "p") -> str:
    inner = f'[[workflows.stages.stages]]\nname = "c"\nagents = ["r"]\n{child}\n'
    return stage(name, f'type = "parallel"\n{parent}', agents=False) + inner


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # Targets.
        ('on_failure = "d"', '`on_failure`: there is no stage "d"; there are "a", "b", end and fail'),
        ('on_failure = ["b", "ens"]', '`on_failure`: there is no stage "ens"; did you mean "end"?'),
        ('on_success = [{when = "{{ true }}", do = "bb"}, {do = "b"}]', '`on_success.0.do`: there is no stage "bb"; did you mean "b"?'),
        ('decision = [{when = "{{ true }}", next = "x"}, {default = "b"}]', '`decision.0.next`: there is no stage "x"'),
        ("on_success = []", "`on_success`: is empty; write at least one entry"),
        ("on_success = 5", "`on_success`: does not fit; write a target, as in"),
        ("on_success = {do = 'b'}", "`on_success`: does not fit; write a target, as in"),
        ("on_success = [{when = '{{ true }}'}, 'b']", "`do` is missing"),
        ("on_success = [{do = 'b', then = 1}]", "unknown key `then`; did you mean \"when\"?"),
        ("on_success = [{do = 'b', when = 5}]", "`on_success.0.when`: 5 does not fit; write an expression"),
        # Decisions.
        ("decision = [{default = 'b'}, {when = true, next = 'end'}]", "`decision.0`: what follows a default is never reached"),
        ("decision = [{next = 'b'}]", "`decision.0`: `when` is missing"),
        ("decision = [{when = true}, {default = 'b'}]", "`decision.0`: `next` is missing"),
        ("decision = [{default = 'b', next = 'b'}]", "`decision.0`: a default stands alone"),
        # Joins and needs.
        ('join = "all"', "`join`: a join waits for two stages or more, and 0 lead here; leave it out"),
        ("join = 0", '`join`: 0 does not fit; write "all", or the number of arms'),
        ("join = true", "`join`: true does not fit"),
        ('needs = "a"', "`needs`: a stage cannot need itself"),
        ('needs = ["b", "b"]', "`needs`: names a stage twice"),
        ('needs = "b"\njoin = 2', "`join`: `needs` waits for all of them already"),
        # Fan-out.
        ("batch_size = 3", "`batch_size`: has no effect without with_items"),
        ("concurrency = 3", "`concurrency`: has no effect without with_items"),
        ("fail_fast = true", "`fail_fast`: has no effect without with_items"),
        ("with_items = 5", "`with_items`: 5 does not fit; write an expression"),
        ("with_items = 'all of {{ parameters.x }}'", "`with_items`: 'all of {{ parameters.x }}' gives text; write one expression alone"),
        ("with_items = [1]\nbatch_size = 0", "`batch_size`: 0 is too small; at least 1"),
        # Conditions.
        ("when = 'true'", "`when`: 'true' gives text; write one expression alone"),
        ("when = '{{ 1 }}{{ 2 }}'", "gives text; write one expression alone"),
        ("when = '{% if 1 %}true{% endif %}'", "gives text; write one expression alone"),
        ("when = 1", "`when`: 1 does not fit; write an expression"),
        # What templates see.
        ("when = '{{ task.b.result }}'", "`task.b` has not run when this stage starts"),
        ("when = '{{ item }}'", "`item` is not there: only the input of a stage with with_items has it"),
        ("publish = {x = '{{ error }}'}", "`error` is not there: only routes after a failure"),
        ("with_items = [1]\ncompensation = {input = {x = '{{ item }}'}}", "`item` is not there"),
        ("when = '{{ vars.x }}'", "the workflow sets no variable `x`"),
        ("publish = {'{{ x }}' = 1}", 'the key "{{ x }}" is not evaluated'),
        ("when = \"{{ kv.get_secret('k') }}\"", "a secret is known to agents alone"),
        ("publish = {x = \"{{ kv.get_secret('k') }}\"}", "a secret is known to agents alone"),
        # Blocks.
        ("type = 'parallel'", "`agents`: a block only holds other stages; leave it out"),
        ("stages = []", "`stages`: is empty"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_stage_is_named_with_its_place_and_its_remedy(
    tmp_path: Path, lines: str, said: str
):
    problems = problems_in(tmp_path, a_then_b(lines))
    assert any(said in problem for problem in problems), problems
    assert all('workflow "flow", stage "a": ' in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Names.
        (stage("end"), 'w.toml:4: workflow "flow", stage "end": `name`: "end" is a target of its own'),
        (stage("fail"), '`name`: "fail" is a target of its own; take another name'),
        (stage("a") + block().replace('"c"', '"a"'), '"a" is already the name of the stage at line 4'),
        # What can never start.
        (stage("a", 'on_success = "end"') + stage("b"), '`name`: can never start: nothing leads here; "a", which stands before it, has routes of its own: name it there'),
        ('order = "graph"\n' + stage("a") + stage("b", 'on_success = "c"') + stage("c", 'on_success = "b"'), '`name`: can never start: only "b" leads here, and can never start either'),
        (stage("a", 'on_success = "x"\ndecision = [{default = "end"}]') + stage("x"), '; the decision of "a" replaces the on_success that names it'),
        ('order = "graph"\n' + stage("a", 'on_success = "j"') + stage("b", 'on_success = "c"') + stage("c", 'on_success = ["b", "j"]') + stage("j", 'join = "all"'), '`join`: can never be satisfied: "c" can never start'),
        (stage("a") + stage("b", 'needs = "c"') + stage("c", 'needs = "b"'), '`needs`: can never be satisfied: "c" can never start'),
        (stage("a", 'on_failure = ["j"]') + stage("j", "join = 3\n") + stage("b", 'on_success = "j"'), '`join`: 3 arms to wait for, and 2 lead here: "a", "b"'),
        (stage("a") + stage("n", 'needs = "a"') + stage("b", 'on_failure = "n"'), '`needs`: "b" leads here by a route, too'),
        # Blocks.
        (block() + stage("b", 'on_failure = "c"'), '`on_failure`: "c" stands in a block; write the block, "p"'),
        (block() + stage("b", 'needs = "c"'), '`needs`: "c" stands in a block'),
        (block("on_success = 'end'"), '"c": `on_success`: a stage of a block leads nowhere; write it at the block'),
        (block("needs = 'p'"), "`needs`: a stage of a block leads nowhere"),
        (block("type = 'parallel'"), "`type`: a block has no place in a block; write a sub-workflow"),
        (block("trigger = 'manual'"), "`trigger` belongs to the workflow, not to a stage"),
        (block("agent = 'x'"), 'unknown key `agent`; did you mean "agents"?'),
        (block("retry = {coun = 1}"), 'unknown key `coun`; did you mean "count"?'),
        (block("", "retry = {count = 1}"), "`retry`: a block only holds other stages; leave it out"),
        (block("", "compensation_agents = ['x']"), "`compensation_agents`: a block only holds"),
        (block("", "with_items = [1]"), "`with_items`: a block only holds other stages"),
        (block("", "timeout = 5"), "`timeout`: a block only holds other stages"),
        (stage("a", "type = 'parallel'", agents=False), "`type`: there is nothing to run together; write `stages` in it"),
        (block().replace('type = "parallel"', ""), '`stages`: a stage with stages in it says type = "parallel"'),
        (block("compensation = {input = {x = '{{ task.p.result }}'}}"), "`task.p` has not run"),
        (block() + "[[workflows.stages.stages]]\nname = 'd'\nagents = ['r']\ninput = {x = '{{ task.c.result }}'}\n", "`task.c` has not run when this stage starts"),
        # Inquiries, and what the engine does itself.
        (stage("a", "action = 'core.inquiry'\nretry = {count = 1}", agents=False), "`retry`: an inquiry asks a person and sends no task"),
        (stage("a", "action = 'core.inquiry'\nwith_items = [1]", agents=False), "`with_items`: an inquiry asks a person"),
        (stage("a", "action = 'core.inquiry'\ninput = {promt = 'x'}", agents=False), '`input.promt`: is not known here; did you mean "prompt"?'),
        (stage("a", "action = 'core.inquiry'\ninput = {schema = {type = 'objec'}}", agents=False), "`input.schema.type`: 'objec' is not a type; did you mean \"object\"?"),
        (stage("a", "action = 'core.inquiry'\ninput = {schema = {title = '{{ vars.x }}'}}", agents=False), "`input.schema.title`: expressions are not evaluated here"),
        (stage("a", "action = 'core.inquiry'\ntimeout = 1\ninput = {timeout = 1}", agents=False), "`timeout`: the input has a timeout, too"),
        (stage("a", "action = 'core.inquiry'\ninput = {timeout = 'x'}", agents=False), "`input.timeout`: 'x' is not a duration"),
        (stage("a", "action = 'core.sleep'\ninput = {second = 5}", agents=False), '`input.second`: is not known here; did you mean "seconds"?'),
        (stage("a", "action = 'core.sleep'\ninput = {}", agents=False), "`input`: write how long, as in"),
        (stage("a", "action = 'core.sleep'\ninput = {seconds = 5, until = '2030-01-31'}", agents=False), "`input`: seconds and until each say how long; keep one of them"),
        (stage("a", "action = 'core.sleep'\ninput = {until = 'tomorrow'}", agents=False), "`input.until`: 'tomorrow' is no instant"),
        (stage("a", "action = 'core.echo'\nstart_timeout = 5", agents=False), "`start_timeout`: the engine itself carries this stage out"),
        (stage("a", "action = 'core.echo'\ncompensation = {}", agents=False), "`compensation`: nobody is there to undo it"),
        (stage("a", "action = 'core.echo'"), "`agents`: the engine itself carries this stage out; leave it out"),
        (stage("a", "action = 'core.inquiry'"), "`agents`: an inquiry asks a person and sends no task; leave it out"),
        (stage("a", "action = 'core.slep'"), '"core.slep" is not built in; did you mean "core.sleep"?'),
        (stage("a", "action = 'core.echo'\nwith_items = [1]").replace('["r"]', '["r", "s"]'), "`agents`: the engine itself carries this stage out"),
        (stage("a", "with_items = [1]").replace('["r"]', '["r", "s"]'), "`with_items`: one task per item and one per agent do not go together"),
        (stage("a", "action = 'core.echo'\ninput = {x = \"{{ kv.get_secret('k') }}\"}", agents=False), "a secret is known to agents alone"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_graph_is_named_with_its_place_and_its_remedy(
    tmp_path: Path, text: str, said: str
):
    problems = problems_in(tmp_path, HEAD + text)
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("head", "said"),
    [
        # on_end.
        ('on_end = "c"', '`on_end`: there is no stage "c"; there are "a", "b"'),
        ('on_end = "a"', 'stage "a": `on_failure`: the stage of on_end just runs at the end; leave it out'),
        ('on_end = "b"', 'stage "a": `on_failure`: "b" is the stage of on_end'),
        # Parameters.
        ("parameters = 5", "`parameters`: 5 does not fit; write a table"),
        ("parameters = {n = 5}", "`parameters.n`: 5 does not fit; write a table"),
        ("parameters.n = {type = 'int'}", "`parameters.n.type`: 'int' is not a type; did you mean \"integer\"?"),
        ("parameters.n = {typ = 'integer'}", '`parameters.n.typ`: is no keyword of a parameter; did you mean "type"?'),
        ("parameters.n = {required = 'yes'}", "`parameters.n.required`: 'yes' does not fit; write true or false"),
        ("parameters.n = {type = 'integer', default = 'x'}", "`parameters.n.default`: does not fit parameter `n` itself: 'x' does not fit; write a whole number"),
        ("parameters.n = {enum = ['a', 'b'], default = 'c'}", "'c' is none of 'a' or 'b'"),
        ("parameters.n = {minimum = 'x'}", "`parameters.n.minimum`: not valid JSON Schema: 'x' is not of type 'number'"),
        ("parameters.n = {'$ref' = 'http://127.0.0.1:1/x'}", "stands outside the schema, and nothing is fetched"),
        ("parameters.n = {'$ref' = '#/$defs/x'}", "'#/$defs/x' names nothing in the schema"),
        ("parameters.n = {pattern = '('}", "`parameters.n.pattern`: not valid JSON Schema"),
        # Values.
        ("vars = {x = '{{ vars.y }}'}", "`vars.x`: `vars` is not there: variables are not there yet"),
        ("vars = {x = '{{ task.a.result }}'}", "`vars.x`: `task` is not there: no stage has run yet"),
        ("vars = {x = '{{ a b }}'}", "`vars.x`: expected token"),
        ("output = {type = 'objct'}", "`output.type`: 'objct' is not a type; did you mean \"object\"?"),
        ("output_map = {x = '{{ task.c.result }}'}", "`output_map.x`: `task.c` names no stage"),
        ("output_map = {x = '{{ parameters.y }}'}\nparameters.x = {}", "the workflow declares no `y`"),
        ("output_map = {x = '{{ pack.config.y }}'}", "the pack has no setting `y`"),
        ("output_map = {x = \"{{ kv.get_secret('k') }}\"}", "a secret is known to agents alone"),
        ('trigger = {event = "push"}', "the trigger event is not built yet"),
        ('saga = {after_final = "park"}', "`saga.after_final`: 'park' is none of 'hold' or 'compensate'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_workflow_is_named_with_its_place_and_its_remedy(
    tmp_path: Path, head: str, said: str
):
    text = f'[[workflows]]\nname = "flow"\n{head}\n' + stage("a", 'on_failure = "b"') + stage("b")
    problems = problems_in(tmp_path, text)
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (stage("a", 'on_success = "b"\ndecision = [{default = "b"}]') + stage("b"), '`on_success`: the decision replaces it; leave one of them out'),
        (stage("a", 'on_success = ["b", "c"]') + stage("b", 'on_success = "c"') + stage("c"), 'several of "a", "b" can lead here in one pass ("a" starts both ways here), and the first alone counts; write join = "all"'),
        (stage("a", 'compensation_agents = ["r"]') + stage("b", 'on_failure = "h"') + stage("h"), '`on_failure`: the failure is handled here, so that what "a" did stands; lead on to "fail"'),
        (stage("a", "input = {db_password = 'hunter2'}"), "`input.db_password`: looks like a secret in plain text; store it, and write \"{{ kv.get_secret('KEY') }}\""),
        (stage("a", "publish = {apiKey = 'x'}"), "`publish.apiKey`: looks like a secret"),
        (stage("a", "input = {headers = [{token = 'x'}]}"), "`input.headers.0.token`: looks like a secret"),
        ("parameters.password = {default = 'x'}\n" + stage("a"), "`parameters.password.default`: a secret in plain text"),
        ("output = {type = 'object'}\n" + stage("a"), "`output`: nothing gives an output; write output_map"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_a_warning(tmp_path: Path, text: str, said: str):
    (warning,) = warnings_in(tmp_path, HEAD + text)
    assert said in warning


@pytest.mark.parametrize(
    "text",
    [
        stage("a", "input = {password_file = '/x', max_tokens = 'x', token = '{{ parameters.t }}', secret = ''}"),
        # A handler that leads on to `fail` has the work undone.
        stage("a", 'compensation_agents = ["r"]') + stage("b", 'on_failure = "h"') + stage("h", 'on_success = "fail"'),
        stage("a", 'compensation_agents = ["r"]') + stage("b", 'on_failure = "fail"'),
        # Nothing before it is ever undone.
        stage("a") + stage("b", 'on_failure = "h"\ncompensation_agents = ["r"]') + stage("h"),
        # Itself, in a loop; another stage only under `default`.
        stage("a", "when = '{{ task.a.result == 1 }}'\non_failure = 'a'"),
        stage("a", "when = '{{ task.gone.status | default(1) == 1 }}'"),
        # A block sees what ran in it; a later stage, too.
        block("", "publish = {x = '{{ task.c.result }}'}") + stage("b", "when = '{{ task.c.status == 1 }}'"),
        # The end sees everything, and the error.
        'on_end = "z"\n' + stage("a", 'on_success = "end"') + stage("z", "input = {e = '{{ error }}', a = '{{ task.a.status }}'}"),
        stage("a", "on_failure = [{when = \"{{ error.type == 'x' }}\", do = 'end', publish = {m = '{{ error.message }}'}}]"),
        stage("a", "with_items = [1]\ninput = {i = '{{ item }}', n = '{{ index }}'}"),
        stage("a", "compensation = {input = {k = \"{{ kv.get_secret('k') }}\"}}\ninput = {k = \"Bearer {{ kv.get_secret('k') }}\"}"),
    ],
)  # fmt: skip
def test_what_is_well_is_left_alone(tmp_path: Path, text: str):
    assert warnings_in(tmp_path, HEAD + text) == []


def test_more_items_than_the_limit_are_refused_by_its_name(tmp_path: Path):
    text = "[engine.limits]\nmax_items = 2\n" + HEAD + stage("a", "with_items = [1, 2, 3]")
    (problem,) = problems_in(tmp_path, text)
    assert "`with_items`: 3 items; engine.limits.max_items allows 2" in problem


def test_stages_of_blocks_count_for_the_limit(tmp_path: Path):
    (problem,) = problems_in(tmp_path, "[engine.limits]\nmax_stages = 1\n" + HEAD + block())
    assert "2 stages; engine.limits.max_stages allows 1" in problem
