"""A stage of thousands of tasks: what an item costs, who else feels it, what a crash does to it."""

import os
import random
import statistics
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.attune import scripted
from tests.support.processes import Orchestrator, Program, all_of, until
from tests.support.scripted_agent import most_at_once, read_lines

SEED = int(os.environ.get("SAGABUS_TEST_SEED", "1"))
MB = 1024 * 1024
#: Tasks in flight: what an instance has unless the file says otherwise, and many.
DEFAULT, MANY = 10, 100
#: How much slower than alone other instances may be beside ``DEFAULT`` tasks in flight. About 1.7
#: is measured; wide, for machines that do other things too.
SLOWER = 3.0
RSS_MB = 600.0

WORKFLOWS = """
[engine]
max_parallel_tasks = IN_FLIGHT

[[workflows]]
name = "wide"
parameters = {items = {type = "array", required = true}}
output_map = {numbers = "{{ task.spread.result | map(attribute='number') | list }}"}

[[workflows.stages]]
name = "spread"
agents = ["claimed"]
with_items = "{{ parameters.items }}"
input = {number = "{{ item }}", at = "{{ index }}"}
retry = {count = 2, delay = 0.1}
compensation_agents = ["claimed"]

[[workflows.stages]]
name = "count"
action = "core.echo"
input = {count = "{{ task.spread.result | length }}"}

[[workflows]]
name = "hasty"
parameters = {items = {type = "array", required = true}}

[[workflows.stages]]
name = "spread"
agents = ["claimed"]
with_items = "{{ parameters.items }}"
concurrency = 4
fail_fast = true
compensation_agents = ["claimed"]

[[workflows]]
name = "single"

[[workflows.stages]]
name = "work"
agents = ["claimed"]
input = {number = 1}
compensation_agents = ["claimed"]

[[workflows]]
name = "beside"

[[workflows.stages]]
name = "work"
agents = ["other"]
compensation_agents = ["other"]
"""


def workflows(in_flight: int) -> str:
    return WORKFLOWS.replace("IN_FLIGHT", str(in_flight))


def agents(directory: Path, nats_url: str, script: dict[str, Any]) -> list[Program]:
    """One of each role, in processes of their own."""
    found = []
    for role in ("claimed", "other"):
        (directory / role).mkdir(exist_ok=True)
        found.append(scripted(directory / role, nats_url, (role,), script))
    return found


def numbers(count: int) -> list[int]:
    """What the items are: no item is its own index."""
    return random.Random(SEED).sample(range(10 * count), count)


