"""Random workflow documents: every form of route, joins, loops, blocks, lists, gates, sagas.

First the graph alone, mended until every stage can be reached; then what the stages do, so that
templates name only stages that are there. A few rules are broken on purpose, rarely: what cannot
be evaluated must fail in the same way everywhere. One file, because the weights only make sense
side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.unit.language import naive_graph as graph
from tests.unit.language.naive_graph import END, FAIL, Doc

ROLES = ("dev", "ops", "qa")
_COUNTING: Doc = {"publish": {"x": "{{ vars.x + 1 }}"}}


@dataclass(frozen=True, slots=True)
class Game:
    """A workflow, and the world that it runs in."""

    engine: Doc
    workflow: Doc
    parameters: Doc
    #: Stages that the policies deny, ``undo of <stage>`` where they deny its compensation. Empty:
    #: there are no policies.
    denied: tuple[str, ...] = ()


def random_game(seed: int) -> Game:
    """The game of a seed."""
    rng = Random(seed)
    workflow = _mended(_skeleton(rng))
    while len(workflow["stages"]) < 2 and rng.random() < 0.95:
        workflow = _mended(_skeleton(rng))
    _add_joins(rng, workflow)
    for number, stage in enumerate(workflow["stages"]):
        workflow["stages"][number] = _detailed(rng, workflow, stage)
    if rng.random() < 0.2:
        last = {"name": "last", "agents": ["ops"]}
        workflow["on_end"] = "last"
        workflow["stages"].append(_on_end(rng, last))
    names = list(graph.all_stages(workflow))
    workflow["output_map"] = {
        "x": "{{ vars.x }}",
        "n": f"{{{{ task.{rng.choice(names)}.result.n }}}}",
        **{f"{name}_status": f"{{{{ task.{name}.status }}}}" for name in names},
        **{f"{name}_result": f"{{{{ task.{name}.result }}}}" for name in names},
    }
    if rng.random() < 0.2:
        workflow["saga"] = {"on_failure": "halt"}
    parameters = {"p": rng.randrange(3), "items": rng.choice(([], [1], [1, 2, 3], [5, 6, 7, 8]))}
    denied = ()
    if rng.random() < 0.1:
        denied = (rng.choice(("", "undo of ")) + rng.choice(names),)
    _make_finals(rng, workflow)
    return Game(_engine(rng), workflow, parameters, denied)


def _make_finals(rng: Random, workflow: Doc) -> None:
    """Some of the stages that lead nowhere cannot be undone."""
    reach = graph.reach(workflow)
    for stage in workflow["stages"]:
        name = stage["name"]
        leads_nowhere = name in reach and reach[name] <= {name}
        if leads_nowhere and "agents" in stage and "stages" not in stage and rng.random() < 0.4:
            stage.pop("compensation_agents", None)
            stage.pop("compensation", None)
            # One that may happen once only waits for people, who have no part in this game.
            stage.update(classification="final", idempotent=True)
    if rng.random() < 0.5:
        workflow["saga"] = {**workflow.get("saga", {}), "after_final": "compensate"}


def _engine(rng: Random) -> Doc:
    limits: Doc = {"max_passes": rng.choice((1, 2, 3, 4, 6, 8))}
    if rng.random() < 0.05:
        limits["max_items"] = 2
    return {
        "workflow_timeout": 600 if rng.random() < 0.3 else 0,
        "max_parallel_tasks": rng.choice((0, 0, 0, 10, 1, 2, 3)),
        "limits": limits,
    }


# --- the graph ------------------------------------------------------------------------------------


def _skeleton(rng: Random) -> Doc:
    names = list("abcdefghij"[: rng.choice((1, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9))])
    order = "graph" if rng.random() < 0.3 else "written"
    needs = {
        name: rng.sample(names[:number], min(number, rng.choice((1, 2, 2, 3))))
        for number, name in enumerate(names)
        if number > 1 and rng.random() < 0.12
    }
    stages = []
    for number, name in enumerate(names):
        stage: Doc = {"name": name}
        if name in needs:
            stage["needs"] = needs[name]
        later = [other for other in names[number + 1 :] if other not in needs]
        earlier = [other for other in names[: number + 1] if other not in needs]
        _add_routes(rng, stage, later, earlier, 0.45 if order == "written" else 0.12)
        stages.append(stage)
    if len(names) > 3 and not needs and rng.random() < 0.15:
        _race(stages, *rng.sample(names[1:], 3))
    return {
        "name": "flow",
        "order": order,
        "vars": {
            "x": 0,
            "y": "start",
            "list": [1, 2, 3],
            **({"p": "{{ parameters.p }}"} if rng.random() < 0.5 else {}),
        },
        "stages": stages,
    }


def _race(stages: list[Doc], looping: str, plain: str, goal: str) -> None:
    """Two branches to one stage, of which one may come a pass ahead."""
    routes = {stages[0]["name"]: [looping, plain], looping: [looping, goal], plain: [goal]}
    for stage in stages:
        name = stage["name"]
        if name in routes:
            stage.pop("decision", None)
            stage.pop("on_success", None)
            stage["decision" if name == looping else "on_success"] = routes[name]


def _add_routes(
    rng: Random, stage: Doc, later: list[str], earlier: list[str], plain: float
) -> None:
    def some(count: int) -> list[str]:
        names = [_target(rng, later, earlier) for _ in range(count)]
        return [*names[1:], FAIL] if count > 1 and rng.random() < 0.08 else names

    form = rng.random()
    if form > plain:
        if form < plain + 0.12:
            stage["decision"] = some(rng.choice((1, 2, 2, 3)))
            if rng.random() < 0.1:
                stage["on_success"] = some(1)  # replaced, and yet it names a target
        else:
            stage["on_success"] = some(rng.choice((1, 1, 2, 2, 3) if earlier[1:] else (1, 2, 2, 3)))
    if rng.random() < 0.45:
        stage["on_failure"] = [END] if rng.random() < 0.15 else some(rng.choice((1, 1, 1, 2)))
    if rng.random() < 0.12:
        stage["on_timeout"] = some(1)
    if rng.random() < 0.12:
        stage["on_complete"] = some(rng.choice((1, 2)))


def _target(rng: Random, later: list[str], earlier: list[str]) -> str:
    luck = rng.random()
    if luck < 0.86 and later:
        return rng.choice(later[:3] if rng.random() < 0.7 else later)
    if luck < 0.96 and earlier:
        return earlier[-1] if rng.random() < 0.4 else rng.choice(earlier)
    return END if luck < 0.98 else FAIL


def _plain(workflow: Doc) -> Doc:
    """The skeleton as a document that can be read: a decision is still a list of names."""
    stages = [
        {**stage, "decision": [{"default": name} for name in stage["decision"]]}
        if "decision" in stage
        else stage
        for stage in workflow["stages"]
    ]
    return {**workflow, "stages": stages}


def _can_start(workflow: Doc) -> set[str]:
    """The stages that can ever start."""
    plain = _plain(workflow)
    arms, joins = graph.arms(plain), graph.joins(plain)
    found = set(graph.entry(plain))
    while True:
        more = {name for name in arms if len(found & set(arms[name])) >= (joins[name] or 1)}
        if more <= found:
            return found
        found |= more


def _mended(workflow: Doc) -> Doc:
    """Without the stages that can never start."""
    while True:
        found = _can_start(workflow)
        if len(found) == len(workflow["stages"]):
            return workflow
        left = [stage for stage in workflow["stages"] if stage["name"] in found]
        if not left:
            return {**workflow, "stages": [{"name": workflow["stages"][0]["name"]}]}
        for stage in left:
            for key in stage.keys() - {"name"}:
                names = [name for name in stage[key] if name in found or name in (END, FAIL)]
                stage[key] = names or [END]
        workflow = {**workflow, "stages": left}


def _add_joins(rng: Random, workflow: Doc) -> None:
    plain = _plain(workflow)
    entry = graph.entry(plain)
    for name, arms in graph.arms(plain).items():
        stage = graph.stages(workflow)[name]
        if "needs" in stage or name in entry or len(arms) < 2:
            continue
        if rng.random() < 0.3:
            stage["join"] = rng.choice(("all", 1, 2, 2, len(arms)))
            if len(_can_start(workflow)) < len(workflow["stages"]):
                del stage["join"]


# --- what the stages do ---------------------------------------------------------------------------


def _detailed(rng: Random, workflow: Doc, stage: Doc) -> Doc:
    """A stage with its work, in the order in which a person would write it."""
    name = stage["name"]
    others = [other["name"] for other in workflow["stages"]]
    made: Doc = {"name": name}
    if rng.random() < 0.1:
        made["type"] = "parallel"
        count = rng.choice((2, 2, 3))
        made["stages"] = [_child(rng, f"{name}{number}", others) for number in range(1, count + 1)]
    else:
        made |= _work(rng, name, others)
    if rng.random() < 0.1:
        made["when"] = _condition(rng, name, others)
    if rng.random() < 0.08 and made.get("action") != "core.inquiry":
        made |= _gate(rng)
    if rng.random() < 0.3:
        made["publish"] = _publish(rng, made)
    made |= {key: each for key, each in stage.items() if key in {"needs", "join"}}
    if "decision" in stage:
        made["decision"] = _decision(rng, made, others, stage["decision"])
    for key in ("on_success", "on_failure", "on_timeout", "on_complete"):
        if key in stage:
            made[key] = _routes(rng, made, others, stage[key], key)
    return made


def _child(rng: Random, name: str, others: Sequence[str]) -> Doc:
    made = {"name": name, **_work(rng, name, others)}
    if rng.random() < 0.15:
        made["when"] = _condition(rng, name, others)
    if rng.random() < 0.1 and made.get("action") != "core.inquiry":
        made |= _gate(rng)
    if rng.random() < 0.2:
        made["publish"] = _publish(rng, made)
    return made


def _on_end(rng: Random, stage: Doc) -> Doc:
    if rng.random() < 0.3:
        stage["when"] = rng.choice(("{{ error is none }}", "{{ vars.x < 2 }}"))
    if rng.random() < 0.4:
        stage["input"] = {"why": "{{ error }}" if rng.random() < 0.1 else "{{ vars.y }}"}
    if rng.random() < 0.3:
        stage["retry"] = {"count": 1, "delay": 1}
    if rng.random() < 0.2:
        stage["with_items"] = "{{ parameters.items }}"
        if rng.random() < 0.3:
            stage["input"] = {"one": "{{ [1][index] }}"}  # the second item has no such thing
    if rng.random() < 0.2:
        stage["publish"] = {"y": "{{ vars.x }}"}
    return stage


def _work(rng: Random, name: str, others: Sequence[str]) -> Doc:
    luck = rng.random()
    made: Doc = {"agents": [rng.choice(ROLES)]}
    if luck < 0.12:
        made["agents"] = [rng.choice(ROLES) for _ in range(rng.choice((2, 3)))]
        made["parallel"] = rng.random() < 0.6
        if made["parallel"] and rng.random() < 0.3:
            made["max_parallel"] = rng.choice((1, 2))
    elif luck < 0.27:
        made |= _items(rng)
    elif luck < 0.37:
        made = {"action": rng.choice(("core.noop", "core.echo", "core.sleep", "core.inquiry"))}
        if made["action"] in {"core.noop", "core.echo"} and rng.random() < 0.25:
            made |= _items(rng)
    if made.get("action") == "core.sleep":
        return {**made, "input": {"seconds": 5}}
    if made.get("action") == "core.inquiry":
        limit = {"timeout": "60s"} if rng.random() < 0.5 else {}
        return {**made, **limit, "input": {"prompt": "well?"}}
    if rng.random() < 0.3:
        made["input"] = _input(rng, others, has_items="with_items" in made)
    if "agents" in made:
        made |= _effort(rng, name)
    return made


def _items(rng: Random) -> Doc:
    made: Doc = {
        "with_items": rng.choice(("{{ vars.list }}", "{{ parameters.items }}"))
        if rng.random() < 0.97
        else "{{ vars.x }}"
    }
    if rng.random() < 0.3:
        made["batch_size"] = rng.choice((1, 2, 3))
    if rng.random() < 0.4:
        made["concurrency"] = rng.choice((1, 2))
    if rng.random() < 0.3:
        made["fail_fast"] = True
    return made


def _effort(rng: Random, name: str) -> Doc:
    """Retries, and how it is undone."""
    made: Doc = {}
    if rng.random() < 0.25:
        made["retry"] = {"count": rng.choice((1, 1, 2)), "delay": 1, "jitter": False}
        if rng.random() < 0.3:
            made["retry"]["on_error"] = rng.choice(
                ("{{ error.type == 'boom' }}", f"{{{{ task.{name}.error.type == 'timeout' }}}}")
            )
    if rng.random() < 0.4:
        if rng.random() < 0.8:
            count = rng.choice((1, 1, 2))
            made["compensation_agents"] = [rng.choice(ROLES) for _ in range(count)]
        own: Doc = {}
        if rng.random() < 0.7 or "compensation_agents" not in made:
            own["retry"] = {"count": rng.choice((0, 0, 1)), "delay": 1}
        if rng.random() < 0.3:
            own["input"] = {"x": "{{ vars.x }}", "y": "{{ vars.list.nothing }}"}
            if rng.random() < 0.85:
                del own["input"]["y"]
        if rng.random() < 0.3:
            own["compensate_self"] = rng.choice(("unknown", "never", "always"))
        if own:
            made["compensation"] = own
    return made


def _gate(rng: Random) -> Doc:
    made: Doc = {"approval_required": True}
    if rng.random() < 0.6:
        made["approval"] = {"timeout": "60s", "on_timeout": rng.choice(("reject", "approve"))}
    return made


def _input(rng: Random, others: Sequence[str], *, has_items: bool) -> Doc:
    other = rng.choice(others)
    made: Doc = {"x": "{{ vars.x }}", "size": 3}
    if rng.random() < 0.3:
        made["seen"] = f"{{{{ task.{other}.status | default('none') }}}}"
    if rng.random() < 0.15:
        made["result"] = f"{{{{ task.{other}.result | default('none') }}}}"
    if rng.random() < 0.03:
        made["given"] = f"{{{{ task.{other}.result.n }}}}"
    if has_items:
        made["item"] = "{{ item }}"
        made["index"] = "{{ index }}"
    return made


def _publish(rng: Random, stage: Doc) -> Any:
    name = stage["name"]
    choices: list[Doc] = [
        {"x": "{{ vars.x + 1 }}"},
        {"x": "{{ vars.x + 1 }}", "y": f"{{{{ task.{name}.status }}}}"},
        {"y": f"{{{{ task.{name}.result }}}}"},
    ]
    if stage.get("type") != "parallel":
        choices.append({"total": f"{{{{ task.{name}.total_count }}}}"})
    if rng.random() < 0.02:
        return {"y": "{{ vars.list.missing }}"}
    if rng.random() < 0.3:
        return rng.sample(choices, 2)
    return rng.choice(choices)


def _is_single(stage: Doc) -> bool:
    has_one = len(stage.get("agents", [])) == 1 and "with_items" not in stage
    return has_one or stage.get("action") == "core.inquiry"


def _condition(rng: Random, name: str, others: Sequence[str]) -> str:
    """Something that is true or false anywhere; rarely something that is neither."""
    other = rng.choice(others)
    if rng.random() < 0.012:
        return rng.choice(("{{ vars.x }}", "{{ vars.list.missing == 1 }}", "{{ vars.y }}"))
    return rng.choice(
        (
            "{{ vars.x < 2 }}",
            "{{ vars.x >= 2 }}",
            "{{ parameters.p == 1 }}",
            "{{ parameters.p != 0 }}",
            f"{{{{ task.{other}.status | default('none') == 'succeeded' }}}}",
            f"{{{{ task.{other}.status | default('none') != 'failed' }}}}",
            "{{ vars.x < 5 }}",
            "{{ true }}",
        )
    )


def _own_condition(rng: Random, stage: Doc, others: Sequence[str]) -> str:
    """A condition that may read the stage's own result."""
    name = stage["name"]
    if rng.random() < 0.5 and _is_single(stage):
        return rng.choice(
            (
                f"{{{{ task.{name}.result.ok }}}}",
                f"{{{{ task.{name}.result.n >= 2 }}}}",
                f"{{{{ task.{name}.result.n == 0 }}}}",
            )
        )
    return _condition(rng, name, others)


