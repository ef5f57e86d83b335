"""Commands for when things went wrong, from cancel and retry to resolve and compensate."""

import importlib
from typing import Annotated, Any

import typer
from rich.text import Text

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
from sagabus.cli.client import Api, instance_path, workflow_path
from sagabus.cli.giving import command, repair, report, what_next
from sagabus.cli.options import InstanceId, Json, Reason, Url, json_of, parameters_of, seen_of
from sagabus.cli.output import clean, say, say_json, say_table
from sagabus.errors import ApiError

app = typer.Typer()

Stage = Annotated[str, typer.Argument(metavar="STAGE", help="The stage.")]
Seen = Annotated[
    str | None,
    typer.Option(
        "--attempt",
        metavar="TASK/ATTEMPT",
        parser=seen_of,
        help="What you saw of it: refused when there is a newer one.",
    ),
]
Output = Annotated[str, typer.Option("--output", metavar="JSON|@FILE", help="What it gave.")]


@app.command()
def cancel(
    instance: MaybeId = None,
    is_kept: Annotated[
        bool,
        typer.Option("--no-compensate", help="End it at once, and leave what it did as it is."),
    ] = False,
    workflow: OfWorkflow = None,
    statuses: InStatus = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    is_dry: DryRun = False,
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """End an instance, or all that match, and undo what they did."""
    api = Api(url)
    selection = Selection(workflow, statuses, older_than, limit, is_dry)
    document: dict[str, Any] = {"reason": reason} | ({"compensate": False} if is_kept else {})
    check_one_thing(instance, selection)
    if instance is None:
        give_all(api, "cancel", selection, document, is_json=is_json)
        return
    reply = command(api, instance, "cancel", document)
    status = reply["result"]["status"]
    if status == "cancelled":
        left = "; what it did is left as it is" if is_kept else ""
        words = f"{instance}: cancelled{left}: sagabus show {instance}"
    else:
        words = f"{instance}: is to end cancelled; {what_next(instance, status)}"
    report(reply, words, is_json=is_json)


@app.command()
def retry(
    instance: MaybeId = None,
    from_stage: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="STAGE", help="It and what descends from it run again in any case."
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="KEY=VALUE", help="A parameter that changes."),
    ] = None,
    definition: Annotated[
        str | None,
        typer.Option(
            "--definition",
            metavar="latest",
            help="Go on with the definition in force; what it changes is shown first.",
        ),
    ] = None,
    is_sure: Annotated[
        bool, typer.Option("--yes", help="Of --definition latest: do not ask.")
    ] = False,
    workflow: OfWorkflow = None,
    statuses: InStatus = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    is_dry: DryRun = False,
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Have a failed instance, or all that match, go on in place with the results there are.

    What succeeded and was not undone is kept, the rest runs again as new tasks.
    """
    if definition not in {None, "latest"}:
        raise typer.BadParameter("only 'latest' can be gone on with", param_hint="--definition")
    if is_sure and definition is None:
        raise typer.BadParameter("belongs to --definition latest", param_hint="--yes")
    api = Api(url)
    selection = Selection(workflow, statuses, older_than, limit, is_dry)
    check_one_thing(instance, selection)
    document: dict[str, Any] = {"reason": reason}
    if pairs:
        document["parameters"] = _changed(api, instance, workflow, pairs)
    if instance is None:
        if from_stage is not None:
            raise typer.BadParameter("is for one instance", param_hint="--from")
        if definition is not None and not (is_sure or is_dry):
            raise typer.BadParameter(
                "look at what it changes with one of them; several need --yes",
                param_hint="--definition",
            )
        more = {"definition": definition} if definition else {}
        give_all(api, "retry", selection, document | more, is_json=is_json)
        return
    if from_stage is not None:
        document["from"] = from_stage
    if definition is not None:
        digest = _agreed(api, instance, is_sure=is_sure, is_json=is_json)
        document |= {"definition": digest} if digest else {}
    reply = command(api, instance, "retry", document)
    report(reply, _retried(instance, reply["result"]), is_json=is_json)


def _changed(
    api: Api, instance: str | None, workflow: str | None, pairs: list[str]
) -> dict[str, Any]:
    """The parameters that change; text stays text where the workflow in force declares that."""
    name = workflow
    if instance is not None:
        name = str(api.get(instance_path(instance))["workflow"])
    declared = None
    if name is not None:
        try:
            declared = api.get(workflow_path(name))["parameters"]
        except ApiError as error:
            if error.code != "workflow_not_found":
                raise
    return parameters_of(pairs, None, declared)


def _agreed(api: Api, instance: str, *, is_sure: bool, is_json: bool) -> str | None:
    """Show what the newest definition changes, and ask; its digest, None where nothing differs.

    Raises:
        typer.Abort: it is not wanted.
    """
    found = api.get(instance_path(instance, "definition-change"))
    if found["change"] is None:
        say(f"{instance}: it runs on the definition in force already", is_error=True)
        return None
    # The body imports the engine's definitions, which nobody else here should pay for.
    for style, line in importlib.import_module("sagabus.cli.diff").change_lines(found["change"]):
        say(Text(clean(line), style=style), is_error=is_json)
    if not is_sure:
        typer.confirm(f"Go on with it ({instance})?", abort=True, err=is_json)
    return str(found["change"]["new_digest"])


def _retried(instance: str, result: dict[str, Any]) -> str:
    if "undoing" in result:
        undone = f"the undo of stage {result['undoing']} is tried again"
        return f"{instance}: {undone}; {what_next(instance, result['status'])}"
    kept = ", ".join(result["kept"]) or "nothing"
    again = ", ".join(result["again"]) or "nothing"
    if result["not_undone"]:
        again += f", beside what was not undone of {', '.join(result['not_undone'])}"
    return f"{instance}: kept {kept}; again {again}; {what_next(instance, result['status'])}"


@app.command()
def skip(
    instance: InstanceId,
    stage: Stage,
    reason: Reason,
    attempt: Seen = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Go on without a stage that has not ended; or without the undo of it that failed."""
    more = {"reason": reason, "attempt": attempt}
    repair(Api(url), instance, "skip", stage, "is skipped", is_json=is_json, **more)


