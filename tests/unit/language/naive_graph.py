"""What a workflow document says of its graph, read from the document again at every question.

The document is the table of one ``[[workflows]]`` as TOML gives it: plain dicts, lists, strings.
"""

from itertools import pairwise
from typing import Any

END, FAIL = "end", "fail"
Doc = dict[str, Any]


def stages(workflow: Doc) -> dict[str, Doc]:
    """The stages of the top level, as written."""
    return {stage["name"]: stage for stage in workflow["stages"]}


def children(stage: Doc) -> list[str]:
    """The stages inside a block."""
    return [child["name"] for child in stage.get("stages", [])]


def all_stages(workflow: Doc) -> dict[str, Doc]:
    """Every stage, those inside blocks too."""
    found = {}
    for name, stage in stages(workflow).items():
        found[name] = stage
        for child in stage.get("stages", []):
            found[child["name"]] = child
    return found


def block_of(workflow: Doc, name: str) -> str | None:
    """The block that a stage stands in."""
    for block, stage in stages(workflow).items():
        if name in children(stage):
            return block
    return None


def routes(value: Any) -> list[Doc]:
    """Any form of a route key as a list of ``{do: [...], when?, publish?}``."""
    if value is None:
        return []
    if isinstance(value, str):
        return [{"do": [value]}]
    if all(isinstance(each, str) for each in value):
        return [{"do": value}]
    return [
        {**each, "do": [each["do"]] if isinstance(each["do"], str) else each["do"]}
        for each in value
    ]


def targets(stage: Doc) -> list[str]:
    """Every stage that a stage can lead to by its routes."""
    if "decision" in stage:
        stage = {key: each for key, each in stage.items() if key != "on_success"}
    return named(stage)


def named(stage: Doc) -> list[str]:
    """Every stage that stands in a route of a stage, though a decision may replace that."""
    found = [line.get("next", line.get("default")) for line in stage.get("decision", [])]
    for key in ("on_success", "on_failure", "on_timeout", "on_complete"):
        for route in routes(stage.get(key)):
            found += route["do"]
    return [name for name in found if name not in (END, FAIL)]


def main_line(workflow: Doc) -> list[str]:
    """Every stage that no earlier-written one names, without needs, and not ``on_end``."""
    if workflow.get("order", "written") == "graph":
        return []
    known: set[str] = set()
    line = []
    for name, stage in stages(workflow).items():
        if name not in known and "needs" not in stage and name != workflow.get("on_end"):
            line.append(name)
        known |= set(named(stage))
    return line


def nexts(workflow: Doc) -> dict[str, str | None]:
    """By stage: the next of the main line, where it has no success route of its own."""
    line = main_line(workflow)
    found: dict[str, str | None] = dict.fromkeys(stages(workflow))
    for name, following in pairwise(line):
        if not {"on_success", "decision", "on_complete"} & stages(workflow)[name].keys():
            found[name] = following
    return found


def arms(workflow: Doc) -> dict[str, list[str]]:
    """By stage: the distinct stages that lead to it, or that it needs."""
    following = nexts(workflow)
    leads_to = {name: targets(stage) for name, stage in stages(workflow).items()}
    found = {}
    for name, stage in stages(workflow).items():
        if "needs" in stage:
            found[name] = list(dict.fromkeys(stage["needs"]))
        else:
            found[name] = [
                other for other in leads_to if name in leads_to[other] or following[other] == name
            ]
    return found


def joins(workflow: Doc) -> dict[str, int | None]:
    """By stage: how many arms must have fired; None: any one starts the stage."""
    arms_of = arms(workflow)
    return {
        name: len(arms_of[name])
        if "needs" in stage or stage.get("join") == "all"
        else stage.get("join")
        for name, stage in stages(workflow).items()
    }


def needed_by(workflow: Doc, name: str) -> list[str]:
    """The stages that need a stage."""
    return [other for other, each in stages(workflow).items() if name in each.get("needs", [])]


def reach(workflow: Doc) -> dict[str, set[str]]:
    """By stage: every stage that it can lead to, itself too."""
    arms_of = arms(workflow)
    found: dict[str, set[str]] = {}
    for name in arms_of:
        found[name] = set()
        todo = [name]
        while todo:
            one = todo.pop()
            if one not in found[name]:
                found[name].add(one)
                todo += [other for other in arms_of if one in arms_of[other]]
    return found


def entry(workflow: Doc) -> list[str]:
    """The stages that a workflow begins with."""
    if workflow.get("order", "written") == "graph":
        known = {name for stage in workflow["stages"] for name in named(stage)}
        known.add(workflow.get("on_end", ""))
        return [
            name
            for name, stage in stages(workflow).items()
            if name not in known and "needs" not in stage
        ]
    return main_line(workflow)[:1]
