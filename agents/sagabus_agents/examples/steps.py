"""Two steps, and two sagas made of them: one that succeeds, and one that is rolled back.

``python -m sagabus_agents.examples.steps DIRECTORY`` writes their definitions there, and does their
steps as role ``steps``.
"""

import sys
from pathlib import Path

from sagabus_agents import Agent, Step, saga
from sagabus_agents.errors import PermanentError
from sagabus_agents.examples.effects import record
from sagabus_agents.step import State


class Echo(Step):
    """Keeps the message that the saga was started with."""

    def execute(self, state: State) -> None:
        """Put it under a key that tells the steps apart."""
        record(state.task, "echoed", step_idx=state.step_idx)
        state.put_output(f"echoed_at_step_{state.step_idx}", state.get_input("message"))

    def compensate(self, state: State) -> None:
        """Forget it."""
        said = state.get_output(f"echoed_at_step_{state.step_idx}")
        record(state.task, "forgotten", step_idx=state.step_idx, said=said)


class Fail(Step):
    """Fails, whatever it is given."""

    def execute(self, state: State) -> None:
        """Raise an error that another attempt would not change."""
        raise PermanentError("this step always fails", type="told_to_fail")


happy = saga("echo_echo_echo", [Echo(), Echo(), Echo()], role="steps")
unhappy = saga("echo_echo_fail", [Echo(), Echo(), Fail()], role="steps")

agent = Agent("steps")
for each in (happy, unhappy):
    each.serve_on(agent)


if __name__ == "__main__":
    for each in (happy, unhappy):
        each.write(Path(sys.argv[1]) / f"{each.name}.yaml")
    agent.run()
