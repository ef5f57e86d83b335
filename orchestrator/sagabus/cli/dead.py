"""Commands of dead letters: dead list, show, requeue, drop."""

from typing import Annotated, Any

import typer

from sagabus.cli.client import Api
from sagabus.cli.options import Json, Url, who
from sagabus.cli.output import instant, say, say_json, say_table
from sagabus.errors import ApiError

_PATH = "/api/v1/dead-letters"

app = typer.Typer()
group = typer.Typer(
    name="dead",
    help="Messages nobody could use, and tasks nobody finished.",
    no_args_is_help=True,
)
app.add_typer(group)

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="As 'dead list' shows it.")]
Numbers = Annotated[
    list[int], typer.Argument(metavar="NUMBER...", min=1, help="As 'dead list' shows them.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")]


@group.command(name="list")
def list_(
    instance: Annotated[
        str | None, typer.Option(metavar="ID", help="Only of this instance.")
    ] = None,
    role: Annotated[str | None, typer.Option(metavar="ROLE", help="Only of this role.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    before: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Go on where the last page ended.")
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """List dead letters, newest first."""
    page = Api(url).get(_PATH, instance=instance, role=role, limit=limit, before=before)
    if is_json:
        say_json(page)
        return
    say_table(
        ("NUMBER", "AT", "INSTANCE", "STAGE", "TASK", "FROM", "DELIVERIES", "REASON"),
        (
            (
                item["seq"],
                instant(item["at"]),
                item["instance"] or "-",
                item["stage"] or "-",
                _task_of(item),
                item["role"] or "-",
                item["delivery"],
                item["reason"],
            )
            for item in page["items"]
        ),
        none="no dead letter matches" if instance or role else "there are no dead letters",
    )
    if page["before"]:
        say(f"more: --before {page['before']}")


@group.command()
def show(number: Number, is_json: Json = False, url: Url = None) -> None:
    """Show a dead letter with what it holds."""
    letter = Api(url).get(f"{_PATH}/{number}")
    if is_json:
        say_json(letter)
        return
    say(f"dead letter {letter['seq']} of {instant(letter['at'])}: {letter['reason']}")
    say(f"subject    {letter['subject']} (delivery {letter['delivery']})")
    if letter["instance"]:
        say(f"instance   {letter['instance']}: sagabus show {letter['instance']}")
    if letter["task"]:
        say(f"task       {_task_of(letter)} of stage {letter['stage']}, role {letter['role']}")
    if letter["payload"]:
        cut = "" if letter["is_whole"] else ", of which this is the beginning"
        say(f"message    {letter['size']} bytes{cut}:")
        say(letter["payload"])


@group.command()
def requeue(numbers: Numbers, reason: Reason = "", is_json: Json = False, url: Url = None) -> None:
    """Send dead letters once more: a message to its instance, a task to its role.

    The instance judges a message as if it came only now; a task is flagged as sent again, so that
    its agent asks first. What would do harm, or nothing, is refused with the reason, and stays.
    """

    def send(api: Api, number: int) -> tuple[Any, str]:
        reply = api.post(f"{_PATH}/{number}/requeue", {"by": who(), "reason": reason})
        return reply, f"dead letter {number}: the {reply['sent']} was sent again"

    _each(url, numbers, send, is_json=is_json)


@group.command()
def drop(numbers: Numbers, reason: Reason = "", is_json: Json = False, url: Url = None) -> None:
    """Delete dead letters."""

    def delete(api: Api, number: int) -> tuple[Any, str]:
        reply = api.delete(f"{_PATH}/{number}", by=who(), reason=reason)
        return reply, f"dead letter {number}: dropped"

    _each(url, numbers, delete, is_json=is_json)


def _each(url: str | None, numbers: list[int], do: Any, *, is_json: bool) -> None:
    """Do the same with every letter, whatever becomes of the others."""
    api, replies, refused = Api(url), list[Any](), list[str]()
    for number in numbers:
        try:
            reply, words = do(api, number)
        except ApiError as error:
            if error.code == "unreachable":
                raise
            is_gone = error.code == "dead_letter_not_found"
            refused.append(str(error) if is_gone else f"dead letter {number}: {error}")
            continue
        replies.append(reply)
        if not is_json:
            say(words)
    if is_json:
        say_json({"items": replies, "refused": refused})
    elif refused:
        raise ApiError("; ".join(refused), code="refused")
    if refused:
        raise typer.Exit(1)


def _task_of(item: dict[str, Any]) -> str:
    return f"{item['task']}/{item['attempt']}" if item["task"] else "-"
