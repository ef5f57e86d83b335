"""``Step``: one step of a saga as a class, and ``State``, what it sees of the saga.

::

    class CreateNetwork(Step):
        async def execute(self, state: State) -> None:
            network = await cloud.create(state.get_input("customer"))
            state.put_output("network", network.id)

        async def compensate(self, state: State) -> None:
            await cloud.delete(state.get_output("network"))
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Literal

from sagabus_agents.errors import BadInputError, PermanentError
from sagabus_agents.task import Task

#: Keys of a step's input.
INPUTS: Final = "inputs"
CONTEXT: Final = "context"

_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class State:
    """What one run of a step sees: the saga's inputs, and what the steps before it have put.

    A compensation sees what its step saw, and what that step has put itself.

    Raises:
        BadInputError: the task was not sent for a step of a saga.
    """

    def __init__(self, task: Task, step_idx: int) -> None:
        #: The task that it runs for: artifacts, progress, ``idempotency_key``, log.
        self.task = task
        #: Position of the step, from 0.
        self.step_idx = step_idx
        self._inputs, self._context = _read(task)
        self._put: dict[str, Any] = {}

    def get_input(self, key: str, default: Any = None) -> Any:
        """A parameter that the saga was started with."""
        return self._inputs.get(key, default)

    def get_output(self, key: str, default: Any = None) -> Any:
        """What this step, or else the last step before it that put ``key``, has put.

        A value that is changed in place has to be put again: later steps see what was put.
        """
        return self._context.get(key, default)

    def put_output(self, key: str, value: Any) -> None:
        """Let later steps, and the compensation of this one, see ``value``, which JSON can hold.

        What a failed attempt put is gone with it.

        Raises:
            RuntimeError: in a compensation, whose outputs nobody would see.
        """
        if self.task.is_compensation:
            raise RuntimeError(f"put_output({key!r}): a compensation has no outputs")
        self._context[key] = self._put[key] = value

    @property
    def outputs(self) -> dict[str, Any]:
        """What this step has put."""
        return dict(self._put)


class Step(ABC):
    """One step of a saga: ``execute``, and ``compensate(state)`` where it can be undone.

    Both may be async; a sync one runs in a thread. An exception is a failure with its type and its
    message. ``classification``, ``idempotent``, ``retry``, ``timeout`` and ``keys`` are those of
    the stage, as the workflow language has them.
    """

    #: None: compensatable with a ``compensate``, else it makes no statement about its effects.
    classification: Literal["read_only", "compensatable", "final"] | None = None
    #: Final steps: may be executed again when nobody knows whether it was.
    idempotent: bool = False
    #: ``{"count": 3, "delay": "5s"}``; None: one attempt.
    retry: Mapping[str, Any] | None = None
    #: Of one attempt: seconds, or text as in ``"15m"``.
    timeout: float | str | None = None
    #: Further keys of the stage: ``{"approval_required": True}``.
    keys: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """Names it in the saga; the class's name, ``CreateNetwork`` as ``create_network``."""
        return _WORD_BEGINS.sub("_", type(self).__name__).lower()

    @abstractmethod
    def execute(self, state: State) -> Any:
        """Do it; results are put into ``state``, and nothing is returned."""

    @property
    def has_compensate(self) -> bool:
        """Whether it can be undone: it has a method ``compensate``."""
        return callable(getattr(self, "compensate", None))


def refuse_returned(step: Step, returned: Any, state: State) -> None:
    """Nothing that a step returns is lost unnoticed.

    Raises:
        PermanentError: it returned something; type ``bad_result``, for it has acted.
    """
    if returned is not None and returned is not state:
        raise PermanentError(
            f"step {step.name!r} returned a {type(returned).__name__}, which later steps would not "
            "see; put it with state.put_output",
            type="bad_result",
        )


def _read(task: Task) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The saga's inputs, and the context: what each step has put, the later one wins."""
    original = task.original_context
    given = original.get("input") if task.is_compensation else task.input
    given = given if isinstance(given, Mapping) else {}
    inputs, outputs = given.get(INPUTS), given.get(CONTEXT)
    if not isinstance(inputs, Mapping) or not isinstance(outputs, list):
        raise BadInputError(
            f"stage {task.stage!r} was not sent the input of a saga's step; use the definition "
            "that saga() gives"
        )
    context: dict[str, Any] = {}
    # Null is the result of a step that an operator skipped, or that has no known outcome.
    for output in (*outputs, original.get("output")):
        if isinstance(output, Mapping):
            context |= output
        elif output is not None:
            raise BadInputError(
                f"the result of a step before {task.stage!r} is a {type(output).__name__} where a "
                "table of outputs is needed"
            )
    return inputs, context
