"""Role ``tester``: a smoke test that fails when it is told to."""

from sagabus_agents import Agent, PermanentError, Task
from sagabus_agents.examples.effects import record
from sagabus_agents.examples.inputs import option, work

agent = Agent("tester")


@agent.task("smoke_test")
async def smoke_test(task: Task) -> dict[str, object]:
    """Pass, unless the input has ``fail_smoke_test: true``."""
    await work(task)
    if option(task, "fail_smoke_test") is True:
        record(task, "smoke_test_failed")
        raise PermanentError("the smoke test was told to fail", type="smoke_test_failed")
    record(task, "smoke_tested")
    return {"checks": 3, "passed": 3}


if __name__ == "__main__":
    agent.run()
