"""Commands of resources: resources list, resources show, drift."""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.text import Text

from sagabus.cli.client import Api
from sagabus.cli.options import Json, Url
from sagabus.cli.output import clean, instant, say, say_json, say_table, status
from sagabus.errors import SagabusError

_PATH: Final = "/api/v1/resources"
_DRIFT: Final = "/api/v1/drift"
#: Exit codes of ``drift``, as of ``diff``: something differs; it could not be found out.
_DRIFTED: Final = 1
_UNOBSERVED: Final = 2
_MAX_VALUE: Final = 120

app = typer.Typer()
group = typer.Typer(
    name="resources",
    help="What tasks have made outside, as they declared it.",
    no_args_is_help=True,
)
app.add_typer(group)

Kind = Annotated[str, typer.Argument(metavar="KIND", help="As vm.")]


class _Status(StrEnum):
    PRESENT = "present"
    GONE = "gone"


@group.command(name="list")
def list_(
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only of this kind.")] = None,
    status_: Annotated[
        _Status | None, typer.Option("--status", help="Only what is there, or what is gone.")
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what this workflow declared last.")
    ] = None,
    instance: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what this instance declared last.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 100,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on where the last page ended.")
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """List resources by kind and id."""
    page = Api(url).get(
        _PATH,
        kind=kind,
        status=None if status_ is None else status_.value,
        workflow=workflow,
        instance=instance,
        limit=limit,
        cursor=cursor,
    )
    if is_json:
        say_json(page)
        return
    say_table(
        ("ID", "KIND", "STATUS", "VERSION", "ROLE", "WORKFLOW", "INSTANCE", "DECLARED"),
        (
            (
                item["id"],
                item["kind"],
                _status(item["status"]),
                item["spec_version"],
                item["role"],
                item["workflow"],
                item["instance"],
                instant(item["declared_at"]),
            )
            for item in page["items"]
        ),
        none="no resource matches",
    )
    if page["cursor"]:
        say(f"more: --cursor {page['cursor']}")


@group.command()
def show(
    kind: Kind,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the resource.")],
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Show a resource with its spec, and everything that became of it."""
    # A path with `..` in it would be shortened on the way.
    place = "/".join(quote(part, safe="").replace(".", "%2E") for part in (kind, id))
    found = Api(url).get(f"{_PATH}/{place}")
    if is_json:
        say_json(found)
        return
    gone = f" since {instant(found['gone_at'])}" if found["gone_at"] else ""
    say(f"{kind} {id}: {found['status']}{gone}, version {found['spec_version']}")
    say(f"declared by {_maker(found)}, role {found['role']}, {instant(found['declared_at'])}")
    say(json.dumps(found["spec"], indent=2, ensure_ascii=False))
    say()
    say_table(
        ("#", "AT", "STATUS", "VERSION", "BY", "TASK", "SPEC"),
        (
            (
                entry["number"],
                instant(entry["at"]),
                "gone, void" if entry["is_void"] else _status(entry["status"]),
                entry["spec_version"],
                f"{entry['workflow']} {entry['instance']}",
                f"{entry['task']}/{entry['attempt']}",
                "" if entry["spec"] is None else _value(entry["spec"]),
            )
            for entry in found["history"]
        ),
    )


@app.command()
def drift(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Only resources of this kind.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=300, metavar="SECONDS", help="For each role to answer."),
    ] = 30.0,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Compare resources as they were declared with what exists now. It changes nothing.

    Exit code 0: no drift; 1: something is missing, changed or unmanaged; 2: not every resource
    could be observed.
    """
    try:
        found = Api(url).get(_DRIFT, wait_s=timeout, kind=kind, wait=timeout)
    except SagabusError as error:
        say(f"sagabus: {error}", is_error=True)
        raise typer.Exit(_UNOBSERVED) from None
    if is_json:
        say_json(found)
    else:
        for style, line in _lines(found):
            say(Text(clean(line), style=style))
    if not found["is_complete"]:
        raise typer.Exit(_UNOBSERVED)
    if found["has_drift"]:
        raise typer.Exit(_DRIFTED)


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for each in found["missing"]:
        yield "red", f"- {_name(each)} is missing; declared by {_maker(each)}"
    for each in found["changed"]:
        yield "yellow", f"~ {_name(each)} has changed; declared by {_maker(each)}"
        yield from (("yellow", f"    {_field(field)}") for field in each["fields"])
    for each in found["unmanaged"]:
        gone = f"; thought to be gone since {instant(each['gone_at'])}" if each["gone_at"] else ""
        yield "magenta", f"+ {_name(each)} is unmanaged{gone}"
    for each in found["unobserved"]:
        count = f"{each['resources']} resource{'s' * (each['resources'] != 1)}"
        line = f"? role {each['role']}, kind {each['kind']} ({count}) not observed: "
        yield "red", line + each["reason"]
    counts = [f"{len(found[name])} {name}" for name in ("missing", "changed", "unmanaged")]
    drifted = ", ".join(counts) if found["has_drift"] else "no drift"
    left = sum(each["resources"] for each in found["unobserved"])
    total = found["observed"] + left
    observed = f"{found['observed']} of {total}" if left else f"{total}"
    plural = "s" * (total != 1)
    yield "", f"{observed} resource{plural} observed: {drifted}{' among them' * bool(left)}"


def _field(field: dict[str, Any]) -> str:
    match field["change"]:
        case "missing":
            return f"{field['path']}: {_value(field['expected'])} is not there"
        case "added":
            return f"{field['path']}: {_value(field['found'])} was not declared"
        case _:
            return f"{field['path']}: {_value(field['expected'])} → {_value(field['found'])}"


def _name(each: dict[str, Any]) -> str:
    return f"{each['kind']} {each['id']}"


def _maker(each: dict[str, Any]) -> str:
    return f"{each['workflow']} {each['instance']}, stage {each['stage']}"


def _status(word: str) -> Text:
    return status({"present": "ok", "gone": "skipped"}[word], word)


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}..."
