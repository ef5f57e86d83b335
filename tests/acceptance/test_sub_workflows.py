"""Workflows that call workflows, three levels deep: shown, cancelled, undone, and killed.

One file, because everything in it is asked of the same three workflows.
"""

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.effects import read_effects
from tests.support.nats_gate import NatsGate
from tests.support.nats_server import NatsServer
from tests.support.processes import TERMINAL, Orchestrator, Program, all_of, sagabus, until

SEED = int(os.environ.get("SAGABUS_TEST_SEED", "1"))

WORKFLOWS = """
[[workflows]]
name = "release"

[[workflows.stages]]
name = "announce"
agents = ["claimed"]
input = {fail = "{{ parameters.fail | default('') }}"}
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "deliver"
action = "delivery"
input = {fail = "{{ parameters.fail | default('') }}", slow = "{{ parameters.slow | default('') }}"}

[[workflows.stages]]
name = "celebrate"
agents = ["claimed"]
input = {fail = "{{ parameters.fail | default('') }}"}
compensation_agents = ["claimed"]

[[workflows]]
name = "delivery"

[[workflows.stages]]
name = "prepare"
agents = ["claimed"]
input = {fail = "{{ parameters.fail }}"}
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "regions"
action = "region"
with_items = ["eu", "us"]
[workflows.stages.input]
name = "{{ item }}"
fail = "{{ parameters.fail if index else '' }}"
slow = "{{ parameters.slow }}"

[[workflows]]
name = "region"
output_map = {shipped_by = "{{ task.ship.result.by }}"}

[[workflows.stages]]
name = "reserve"
agents = ["claimed"]
input = {fail = "{{ parameters.fail }}"}
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "ship"
agents = ["claimed"]
input = {fail = "{{ parameters.fail }}", slow = "{{ parameters.slow }}", slow_s = 60}
compensation_agents = ["claimed"]

[[workflows]]
name = "impatient"

[[workflows.stages]]
name = "deliver"
action = "delivery"
timeout = "4s"
input = {fail = "", slow = "ship"}
on_timeout = "give_up"

[[workflows.stages]]
name = "give_up"
action = "core.noop"
"""
#: Work of one release, by stage.
ALL = Counter(announce=1, prepare=1, reserve=2, ship=2, celebrate=1)

Tree = dict[str, Any]


def agents(directory: Path, nats_url: str, *, slots: int = 16) -> list[Program]:
    return [
        Program(
            f"agent-{number}",
            [
                *(sys.executable, "-m", "tests.support.effect_agent", "claimed"),
                *("--log", directory / "effects.jsonl", "--seed", str(number)),
                *("--delay", "0.01", "0.05", "--slots", str(slots)),
            ],
            directory,
            env={"SAGABUS_NATS_URL": nats_url},
        )
        for number in range(2)
    ]


def tree_of(orchestrator: Orchestrator, id: str) -> Tree:
    found: Tree = orchestrator.get(f"/api/v1/workflow-executions/{id}/tree")
    return found


def instances(tree: Tree) -> list[dict[str, Any]]:
    """Every instance of a tree, from the top."""
    return [tree["instance"], *(one for child in tree["children"] for one in instances(child))]


def work_of(directory: Path, ids: set[str], kind: str, phase: str = "end") -> Counter[str]:
    """How often each stage was done, or undone, in these instances."""
    return Counter(
        line["stage"]
        for line in read_effects(directory)
        if line["instance"] in ids and (line["kind"], line["phase"]) == (kind, phase)
    )


def assert_nothing_twice(directory: Path) -> None:
    starts = Counter(
        (line["instance"], line["task"], line["attempt"])
        for line in read_effects(directory)
        if line["phase"] == "start"
    )
    assert set(starts.values()) == {1}, starts.most_common(3)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orchestrator, Path]]:
    directory = tmp_path_factory.mktemp("family")
    with (
        Orchestrator(directory, WORKFLOWS) as orchestrator,
        all_of(agents(directory, orchestrator.nats_url)),
    ):
        yield orchestrator, directory


def ended(orchestrator: Orchestrator, id: str) -> tuple[Tree, set[str]]:
    """The tree at its end, and the ids in it."""
    until(lambda: orchestrator.at_end(id), f"{id} ends", within_s=60)
    tree = tree_of(orchestrator, id)
    return tree, {one["id"] for one in instances(tree)}


