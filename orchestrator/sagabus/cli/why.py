"""The command that says why instances do not move: why."""

from typing import Annotated, Any

import typer

from sagabus.cli.client import Api, instance_path
from sagabus.cli.options import Json, Url
from sagabus.cli.output import instant, say, say_json

app = typer.Typer()

#: Ids that are printed of one cause; ``--json`` has more.
_MAX_IDS = 5
#: What can be done, as long as that is readable in one line.
_MAX_IN_LINE = 2


@app.command()
def why(
    instance: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Only this one, with those that it waits for."),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Without an id: only of this workflow.")
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Say why an instance does not move and what to do; without ID, what stands still by cause."""
    api = Api(url)
    if instance is None:
        found = api.get("/api/v1/why", workflow=workflow)
        say_json(found) if is_json else _say_all(found)
    else:
        found = api.get(instance_path(instance, "why"))
        say_json(found) if is_json else say_why(found)


def say_why(found: dict[str, Any], indent: str = "") -> None:
    """Each cause with what to do, and the instances below that it waits for."""
    how = "stands still" if found["is_standing"] else "does not stand still"
    if found["causes"][0]["cause"] == "ended":
        how = "has ended"
    since = instant(found["since"])
    say(f"{indent}{found['workflow']} {found['id']} {how}; it moved last at {since}")
    for cause in found["causes"]:
        say_cause(cause, indent)
    for below in found["below"]:
        say_why(below, f"{indent}    ")


def say_cause(cause: dict[str, Any], indent: str = "") -> None:
    """One cause, and what to do about it."""
    say(f"{indent}  {cause['message']}")
    if len(cause["ways"]) <= _MAX_IN_LINE:
        if cause["next"]:
            say(f"{indent}    next: {cause['next']}")
        return
    for number, way in enumerate(cause["ways"]):
        say(f"{indent}    {'  or' if number else 'next'}: {way}")


def _say_all(found: dict[str, Any]) -> None:
    for trouble in found["troubles"]:
        say_cause(trouble)
    for item in found["items"]:
        many = "1 instance" if item["count"] == 1 else f"{item['count']} instances"
        say(f"{many}: {item['message']}; the first moved last at {instant(item['since'])}")
        shown = item["instances"][:_MAX_IDS]
        more = item["count"] - len(shown)
        say(f"    {' '.join(shown)}{f' and {more} more' if more else ''}")
        if item["next"]:
            say(f"    next: {item['next']}")
    if not found["items"] and not found["troubles"]:
        say(f"nothing stands still; {found['looked_at']} unfinished")
    if not found["is_complete"]:
        say(f"there are more than the {found['looked_at']} that were looked at: --workflow NAME")
