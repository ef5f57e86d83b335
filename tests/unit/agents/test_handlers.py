"""What a handler may look like, and what becomes of what it returns or raises."""

import asyncio
import functools
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from sagabus_agents import Agent, PermanentError, RetryableError, Task, UnknownOutcomeError
from sagabus_agents.errors import describe
from sagabus_agents.testing import run_task
from sagabus_agents.wire import ProgressMessage, ResultMessage, ResultStatus


class Order(BaseModel):
    count: int


async def run(handler: Any, input: Any = None, **options: Any) -> ResultMessage:
    agent = Agent("devops")
    agent.task("act")(handler)
    return await run_task(agent, "act", input, **options)


def error_of(result: ResultMessage) -> tuple[str, bool]:
    assert result.status is ResultStatus.FAILED
    assert result.error is not None
    return result.error.type, result.error.retryable


async def nothing() -> str:
    return "nothing"


async def the_task(task: Task) -> Any:
    return task.input


async def model_alone(order: Order) -> int:
    return order.count


async def model_first(order: Order, task: Task) -> Any:
    return [order.count, task.input["count"]]


async def by_keyword(task: Task, *, order: Order) -> int:
    return order.count


async def raw_second(task, input):
    return input


def in_a_thread(task: Task, order: Order) -> Any:
    return [order.count, threading.current_thread().name]


async def with_default(task: Task, order: Order, times: int = 2) -> int:
    return order.count * times


@dataclass
class Callable_:  # noqa: N801
    factor: int

    async def __call__(self, task: Task, order: Order) -> int:
        return order.count * self.factor


@pytest.mark.parametrize(
    ("handler", "output"),
    [
        (nothing, "nothing"),
        (the_task, {"count": 4}),
        (model_alone, 4),
        (model_first, [4, 4]),
        (by_keyword, 4),
        (raw_second, {"count": 4}),
        (in_a_thread, [4, "sagabus-handler"]),
        (with_default, 8),
        (Callable_(3), 12),
        (functools.partial(with_default, times=5), 20),
    ],
)
async def test_handler_gets_what_its_signature_asks_for(handler: Any, output: Any) -> None:
    assert (await run(handler, {"count": 4})).output == output


def test_handler_that_needs_more_than_task_and_input_is_refused() -> None:
    async def handler(task: Task, order: Order, other: int) -> None:
        """Asks for too much."""

    with pytest.raises(TypeError, match="a task and its input"):
        Agent("devops").task("act")(handler)


def test_second_handler_of_an_action_is_refused() -> None:
    agent = Agent("devops")
    agent.task("act")(nothing)
    agent.compensation("act")(nothing)
    with pytest.raises(ValueError, match="already"):
        agent.task("act")(nothing)


def test_decorator_without_parentheses_is_refused() -> None:
    with pytest.raises(TypeError, match="parentheses"):
        Agent("devops").task(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["", "_inner", "a.b", "a b", "*", "x" * 65])
def test_name_that_is_not_a_role_is_refused(role: str) -> None:
    with pytest.raises(ValueError, match="not a role"):
        Agent(role)


async def test_catch_all_takes_what_has_no_handler_of_its_own() -> None:
    agent = Agent("devops")

    @agent.task("known")
    async def known(task: Task) -> str:
        return "known"

    @agent.task()
    async def rest(task: Task) -> str:
        return f"rest: {task.action}"

    assert (await run_task(agent, "known")).output == "known"
    assert (await run_task(agent, "other")).output == "rest: other"
    assert error_of(await run_task(agent, "other", compensation=True)) == ("no_handler", False)


async def test_input_that_does_not_fit_names_every_place() -> None:
    result = await run(model_alone, {"count": "many"})
    assert error_of(result) == ("bad_input", False)
    assert result.error is not None
    assert result.error.message.startswith("count: ")
    assert error_of(await run(model_alone)) == ("bad_input", False)


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), {"deep": {3: "not a string key"}}, 2**70, "\ud800", b"bytes"]
)
async def test_output_that_is_not_json_is_bad_result(value: Any) -> None:
    assert error_of(await run(lambda: value)) == ("bad_result", False)


class Reading(BaseModel):
    """What a model may hold."""

    value: float


@dataclass
class Point:
    """What a dataclass may hold."""

    x: float


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "it"),
        ({"x": float("inf")}, "`x`"),
        ({"none": None, "rows": [{"price": 1.5}, {"price": -float("inf")}]}, "`rows.1.price`"),
        ({"pair": (0.5, float("nan"))}, "`pair.1`"),
        ([Reading(value=1), Reading(value=float("nan"))], "`1.value`"),
        ({"at": Point(float("nan"))}, "`at.x`"),
    ],
)
async def test_a_number_that_json_does_not_know_is_bad_result_with_its_place(
    value: Any, place: str
) -> None:
    result = await run(lambda: value)
    assert error_of(result) == ("bad_result", False)
    assert result.error is not None
    assert f"cannot be sent: {place} is infinite or not a number" in result.error.message


