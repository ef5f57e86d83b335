"""``saga``: a workflow from a list of steps, and the agent that serves it.

::

    provision = saga("provision", [CreateNetwork(), CreateMachine()], role="cloud")
    provision.write("config/sagas/provision.yaml")  # include = ["sagas/*.yaml"]
    provision.agent.run()
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from sagabus_agents.agent import Agent
from sagabus_agents.handlers import HandlerFunction
from sagabus_agents.step import CONTEXT, INPUTS, State, Step, refuse_returned
from sagabus_agents.task import Task

#: Of a stage's name, which task ids are made of.
MAX_NAME_CHARS: Final = 40
#: Targets of routes, which no stage can be called; a step of that name gets an underscore behind.
_TARGETS: Final = frozenset({"end", "fail"})
_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_NAME_CHARS - 1}}}")
#: Keys of a stage and of a workflow that say which steps there are, and what they see.
_OF_A_STAGE: Final = frozenset({"name", "agents", "action", "input"})
_OF_A_WORKFLOW: Final = frozenset({"name", "order", "output_map", "stages", "tasks"})


class Saga:
    """A workflow whose stages are steps, one after another; made by ``saga``."""

    def __init__(
        self, name: str, role: str, steps: Iterable[Step], keys: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.role = role
        #: By stage: the step's name, with a number from its second place on (``echo_2``).
        self.steps = _by_stage(name, steps)
        self._keys = dict(keys)

    @property
    def definition(self) -> dict[str, Any]:
        """The workflow as the registry takes it: ``PUT /api/v1/workflows/{name}``, as JSON."""
        stages = list(self.steps)
        return {
            "name": self.name,
            **self._keys,
            "order": "written",
            "output_map": {stage: _result(stage) for stage in stages},
            "tasks": [
                self._stage(stage, step, stages[:step_idx])
                for step_idx, (stage, step) in enumerate(self.steps.items())
            ],
        }

    def action_of(self, stage: str) -> str:
        """The action of a stage: agents of one role may serve sagas with steps of one name."""
        return f"{self.name}/{stage}"

    def write(self, path: Path | str) -> None:
        """Write the definition as a YAML file (JSON is YAML), for ``include`` or for a pack."""
        text = json.dumps(self.definition, indent=2, ensure_ascii=False)
        Path(path).write_text(f"{text}\n", encoding="utf-8")

    @cached_property
    def agent(self) -> Agent:
        """An agent that serves this saga alone."""
        agent = Agent(self.role)
        self.serve_on(agent)
        return agent

    def serve_on(self, agent: Agent) -> None:
        """Let ``agent``, which may serve other sagas and tasks as well, do the steps.

        Raises:
            ValueError: it does not take tasks of the saga's role, or serves the saga already.
        """
        if self.role not in agent.roles:
            raise ValueError(f"saga {self.name!r} needs an agent of role {self.role!r}")
        for step_idx, (stage, step) in enumerate(self.steps.items()):
            agent.task(self.action_of(stage))(_handler(step, step.execute, step_idx))
            if step.has_compensate:
                undo = _handler(step, getattr(step, "compensate"), step_idx)  # noqa: B009
                agent.compensation(self.action_of(stage))(undo)

    def _stage(self, stage: str, step: Step, before: list[str]) -> dict[str, Any]:
        said = {
            "compensation_agents": [self.role] if step.has_compensate else None,
            "classification": step.classification,
            "idempotent": step.idempotent or None,
            "retry": None if step.retry is None else dict(step.retry),
            "timeout": step.timeout,
        }
        return {
            "name": stage,
            "agents": [self.role],
            "action": self.action_of(stage),
            # Each result as a path of its own: such ones may be of any size, and one that an
            # operator skipped is null.
            "input": {INPUTS: "{{ parameters }}", CONTEXT: [_result(each) for each in before]},
            **{key: value for key, value in said.items() if value is not None},
            **step.keys,
        }


def saga(name: str, steps: Iterable[Step], *, role: str | None = None, **keys: Any) -> Saga:
    """A workflow that executes ``steps`` one after another, and undoes them when one fails.

    Args:
        name: the workflow's name, which must not change while instances run.
        steps: at least one; the same step may occur several times.
        role: whose agents do them; the workflow's name unless given.
        keys: further keys of the workflow, as the workflow language has them: ``parameters``,
            ``description``, ``workflow_timeout``, ``saga={"after_final": "compensate"}``.

    Raises:
        ValueError: a name that no stage can have, a key that the saga writes itself, or no step.
    """
    if own := sorted(_OF_A_WORKFLOW & keys.keys()):
        raise ValueError(f"saga {name!r}: {own[0]!r} follows from its steps and cannot be given")
    return Saga(name, role or name, steps, keys)


def _by_stage(saga_name: str, steps: Iterable[Step]) -> dict[str, Step]:
    found: dict[str, Step] = {}
    for step in steps:
        name, number = f"{step.name}_" if step.name in _TARGETS else step.name, 2
        while name in found:
            name, number = f"{step.name}_{number}", number + 1
        if _NAME.fullmatch(name) is None:
            raise ValueError(
                f"saga {saga_name!r}: {name!r} is not the name of a step: a lower-case letter, "
                f"then letters, digits and underscores, at most {MAX_NAME_CHARS}"
            )
        if own := sorted(_OF_A_STAGE & step.keys.keys()):
            raise ValueError(
                f"saga {saga_name!r}, step {name!r}: the key {own[0]!r} is written by the saga"
            )
        found[name] = step
    if not found:
        raise ValueError(f"saga {saga_name!r} has no steps")
    return found


def _result(stage: str) -> str:
    return f"{{{{ task.{stage}.result }}}}"


def _handler(step: Step, method: Callable[[State], Any], step_idx: int) -> HandlerFunction:
    """``method`` of a step as a handler: a sync one stays sync, and so runs in a thread."""

    async def run_async(task: Task) -> dict[str, Any]:
        state = State(task, step_idx)
        refuse_returned(step, await method(state), state)
        return state.outputs

    def run(task: Task) -> dict[str, Any]:
        state = State(task, step_idx)
        refuse_returned(step, method(state), state)
        return state.outputs

    return run_async if inspect.iscoroutinefunction(method) else run
