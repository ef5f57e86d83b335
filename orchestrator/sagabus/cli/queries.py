"""Commands that only look: list, show, history, watch, workflows, agents."""

import json
from itertools import starmap
from typing import Annotated, Any, Final

import typer

from sagabus.cli import follow
from sagabus.cli.client import EXECUTIONS, WORKFLOWS, Api, instance_path, workflow_path
from sagabus.cli.options import InstanceId, Json, Timeout, Url, status_of
from sagabus.cli.output import duration, instant, say, say_json, say_table, status
from sagabus.cli.why import say_cause

app = typer.Typer()

#: Causes that the stages and tasks tell as well.
_SHOWN_ANYWAY: Final = frozenset({"ended", "running", "moving"})
#: What ``show`` prints for people; ``--json`` has all of it.
_MAX_TASKS: Final = 200
_MAX_CHARACTERS: Final = 1_000


@app.command(name="list")
def list_(
    workflow: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this one.")] = None,
    status_: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", parser=status_of, help="Only in this status."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on where the last page ended.")
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """List instances, newest first."""
    page = Api(url).get(EXECUTIONS, workflow=workflow, status=status_, limit=limit, cursor=cursor)
    if is_json:
        say_json(page)
        return
    say_table(
        ("ID", "WORKFLOW", "STATUS", "STARTED", "TOOK", "AT"),
        (
            (
                item["id"],
                item["workflow"],
                status(item["status"], item["summary"]),
                instant(item["created_at"]),
                duration(item["duration_s"]),
                ", ".join(item["current_tasks"]) or follow.error_line(item),
            )
            for item in page["items"]
        ),
        none="no instance matches" if workflow or status_ else "there are no instances",
    )
    if page["cursor"]:
        say(f"more: --cursor {page['cursor']}")


@app.command()
def show(
    instance: InstanceId,
    is_tree: Annotated[
        bool, typer.Option("--tree", help="Show the instances that carry out its stages instead.")
    ] = False,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Show an instance with its stages and tasks."""
    api = Api(url)
    if is_tree:
        tree = api.get(instance_path(instance, "tree"))
        say_json(tree) if is_json else _say_tree(tree, "")
        return
    found = api.get(instance_path(instance))
    why = api.get(instance_path(instance, "why"))
    if is_json:
        say_json({**found, "tasks": _all_tasks(api, instance), "why": why})
        return
    _say_instance(found, why)
    page = api.get(instance_path(instance, "tasks"), limit=_MAX_TASKS)
    say()
    say_table(
        ("TASK", "KIND", "ROLE", "STATUS", "ATTEMPTS", "TOOK", "AGENT", "ERROR"),
        map(_task_row, page["items"]),
        none="nothing was sent to anybody",
    )
    if page["next_offset"] is not None:
        say(f"and more tasks after these {_MAX_TASKS}: sagabus show {instance} --json")
    for failed in found["failed_compensations"]:
        place = f"stage {failed['stage']}, task {failed['task']}"
        say(f"not undone: {place}: {failed['error']['message']}")
    for left in found["effects_left"]:
        stands = "stands" if left["is_certain"] else "may stand"
        say(f"left: {left['class']} stage {left['stage']}, task {left['task']} {stands}")


def _say_instance(found: dict[str, Any], why: dict[str, Any]) -> None:
    follow.say_end(found)
    by = f" by {found['started_by']}" if found["started_by"] else ""
    say(f"started {instant(found['created_at'])}{by}, parameters {_brief(found['parameters'])}")
    for cause in why["causes"]:
        if cause["cause"] not in _SHOWN_ANYWAY:
            say_cause(cause)
    if classes := found["effect_classes"]:
        say("stages: " + ", ".join(f"{count} {kind}" for kind, count in classes.items()))
    for name, values in (("variables", found["variables"]), ("output", found["output"])):
        if values:
            say(f"{name} {_brief(values)}")
    for warning in found["warnings"]:
        say(f"warning: {warning}")
    say()
    say_table(
        ("STAGE", "PASS", "STATUS", "TOOK", "TASKS", "APPROVAL"),
        map(_stage_row, found["stages"]),
        none="no stage has begun",
    )
    for stage in found["stages"]:
        gate = stage["approval"]
        if stage["status"] == "waiting" and gate["schema"] is not None:
            what = "the answer to" if gate["is_question"] else "the data of an approval of"
            say(f"{what} {stage['stage']} must be {_brief(gate['schema'])}")


def _brief(value: Any) -> str:
    """A document as JSON in one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[:_MAX_CHARACTERS]}... ({len(text)} characters; --json has all)"


def _all_tasks(api: Api, instance: str) -> list[Any]:
    tasks: list[Any] = []
    offset: int | None = 0
    while offset is not None:
        page = api.get(instance_path(instance, "tasks"), offset=offset)
        tasks += page["items"]
        offset = page["next_offset"]
    return tasks


