"""Steps: what they see of their saga, what becomes of what they put, and the workflow they make."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sagabus.testing import Run, rehearse
from sagabus_agents import Agent, Saga, State, Step, saga
from sagabus_agents.testing import run_step, run_task
from sagabus_agents.wire import ResultStatus


class Count(Step):
    """Counts on from what the step before has put."""

    name = "count"

    async def execute(self, state: State) -> None:
        state.put_output("count", state.get_output("count", 0) + state.get_input("by", 1))
        state.put_output(f"at_{state.step_idx}", threading.current_thread().name)

    def compensate(self, state: State) -> None:
        state.task.log.info("undone", count=state.get_output("count"))


class TakeStock(Step):
    classification = "read_only"

    def execute(self, state: State) -> State:
        state.put_output("thread", threading.current_thread().name)
        return state


class Publish(Step):
    retry = {"count": 2, "delay": "1s"}  # noqa: RUF012
    timeout = "15m"
    keys = {"approval_required": True}  # noqa: RUF012

    def execute(self, state: State) -> None:
        raise KeyError("no such key")


class Returns(Step):
    def execute(self, state: State) -> dict[str, int]:
        return {"lost": 1}


def play(made: Saga, directory: Path, **script: Any) -> Run:
    """The definition on the machine itself, with scripted outcomes."""
    made.write(directory / "saga.yaml")
    return rehearse(directory / "saga.yaml", made.name, **script)


async def test_step_sees_the_inputs_and_what_the_steps_before_it_put() -> None:
    made = saga("counting", [Count(), Count(), Count()])
    before = [{"count": 1, "own": "a"}, {"count": 2}]
    result = await run_step(made, "count_3", inputs={"by": 10}, context=before)
    assert result.output["count"] == 12
    # Only what it put itself: what was there before is not stored again.
    assert set(result.output) == {"count", "at_2"}


async def test_outputs_of_a_skipped_step_are_not_there_and_those_before_it_are() -> None:
    made = saga("counting", [Count(), Count(), Count()])
    result = await run_step(made, "count_3", context=[{"count": 5}, None])
    assert result.output["count"] == 6


async def test_sync_step_runs_in_a_thread_and_may_return_its_state() -> None:
    made = saga("stock", [Count(), TakeStock()])
    assert (await run_step(made, "count")).output["at_0"] == "MainThread"
    assert (await run_step(made, "take_stock")).output == {"thread": "sagabus-handler"}


async def test_compensation_sees_what_its_step_saw_and_put() -> None:
    seen: list[Any] = []

    class Remember(Step):
        def execute(self, state: State) -> None: ...

        def compensate(self, state: State) -> None:
            seen.extend([state.get_input("by"), state.get_output("count"), state.step_idx])

    made = saga("undoing", [Count(), Remember()])
    given: Any = {"inputs": {"by": 2}, "context": [{"count": 2}], "compensation": True}
    result = await run_step(made, "remember", **given, output={"count": 7})
    assert (result.status, seen) == (ResultStatus.SUCCEEDED, [2, 7, 1])
    # It was never known how it ended: what came before it is there all the same.
    await run_step(made, "remember", **given, output=None)
    assert seen[3:] == [2, 2, 1]


@pytest.mark.parametrize(
    ("step", "context", "error"),
    [
        (Publish(), [], ("KeyError", "'no such key'", True)),
        (Returns(), [], ("bad_result", "state.put_output", False)),
        (Count(), ["text"], ("bad_input", "a table of outputs is needed", False)),
        (Count(), None, ("bad_input", "the definition that saga() gives", False)),
    ],
)
async def test_failure_of_a_step_says_what_happened(
    step: Step, context: Any, error: tuple[str, str, bool]
) -> None:
    made = saga("failing", [step])
    given = {"inputs": {}, "context": context}
    result = await run_task(made.agent, f"failing/{step.name}", given, stage=step.name)
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == (error[0], error[2])
    assert error[1] in result.error.message


async def test_put_output_in_a_compensation_is_refused() -> None:
    class Puts(Step):
        def execute(self, state: State) -> None: ...

        async def compensate(self, state: State) -> None:
            state.put_output("seen", True)

    result = await run_step(saga("puts", [Puts()]), "puts", compensation=True)
    assert result.error is not None
    assert "a compensation has no outputs" in result.error.message


def test_definition_is_a_workflow_that_runs_the_steps_in_order(tmp_path: Path) -> None:
    made = saga("counting", [Count(), TakeStock(), Count()], role="counters")
    puts = {"count": {"count": 1}, "take_stock": {}, "count_2": {"count": 2}}
    outputs = {name: {"output": put} for name, put in puts.items()}
    run = play(made, tmp_path, parameters={"by": 1}, outcomes=outputs)
    assert (run.status, run.path) == ("completed", ["count", "take_stock", "count_2"])
    assert run.input("count_2") == {"inputs": {"by": 1}, "context": [{"count": 1}, {}]}
    assert run.output == puts
    assert {attempt.role for tries in run.state.attempts.values() for attempt in tries} == {
        "counters"
    }


def test_failed_step_undoes_those_that_can_be_undone(tmp_path: Path) -> None:
    made = saga("undoing", [Count(), TakeStock(), Count(), Returns()])
    run = play(made, tmp_path, outcomes={"returns": {"error": "broken"}})
    assert (run.status, run.compensated) == ("rolled_back", ["count_2", "count"])


def test_step_says_what_the_language_knows_of_a_stage() -> None:
    [task] = saga("publishing", [Publish()], role="press").definition["tasks"]
    assert task["retry"] == {"count": 2, "delay": "1s"}
    assert (task["timeout"], task["approval_required"]) == ("15m", True)
    assert "compensation_agents" not in task
    [task] = saga("looking", [TakeStock()]).definition["tasks"]
    assert (task["name"], task["classification"]) == ("take_stock", "read_only")
    assert task["agents"] == ["looking"]


def test_names_stay_those_of_the_steps_and_differ() -> None:
    class Named(Step):
        def __init__(self, name: str) -> None:
            self._name = name

        @property
        def name(self) -> str:
            return self._name

        def execute(self, state: State) -> None: ...

    names = ["a", "a_2", "a", "fail", "a", "fail"]
    made = saga("naming", [Named(name) for name in names])
    assert list(made.steps) == ["a", "a_2", "a_3", "fail_", "a_4", "fail_2"]
    with pytest.raises(ValueError, match="not the name of a step"):
        saga("naming", [Named("Not-a-name")])


def test_mistakes_in_a_saga_are_refused_where_it_is_made() -> None:
    class Own(Step):
        keys = {"input": {"x": 1}}  # noqa: RUF012

        def execute(self, state: State) -> None: ...

    with pytest.raises(ValueError, match="no steps"):
        saga("empty", [])
    with pytest.raises(ValueError, match="'input' is written by the saga"):
        saga("own", [Own()])
    with pytest.raises(ValueError, match="'output_map' follows from its steps"):
        saga("own", [Count()], output_map={})
    with pytest.raises(ValueError, match="needs an agent of role 'counters'"):
        saga("counting", [Count()], role="counters").serve_on(Agent("others"))


async def test_one_agent_serves_sagas_with_steps_of_the_same_name() -> None:
    agent = Agent("counters")
    for name in ("first", "second"):
        saga(name, [Count()], role="counters").serve_on(agent)
    given = {"inputs": {}, "context": []}
    for name in ("first", "second"):
        result = await run_task(agent, f"{name}/count", given, stage="count")
        assert result.output["count"] == 1
