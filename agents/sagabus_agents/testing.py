"""Run a handler without a bus, the way the runner would.

::

    result = await run_task(agent, "provision", {"environment": "staging"})
    assert result.status == "succeeded"
    answer = await run_observe(agent, "vm", known=["vm-17"])
    assert answer.output == [{"id": "vm-17", "spec": {"size": "s"}}]
    done = await run_step(saga, "create_network", inputs={"customer": "acme"})
    assert done.output == {"network": "net-acme"}
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from sagabus_agents.agent import Agent
from sagabus_agents.execution import Execution, Outcome, encode_result
from sagabus_agents.sagas import Saga
from sagabus_agents.step import CONTEXT, INPUTS
from sagabus_agents.task import Task
from sagabus_agents.wire import (
    OBSERVE_TASK,
    ProgressMessage,
    ResultMessage,
    ResultStatus,
    TaskMessage,
    TaskType,
)


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
        idempotency_key=f"{workflow_id}:{task_id}",
        timeout_s=timeout_s,
        trace="0" * 32,
    )
    return await _run(agent, message, on_progress)


async def run_observe(
    agent: Agent, kind: str, *, known: Sequence[str] = (), role: str | None = None
) -> ResultMessage:
    """Ask which resources of ``kind`` exist, ``known`` being those that were declared."""
    message = TaskMessage(
        type=TaskType.OBSERVE,
        stage_name="",
        workflow_id="test",
        workflow="",
        task=OBSERVE_TASK,
        attempt=1,
        role=role or agent.roles[0],
        action=kind,
        input={"kind": kind, "ids": list(known)},
        idempotency_key=f"test:{OBSERVE_TASK}",
        trace="0" * 32,
    )
    return await _run(agent, message, None)


async def run_step(
    saga: Saga,
    stage: str,
    *,
    inputs: dict[str, Any] | None = None,
    context: Sequence[dict[str, Any] | None] = (),
    compensation: bool = False,
    output: dict[str, Any] | None = None,
) -> ResultMessage:
    """Execute the step at ``stage``, or compensate it; ``output`` of the result is what it put.

    ``context``: what each step before it has put. ``output``: compensation only, what it put
    itself; null where it is not known how it ended.
    """
    given = {INPUTS: inputs or {}, CONTEXT: list(context)}
    return await run_task(
        saga.agent,
        saga.action_of(stage),
        None if compensation else given,
        compensation=compensation,
        original_context={"input": given, "output": output} if compensation else None,
        stage=stage,
    )


async def _run(
    agent: Agent, message: TaskMessage, on_progress: Callable[[ProgressMessage], None] | None
) -> ResultMessage:
    task = Task(message)
    task.on_progress = on_progress
    outcome = await Execution(agent.handlers, task).run() or Outcome(ResultStatus.CANCELLED)
    encoded = encode_result(task, outcome, agent.id, None)
    result = ResultMessage.model_validate_json(encoded.message())
    if encoded.payload is None:
        return result
    return result.model_copy(update={"output": orjson.loads(encoded.payload)})
