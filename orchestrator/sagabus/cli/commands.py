"""Commands that people give as a matter of course: start, approve, reject, answer."""

import secrets
from typing import Annotated, Any

import typer

from sagabus.cli import follow
from sagabus.cli.client import Api, workflow_path
from sagabus.cli.giving import command, report
from sagabus.cli.options import (
    InstanceId,
    Json,
    Reason,
    StageName,
    Timeout,
    Url,
    id_of,
    json_of,
    parameters_of,
    who,
)
from sagabus.cli.output import say, say_json

app = typer.Typer()


@app.command()
def start(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The workflow.")],
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--parameter",
            metavar="KEY=VALUE",
            help="A parameter; VALUE is what the workflow declares, else JSON or text.",
        ),
    ] = None,
    params: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE", help="All parameters as a JSON object.")
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            parser=id_of,
            help="Id of the instance; one that exists is found.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for the end; the exit code says how it ended."),
    ] = False,
    timeout: Timeout = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Start an instance of a workflow.

    Exit code with --wait: 0 completed, 1 failed, rolled back or cancelled, 3 completed with
    failures that were handled, 4 not ended within --timeout. Where it does not move, standard
    error says why.
    """
    if timeout is not None and not wait:
        raise typer.BadParameter("belongs to --wait", param_hint="--timeout")
    api = Api(url)
    # Made here, so that a start whose answer was lost can be looked up, or given again.
    instance_id = id or secrets.token_hex(8)
    parameters = parameters_of(pairs or [], params)
    if pairs:
        declared = api.get(workflow_path(name))["parameters"]
        parameters = parameters_of(pairs, params, declared)
    document = {"id": instance_id, "parameters": parameters, "by": who()}
    instance = api.post(workflow_path(name, "execute"), document)
    if wait:
        if not is_json:
            say(f"{name} {instance_id} started", is_error=True)
        instance = follow.Follower(api, instance_id, timeout).until_ended()
    if is_json:
        say_json(instance)
    elif wait:
        follow.say_end(instance)
    else:
        say(instance_id)
    if wait:
        raise typer.Exit(follow.exit_code(instance))


@app.command()
def approve(
    instance: InstanceId,
    stage: StageName,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="JSON", help="What the approval asks for, if it does."),
    ] = None,
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Let a waiting stage go on, once all who have to have approved."""
    document: dict[str, Any] = {"stage": stage, "reason": reason}
    if data is not None:
        document["data"] = json_of(data, "--data")
    reply = command(Api(url), instance, "approve", document)
    missing = reply["result"].get("missing")
    more = f"; {missing} more {'has' if missing == 1 else 'have'} to approve it" if missing else ""
    report(reply, f"{instance}: stage {stage} approved{more}", is_json=is_json)


@app.command()
def reject(
    instance: InstanceId,
    stage: StageName,
    reason: Reason,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Refuse a waiting stage: the workflow fails and is undone."""
    reply = command(Api(url), instance, "reject", {"stage": stage, "reason": reason})
    report(reply, f"{instance}: stage {stage} rejected", is_json=is_json)


@app.command()
def answer(
    instance: InstanceId,
    stage: StageName,
    data: Annotated[str, typer.Option("--data", metavar="JSON|@FILE", help="The answer.")],
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Answer the question that a stage asks."""
    document = {"stage": stage, "data": json_of(data, "--data"), "reason": reason}
    reply = command(Api(url), instance, "answer", document)
    report(reply, f"{instance}: stage {stage} answered", is_json=is_json)
