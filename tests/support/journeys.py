"""The workload of the fault tests: three-stage instances whose effects can be counted.

``reserve`` and ``ship`` are claimed (they can be undone), ``notify`` declares no effect. Every
fifth instance fails at ``ship`` and is rolled back: its reservation is undone.
"""

import json
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

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

#: Effects that a journey's end demands: (task, phase).
COMPLETED = {("reserve-1-0", "end"), ("notify-1-0", "end"), ("ship-1-0", "end")}
ROLLED_BACK = {
    ("reserve-1-0", "end"),
    ("notify-1-0", "end"),
    ("ship-1-0", "fail"),
    ("reserve-1-0-undo-0", "end"),
}
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


def read_effects(directory: Path) -> list[dict[str, Any]]:
    """Every line that the agents have written so far."""
    path = directory / "effects.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def count_effects(directory: Path) -> int:
    """How many lines the agents have written so far."""
    path = directory / "effects.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


class Journeys:
    """Starts instances in a thread, a limited number at once, over any failure.

    A start is given again with its id until it is answered, as a careful client does.
    """

    def __init__(self, orchestrator: Orchestrator, directory: Path, count: int) -> None:
        self.ids = [f"journey-{number}" for number in range(count)]
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

    def _start_all(self) -> None:
        for number, id in enumerate(self.ids):
            while count_effects(self.directory) < 6 * (number - _IN_FLIGHT):
                if self._stop.wait(0.02):
                    return
            while not self._start(id):
                if self._stop.wait(0.1):
                    return

    def _start(self, id: str) -> bool:
        parameters = {"fail": "ship"} if self.fails(id) else {}
        try:
            self._orchestrator.start_instance("journey", id, parameters)
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


@dataclass
class Account:
    """What the effects log says, against what it must say."""

    missing: list[str] = field(default_factory=list)
    #: Claimed tasks that ran twice although the agent of the first run was not killed.
    claimed_twice: list[str] = field(default_factory=list)
    #: Claimed tasks that ran again because their agent was killed.
    claimed_again: int = 0
    #: Unclaimed tasks that ran more than once.
    unclaimed_twice: int = 0
    #: ... of these, where the agent of no run had been killed.
    unclaimed_twice_unkilled: int = 0
    surplus: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"claimed tasks run again after their agent was killed: {self.claimed_again}; "
            f"unclaimed tasks run more than once: {self.unclaimed_twice}, "
            f"of these with no agent killed: {self.unclaimed_twice_unkilled}"
        )


def account(journeys: Journeys, statuses: dict[str, str], killed: Collection[int] = ()) -> Account:
    """Compare the log of effects with how the instances ended; ``killed``: pids of agents."""
    found = Account()
    phases: dict[str, set[tuple[str, str]]] = defaultdict(set)
    starts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in read_effects(journeys.directory):
        phases[line["instance"]].add((line["task"], line["phase"]))
        if line["phase"] == "start":
            starts[line["instance"], line["task"]].append(line)
    for id in journeys.ids:
        expected = "rolled_back" if journeys.fails(id) else "completed"
        if statuses[id] != expected:
            found.surplus.append(f"{id} ended {statuses[id]}, expected {expected}")
        wanted = ROLLED_BACK if journeys.fails(id) else COMPLETED
        found.missing += [f"{id}: {each}" for each in sorted(wanted - phases[id])]
        allowed = {task for task, _ in wanted}
        extra = {task for task, _ in phases[id]} - allowed
        found.surplus += [f"{id}: {task} should not have run" for task in sorted(extra)]
    for (id, task), lines in starts.items():
        if len(lines) == 1:
            continue
        by_killed = sum(line["pid"] in killed for line in lines)
        if task.startswith("notify"):
            found.unclaimed_twice += 1
            found.unclaimed_twice_unkilled += not by_killed
        elif len(lines) - by_killed > 1:
            found.claimed_twice.append(f"{id}: {task}: {lines}")
        else:
            found.claimed_again += 1
    return found


def assert_sound(
    journeys: Journeys, statuses: dict[str, str], killed: Collection[int] = ()
) -> Account:
    """Everything ended as it should, nothing is missing, nothing claimed was done twice."""
    found = account(journeys, statuses, killed)
    assert not found.missing, found.missing
    assert not found.claimed_twice, found.claimed_twice
    assert not found.surplus, found.surplus
    return found


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
