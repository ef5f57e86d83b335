"""What the demo agents do to the world: a log line, and a line in a file that can be counted."""

import os
from datetime import UTC, datetime

import orjson

from sagabus_agents.task import Task

#: Names a file; one JSON object per line is appended for every effect.
EFFECT_LOG = "SAGABUS_EFFECT_LOG"


def record(task: Task, effect: str, **details: object) -> None:
    """Let ``effect`` happen."""
    task.log.info("effect", effect=effect, **details)
    path = os.environ.get(EFFECT_LOG)
    if not path:
        return
    line = {
        "effect": effect,
        "type": task.message.type.value,
        "role": task.role,
        "action": task.action,
        "stage": task.stage,
        "workflow_id": task.workflow_id,
        "task": task.id,
        "attempt": task.attempt,
        "pid": os.getpid(),
        "at": datetime.now(UTC),
        **details,
    }
    # One write to a file opened for appending: lines of several processes do not mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    finally:
        os.close(descriptor)
