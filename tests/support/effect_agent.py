"""An agent whose work is to write down that it worked: one line as it begins, one as it ends.

    python -m tests.support.effect_agent ROLE --log FILE [--delay MIN MAX] [--seed N] [--slots N]

A forward task of the stage that the input's ``fail`` names fails for good; one of the stage that
``slow`` names takes ``slow_s`` seconds.
"""

import argparse
import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from sagabus_agents import Agent, PermanentError, Task


def write(log: Path, task: Task, phase: str) -> None:
    """Append a line; one write to a file opened for appending does not mix with another."""
    line = {
        "phase": phase,
        "pid": os.getpid(),
        "instance": task.workflow_id,
        "stage": task.stage,
        "task": task.id,
        "attempt": task.attempt,
        "kind": task.message.type.value,
        "claimed": task.message.claim,
        "resent": task.message.resent,
        "at": time.time(),
    }
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def effect_agent(
    role: str, log: Path, delay_s: tuple[float, float], seed: int, slots: int
) -> Agent:
    """The agent."""
    agent = Agent(role, concurrency=slots)
    rng = random.Random(seed)

    async def work(task: Task) -> dict[str, Any]:
        given = {} if task.is_compensation else task.input
        write(log, task, "start")
        is_slow = given.get("slow") == task.stage
        await asyncio.sleep(given["slow_s"] if is_slow else rng.uniform(*delay_s))
        if given.get("fail") == task.stage:
            write(log, task, "fail")
            raise PermanentError("told to fail", type="told_to_fail")
        task.artifact(f"made-{task.id}")
        write(log, task, "end")
        return {"by": task.id}

    agent.task()(work)
    agent.compensation()(work)
    return agent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--delay", type=float, nargs=2, default=(0.02, 0.1))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slots", type=int, default=8)
    given = parser.parse_args()
    effect_agent(given.role, given.log, tuple(given.delay), given.seed, given.slots).run()


if __name__ == "__main__":
    main()