def test_three_levels_run_and_are_shown_as_a_tree(family: tuple[Orchestrator, Path]) -> None:
    orchestrator, directory = family
    orchestrator.start_instance("release", "fine", {})
    tree, ids = ended(orchestrator, "fine")
    assert {one["status"] for one in instances(tree)} == {"completed"}
    assert work_of(directory, ids, "task") == ALL
    assert not work_of(directory, ids, "compensation")
    shown = sagabus("show", "fine", "--tree", url=orchestrator.url).stdout.splitlines()
    assert [line.split()[-1] for line in shown] == ["completed"] * 4
    assert [(len(line) - len(line.lstrip()), *line.split()[:-2]) for line in shown] == [
        (0, "release"),
        (2, "deliver-1-0:", "delivery"),
        (4, "regions-1-0:", "region"),
        (4, "regions-1-1:", "region"),
    ]
    tasks = orchestrator.get("/api/v1/workflow-executions/fine/tasks", stage="deliver")["items"]
    assert tasks[0]["result"] == {}
    delivery = tree["children"][0]["instance"]["id"]
    regions = orchestrator.get(f"/api/v1/workflow-executions/{delivery}/tasks", stage="regions")
    assert [task["result"] for task in regions["items"]] == [{"shipped_by": "ship-1-0"}] * 2
    assert orchestrator.instance(delivery)["parent"] == "fine"
    for one in instances(tree)[1:]:
        assert orchestrator.instance(one["id"])["root"] == "fine"


def test_failure_deep_down_undoes_everything_above(family: tuple[Orchestrator, Path]) -> None:
    orchestrator, directory = family
    orchestrator.start_instance("release", "deep", {"fail": "ship"})
    tree, ids = ended(orchestrator, "deep")
    top, delivery, *regions = instances(tree)
    assert (top["status"], top["rollback"]) == ("rolled_back", "full")
    assert (delivery["status"], delivery["rollback"]) == ("rolled_back", "full")
    assert {one["status"] for one in regions} == {"rolled_back"}
    done = Counter(announce=1, prepare=1, reserve=2, ship=1)
    assert work_of(directory, ids, "task") == done
    assert work_of(directory, ids, "compensation") == done
    undone = [
        line["stage"]
        for line in read_effects(directory)
        if line["instance"] in ids and (line["kind"], line["phase"]) == ("compensation", "end")
    ]
    assert undone[-2:] == ["prepare", "announce"]
    assert top["error"]["stage"] == "deliver"
    assert "told to fail" in top["error_message"]


def test_failure_above_undoes_what_ended_well_below(family: tuple[Orchestrator, Path]) -> None:
    orchestrator, directory = family
    orchestrator.start_instance("release", "late", {"fail": "celebrate"})
    tree, ids = ended(orchestrator, "late")
    assert {one["status"] for one in instances(tree)} == {"rolled_back"}
    done = ALL - Counter(celebrate=1)
    assert work_of(directory, ids, "task") == done
    assert work_of(directory, ids, "compensation") == done


def test_cancelling_the_topmost_ends_and_undoes_all(family: tuple[Orchestrator, Path]) -> None:
    orchestrator, directory = family
    orchestrator.start_instance("release", "stopped", {"slow": "ship"})

    def both_ship() -> bool:
        ids = {one["id"] for one in instances(tree_of(orchestrator, "stopped"))}
        return work_of(directory, ids, "task", "start")["ship"] == 2

    until(both_ship, "both regions ship")
    done = sagabus("cancel", "stopped", "--reason", "wrong", url=orchestrator.url)
    assert done.returncode == 0, done.stderr
    tree, ids = ended(orchestrator, "stopped")
    assert {one["status"] for one in instances(tree)} == {"cancelled"}
    assert {one["rollback"] for one in instances(tree)} == {"full"}
    # What was interrupted may have acted: it is undone as well.
    assert work_of(directory, ids, "compensation") == Counter(
        announce=1, prepare=1, reserve=2, ship=2
    )


def test_time_limit_of_a_stage_ends_and_undoes_the_workflow_that_carries_it_out(
    family: tuple[Orchestrator, Path],
) -> None:
    orchestrator, directory = family
    orchestrator.start_instance("impatient", "impatient", {})
    tree, ids = ended(orchestrator, "impatient")
    top, *below = instances(tree)
    assert (top["status"], top["handled_failures"]) == ("completed", 1)
    assert [s["status"] for s in orchestrator.instance("impatient")["stages"]] == [
        "timed_out",
        "succeeded",
    ]
    assert {one["status"] for one in below} == {"cancelled"}
    undone = work_of(directory, ids, "compensation")
    assert undone["prepare"] == 1
    assert undone["reserve"] == work_of(directory, ids, "task")["reserve"]
    assert_nothing_twice(directory)


