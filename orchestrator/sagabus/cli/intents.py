"""The command of intents: final effects that were begun, and whose outcome is not told."""

from typing import Annotated

import typer

from sagabus.cli.client import Api
from sagabus.cli.options import Json, Url
from sagabus.cli.output import instant, say, say_json, say_table

app = typer.Typer()


@app.command()
def intents(
    is_held: Annotated[
        bool, typer.Option("--held", help="Only what nobody is at any more.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    is_json: Json = False,
    url: Url = None,
) -> None:
    """List final effects that were begun and have not told how they ended, the oldest first."""
    page = Api(url).get("/api/v1/intents", held=is_held, limit=limit)
    if is_json:
        say_json(page)
        return
    say_table(
        ("INSTANCE", "WORKFLOW", "STAGE", "ATTEMPT", "AGENT", "SINCE", "OUTCOME"),
        (
            (
                item["instance"],
                item["workflow"],
                item["stage"],
                f"{item['task']}/{item['attempt']}",
                item["agent"] or "-",
                instant(item["started_at"]),
                f"unknown: {item['message']}" if item["is_held"] else "under way",
            )
            for item in page["items"]
        ),
        none="no final effect waits to be resolved" if is_held else "no final effect is under way",
    )
    if page["total"] > len(page["items"]):
        say(f"and {page['total'] - len(page['items'])} more: --limit {page['total']}")
    if any(item["is_held"] for item in page["items"]):
        say(
            "look what became of it, then: sagabus resolve INSTANCE STAGE --attempt ATTEMPT"
            " --reason TEXT --succeeded (or --failed, or --retry)"
        )
