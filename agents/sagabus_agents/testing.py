"""Run a handler without a bus, the way the runner would.

::

    result = await run_task(agent, "provision", {"environment": "staging"})
    assert result.status == "succeeded"
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from sagabus_agents.agent import Agent
from sagabus_agents.execution import Execution, Outcome, encode_result
from sagabus_agents.task import Task
from sagabus_agents.wire import ProgressMessage, ResultMessage, ResultStatus, TaskMessage, TaskType


async def run_task(
    agent: Agent,
    action: str,
    input: Any = None,
    *,
    compensation: bool = False,
    original_context: dict[str, Any] | None = None,
    artifacts_to_undo: Sequence[str] = (),
    attempt: int = 1,
    workflow_id: str = "test",
    stage: str | None = None,
    role: str | None = None,
    timeout_s: float | None = None,
    on_progress: Callable[[ProgressMessage], None] | None = None,
) -> ResultMessage:
    """Run one task and return the result as the orchestrator would receive it.

    ``stage`` is the action unless given, ``role`` the agent's first.
    """
    stage = stage or action
    task_id = f"{stage}-1-0-undo" if compensation else f"{stage}-1-0"
    message = TaskMessage(
        type=TaskType.COMPENSATION if compensation else TaskType.TASK,
        stage_name=stage,
        workflow_id=workflow_id,
        original_context=(original_context or {}) if compensation else None,
        artifacts_to_undo=list(artifacts_to_undo) if compensation else None,
        workflow="test",
        task=task_id,
        attempt=attempt,
        role=role or agent.roles[0],
        action=action,
        input=input,
        idempotency_key=f"{workflow_id}/{task_id}",
        timeout_s=timeout_s,
        trace="0" * 32,
    )
    task = Task(message)
    task.on_progress = on_progress
    outcome = await Execution(agent.handlers, task).run() or Outcome(ResultStatus.CANCELLED)
    encoded = encode_result(task, outcome, agent.id, None)
    result = ResultMessage.model_validate_json(encoded.message())
    if encoded.payload is None:
        return result
    return result.model_copy(update={"output": orjson.loads(encoded.payload)})
