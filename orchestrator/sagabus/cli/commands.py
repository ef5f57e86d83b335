"""Commands that change something: start, approve, reject, answer, pause, resume, cancel."""

import secrets
from typing import Annotated, Any

import typer

from sagabus.cli import follow
from sagabus.cli.client import Api, instance_path, workflow_path
from sagabus.cli.options import InstanceId, Json, StageName, Url, json_of, parameters_of, who
from sagabus.cli.output import say, say_json

app = typer.Typer()

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")]


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
        str | None, typer.Option(metavar="JSON", help="All parameters as a JSON object.")
    ] = None,
    id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Id of the instance; one that exists is found."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for the end; the exit code says how it ended."),
    ] = False,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Start an instance of a workflow.

    Exit code with --wait: 0 completed, 1 failed, rolled back or cancelled, 3 completed with
    failures that were handled.
    """
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
        instance = follow.until_ended(api, instance_id)
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
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Let a waiting stage go on."""
    reply = _command(url, instance, "approve", {"stage": stage, "reason": reason})
    _report(reply, f"{instance}: stage {stage} approved", is_json=is_json)


@app.command()
def reject(
    instance: InstanceId,
    stage: StageName,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")],
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Refuse a waiting stage: the workflow fails and is undone."""
    reply = _command(url, instance, "reject", {"stage": stage, "reason": reason})
    _report(reply, f"{instance}: stage {stage} rejected", is_json=is_json)


@app.command()
def answer(
    instance: InstanceId,
    stage: StageName,
    data: Annotated[str, typer.Option("--data", metavar="JSON", help="The answer.")],
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Answer the question that a stage asks."""
    document = {"stage": stage, "data": json_of(data, "--data")}
    reply = _command(url, instance, "answer", document)
    _report(reply, f"{instance}: stage {stage} answered", is_json=is_json)


@app.command()
def pause(
    instance: InstanceId, reason: Reason = "", is_json: Json = False, url: Url = None
) -> None:
    """Send nothing more of an instance; what was sent runs to its end."""
    reply = _command(url, instance, "pause", {"reason": reason})
    _report(reply, f"{instance}: paused", is_json=is_json)


@app.command()
def resume(
    instance: InstanceId, reason: Reason = "", is_json: Json = False, url: Url = None
) -> None:
    """Let a paused instance go on."""
    reply = _command(url, instance, "resume", {"reason": reason})
    _report(reply, f"{instance}: goes on", is_json=is_json)


@app.command()
def cancel(
    instance: InstanceId, reason: Reason = "", is_json: Json = False, url: Url = None
) -> None:
    """End an instance and undo what it did."""
    reply = _command(url, instance, "cancel", {"reason": reason})
    status = reply["result"]["status"]
    _report(
        reply,
        f"{instance}: {'cancelled' if status == 'cancelled' else f'is cancelled, now {status}'}",
        is_json=is_json,
    )


def _command(url: str | None, instance: str, name: str, document: dict[str, Any]) -> Any:
    return Api(url).post(instance_path(instance, name), {**document, "by": who()})


def _report(reply: Any, words: str, *, is_json: bool) -> None:
    if is_json:
        say_json(reply)
    else:
        say(words)
