"""Role ``devops``: provisions an environment and deploys to it, and undoes both."""

from sagabus_agents import Agent, Task
from sagabus_agents.examples.effects import record
from sagabus_agents.examples.inputs import option, work

agent = Agent("devops")


@agent.task("provision")
async def provision(task: Task) -> dict[str, object]:
    """Make an environment of its own for the workflow."""
    environment = f"env-{task.workflow_id}"
    await work(task)
    task.artifact(environment)
    record(task, "provisioned", environment=environment)
    return {"environment_id": environment, "target": option(task, "environment") or "staging"}


@agent.compensation("provision")
async def destroy(task: Task) -> dict[str, object]:
    """Remove what ``provision`` declared."""
    await work(task)
    for environment in task.artifacts_to_undo:
        record(task, "destroyed", environment=environment)
    return {"destroyed": task.artifacts_to_undo}


@agent.task("deployment")
async def deploy(task: Task) -> dict[str, object]:
    """Put a build into the world."""
    release = f"release-{task.workflow_id}"
    await work(task)
    task.artifact(release)
    record(task, "deployed", release=release)
    return {"release": release}


@agent.compensation("deployment")
async def withdraw(task: Task) -> dict[str, object]:
    """Take back what ``deployment`` declared."""
    await work(task)
    for release in task.artifacts_to_undo:
        record(task, "withdrawn", release=release)
    return {"withdrawn": task.artifacts_to_undo}


if __name__ == "__main__":
    agent.run()
