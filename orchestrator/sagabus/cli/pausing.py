"""Commands that hold back and let go: an instance, several, a workflow, a role, everything."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from sagabus.cli.bulk import (
    DryRun,
    InStatus,
    Limit,
    MaybeId,
    OfWorkflow,
    OlderThan,
    Selection,
    check_one_thing,
    give_all,
)
from sagabus.cli.client import Api
from sagabus.cli.giving import command, report, what_next
from sagabus.cli.options import Json, Reason, Url, who
from sagabus.cli.output import instant, say, say_json, say_table

app = typer.Typer()

_HOLDS = "/api/v1/holds"

Role = Annotated[
    str | None, typer.Option("--role", metavar="ROLE", help="The tasks of this role, everywhere.")
]
Everything = Annotated[bool, typer.Option("--all", help="Everything that this database holds.")]


@app.command()
def pause(
    instance: MaybeId = None,
    workflow: OfWorkflow = None,
    role: Role = None,
    is_all: Everything = False,
    statuses: InStatus = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    is_dry: DryRun = False,
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Send nothing more; what was sent runs to its end, and results are taken.

    --workflow alone pauses the workflow: its instances, and new ones as they start. With --status,
    --older-than or --limit only the instances that match now. --role keeps back the tasks of a
    role, whichever workflow they are of.
    """
    api = Api(url)
    selection = Selection(workflow, statuses, older_than, limit, is_dry)
    _check(instance, selection, role, is_all=is_all)
    if instance is not None:
        reply = command(api, instance, "pause", {"reason": reason})
        words = f"{instance}: paused; what was sent runs to its end; to go on: sagabus resume"
        report(reply, f"{words} {instance}", is_json=is_json)
    elif role is not None or is_all or selection.is_workflow_alone:
        reply = api.put(_path(workflow, role), {"reason": reason, "by": who()})
        report(reply, _paused(reply), is_json=is_json)
    else:
        give_all(api, "pause", selection, {"reason": reason}, is_json=is_json)


@app.command()
def resume(
    instance: MaybeId = None,
    workflow: OfWorkflow = None,
    role: Role = None,
    is_all: Everything = False,
    statuses: InStatus = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    is_dry: DryRun = False,
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Let go on what was paused, in the same way: what was kept back is sent.

    --workflow alone ends the pause of the workflow; instances that were paused one by one stay so,
    and go on with --workflow NAME --status paused.
    """
    api = Api(url)
    selection = Selection(workflow, statuses, older_than, limit, is_dry)
    _check(instance, selection, role, is_all=is_all)
    if instance is not None:
        reply = command(api, instance, "resume", {"reason": reason})
        status = reply["result"]["status"]
        words = "is not paused any more" if status == "needs_operator" else "goes on"
        report(reply, f"{instance}: {words}; {what_next(instance, status)}", is_json=is_json)
    elif role is not None or is_all or selection.is_workflow_alone:
        reply = api.delete(_path(workflow, role), reason=reason, by=who())
        report(reply, _resumed(reply), is_json=is_json)
    else:
        give_all(api, "resume", selection, {"reason": reason}, is_json=is_json)


@app.command()
def holds(is_json: Json = False, url: Url = None) -> None:
    """List what is paused beyond single instances: workflows, roles, everything."""
    page = Api(url).get(_HOLDS)
    if is_json:
        say_json(page)
    elif not page["items"]:
        say("nothing is paused beyond single instances")
    else:
        say_table(
            ("PAUSED", "SINCE", "BY", "REASON", "GOES ON WITH"),
            (
                (
                    title(item["kind"], item["name"]),
                    instant(item["at"]),
                    item["by"],
                    item["reason"],
                    remedy_for(item["kind"], item["name"]),
                )
                for item in page["items"]
            ),
        )


def _check(instance: str | None, selection: Selection, role: str | None, *, is_all: bool) -> None:
    """Check that it is clear what is meant.

    Raises:
        typer.BadParameter: it is not.
    """
    check_one_thing(instance, selection, role, is_all=is_all)
    if instance is None and role is None and not (is_all or selection.given):
        raise typer.BadParameter(
            "name what is meant: ID, --workflow, --role or --all, or select instances with --status"
            " and --older-than"
        )
    if selection.is_workflow_alone and selection.is_dry:
        # The pause of a workflow is one thing, and no question to each instance.
        raise typer.BadParameter(
            "is for instances: select some with --status or --older-than", param_hint="--dry-run"
        )


def title(kind: str, name: str) -> str:
    """What is paused, in words."""
    return "everything" if kind == "all" else f"{kind} {name}"


def remedy_for(kind: str, name: str) -> str:
    """The command that lets it go on."""
    return "sagabus resume --all" if kind == "all" else f"sagabus resume --{kind} {name}"


def _path(workflow: str | None, role: str | None) -> str:
    if workflow is not None:
        return f"{_HOLDS}/workflow/{quote(workflow, safe='')}"
    return f"{_HOLDS}/all" if role is None else f"{_HOLDS}/role/{quote(role, safe='')}"


def _paused(hold: dict[str, Any]) -> str:
    kind, name = hold["kind"], hold["name"]
    what = {
        "workflow": "its instances send nothing more, new ones start paused",
        "role": "its tasks wait, and their time limits with them; what runs goes on to its end",
        "all": "nothing is sent, and no time runs out; what runs goes on to its end",
    }[kind]
    return f"{title(kind, name)} is paused: {what}; to go on: {remedy_for(kind, name)}"


def _resumed(hold: dict[str, Any]) -> str:
    what = {
        "workflow": "its instances go on, but for those that were paused one by one",
        "role": "its tasks are sent, unless something else holds them back",
        "all": "what was kept back is sent, but for workflows and roles that are paused themselves",
    }[hold["kind"]]
    return f"{title(hold['kind'], hold['name'])} goes on: {what}"