@app.command()
def set_result(
    instance: InstanceId,
    stage: Stage,
    output: Output,
    reason: Reason,
    attempt: Seen = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Go on as if a stage had given --output; one whose undo failed was undone by hand."""
    more = {"reason": reason, "attempt": attempt, "output": json_of(output, "--output")}
    repair(Api(url), instance, "set-result", stage, "has its result", is_json=is_json, **more)


@app.command()
def fail(
    instance: InstanceId,
    stage: Stage,
    reason: Reason,
    attempt: Seen = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Go on as if a stage had failed: a route handles that, or the workflow fails."""
    more = {"reason": reason, "attempt": attempt}
    repair(Api(url), instance, "fail", stage, "has failed", is_json=is_json, **more)


@app.command()
def resolve(
    instance: InstanceId,
    stage: Stage,
    reason: Reason,
    is_success: Annotated[bool, typer.Option("--succeeded", help="It had its effect.")] = False,
    is_failure: Annotated[bool, typer.Option("--failed", help="It had none.")] = False,
    is_retry: Annotated[
        bool, typer.Option("--retry", help="Send it once more, with the same idempotency key.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="JSON|@FILE", help="What it gave; --succeeded."),
    ] = None,
    attempt: Seen = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="Of all attempts of it whose outcome is unknown.")
    ] = False,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Say what came of a final stage whose outcome is unknown. Look before you say it."""
    if is_success + is_failure + is_retry != 1:
        raise typer.BadParameter("say one of --succeeded, --failed and --retry")
    if output is not None and not is_success:
        raise typer.BadParameter("belongs to --succeeded", param_hint="--output")
    if is_all and attempt is not None:
        raise typer.BadParameter("name one attempt, or all: not both", param_hint="--all")
    outcome = "succeeded" if is_success else "failed" if is_failure else "retry"
    value = None if output is None else json_of(output, "--output")
    more = {"reason": reason, "attempt": attempt, "outcome": outcome, "output": value}
    more |= {"all": True} if is_all else {}
    words = "is sent once more" if is_retry else f"counts as {outcome}"
    repair(Api(url), instance, "resolve", stage, words, is_json=is_json, **more)


@app.command()
def compensate(
    instance: MaybeId = None,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="STAGE", help="Only of this one.")
    ] = None,
    is_preview: Annotated[
        bool, typer.Option("--preview", help="Say what would be sent, in order; send nothing.")
    ] = False,
    workflow: OfWorkflow = None,
    statuses: InStatus = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    is_dry: DryRun = False,
    reason: Reason = "",
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Undo what an instance left that has ended, or all that match (--status has to be given)."""
    api = Api(url)
    selection = Selection(workflow, statuses, older_than, limit, is_dry)
    check_one_thing(instance, selection)
    if instance is None:
        if stage is not None or is_preview:
            raise typer.BadParameter("--stage and --preview are for one instance")
        if selection.given and not statuses:
            raise typer.BadParameter(
                "say it, such as completed: none is meant by itself", param_hint="--status"
            )
        give_all(api, "compensate", selection, {"reason": reason}, is_json=is_json)
        return
    if is_preview:
        found = api.get(instance_path(instance, "compensate"), stage=stage)
        say_json(found) if is_json else _say_preview(found, stage)
        return
    document = {"reason": reason, "stage": stage}
    reply = command(api, instance, "compensate", document)
    result = reply["result"]
    order = ", in this order" if len(result["stages"]) > 1 else ""
    words = f"{instance}: undoing {', '.join(result['stages'])}{order}"
    report(reply, f"{words}; {what_next(instance, result['status'])}", is_json=is_json)


def _say_preview(found: dict[str, Any], stage: str | None) -> None:
    if found["items"]:
        say_table(
            ("", "STAGE", "COMPENSATION", "UNDOES", "ROLE", "ACTION"),
            (
                (number, item["stage"], item["task"], item["undoes"], item["role"], item["action"])
                for number, item in enumerate(found["items"], 1)
            ),
        )
    for left in found["effects_left"]:
        what = "cannot be undone" if left["class"] == "final" else "is not undone by this"
        may = "" if left["is_certain"] else ", if it was done,"
        say(f"{left['class']} stage {left['stage']}, task {left['task']}{may} {what}")
    if found["ends"] is not None and found["effects_left"]:
        say(f"so the instance ends {found['ends']['status']}, rollback {found['ends']['rollback']}")
    if found["refusal"] is not None:
        say(f"compensate is refused now: {found['refusal']}")
    else:
        only = "" if stage is None else f" --stage {stage}"
        say(f"nothing was sent; to do it: sagabus compensate {found['id']}{only}")
