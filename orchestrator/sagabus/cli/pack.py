"""Commands about packs, and about workflows that are registered.

What reads files loads the engine, so its body stands apart and loads when it runs.
"""

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sagabus.cli.client import PACKS, Api, pack_path, workflow_path
from sagabus.cli.options import Json, Reason, Url, who
from sagabus.cli.output import instant, say, say_json, say_table

app = typer.Typer()
packs = typer.Typer(help="Packs of workflows and actions.", no_args_is_help=True)
workflow = typer.Typer(help="Workflows that are registered.", no_args_is_help=True)
app.add_typer(packs, name="pack")
app.add_typer(workflow, name="workflow")

PackName = Annotated[str, typer.Argument(metavar="NAME", help="The pack.")]
WorkflowName = Annotated[str, typer.Argument(metavar="NAME", help="The workflow.")]
PackFile = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="The directory of a pack, or one workflow as YAML."),
]


@packs.command(name="list")
def list_packs(is_json: Json = False, url: Url = None) -> None:
    """List the packs, those in files and those registered."""
    page = Api(url).get(PACKS)
    if is_json:
        say_json(page)
        return
    say_table(
        ("PACK", "VERSION", "WORKFLOWS", "ACTIONS", "DESCRIPTION"),
        (
            (
                item["ref"],
                item["version"],
                len(item["workflows"]),
                len(item["actions"]),
                item["description"] or item["label"],
            )
            for item in page["items"]
        ),
        none="there are no packs",
    )


@packs.command()
def show(name: PackName, is_json: Json = False, url: Url = None) -> None:
    """Show a pack with its workflows and actions."""
    found = Api(url).get(pack_path(name))
    if is_json:
        say_json(found)
        return
    say(" ".join(part for part in (found["ref"], found["version"], found["label"]) if part))
    if found["description"]:
        say(found["description"])
    for title, items in (("workflow", found["workflows"]), ("action", found["actions"])):
        for item in items:
            say(f"{title} {item}")


@packs.command()
def register(path: PackFile, reason: Reason = "", is_json: Json = False, url: Url = None) -> None:
    """Register the workflows of a pack, all or none: in force at once, kept in the database.

    What is wrong with any of them is reported, and nothing is stored.
    """
    name, files = _body("pack_files").read(path)
    reply = Api(url).put(pack_path(name), {"workflows": files}, by=who(), reason=reason)
    if is_json:
        say_json(reply)
        return
    for item in reply["items"]:
        say(f"{item['name']} version {item['version']}")


@packs.command()
def validate(path: PackFile, is_json: Json = False) -> None:
    """Report everything that is wrong with a pack; exit code 1 on an error."""
    pack = _body("pack_files").pack_of(path)
    raise typer.Exit(_body("validate").run([pack], form="json" if is_json else "text"))


@packs.command(name="test")
def run_tests(
    path: PackFile,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="The workflows file that names the pack; default: the pack by itself.",
        ),
    ] = None,
    is_json: Json = False,
) -> None:
    """Rehearse what is in tests/ of a pack.

    Exit code: 0, or 1 when something else happens than is expected.
    """
    raise typer.Exit(_body("pack_test").run(path, file=file, is_json=is_json))


@workflow.command(name="show")
def show_text(
    name: WorkflowName,
    version: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="This version; default: the newest.")
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Print the document of a registered workflow as it was given."""
    api = Api(url)
    if version is None:
        version = api.get(workflow_path(name, "versions"))["items"][0]["version"]
    found = api.get(workflow_path(name), version=version)
    if is_json:
        say_json(found)
    elif found["is_deleted"]:
        say(f"{name} was deleted in version {version}", is_error=True)
        raise typer.Exit(1)
    else:
        sys.stdout.write(found["text"])


@workflow.command()
def versions(name: WorkflowName, is_json: Json = False, url: Url = None) -> None:
    """List every version of a registered workflow, newest first."""
    page = Api(url).get(workflow_path(name, "versions"))
    if is_json:
        say_json(page)
        return
    say_table(
        ("VERSION", "REGISTERED", "BY", "DIGEST"),
        (
            (
                item["version"],
                instant(item["at"]),
                item["by"] or "-",
                "deleted" if item["is_deleted"] else item["digest"][:12],
            )
            for item in page["items"]
        ),
    )


@workflow.command()
def delete(name: WorkflowName, reason: Reason = "", is_json: Json = False, url: Url = None) -> None:
    """Take a registered workflow out of force; its running instances go on."""
    reply = Api(url).delete(workflow_path(name), by=who(), reason=reason)
    if is_json:
        say_json(reply)
    else:
        say(f"{name} deleted")


def _body(name: str) -> Any:
    return importlib.import_module(f"sagabus.cli.{name}")