@pytest.mark.parametrize("value", [None, {"x": None, "y": [1.5, "null"]}, [Point(0.5), None]])
async def test_null_and_what_is_a_number_are_sent(value: Any) -> None:
    assert (await run(lambda: value)).output == orjson.loads(orjson.dumps(value))


async def test_models_anywhere_in_the_output_are_dumped() -> None:
    result = await run(lambda: {"orders": [Order(count=1)]})
    assert result.output == {"orders": [{"count": 1}]}


class QuotaError(RetryableError):
    """A handler's own kind of failure."""


@pytest.mark.parametrize(
    ("error", "type", "retryable", "retry_after_s"),
    [
        (RetryableError("x"), "RetryableError", True, None),
        (RetryableError("x", retry_after=2), "RetryableError", True, 2.0),
        (RetryableError("x", retry_after=timedelta(minutes=1)), "RetryableError", True, 60.0),
        (QuotaError("x", retry_after=-1), "QuotaError", True, 0.0),
        (PermanentError("x"), "PermanentError", False, None),
        (PermanentError("x", type="no_such_region"), "no_such_region", False, None),
        (OSError("x"), "OSError", True, None),
        (StopIteration("x"), "RuntimeError", True, None),
        (SystemExit("x"), "SystemExit", True, None),
        (asyncio.CancelledError("x"), "CancelledError", True, None),
    ],
)
async def test_error_says_its_type_and_whether_to_retry(
    error: BaseException, type: str, retryable: bool, retry_after_s: float | None
) -> None:
    async def fail(task: Task) -> None:
        task.artifact("made before")
        raise error

    result = await run(fail)
    assert error_of(result) == (type, retryable)
    assert result.error is not None
    assert result.error.retry_after_s == retry_after_s
    assert result.artifacts == ["made before"]


async def test_error_too_long_for_the_contract_is_cut() -> None:
    def fail() -> None:
        raise PermanentError("m" * 100_000, type="t" * 1000)

    result = await run(fail)
    assert result.error is not None
    assert (len(result.error.type), len(result.error.message)) == (200, 8_000)


async def test_timeout_cancels_an_async_handler() -> None:
    cancelled = False

    async def slow() -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled = True
            raise

    assert error_of(await run(slow, timeout_s=0.05)) == ("timeout", True)
    assert cancelled


async def test_work_finished_in_spite_of_the_timeout_counts() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done"
        return "never"

    result = await run(stubborn, timeout_s=0.05)
    assert (result.status, result.output) == (ResultStatus.SUCCEEDED, "done")
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_sync_handler_sees_that_its_time_is_over() -> None:
    def slow(task: Task) -> None:
        while not task.is_cancelled:
            threading.Event().wait(0.005)
        raise InterruptedError("stopped at step 3")

    result = await run(slow, timeout_s=0.05)
    assert error_of(result) == ("timeout", True)
    assert result.error is not None
    assert "stopped at step 3" in result.error.message


async def test_compensation_payload_has_exactly_the_agreed_fields() -> None:
    agent = Agent("devops")
    seen: dict[str, Any] = {}

    @agent.compensation("provision")
    async def undo(task: Task) -> None:
        seen.update(task.payload)
        assert task.is_compensation

    await run_task(
        agent,
        "provision",
        compensation=True,
        original_context={"parameters": {"a": 1}},
        artifacts_to_undo=["vm-1"],
        workflow_id="wf",
    )
    assert seen == {
        "type": "compensation",
        "stage_name": "provision",
        "workflow_id": "wf",
        "original_context": {"parameters": {"a": 1}},
        "artifacts_to_undo": ["vm-1"],
    }


async def test_task_payload_has_no_fields_of_a_compensation() -> None:
    async def payload(task: Task) -> Any:
        return task.payload

    result = await run(payload, workflow_id="wf", stage="build")
    assert result.output == {"type": "task", "stage_name": "build", "workflow_id": "wf"}


async def test_progress_outside_zero_to_one_is_refused() -> None:
    seen: list[ProgressMessage] = []

    async def work(task: Task) -> None:
        task.progress(0.5, "half")
        task.progress(1.5)

    result = await run(work, on_progress=seen.append)
    assert error_of(result)[0] == "ValidationError"
    assert [(news.fraction, news.message) for news in seen] == [(0.5, "half")]


async def test_artifacts_are_strings_and_kept_once() -> None:
    async def work(task: Task) -> None:
        task.artifact("a")
        task.artifact("b")
        task.artifact("a")
        with pytest.raises(TypeError):
            task.artifact(7)  # type: ignore[arg-type]

    assert (await run(work)).artifacts == ["a", "b"]


def test_an_outcome_that_nobody_knows_has_a_type_of_its_own() -> None:
    info = describe(UnknownOutcomeError("the line broke"))
    assert (info.type, info.message, info.retryable) == ("unknown_outcome", "the line broke", True)
