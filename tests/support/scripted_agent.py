"""An agent of any roles that does what a file says, and writes down what it was asked.

    python -m tests.support.scripted_agent ROLE... --script FILE --log FILE [--slots N]

The script is a JSON object: what happens in a task, by ``<instance>/<task>``,
``<instance>/<stage>`` or ``<stage>``, the first of these that is there. Each is an outcome, or a
list of them, one per attempt (the last one again and again): ``{"output": any}``,
``{"echo": true}`` (its input), ``{"error": [type, message]}``, ``{"refused": [type, message]}``
(not worth another attempt), each with ``"takes"`` seconds. What is not there succeeds at once with
``{}``.
"""

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from sagabus_agents import Agent, PermanentError, RetryableError, Task

Line = dict[str, Any]


def read_lines(log: Path) -> list[Line]:
    """What agents have written so far, in the order of time."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def most_at_once(lines: list[Line]) -> int:
    """The most tasks that were under way together."""
    running = most = 0
    for line in lines:
        running += 1 if line["phase"] == "start" else -1
        most = max(most, running)
    return most


def write_line(log: Path, task: Task, phase: str) -> None:
    """One write to a file opened for appending does not mix with another."""
    line = {
        "phase": phase,
        "instance": task.workflow_id,
        "workflow": task.workflow,
        "stage": task.stage,
        "task": task.id,
        "attempt": task.attempt,
        "role": task.role,
        "action": task.action,
        "kind": task.message.type.value,
        "claimed": task.message.claim,
        "input": task.original_context if task.is_compensation else task.input,
        "at": time.time(),
    }
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def outcome_of(script: dict[str, Any], task: Task) -> dict[str, Any]:
    """What the script says of this attempt."""
    keys = (f"{task.workflow_id}/{task.id}", f"{task.workflow_id}/{task.stage}", task.stage)
    said = next((script[key] for key in keys if key in script), {})
    outcomes = said if isinstance(said, list) else [said]
    found: dict[str, Any] = outcomes[min(task.attempt, len(outcomes)) - 1]
    return found


def scripted_agent(roles: list[str], script: dict[str, Any], log: Path, slots: int) -> Agent:
    """The agent."""
    agent = Agent(*roles, concurrency=slots)

    async def work(task: Task) -> Any:
        write_line(log, task, "start")
        outcome = {} if task.is_compensation else outcome_of(script, task)
        await asyncio.sleep(outcome.get("takes", 0))
        write_line(log, task, "end")
        for word, error in (("error", RetryableError), ("refused", PermanentError)):
            if word in outcome:
                kind, message = outcome[word]
                raise error(message, type=kind)
        return task.input if outcome.get("echo") else outcome.get("output", {})

    agent.task()(work)
    agent.compensation()(work)
    return agent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("roles", nargs="+")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--slots", type=int, default=32)
    given = parser.parse_args()
    script = json.loads(given.script.read_text())
    scripted_agent(given.roles, script, given.log, given.slots).run()


if __name__ == "__main__":
    main()
