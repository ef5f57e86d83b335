"""One instance, or all that match: the options that select, and what is told of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from sagabus.cli.client import EXECUTIONS, Api
from sagabus.cli.options import status_of, who
from sagabus.cli.output import clean, say, say_json, say_table, status
from sagabus.core.durations import parse_duration

MaybeId = Annotated[
    str | None, typer.Argument(metavar="ID", help="Id of the instance; or select several.")
]
OfWorkflow = Annotated[
    str | None, typer.Option("--workflow", metavar="NAME", help="Instances of this workflow.")
]
InStatus = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        parser=status_of,
        help="Instances in it; may be given several times.",
    ),
]
OlderThan = Annotated[
    str | None,
    typer.Option(
        "--older-than", metavar="TIME", help="Instances that started longer ago: 90s, 15m, 2h, 30d."
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, max=1000, help="At most so many; default: 100.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what each would be answered; touch nothing.")
]

#: What each command has done to an instance, in words.
_DONE: Final = {
    "retry": "go on",
    "cancel": "cancelled",
    "pause": "paused",
    "resume": "go on",
    "compensate": "being undone",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What the options say which instances are meant."""

    workflow: str | None = None
    statuses: Sequence[str] | None = None
    older_than: str | None = None
    limit: int | None = None
    is_dry: bool = False

    @property
    def given(self) -> list[str]:
        """The options that were given."""
        options = {
            "--workflow": self.workflow,
            "--status": self.statuses,
            "--older-than": self.older_than,
            "--limit": self.limit,
            "--dry-run": self.is_dry,
        }
        return [name for name, value in options.items() if value]

    @property
    def is_workflow_alone(self) -> bool:
        """Whether a workflow is meant, and not some of its instances."""
        return bool(self.workflow) and not (self.statuses or self.older_than or self.limit)

    def document(self) -> dict[str, Any]:
        """The selection as the API takes it.

        Raises:
            typer.BadParameter: it selects nothing, or the time is none.
        """
        if not (self.workflow or self.statuses or self.older_than):
            raise typer.BadParameter(
                "name the instance, or select some with --workflow, --status or --older-than"
            )
        document: dict[str, Any] = {"dry_run": self.is_dry}
        if self.workflow:
            document["workflow"] = self.workflow
        if self.statuses:
            document["status"] = list(self.statuses)
        if self.limit:
            document["limit"] = self.limit
        if self.older_than:
            time = self.older_than
            try:
                older = parse_duration(int(time) if time.isdecimal() else time)
                document["older_than_s"] = older.total_seconds()
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--older-than") from None
        return document


def check_one_thing(
    instance: str | None, selection: Selection, role: str | None = None, *, is_all: bool = False
) -> None:
    """Check that a command is for one thing: an instance, a selection, a role, or everything.

    Raises:
        typer.BadParameter: it is for more.
    """
    named = ["ID"] * bool(instance) + ["--role"] * bool(role) + ["--all"] * is_all
    if len(named) + bool(selection.given) > 1:
        given = " and ".join([*named, *selection.given])
        raise typer.BadParameter(f"name one thing: {given} do not go together")


def give_all(
    api: Api, name: str, selection: Selection, document: dict[str, Any], *, is_json: bool
) -> None:
    """Give a command to all that are selected; exit code 1 when it was refused to some."""
    asked = {**selection.document(), **document, "by": who()}
    found = api.post(f"{EXECUTIONS}/bulk/{name}", asked)
    if is_json:
        say_json(found)
    else:
        _say(name, found)
    if not found["dry_run"] and any(not item["ok"] for item in found["items"]):
        raise typer.Exit(1)


def _say(name: str, found: dict[str, Any]) -> None:
    items, is_dry = found["items"], found["dry_run"]
    if not items:
        say("no instance matches: nothing was touched")
        return
    say_table(("ID", "WORKFLOW", "WAS", "OUTCOME"), (_row(name, item, is_dry) for item in items))
    done = sum(item["ok"] for item in items)
    refused = len(items) - done
    would = "would be refused" if is_dry else "refused"
    parts = [f"{done} {_words(name, is_dry=is_dry)}"]
    parts += [f"{refused} {would}"] if refused else []
    parts += ["nothing was touched"] if is_dry else []
    parts += ["more match: give the command again"] if found["has_more"] and not is_dry else []
    parts += ["more match than the limit"] if found["has_more"] and is_dry else []
    say("; ".join(parts))


def _row(name: str, item: dict[str, Any], is_dry: bool) -> tuple[Any, ...]:
    if item["ok"]:
        outcome = Text(_words(name, is_dry=is_dry), style="green")
    else:
        outcome = Text(clean(item["message"]), style="red")
    return item["id"], item["workflow"], status(item["status"]), outcome


def _words(name: str, *, is_dry: bool) -> str:
    done = _DONE[name]
    if not is_dry:
        return done
    return f"would {done}" if done == "go on" else f"would be {done.removeprefix('being ')}"
