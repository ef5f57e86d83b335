"""``sagabus bench``: what this machine gives, measured through the product's own path.

An orchestrator in this process (embedded SurrealDB with fsync per commit, a managed NATS server
with its default settings) and one agent in a process of its own. The work is that of the peers it
is compared with: stages in a row, about 200 bytes of input, each step stored before the next.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import uvloop

from sagabus.app import Orchestrator
from sagabus.cli.collector import collect_rarely
from sagabus.cli.output import say, say_json, say_table
from sagabus.observe import logging
from sagabus.settings import Settings

_PAD = "x" * 150
_READY_S = 30.0


def _definition(name: str, stages: int, *, is_claimed: bool) -> str:
    undo = 'compensation_agents = ["bench"]\n' if is_claimed else ""
    parts = [f'[[workflows]]\nname = "{name}"\ntrigger = "manual"\n']
    parts += [
        f'[[workflows.stages]]\nname = "step_{n}"\nagents = ["bench"]\n{undo}'
        for n in range(stages)
    ]
    return "\n".join(parts)


class _Processes:
    """CPU seconds and resident memory of this process and all it started."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        # Once: looking for them through all of the machine's processes takes time of its own.
        self._all = [self._own, *self._own.children(recursive=True)]
        self.peak_mib = 0.0
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by process name."""
        seconds: dict[str, float] = {}
        for process in self._all:
            times = process.cpu_times()
            name = "orchestrator" if process == self._own else _short_name(process)
            seconds[name] = seconds.get(name, 0.0) + times.user + times.system
        return seconds

    def _sample(self) -> None:
        while not self._ended.wait(0.25):
            total = sum(process.memory_info().rss for process in self._all)
            self.peak_mib = max(self.peak_mib, total / 2**20)

    def stop(self) -> None:
        """End sampling."""
        self._ended.set()
        self._sampler.join()


def _short_name(process: psutil.Process) -> str:
    return "agent" if "python" in process.name() else process.name()


@asynccontextmanager
async def _agent(nats_url: str) -> AsyncIterator[None]:
    environment = {**os.environ, "SAGABUS_NATS_URL": nats_url, "SAGABUS_LOG_LEVEL": "warning"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sagabus_agents.examples.echo", "bench", env=environment
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _run_many(orchestrator: Orchestrator, workflow: str, count: int, in_flight: int) -> float:
    """Seconds for ``count`` instances, ``in_flight`` at once."""
    slots = asyncio.Semaphore(in_flight)

    async def one(number: int) -> None:
        async with slots:
            await _run_one(orchestrator, workflow, number)

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))
    return perf_counter() - began


async def _run_one(orchestrator: Orchestrator, workflow: str, number: int) -> None:
    parameters = {"i": number, "kind": "bench", "user": "someone@example.org", "pad": _PAD}
    ended = await orchestrator.run(workflow, parameters)
    if ended.status != "completed":
        raise RuntimeError(f"instance {ended.id} ended {ended.status}")


async def _measure(
    orchestrator: Orchestrator,
    workflow: str,
    *,
    workflows: int,
    stages: int,
    in_flight: int,
    repeat: int,
) -> dict[str, Any]:
    await _run_many(orchestrator, workflow, min(300, workflows), in_flight)
    processes = _Processes()
    before = processes.cpu_s()
    rates = [
        workflows / await _run_many(orchestrator, workflow, workflows, in_flight)
        for _ in range(repeat)
    ]
    after = processes.cpu_s()
    count = workflows * repeat
    cpu = {name: (after[name] - before.get(name, 0.0)) / count * 1e3 for name in after}
    latencies = []
    for number in range(200):
        began = perf_counter()
        await _run_one(orchestrator, workflow, number)
        latencies.append((perf_counter() - began) * 1e3)
    processes.stop()
    latencies.sort()
    rate = statistics.median(rates)
    return {
        "workflows_per_s": round(rate, 1),
        "workflows_per_s_runs": [round(each, 1) for each in rates],
        "steps_per_s": round(rate * stages, 1),
        "p50_ms": round(latencies[len(latencies) // 2], 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)], 2),
        "cpu_ms_per_workflow": round(sum(cpu.values()), 3),
        "cpu_ms_by_process": {name: round(value, 3) for name, value in cpu.items()},
        "peak_rss_mib": round(processes.peak_mib),
    }


async def bench(
    *, workflows: int, stages: int, in_flight: int, repeat: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure stages without and with declared effects; ``say`` tells how far it is."""
    with tempfile.TemporaryDirectory(prefix="sagabus-bench-") as directory:
        root = Path(directory)
        config = root / "workflows.toml"
        config.write_text(
            _definition("plain", stages, is_claimed=False)
            + "\n"
            + _definition("claimed", stages, is_claimed=True)
        )
        settings = Settings(config=config, data_dir=root / "data", log_level="warning")
        result: dict[str, Any] = {
            "workflows": workflows,
            "stages": stages,
            "in_flight": in_flight,
            "repeat": repeat,
        }
        async with Orchestrator.open(settings) as orchestrator, _agent(orchestrator.nats_url):
            # The first instance waits for the agent by itself.
            async with asyncio.timeout(_READY_S):
                await _run_one(orchestrator, "plain", 0)
            for workflow in ("plain", "claimed"):
                say(f"{workflow}: {repeat} x {workflows} workflows, {in_flight} in flight")
                result[workflow] = await _measure(
                    orchestrator,
                    workflow,
                    workflows=workflows,
                    stages=stages,
                    in_flight=in_flight,
                    repeat=repeat,
                )
        return result


def run(*, workflows: int, stages: int, in_flight: int, repeat: int, is_json: bool) -> None:
    """Measure, and print a table or, with ``is_json``, one JSON document."""
    logging.configure("warning")
    collect_rarely()
    result = uvloop.run(
        bench(
            workflows=workflows,
            stages=stages,
            in_flight=in_flight,
            repeat=repeat,
            say=lambda text: say(text, is_error=True),
        )
    )
    if is_json:
        say_json(result, is_line=True)
        return
    say(f"{workflows} workflows of {stages} stages, {in_flight} in flight")
    rows = [(name, result["plain"][name], result["claimed"][name]) for name in result["plain"]]
    say_table(("", "no declared effect", "claimed"), [[str(cell) for cell in row] for row in rows])
