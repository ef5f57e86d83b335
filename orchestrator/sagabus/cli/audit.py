"""Commands of the audit trail: audit show, verify, head."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from sagabus.cli.client import Api, instance_path
from sagabus.cli.options import Json, Url
from sagabus.cli.output import instant, say, say_json, say_table
from sagabus.cli.pausing import title
from sagabus.errors import ApiError, ConfigError
from sagabus.text_file import read_text

_PATH: Final = "/api/v1/audit"
#: Of noted heads: some hundred thousand.
_MAX_BYTES: Final = 64 << 20


class _ShowByDefault(TyperGroup):
    """``audit ID`` is ``audit show ID``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take what is no command for an id."""
        is_command = not args or args[0] in self.commands
        return super().resolve_command(ctx, args if is_command else ["show", *args])


app = typer.Typer()
group = typer.Typer(
    name="audit",
    cls=_ShowByDefault,
    help="Who did what, when and why; and whether the records are as they were stored."
    " 'audit ID' is 'audit show ID'.",
    no_args_is_help=True,
)
app.add_typer(group)

Instance = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="Of this instance; default: of all.")
]


@group.command()
def show(
    instance: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="An instance; default: what was done beside them."),
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Print the trail of an instance; without ID what people did beside instances.

    That is: values and secrets, registered workflows, holds, dead letters.
    """
    path = _PATH if instance is None else instance_path(instance, "audit")
    entries = list(_pages(Api(url), path))
    if is_json:
        say_json({"items": entries})
        return
    say_table(
        ("NO", "AT", "WHAT", "ON", "WHO", "LINK", "WHY"),
        (
            (
                entry["number"],
                instant(entry["at"]),
                entry["type"],
                _on(entry["data"]),
                entry["by"] or "-",
                (entry["link"] or "-")[:12],
                entry["reason"],
            )
            for entry in entries
        ),
        none="nothing was done beside instances",
    )


def _on(data: dict[str, Any]) -> str:
    if data.keys() == {"kind", "name"}:  # a hold
        return title(data["kind"], data["name"])
    if "seq" in data:
        return f"dead letter {data['seq']}"
    if "instances" in data:  # retention has deleted them
        return f"{len(data['instances'])} instances"
    for name in ("task", "stage", "key", "workflow", "name"):
        if found := data.get(name):
            return str(found)
    return ""


@dataclass(slots=True)
class _Report:
    """What verifying found."""

    instances: int = 0
    rows: int = 0
    not_covered: int = 0
    entries: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    #: Instances of which a head was noted, and that retention has deleted.
    gone: list[str] = field(default_factory=list)

    def add(self, verdict: dict[str, Any]) -> None:
        """Count a verdict."""
        if verdict["instance"] is None:
            self.entries = verdict["rows"]
        else:
            self.instances += 1
            self.rows += verdict["rows"]
            self.not_covered += verdict["not_covered"]
        if not verdict["is_intact"]:
            self.faults.append(verdict)


@group.command()
def verify(
    instance: Instance = None,
    heads: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What 'audit head' printed earlier: all of it must still be there."
        ),
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """Verify that nothing in the records was changed, removed or moved since it was stored.

    Exit code: 0 intact, 1 not; then the first place that does not fit is named for each trail.
    """
    if instance is not None and heads is not None:
        raise typer.BadParameter("--heads names the instances: leave ID out")
    api, report = Api(url), _Report()
    if instance is not None:
        report.add(api.get(instance_path(instance, "audit/verify")))
    elif heads is not None:
        _verify_heads(api, heads, report)
    else:
        report.add(api.get(f"{_PATH}/verify"))
        for verdict in _all_verdicts(api):
            report.add(verdict)
    if is_json:
        say_json(
            {
                "is_intact": not report.faults,
                "instances": report.instances,
                "rows": report.rows,
                "not_covered": report.not_covered,
                "entries": report.entries,
                "faults": report.faults,
                "gone": report.gone,
            }
        )
    else:
        _say(report, is_one=instance is not None)
    if report.faults:
        raise typer.Exit(1)


