"""The command that prints what every attempt of an instance was given and gave."""

from typing import Any

import typer

from sagabus.cli.client import Api, instance_path
from sagabus.cli.options import InstanceId, Json, Url
from sagabus.cli.output import clock, duration, say_json, say_table, status

app = typer.Typer()


@app.command()
def ledger(instance: InstanceId, is_json: Json = False, url: Url = None) -> None:
    """Print one line for every attempt of every task and compensation.

    STEP: running, completed, failed, or compensated once it is undone. --json has inputs and
    outputs.
    """
    api, entries = Api(url), list[dict[str, Any]]()
    offset: int | None = 0
    while offset is not None:
        page = api.get(instance_path(instance, "ledger"), offset=offset)
        entries += page["items"]
        offset = page["next_offset"]
    if is_json:
        say_json({"items": entries})
        return
    say_table(
        ("TASK", "ATTEMPT", "KIND", "ROLE", "STEP", "STATUS", "SENT", "TOOK", "AGENT", "ERROR"),
        map(_row, entries),
        none="nothing was sent to anybody",
    )


def _row(entry: dict[str, Any]) -> tuple[Any, ...]:
    error = entry["error"]
    return (
        entry["task"],
        entry["attempt"],
        entry["kind"],
        entry["role"],
        status(entry["step_status"]),
        status(entry["status"]),
        clock(entry["created_at"]),
        duration(entry["duration_s"]),
        entry["agent"] or "-",
        f"{error['type']}: {error['message']}" if error else "",
    )
