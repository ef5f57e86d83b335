"""What the effect agents have written, compared with what the journeys' ends demand."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMPLETED = {("reserve-1-0", "end"), ("notify-1-0", "end"), ("ship-1-0", "end")}
ROLLED_BACK = {
    ("reserve-1-0", "end"),
    ("notify-1-0", "end"),
    ("ship-1-0", "fail"),
    ("reserve-1-0-undo-0", "end"),
}
#: A run that nobody has heard the end of may have acted: it is undone too.
CAUTIOUS = "ship-1-0-undo-0"

Line = dict[str, Any]


def read_effects(directory: Path) -> list[Line]:
    """Every line that the agents have written so far."""
    path = directory / "effects.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def count_effects(directory: Path) -> int:
    """How many lines the agents have written so far."""
    path = directory / "effects.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def pids_at_work(directory: Path) -> set[int]:
    """Agents that have begun something and not ended it."""
    begun: dict[tuple[str, str, int], int] = {}
    for line in read_effects(directory):
        key = line["instance"], line["task"], line["pid"]
        begun[key] = begun.get(key, 0) + (1 if line["phase"] == "start" else -1)
    return {pid for (_, _, pid), count in begun.items() if count > 0}


@dataclass
class Account:
    """What was done, and what of it should not have been."""

    missing: list[str] = field(default_factory=list)
    #: Other ends than expected, and tasks that should not have run.
    surplus: list[str] = field(default_factory=list)
    #: Claimed tasks that ran twice although the agent of the first run was not killed.
    claimed_twice: list[str] = field(default_factory=list)
    #: Claimed tasks that ran again because their agent was killed.
    claimed_again: int = 0
    unclaimed_twice: int = 0
    #: ... of these, where the agent of no run was killed.
    unclaimed_twice_unkilled: int = 0

    def __str__(self) -> str:
        return (
            f"claimed tasks run again, their agent killed: {self.claimed_again}, "
            f"not killed: {len(self.claimed_twice)}; unclaimed tasks run again: "
            f"{self.unclaimed_twice}, with no agent killed: {self.unclaimed_twice_unkilled}"
        )


def account(
    directory: Path,
    statuses: Mapping[str, str],
    expected: Mapping[str, str],
    *,
    killed: Collection[int] = (),
    is_knowledge_lost: bool = False,
) -> Account:
    """Compare the log of effects with how the instances ended.

    ``killed``: process ids of agents. ``is_knowledge_lost``: results went with the bus.
    """
    found = Account()
    phases: dict[str, set[tuple[str, str]]] = defaultdict(set)
    starts: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in read_effects(directory):
        phases[line["instance"]].add((line["task"], line["phase"]))
        if line["phase"] == "start":
            starts[line["instance"], line["task"]].append(line)
    for id, end in expected.items():
        if statuses[id] != end:
            found.surplus.append(f"{id} ended {statuses[id]}, expected {end}")
        wanted = COMPLETED if end == "completed" else ROLLED_BACK
        found.missing += [f"{id}: {each}" for each in sorted(wanted - phases[id])]
        allowed = {task for task, _ in wanted}
        if end == "rolled_back" and (killed or is_knowledge_lost):
            allowed.add(CAUTIOUS)
        extra = {task for task, _ in phases[id]} - allowed
        found.surplus += [f"{id}: {task} should not have run" for task in sorted(extra)]
    for (id, task), lines in starts.items():
        if len(lines) > 1:
            _count_repeated(found, id, task, lines, killed)
    return found


def _count_repeated(
    found: Account, id: str, task: str, lines: list[Line], killed: Collection[int]
) -> None:
    by_killed = sum(line["pid"] in killed for line in lines)
    if task.startswith("notify"):
        found.unclaimed_twice += 1
        found.unclaimed_twice_unkilled += not by_killed
    elif len(lines) - by_killed > 1:
        found.claimed_twice.append(f"{id}: {task}: {lines}")
    else:
        found.claimed_again += 1


def assert_sound(
    directory: Path,
    statuses: Mapping[str, str],
    expected: Mapping[str, str],
    *,
    killed: Collection[int] = (),
) -> Account:
    """Everything ended as it should, nothing is missing, nothing claimed was done twice."""
    found = account(directory, statuses, expected, killed=killed)
    assert not found.missing, found.missing
    assert not found.claimed_twice, found.claimed_twice
    assert not found.surplus, found.surplus
    return found