def _decision(rng: Random, stage: Doc, others: Sequence[str], names: list[str]) -> list[Doc]:
    lines = [{"when": _own_condition(rng, stage, others), "next": name} for name in names]
    if rng.random() < 0.85:
        lines[-1] = {"default": names[-1]}
    return lines


def _routes(rng: Random, stage: Doc, others: Sequence[str], names: list[str], key: str) -> Any:
    """One of the three forms of a route key; most ways back end some time."""
    loops = [name for name in names if _is_back(stage, others, name) and rng.random() < 0.7]
    if not loops and rng.random() < 0.6:
        return names[0] if len(names) == 1 and rng.random() < 0.7 else names
    made = []
    for name in names:
        route: Doc = {"do": [name] if rng.random() < 0.3 else name}
        if name in loops:
            count = rng.choice((1, 2, 3))
            made.append({"when": f"{{{{ vars.x < {count} }}}}", **route, **_COUNTING})
            continue
        if rng.random() < (0.7 if len(made) + 1 < len(names) else 0.15):
            route = {"when": _route_condition(rng, stage, others, key)} | route
        if rng.random() < 0.3:
            route |= _COUNTING
        made.append(route)
    return made


def _is_back(stage: Doc, others: Sequence[str], name: str) -> bool:
    return name in others and others.index(name) <= others.index(stage["name"])


def _route_condition(rng: Random, stage: Doc, others: Sequence[str], key: str) -> str:
    if key == "on_complete" or rng.random() < 0.4:
        return _condition(rng, stage["name"], others)
    if key == "on_success":
        return _own_condition(rng, stage, others)
    own = f"{{{{ task.{stage['name']}.error.type != 'permanent' }}}}"
    return rng.choice(("{{ error.type == 'boom' }}", "{{ error.type == 'timeout' }}", own))