def _say_tree(tree: dict[str, Any], indent: str) -> None:
    found = tree["instance"]
    place = f"{tree['task']}: " if tree["stage"] else ""
    say(f"{indent}{place}{found['workflow']} {found['id']} {found['summary']}")
    for child in tree["children"]:
        _say_tree(child, indent + "  ")
    if tree["more"]:
        say(f"{indent}  and {tree['more']} more")


def _stage_row(stage: dict[str, Any]) -> tuple[Any, ...]:
    approval = stage["approval"] or {}
    decision = approval.get("decision") or ("asked" if approval else "")
    by = f" by {approval['by']}" if approval.get("by") else ""
    if approval.get("missing") and approval["approvals"]:
        names = ", ".join(each["by"] for each in approval["approvals"])
        by = f", {approval['missing']} missing, approved by {names}"
    return (
        stage["stage"],
        stage["pass"],
        status(stage["status"], f"{stage['status']}, handled" if stage["is_handled"] else ""),
        duration(stage["duration_s"]),
        f"{stage['succeeded']}/{stage['tasks']}",
        decision + by,
    )


def _task_row(task: dict[str, Any]) -> tuple[Any, ...]:
    newest = task["attempts"][-1]
    tried, retries = len(task["attempts"]), task["max_retries"]
    # More than the policy allows: an operator had it tried again, or said how it ended.
    allowed = "" if retries is None or tried > retries + 1 else f" of {retries + 1}"
    return (
        task["task"],
        task["kind"],
        task["role"],
        status(task["status"]),
        f"{tried}{allowed}",
        duration(newest["duration_s"]),
        newest["agent"] or "-",
        task["error"]["message"] if task["error"] else "",
    )


@app.command()
def history(instance: InstanceId, is_json: Json = False, url: Url = None) -> None:
    """Print what happened to an instance."""
    api, entries = Api(url), list[Any]()
    after: int | None = 0
    while after is not None:
        page = api.get(instance_path(instance, "history"), after=after)
        entries += page["items"]
        after = page["next_after"]
    if is_json:
        say_json({"items": entries})
        return
    for entry in entries:
        say(follow.line_of(entry))


@app.command()
def watch(
    instance: InstanceId, timeout: Timeout = None, is_json: Json = False, url: Url = None
) -> None:
    """Follow an instance to its end, from its first event; say on standard error why it stands.

    Exit code: as of start --wait. With --json one line per event.
    """
    follower = follow.Follower(Api(url), instance, timeout)
    for entry in follower.entries():
        if is_json:
            say_json(entry, is_line=True)
        else:
            say(follow.line_of(entry))
    ended = follower.until_ended()
    if not is_json:
        follow.say_end(ended)
    raise typer.Exit(follow.exit_code(ended))


@app.command()
def workflows(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one.")] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """List the workflows in force."""
    api = Api(url)
    page: Any = {"items": [api.get(workflow_path(name))]} if name else api.get(WORKFLOWS)
    items = page["items"]
    if refused := page.get("refused"):
        say(refused["message"], is_error=True)
    if is_json:
        say_json(page)
        return
    say_table(
        ("WORKFLOW", "VERSION", "TRIGGER", "STAGES", "DESCRIPTION"),
        (
            (
                item["name"] if item["enabled"] else f"{item['name']} (disabled)",
                item["version"],
                item["trigger"],
                " ".join(stage["name"] for stage in item["stages"]),
                item["description"],
            )
            for item in items
        ),
        none="no workflow is in force",
    )
    if name and (declared := items[0]["parameters"]):
        say()
        say_table(
            ("PARAMETER", "TYPE", "REQUIRED", "DEFAULT", "DESCRIPTION"),
            starmap(_parameter_row, declared.items()),
        )


def _parameter_row(name: str, declared: dict[str, Any]) -> tuple[Any, ...]:
    kind = declared.get("type", "any")
    return (
        name,
        kind if isinstance(kind, str) else " or ".join(kind),
        "yes" if declared.get("required") else "",
        _brief(declared["default"]) if "default" in declared else "",
        declared.get("description", ""),
    )


@app.command()
def agents(is_json: Json = False, url: Url = None) -> None:
    """List the agents that are alive."""
    page = Api(url).get("/api/v1/agents")
    if is_json:
        say_json(page)
        return
    say_table(
        ("AGENT", "ROLES", "BUSY", "RUNNING", "VERSION"),
        (
            (
                item["agent"],
                " ".join(item["roles"]),
                f"{item['slots'] - item['free']}/{item['slots']}",
                " ".join(f"{run['instance']}/{run['task']}" for run in item["running"]),
                item["version"],
            )
            for item in page["items"]
        ),
        none="no agent is alive",
    )
