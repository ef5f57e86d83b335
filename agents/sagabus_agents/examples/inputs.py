"""What the demo agents look at in their input; everything else in it is let through."""

import asyncio
from collections.abc import Mapping

from sagabus_agents.task import Task


async def work(task: Task) -> None:
    """Take ``delay_s`` seconds of the input, by default none, and tell the progress."""
    delay_s = option(task, "delay_s")
    if isinstance(delay_s, int | float) and delay_s > 0:
        task.progress(0.0, f"{task.action} takes {delay_s:g} s")
        await asyncio.sleep(delay_s)
    task.progress(1.0)


def option(task: Task, name: str) -> object:
    """A value of the input, None where there is none."""
    return task.input.get(name) if isinstance(task.input, Mapping) else None
