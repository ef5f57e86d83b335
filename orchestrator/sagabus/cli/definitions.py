"""Commands about definitions: graph, diff, schema, rehearse.

Only their options are here; the bodies load the engine when they run.
"""

import importlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sagabus.cli.options import Json, Url, parameters_of
from sagabus.settings import Settings

app = typer.Typer()

Format = Literal["text", "mermaid", "dot", "svg"]


@app.command()
def graph(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FILE]", help="The workflow, or a file of workflows."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Read it there; default: $SAGABUS_CONFIG, then config/workflows.toml, then a"
            " running orchestrator.",
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How it is drawn.")] = "text",
    instance: Annotated[
        str | None,
        typer.Option("--instance", metavar="ID", help="Show how far this instance has come."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write it there."),
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Draw a workflow, or how far an instance of it has come.

    With --url or --instance the definition is asked of the orchestrator, else read from a file.
    """
    _body("graph").run(
        name, file=file, form=form, instance=instance, output=output, is_json=is_json, url=url
    )


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The workflows file as it was.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The workflows file as it will be.")],
    is_json: Json = False,
) -> None:
    """Say what a change of workflows files means for running and for new instances.

    Exit code: 0 nothing differs, 1 something does, 2 a file cannot be read.
    """
    raise typer.Exit(_body("diff").run(old, new, is_json=is_json))


@app.command()
def schema(
    is_pack: Annotated[
        bool, typer.Option("--pack", help="Of the YAML workflow files of packs.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write it there."),
    ] = None,
) -> None:
    """Print the JSON Schema of workflows files, for editors: completion, and mistakes underlined.

    A workflows file names it in its first line: #:schema workflows.schema.json
    """
    _body("schema").run(is_pack=is_pack, output=output)


@app.command()
def rehearse(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The workflow; default: what the script names."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", metavar="FILE", help="The workflows file."),
    ] = None,
    outcomes: Annotated[
        Path | None,
        typer.Option(
            "--outcomes",
            metavar="FILE",
            help="How tasks, gates and questions end (YAML, JSON or TOML); default: all succeed.",
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="A parameter."),
    ] = None,
    is_json: Json = False,
) -> None:
    """Run a workflow on paper: the path, every input, and what compensation would do.

    Exit code: 0, or 1 when the script expects something else.
    """
    body = _body("rehearse")
    path = file or Settings.load({}, os.environ).config
    parameters_of(pairs or [], None)  # what is no pair is wrong usage, whatever the file says
    raise typer.Exit(
        body.run(name, file=path, outcomes=outcomes, pairs=pairs or [], is_json=is_json)
    )


def _body(name: str) -> Any:
    return importlib.import_module(f"sagabus.cli.{name}")
