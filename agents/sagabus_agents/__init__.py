"""The agent SDK: write a function, and it is a step of a workflow.

::

    from sagabus_agents import Agent, Task

    agent = Agent("devops")


    @agent.task("provision")
    async def provision(task: Task) -> dict:
        task.artifact("vm-17")
        return {"host": "10.0.0.17"}


    @agent.compensation("provision")
    async def destroy(task: Task) -> None:
        for vm in task.artifacts_to_undo: ...


    agent.run()

Or write steps, and let ``saga`` make a workflow of them: see ``step`` and ``sagas``.
"""

from sagabus_agents.agent import Agent
from sagabus_agents.errors import PermanentError, RetryableError, UnknownOutcomeError
from sagabus_agents.sagas import Saga, saga
from sagabus_agents.step import State, Step
from sagabus_agents.task import Task
from sagabus_agents.version import __version__

__all__ = [
    "Agent",
    "PermanentError",
    "RetryableError",
    "Saga",
    "State",
    "Step",
    "Task",
    "UnknownOutcomeError",
    "__version__",
    "saga",
]