def tasks_of(lines: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """How often each attempt of each item was begun."""
    return Counter((line["task"], line["attempt"]) for line in lines if line["phase"] == "start")


class Beside:
    """Instances of another workflow, one after another, and how long each took."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._stop = threading.Event()

    def one(self, client: httpx.Client) -> float:
        id = uuid.uuid4().hex
        path = f"{self._orchestrator.url}/api/v1"
        began = time.monotonic()
        client.post(f"{path}/workflows/beside/execute", json={"id": id}).raise_for_status()
        ended = client.get(f"{path}/workflow-executions/{id}", params={"wait": 60}).json()
        assert ended["status"] == "completed", ended
        return time.monotonic() - began

    def median(self, count: int) -> float:
        """Of so many."""
        with httpx.Client(timeout=70, trust_env=False) as client:
            return statistics.median(self.one(client) for _ in range(count))

    @contextmanager
    def going_on(self) -> Iterator[list[float]]:
        """As long as the context is open; the list grows."""
        took: list[float] = []

        def run() -> None:
            with httpx.Client(timeout=70, trust_env=False) as client:
                while not self._stop.is_set():
                    took.append(self.one(client))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield took
        finally:
            self._stop.set()
            thread.join()


def seconds_per_single(orchestrator: Orchestrator, count: int) -> float:
    """What a task costs that has an instance of its own, many at a time."""
    began = time.monotonic()
    ids = [f"single-{number}" for number in range(count)]

    def start(first: int) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            for id in ids[first::8]:
                url = f"{orchestrator.url}/api/v1/workflows/single/execute"
                client.post(url, json={"id": id}).raise_for_status()

    threads = [threading.Thread(target=start, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for id in ids:
        orchestrator.get(f"/api/v1/workflow-executions/{id}", wait=60)
    return (time.monotonic() - began) / count


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("count", "in_flight"),
    [
        (1_000, MANY),
        pytest.param(10_000, DEFAULT, marks=pytest.mark.soak),
        pytest.param(10_000, MANY, marks=pytest.mark.soak),
    ],
)
def test_item_costs_what_a_task_costs_and_others_go_on_beside_it(
    tmp_path: Path, count: int, in_flight: int
) -> None:
    items = numbers(count)
    script = {"spread": {"echo": True}}
    with (
        Orchestrator(tmp_path, workflows(in_flight)) as orchestrator,
        all_of(agents(tmp_path, orchestrator.nats_url, script)),
    ):
        process = psutil.Process(orchestrator.pid)
        beside = Beside(orchestrator)
        beside.median(5)  # everything is connected and warm
        single_s = seconds_per_single(orchestrator, count // 10)
        alone_s = beside.median(30)
        before = peak = process.memory_info().rss
        began = time.monotonic()
        with beside.going_on() as took:
            orchestrator.start_instance("wide", "wide", {"items": items})
            path = "/api/v1/workflow-executions/wide"
            while (ended := orchestrator.get(path, wait=2))["status"] == "running":
                peak = max(peak, process.memory_info().rss)
            peak = max(peak, process.memory_info().rss)
            wide_s = time.monotonic() - began
        assert ended["status"] == "completed"
        assert ended["output"]["numbers"] == items
    lines = [
        line for line in read_lines(tmp_path / "claimed/asked.jsonl") if line["stage"] == "spread"
    ]
    assert tasks_of(lines) == Counter((f"spread-1-{index}", 1) for index in range(count))
    assert most_at_once(lines) <= in_flight
    print(
        f"\n{count} items, {in_flight} in flight, in {wide_s:.1f} s\n"
        f"ms per item {wide_s / count * 1000:.2f}, per single task {single_s * 1000:.2f}\n"
        f"p50 of others {statistics.median(took) * 1000:.0f} ms ({len(took)} of them), "
        f"alone {alone_s * 1000:.0f} ms\n"
        f"RSS {before / MB:.0f} MB before, {peak / MB:.0f} MB at most"
    )
    assert peak / MB < RSS_MB
    if count == 10_000:
        assert wide_s / count < 2 * single_s
    if in_flight == DEFAULT:
        assert statistics.median(took) < SLOWER * alone_s


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("count", "kills"), [(1_000, 3), pytest.param(10_000, 10, marks=pytest.mark.soak, id="soak")]
)
def test_orchestrator_killed_in_the_middle_repeats_no_item_and_loses_none(
    tmp_path: Path, count: int, kills: int
) -> None:
    rng = random.Random(SEED)
    items = numbers(count)
    flaky = rng.sample(range(count), count // 50)
    script: dict[str, Any] = {"spread": {"echo": True, "takes": 0.01}}
    for index in flaky:
        script[f"wide/spread-1-{index}"] = [{"error": ["busy", "later"]}, {"echo": True}]
    log = tmp_path / "claimed/asked.jsonl"
    with (
        Orchestrator(tmp_path, workflows(MANY)) as orchestrator,
        all_of(agents(tmp_path, orchestrator.nats_url, script)),
    ):
        orchestrator.start_instance("wide", "wide", {"items": items})
        for moment in sorted(rng.sample(range(2 * count - count // 10), kills)):
            until(
                lambda moment=moment: log.exists() and log.read_bytes().count(b"\n") >= moment,
                f"{moment} lines",
                within_s=300,
            )
            time.sleep(rng.uniform(0, 0.1))  # anywhere between two commits
            orchestrator.restart()
        ended = until(lambda: orchestrator.at_end("wide"), "wide ends", within_s=300)
        assert (ended["status"], ended["handled_failures"]) == ("completed", 0)
        assert ended["output"]["numbers"] == items
        [echo] = orchestrator.get("/api/v1/workflow-executions/wide/tasks", stage="count")["items"]
        assert echo["result"] == {"count": count}
        events = orchestrator.history("wide")
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    once = {(f"spread-1-{index}", 1) for index in range(count)}
    again = {(f"spread-1-{index}", 2) for index in flaky}
    begun = tasks_of(read_lines(log))
    assert begun.keys() == once | again
    assert set(begun.values()) == {1}, begun.most_common(5)


def test_failed_fan_out_undoes_each_item_that_succeeded_once_over_a_crash(tmp_path: Path) -> None:
    count, failing = 300, {7, 130, 299}
    refused = {"refused": ["broken", "no"]}
    script: dict[str, Any] = {f"wide/spread-1-{index}": refused for index in failing}
    script |= {"hasty/spread-1-20": refused}
    log = tmp_path / "claimed/asked.jsonl"

    def undone(id: str) -> list[str]:
        return [
            line["task"]
            for line in read_lines(log)
            if (line["instance"], line["kind"], line["phase"]) == (id, "compensation", "end")
        ]

    with (
        Orchestrator(tmp_path, workflows(MANY)) as orchestrator,
        all_of(agents(tmp_path, orchestrator.nats_url, script)),
    ):
        for id in ("wide", "hasty"):
            orchestrator.post(
                f"/api/v1/workflows/{id}/execute",
                {"id": id, "parameters": {"items": list(range(count))}},
            )
        until(lambda: len(undone("wide")) > 20, "the undo is under way")
        orchestrator.restart()
        for id in ("wide", "hasty"):
            ended = until(lambda id=id: orchestrator.at_end(id), f"{id} ends", within_s=90)
            assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
            assert ended["error"]["type"] == "broken"
    succeeded = sorted(set(range(count)) - failing)
    assert sorted(undone("wide")) == sorted(f"spread-1-{index}-undo-0" for index in succeeded)
    begun = {line["task"] for line in read_lines(log) if line["instance"] == "hasty"}
    sent = {int(task.split("-")[2]) for task in begun}
    # The one that fails, and those that were under way beside it.
    assert set(range(21)) <= sent
    assert max(sent) < 20 + 2 * 4
    assert len(undone("hasty")) == len(sent) - 1