@group.command()
def head(instance: Instance = None, url: Url = None) -> None:
    """Print the newest links, a JSON document in each line; keep them where nobody here can write.

    Who can write all of the database can compute every link anew; 'audit verify --heads' finds
    that. Exit code 1: a trail is not intact.
    """
    api = Api(url)
    if instance is not None:
        verdicts = [api.get(instance_path(instance, "audit/verify"))]
    else:
        verdicts = [api.get(f"{_PATH}/verify"), *_all_verdicts(api)]
    for verdict in verdicts:
        if not verdict["is_intact"]:
            raise ApiError(_fault_line(verdict), code="not_intact")
    for verdict in verdicts:
        if verdict["head"]:
            names = ("instance", "version", "head")
            say_json({name: verdict[name] for name in names}, is_line=True)


def _verify_heads(api: Api, file: Path, report: _Report) -> None:
    text = read_text(file, _MAX_BYTES, "split it")
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            noted = json.loads(line)
            instance, version, link = noted["instance"], noted["version"], noted["head"]
        except (ValueError, KeyError, TypeError):
            message = "not what 'sagabus audit head' prints"
            raise ConfigError(message, path=file, line=number) from None
        path = f"{_PATH}/verify" if instance is None else instance_path(instance, "audit/verify")
        try:
            report.add(api.get(path, version=version, link=link))
        except ApiError as error:
            if error.code != "instance_not_found":
                raise
            report.gone.append(instance)
    told = _deleted(api) if report.gone else set()
    for instance in report.gone:
        if instance not in told:
            report.faults.append(_not_told(instance))
    report.gone = [instance for instance in report.gone if instance in told]


def _deleted(api: Api) -> set[str]:
    """Instances of which the trail says that they were deleted."""
    return {
        instance
        for entry in _pages(api, _PATH)
        if entry["type"] == "InstancesDeleted"
        for instance in entry["data"]["instances"]
    }


def _not_told(instance: str) -> dict[str, Any]:
    message = "the instance is gone, and nothing in the trail says that it was deleted"
    fault = {"kind": "missing", "version": 0, "seq": None, "message": message}
    return {"instance": instance, "is_intact": False, "fault": fault}


def _pages(api: Api, path: str) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = api.get(path, after=after)
        yield from page["items"]
        after = page["next_after"]


def _all_verdicts(api: Api) -> Iterator[dict[str, Any]]:
    after: str | None = ""
    while after is not None:
        page = api.get(f"{_PATH}/verify/instances", after=after)
        yield from page["items"]
        after = page["next_after"]


def _counted(number: int, word: str) -> str:
    many = "entries" if word == "entry" else f"{word}s"
    return f"{number} {word if number == 1 else many}"


def _say(report: _Report, *, is_one: bool) -> None:
    for verdict in report.faults:
        say(_fault_line(verdict))
    for instance in report.gone:
        say(f"instance {instance}: deleted by retention")
    intact = "not intact" if report.faults else "intact"
    found = _counted(report.rows, "row")
    if not is_one:  # else nothing beside it was looked at
        instances = _counted(report.instances, "instance")
        found = f"{instances} with {found}, {_counted(report.entries, 'entry')} beside them"
    say(f"{intact}: {found}")
    if report.not_covered:
        rows = _counted(report.not_covered, "row")
        say(f"not covered: {rows} from before rows were chained")


def _fault_line(verdict: dict[str, Any]) -> str:
    fault = verdict["fault"]
    if verdict["instance"] is None:
        place = f"beside instances, entry {fault['version']}"
    else:
        event = "" if fault["seq"] is None else f", event {fault['seq']}"
        place = f"instance {verdict['instance']}, version {fault['version']}{event}"
    return f"{place}: {fault['kind'].replace('_', ' ')}: {fault['message']}"
