"""Commands of values and secrets by key: kv set, get, list, delete."""

import getpass
import json
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sagabus.cli.client import Api
from sagabus.cli.options import Json, Reason, Url, json_of, who
from sagabus.cli.output import instant, say, say_json, say_table
from sagabus.errors import ApiError

_PATH = "/api/v1/kv"

app = typer.Typer()
group = typer.Typer(
    name="kv", help="Values and secrets that workflows read by key.", no_args_is_help=True
)
app.add_typer(group)

Key = Annotated[str, typer.Argument(metavar="KEY", help="Letters, digits and _ . : / -")]


@group.command(name="set")
def set_(
    key: Key,
    value: Annotated[
        str | None, typer.Argument(metavar="[VALUE]", help="Text, as it stands.")
    ] = None,
    document: Annotated[
        str | None, typer.Option("--json", metavar="JSON|@FILE", help="Any JSON, instead of text.")
    ] = None,
    is_secret: Annotated[
        bool,
        typer.Option(
            "--secret",
            help="A secret, asked for or read from standard input; only agents can read it.",
        ),
    ] = False,
    reason: Reason = "",
    url: Url = None,
) -> None:
    """Put a value under a key, whatever stood there.

    A secret never stands on a command line, which others can see: pipe it in, or type it. A newline
    at its end is no part of it.
    """
    given = [value is not None, document is not None, is_secret]
    if sum(given) != 1:
        raise typer.BadParameter("give VALUE, --json JSON, or --secret with the secret on stdin")
    found = _secret(key) if is_secret else value if document is None else _json(document)
    asked = {"value": found, "is_secret": is_secret, "by": who(), "reason": reason}
    Api(url).put(_path(key), asked)
    say(f"{key} is set")


@group.command()
def get(key: Key, is_json: Json = False, url: Url = None) -> None:
    """Print the value under a key: text as it stands, anything else as JSON.

    Exit code 1: there is no such key, or it is a secret, which only agents read.
    """
    found = Api(url).get(_path(key))
    if is_json:
        say_json(found)
    elif found["is_secret"]:
        raise ApiError(f"{key} is a secret: only agents read it", code="secret")
    else:
        say(_shown(found["value"]))


@group.command(name="list")
def list_(
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="Only keys that begin with it.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 100,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on where the last page ended.")
    ] = None,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """List keys in order, with their values."""
    page = Api(url).get(_PATH, prefix=prefix, limit=limit, cursor=cursor)
    if is_json:
        say_json(page)
        return
    say_table(
        ("KEY", "VALUE", "SET"),
        (
            (
                item["key"],
                "(secret)" if item["is_secret"] else _shown(item["value"]),
                instant(item["updated_at"]),
            )
            for item in page["items"]
        ),
        none="no key begins with that" if prefix else "there are no keys",
    )
    if page["cursor"]:
        say(f"more: --cursor {page['cursor']}")


@group.command()
def delete(key: Key, reason: Reason = "", is_json: Json = False, url: Url = None) -> None:
    """Take a key away; exit code 1 when there is none."""
    deleted = Api(url).delete(_path(key), by=who(), reason=reason)
    if is_json:
        say_json(deleted)
    else:
        say(f"{key} is deleted")


def _secret(key: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{key}: ")
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def _json(document: str) -> Any:
    return json_of(document, "--json")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _path(key: str) -> str:
    # A path with `..` in it would be shortened on the way.
    return f"{_PATH}/{quote(key, safe='').replace('.', '%2E')}"
