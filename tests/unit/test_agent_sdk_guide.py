"""The examples in docs/agent-sdk.md are what they say: they run, and their workflow loads."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from sagabus.testing import rehearse
from sagabus_agents import Agent, Saga
from sagabus_agents.testing import run_observe, run_task

_GUIDE = (Path(__file__).parents[2] / "docs" / "agent-sdk.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    """What the blocks define, one after the other."""
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", _GUIDE, flags=re.DOTALL):
        scope["agents"] = [*scope.get("agents", []), scope.pop("agent", None)]
        exec(block, scope)
    return scope


async def test_the_handlers_do_what_they_say(printed: dict[str, Any]) -> None:
    agent = next(each for each in printed["agents"] if isinstance(each, Agent))
    made = await run_task(agent, "create_machine", {"size": "s"}, workflow_id="i1")
    assert (made.output, made.artifacts) == ({"machine": "vm-i1"}, ["vm-i1"])
    refused = await run_task(agent, "create_machine", {"size": "xl"})
    assert refused.error is not None
    assert (refused.error.type, refused.error.retryable) == ("no_such_size", False)
    undone = await run_task(agent, "create_machine", compensation=True, artifacts_to_undo=["vm-1"])
    assert undone.error is None


async def test_an_example_calls_with_the_keys_of_the_task_and_of_what_it_undoes(
    printed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setitem(printed, "post", lambda *call: calls.append(call))
    agent = [each for each in printed["agents"] if isinstance(each, Agent)][-1]
    await run_task(agent, "charge", {"amount": 5}, workflow_id="i1")
    await run_task(agent, "charge", workflow_id="i1", compensation=True)
    assert calls == [
        ("/charges", "i1:charge-1-0", {"amount": 5}),
        ("/refunds", "i1:charge-1-0-undo", {"charged_with": "i1:charge-1-0"}),
    ]


async def test_the_observer_finds_what_the_task_declared(printed: dict[str, Any]) -> None:
    agent = printed["observed"]
    made = await run_task(agent, "create_machine")
    assert [each.model_dump() for each in made.resources] == [
        {"kind": "vm", "id": "vm-17", "spec": {"size": "s"}}
    ]
    answer = await run_observe(agent, "vm", known=["vm-17"])
    assert answer.output == [{"id": "vm-17", "spec": {"size": "s"}}]
    await run_task(agent, "create_machine", compensation=True)
    assert (await run_observe(agent, "vm")).output == []


async def test_the_steps_are_a_workflow_that_undoes_them(
    printed: dict[str, Any], tmp_path: Path
) -> None:
    made = printed["provision"]
    assert isinstance(made, Saga)
    made.write(tmp_path / "provision.yaml")
    run = rehearse(
        tmp_path / "provision.yaml",
        "provision",
        {"customer": "acme"},
        outcomes={"invite": {"error": "no such address"}},
    )
    stages = ["create_network", "create_machine", "create_machine_2", "invite"]
    assert (run.path, run.compensated) == (stages, stages[2::-1])


async def test_the_test_passes(printed: dict[str, Any]) -> None:
    [name] = [
        name
        for name, value in printed.items()
        if inspect.iscoroutinefunction(value) and name.startswith("test_")
    ]
    await printed[name]()
