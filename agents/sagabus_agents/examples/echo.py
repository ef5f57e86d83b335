"""An agent that answers every task with its own input's ``i``: for benchmarks and first steps.

``python -m sagabus_agents.examples.echo [ROLE]``
"""

import sys
from typing import Any

from sagabus_agents import Agent, Task

agent = Agent(sys.argv[1] if len(sys.argv) > 1 else "echo", concurrency=256)


@agent.task()
async def echo(task: Task) -> dict[str, Any]:
    """Give ``i`` back."""
    return {"i": task.input.get("i")}


@agent.compensation()
async def forget(task: Task) -> None:
    """Nothing was done, so nothing is undone."""


if __name__ == "__main__":
    agent.run()