#: How the trees of the fault test end, in turn: what is told to fail, and what is done and undone.
ENDS: list[tuple[str, str, Counter[str], Counter[str]]] = [
    ("", "completed", ALL, Counter()),
    ("", "completed", ALL, Counter()),
    ("ship", "rolled_back", ALL - Counter(ship=1, celebrate=1), ALL - Counter(ship=1, celebrate=1)),
    ("", "completed", ALL, Counter()),
    ("celebrate", "rolled_back", ALL - Counter(celebrate=1), ALL - Counter(celebrate=1)),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("parents", "kills"), [(50, 5), pytest.param(200, 25, marks=pytest.mark.soak, id="soak")]
)
def test_orchestrator_killed_at_random_moments_ends_every_tree_with_every_effect(
    tmp_path: Path, parents: int, kills: int
) -> None:
    rng = random.Random(SEED)
    killed_at: list[float] = []
    with (
        Orchestrator(tmp_path, WORKFLOWS) as orchestrator,
        all_of(agents(tmp_path, orchestrator.nats_url)),
    ):
        ids = [f"release-{number}" for number in range(parents)]
        for number, id in enumerate(ids):
            orchestrator.start_instance("release", id, {"fail": ENDS[number % len(ENDS)][0]})
        lines = 2 * sum(ENDS[n % len(ENDS)][2].total() for n in range(parents))
        for moment in sorted(rng.sample(range(int(lines * 0.95)), kills)):
            until(
                lambda moment=moment: len(read_effects(tmp_path)) >= moment,
                f"{moment} effects",
                within_s=120,
            )
            time.sleep(rng.uniform(0, rng.choice((0.02, 0.1))))
            killed_at.append(time.time())
            orchestrator.restart()
        for id in ids:
            until(lambda id=id: is_over(orchestrator, id), f"{id} ends", within_s=180)
        trees = [tree_of(orchestrator, id) for id in ids]
        told_late = sum(news_after_a_kill(orchestrator, tree, killed_at) for tree in trees)
    print(f"\n{parents} trees, {kills} kills, seed {SEED}: {told_late} ends told after a crash")
    assert_nothing_twice(tmp_path)
    for number, tree in enumerate(trees):
        _, status, done, undone = ENDS[number % len(ENDS)]
        found = {one["id"] for one in instances(tree)}
        assert tree["instance"]["status"] == status, tree
        assert len(found) == 4, tree
        assert work_of(tmp_path, found, "task") == done, tree
        assert work_of(tmp_path, found, "compensation") == undone, tree


@pytest.mark.parametrize(
    ("message", "passed"),
    [
        # The start of the release is a command too; then those of the delivery and of a region.
        pytest.param(b"._command ", 1, marks=pytest.mark.soak),
        (b"._command ", 2),
        # Both regions tell the delivery, which tells the release.
        (b"._workflow ", 0),
        pytest.param(b"._workflow ", 1, marks=pytest.mark.soak),
        (b"._workflow ", 2),
    ],
    ids=lambda value: value.decode().strip(" .") if isinstance(value, bytes) else str(value),
)
def test_what_was_stored_and_not_said_is_said_after_the_crash(
    tmp_path: Path, message: bytes, passed: int
) -> None:
    with (
        NatsServer(tmp_path / "nats") as nats,
        NatsGate(nats.port) as gate,
        Orchestrator(tmp_path, WORKFLOWS, nats_url=gate.url) as orchestrator,
        all_of(agents(tmp_path, nats.url)),
    ):
        gate.hold(message, after=passed)
        with suppress(httpx.HTTPError):  # the answer may be held too; the start is stored
            orchestrator.post("/api/v1/workflows/release/execute", {"id": "cut"})
        assert gate.is_held.wait(30)
        killed_at = time.time()
        orchestrator.kill()
        gate.release()
        orchestrator.start()
        orchestrator.wait_ready()
        tree, ids = ended(orchestrator, "cut")
        assert {one["status"] for one in instances(tree)} == {"completed"}
        assert len(ids) == 4
        assert work_of(tmp_path, ids, "task") == ALL
        if message == b"._workflow ":
            assert news_after_a_kill(orchestrator, tree, [killed_at]) >= 1
    assert_nothing_twice(tmp_path)


def is_over(orchestrator: Orchestrator, id: str) -> bool:
    """The whole tree."""
    try:
        return all(one["status"] in TERMINAL for one in instances(tree_of(orchestrator, id)))
    except httpx.HTTPError:
        return False


def news_after_a_kill(orchestrator: Orchestrator, tree: Tree, killed_at: list[float]) -> int:
    """How often the end of an instance was stored before a kill, and known above only after it."""
    if not tree["children"]:
        return 0
    heard = {
        (event["data"]["task"], event["data"]["attempt"]): datetime.fromisoformat(event["at"])
        for event in orchestrator.history(tree["instance"]["id"])
        if event["type"] in {"TaskCompleted", "TaskFailed"}
    }
    count = 0
    for child in tree["children"]:
        count += news_after_a_kill(orchestrator, child, killed_at)
        at = heard[child["task"], child["attempt"]].timestamp()
        end = ended_first_at(orchestrator, child["instance"]["id"])
        count += any(end < kill < at for kill in killed_at)
    return count


def ended_first_at(orchestrator: Orchestrator, id: str) -> float:
    """When an instance ended, before it was undone on request."""
    ends = {"WorkflowCompleted", "WorkflowSettled", "WorkflowRolledBack"}
    first = next(event for event in orchestrator.history(id) if event["type"] in ends)
    return datetime.fromisoformat(first["at"]).timestamp()
