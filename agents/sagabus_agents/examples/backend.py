"""Role ``backend``: builds, migrates the database, and migrates it back."""

from sagabus_agents import Agent, Task
from sagabus_agents.examples.effects import record
from sagabus_agents.examples.inputs import work

agent = Agent("backend")


@agent.task("build")
async def build(task: Task) -> dict[str, object]:
    """Make something to deploy; nothing of it would have to be undone."""
    await work(task)
    record(task, "built")
    return {"image": f"shop:{task.workflow_id}"}


@agent.task("migrate_db")
async def migrate_db(task: Task) -> dict[str, object]:
    """Bring the schema up."""
    migration = f"migration-{task.workflow_id}"
    await work(task)
    task.artifact(migration)
    record(task, "migrated", migration=migration)
    return {"migration": migration}


@agent.compensation("migrate_db")
async def revert(task: Task) -> dict[str, object]:
    """Bring the schema back down."""
    await work(task)
    for migration in task.artifacts_to_undo:
        record(task, "reverted", migration=migration)
    return {"reverted": task.artifacts_to_undo}


if __name__ == "__main__":
    agent.run()
