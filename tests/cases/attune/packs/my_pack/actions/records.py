"""Records as lines of the file $RECORDS, and refusals for those who want to see a failure."""

import json
import os
from pathlib import Path
from typing import Any

from sagabus_agents import PermanentError


def keep(id: str, **what: Any) -> None:
    """Append a line."""
    with Path(os.environ["RECORDS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": id, **what}) + "\n")


def refuse_if_told(step: str, name: str) -> None:
    """Fail for an application or a record whose name says so: ``no-<step>`` stands in it."""
    if f"no-{step}" in name:
        raise PermanentError(f"{name}: told to fail", type="refused")
