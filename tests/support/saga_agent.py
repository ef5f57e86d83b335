"""Sagas whose steps write down what they do, and wait where a test wants to look.

    python -m tests.support.saga_agent --log FILE

Inputs: ``hold`` names a file; the step whose stage is ``hold_at`` (``undo:<stage>`` for its
compensation) does not go on for as long as it is there.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

from sagabus_agents import Agent, Saga, State, Step, saga

ROLE = "sagas"
LOG: Path


def write(state: State, phase: str, **more: Any) -> None:
    """Append a line; one write to a file opened for appending does not mix with another."""
    line = {
        "phase": phase,
        "instance": state.task.workflow_id,
        "stage": state.task.stage,
        "is_undo": state.task.is_compensation,
        "key": state.task.idempotency_key,
        "pid": os.getpid(),
        **more,
    }
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


async def held(state: State) -> None:
    """Wait for as long as the test says."""
    here = f"undo:{state.task.stage}" if state.task.is_compensation else state.task.stage
    hold = Path(state.get_input("hold"))
    while state.get_input("hold_at") == here and hold.exists():  # noqa: ASYNC110, ASYNC240 - a test's file
        await asyncio.sleep(0.01)


class Act(Step):
    """Does something that can be undone, and sees what was done before it."""

    async def execute(self, state: State) -> None:
        write(state, "start", seen=state.get_output("done", []))
        await held(state)
        write(state, "end")
        state.put_output("done", [*state.get_output("done", []), state.task.stage])
        state.put_output("padding", "x" * state.get_input("padding", 0))

    async def compensate(self, state: State) -> None:
        write(state, "start", seen=state.get_output("done"))
        await held(state)
        write(state, "end")


class Explode(Step):
    """Raises an exception that nobody planned."""

    def execute(self, state: State) -> None:
        raise ZeroDivisionError(f"nothing to divide among {len(state.get_output('done'))}")


SAGAS: list[Saga] = [
    saga("three_acts", [Act(), Act(), Act()], role=ROLE),
    saga("exploding", [Act(), Act(), Explode()], role=ROLE),
]


def main() -> None:
    global LOG
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    LOG = parser.parse_args().log
    agent = Agent(ROLE)
    for each in SAGAS:
        each.serve_on(agent)
    agent.run()


if __name__ == "__main__":
    main()
