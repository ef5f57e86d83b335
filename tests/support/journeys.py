"""The workload of the fault tests: three-stage instances whose effects can be counted.

``reserve`` and ``ship`` are claimed (they can be undone), ``notify`` declares no effect. Every
fifth instance fails at ``ship`` and is rolled back: its reservation is undone.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.effects import count_effects
from tests.support.processes import TERMINAL, Orchestrator, Program, until

WORKFLOWS = """
[[workflows]]
name = "journey"

[[workflows.stages]]
name = "reserve"
agents = ["claimed"]
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "notify"
agents = ["plain"]

[[workflows.stages]]
name = "ship"
agents = ["claimed"]
compensation_agents = ["claimed"]

[[workflows]]
name = "gated"

[[workflows.stages]]
name = "reserve"
agents = ["claimed"]
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "ship"
agents = ["claimed"]
approval_required = true
compensation_agents = ["claimed"]
"""

_FAILS_EVERY = 5
#: Instances under way at once.
_IN_FLIGHT = 24


def agents(
    directory: Path,
    nats_url: str,
    *,
    per_role: int = 2,
    delay_s: tuple[float, float] = (0.02, 0.1),
    slots: int = 8,
) -> list[Program]:
    """``per_role`` agents of each role, not started yet."""
    return [
        Program(
            f"agent-{role}-{number}",
            [
                *(sys.executable, "-m", "tests.support.effect_agent", role),
                *("--log", directory / "effects.jsonl", "--seed", str(number)),
                *("--delay", str(delay_s[0]), str(delay_s[1]), "--slots", str(slots)),
            ],
            directory,
            env={"SAGABUS_NATS_URL": nats_url},
        )
        for role in ("claimed", "plain")
        for number in range(per_role)
    ]


class Journeys:
    """Starts instances in a thread, a limited number at once, over any failure.

    A start is given again with its id until it is answered, as a careful client does.
    """

    def __init__(self, orchestrator: Orchestrator, directory: Path, count: int) -> None:
        self.ids = [f"journey-{number}" for number in range(count)]
        #: How each must end.
        self.ends = {id: "rolled_back" if self.fails(id) else "completed" for id in self.ids}
        self.directory = directory
        self._orchestrator = orchestrator
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._start_all, daemon=True)

    def __enter__(self) -> "Journeys":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(45)

    def expected_lines(self) -> int:
        """Lines that the agents write when nothing is done twice."""
        failing = sum(self.fails(id) for id in self.ids)
        return 2 * (3 * len(self.ids) + failing)

    def fails(self, id: str) -> bool:
        """Whether it is told to fail."""
        return int(id.rpartition("-")[2]) % _FAILS_EVERY == _FAILS_EVERY - 1

    def parameters(self, id: str) -> dict[str, Any]:
        """What it is started with."""
        return {"fail": "ship"} if self.fails(id) else {}

    def _start_all(self) -> None:
        for number, id in enumerate(self.ids):
            while count_effects(self.directory) < 6 * (number - _IN_FLIGHT):
                if self._stop.wait(0.02):
                    return
            while not self._start(id):
                if self._stop.wait(0.1):
                    return

    def _start(self, id: str) -> bool:
        try:
            self._orchestrator.start_instance("journey", id, self.parameters(id))
        except (httpx.HTTPError, AssertionError):  # killed, restarting, or told to come again
            return False
        return True

    def wait_for_effects(self, lines: int, within_s: float = 60.0) -> None:
        """Wait until the agents have written so many lines."""
        until(lambda: count_effects(self.directory) >= lines, f"{lines} effects", within_s=within_s)

    def wait_for_ends(self, within_s: float) -> dict[str, str]:
        """Wait until every instance has ended; their statuses."""

        def all_ended() -> dict[str, str] | None:
            try:
                found = self._orchestrator.statuses()
            except (httpx.HTTPError, AssertionError):
                return None
            ended = found.keys() >= set(self.ids) and TERMINAL.issuperset(found.values())
            return found if ended else None

        try:
            return until(all_ended, "all instances end", within_s=within_s, every_s=0.2)
        except AssertionError as error:
            error.add_note(self._open())
            raise

    def _open(self) -> str:
        found = self._orchestrator.statuses()
        missing = [id for id in self.ids if id not in found]
        open_ = [id for id in self.ids if found.get(id, "completed") not in TERMINAL]
        lines = [f"never started: {missing}", f"never ended: {open_}"]
        for id in open_[:3]:
            lines += [json.dumps(event) for event in self._orchestrator.history(id)]
        return "\n".join(lines)


def kill_moments(rng: random.Random, kills: int, lines: int) -> list[int]:
    """Random moments, as numbers of effects written by then, all before the last instances end."""
    return sorted(rng.sample(range(4, int(lines * 0.9)), kills))


def at_each(
    journeys: Journeys, moments: Sequence[int], rng: random.Random, strike: Callable[[int], None]
) -> None:
    """Call ``strike`` a little after each moment."""
    for number, moment in enumerate(moments):
        journeys.wait_for_effects(moment)
        time.sleep(rng.uniform(0, 0.1))  # anywhere between two effects
        strike(number)


def assert_histories_are_gapless(orchestrator: Orchestrator, ids: Sequence[str]) -> None:
    """Every transition was stored exactly once."""
    for id in ids:
        events = orchestrator.history(id)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), id
        assert orchestrator.instance(id)["seq"] == len(events), id
        kinds = Counter(
            (event["type"], event["data"].get("task"), event["data"].get("attempt"))
            for event in events
            if event["type"] in {"TaskScheduled", "TaskCompleted", "WorkflowStarted"}
        )
        assert set(kinds.values()) == {1}, f"{id}: {kinds}"
