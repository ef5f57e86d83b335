"""A person at a terminal: commands given to one orchestrator, and what they print."""

import json
from typing import Any

from tests.support.processes import Orchestrator, sagabus, until


class Terminal:
    """Commands given to one orchestrator."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    @property
    def url(self) -> str:
        """Where it is now; it may have been started again."""
        return self._orchestrator.url

    def run(self, *arguments: str, code: int = 0) -> str:
        """What the command prints; it must end with ``code``, and say why when that is not 0."""
        done = sagabus(*arguments, url=self.url, SAGABUS_USER="ann")
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """The one line that says why a command was refused."""
        done = sagabus(*arguments, url=self.url, SAGABUS_USER="ann")
        assert done.returncode == 1
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        return line

    def read(self, *arguments: str, code: int = 0) -> Any:
        """What the command prints with ``--json``."""
        return json.loads(self.run(*arguments, "--json", code=code))

    def until_waiting(self, id: str) -> None:
        until(lambda: self.read("show", id)["status"] == "waiting", f"{id} waits for a person")
