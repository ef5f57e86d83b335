"""What a handler may declare as a resource, and how it says what exists."""

import sys
from typing import Any

import pytest

from sagabus_agents import Agent, Task
from sagabus_agents.execution import Outcome, encode_result
from sagabus_agents.hiding import SecretTask
from sagabus_agents.roles.exec import exec_agent
from sagabus_agents.testing import run_observe, run_task
from sagabus_agents.wire import (
    MAX_RESOURCE_ID_CHARS,
    MAX_RESOURCES,
    MAX_SPEC_BYTES,
    Resource,
    ResultMessage,
    ResultStatus,
    SecretPlace,
    TaskMessage,
)

SPEC = {"size": "s", "tags": {"env": "prod"}}


async def declare(*resources: tuple[Any, Any, Any]) -> ResultMessage:
    agent = Agent("devops")

    @agent.task("make")
    async def make(task: Task) -> str:
        for kind, id, spec in resources:
            task.add_resource(kind, id, spec)
        return "made"

    return await run_task(agent, "make")


async def test_resources_are_reported_each_as_it_was_declared_last() -> None:
    result = await declare(("vm", "a", {"n": 1}), ("vm", "b", SPEC), ("vm", "a", {"n": 2}))
    assert result.status is ResultStatus.SUCCEEDED
    assert result.resources == [
        Resource(kind="vm", id="a", spec={"n": 2}),
        Resource(kind="vm", id="b", spec=SPEC),
    ]


async def test_a_result_without_resources_says_nothing_of_them() -> None:
    task = Task(message())
    encoded = encode_result(task, Outcome(ResultStatus.SUCCEEDED), "agent-1", None)
    assert "resources" not in encoded.fields


async def test_resources_of_a_failed_attempt_and_removed_ones_are_reported() -> None:
    agent = Agent("devops")

    @agent.task("make")
    def make(task: Task) -> None:
        task.remove_resource("vm", "old")
        task.add_resource("vm", "new", {})
        raise RuntimeError("too late")

    result = await run_task(agent, "make")
    assert result.status is ResultStatus.FAILED
    assert result.resources == [
        Resource(kind="vm", id="old", spec=None),
        Resource(kind="vm", id="new", spec={}),
    ]


@pytest.mark.parametrize(
    ("kind", "id", "spec", "complaint"),
    [
        ("", "a", {}, "resource kind ''"),
        ("v m", "a", {}, "resource kind 'v m': 1 to 64 letters"),
        ("v.m", "a", {}, "resource kind 'v.m'"),
        ("k" * 65, "a", {}, "1 to 64 letters"),
        (7, "a", {}, "kind: Input should be a valid string"),
        ("vm", "", {}, "1 to 512 printable characters"),
        ("vm", "a b", {}, "id 'a b' of a resource of kind 'vm'"),
        ("vm", "a\x1b[2J", {}, r"id 'a\x1b[2J'"),
        ("vm", "i" * (MAX_RESOURCE_ID_CHARS + 1), {}, "1 to 512 printable characters"),
        ("vm", "a", ["s"], "the spec of vm 'a' is a list, not a table"),
        ("vm", "a", None, "is a NoneType, not a table"),
        ("vm", "a", {1: 2}, "spec.1"),
        ("vm", "a", {"at": {2}}, "the spec of vm 'a' has no JSON form"),
        ("vm", "a", {"n": 2**70}, "the spec of vm 'a' has no JSON form"),
        ("vm", "a", {"text": "x" * MAX_SPEC_BYTES}, "has 65547 bytes, of which 65536 are kept"),
    ],
)
async def test_what_cannot_be_a_resource_fails_the_task_as_done(
    kind: Any, id: Any, spec: Any, complaint: str
) -> None:
    result = await declare(("vm", "before", SPEC), (kind, id, spec))
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == ("bad_result", False)
    assert complaint in result.error.message
    assert [each.id for each in result.resources] == ["before"]


async def test_more_resources_than_a_result_may_have_fail_it() -> None:
    result = await declare(*[("vm", f"vm-{n}", {}) for n in range(MAX_RESOURCES + 1)])
    assert result.error is not None
    assert result.error.message == "more than 1000 resources declared by one task"
    assert len(result.resources) == MAX_RESOURCES


async def test_ids_of_any_script_and_shape_are_taken() -> None:
    ids = ["arn:aws:ec2:eu-1:1:instance/i-0", "größe", "../..", "世界", "a%2Fb?c#d"]
    result = await declare(*[("vm", id, {}) for id in ids])
    assert [each.id for each in result.resources] == ids


def message(**changes: Any) -> TaskMessage:
    fields: dict[str, Any] = {
        "type": "task",
        "stage_name": "make",
        "workflow_id": "wf-1",
        "workflow": "demo",
        "task": "make-1-0",
        "attempt": 1,
        "role": "devops",
        "action": "make",
        "idempotency_key": "wf-1:make-1-0",
        "trace": "0",
    }
    return TaskMessage.model_validate(fields | changes)


def test_secrets_do_not_stand_in_resources() -> None:
    task = SecretTask(
        message(input="[secret:k]", secrets=[SecretPlace(path=[], start=0, end=10, key="k")])
    )
    task.redeemed(task.message, {"k": "hunter22"})
    task.add_resource("vm", "vm-hunter22", {"user": "root:hunter22", "hunter22": 1})
    encoded = encode_result(task, Outcome(ResultStatus.SUCCEEDED), "agent-1", None)
    assert encoded.fields["resources"] == [
        {"kind": "vm", "id": "vm-[secret:k]", "spec": {"user": "root:[secret:k]", "[secret:k]": 1}}
    ]


async def test_an_observer_is_told_what_is_known_and_says_what_exists() -> None:
    agent = Agent("devops")

    @agent.observe("vm")
    def vms(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"id": id, "spec": {"kind": asked["kind"]}} for id in asked["ids"]]

    @agent.observe()
    async def others(task: Task) -> list[dict[str, Any]]:
        return [{"id": task.action}]

    answer = await run_observe(agent, "vm", known=["a"])
    assert answer.output == [{"id": "a", "spec": {"kind": "vm"}}]
    assert (await run_observe(agent, "dns")).output == [{"id": "dns"}]


def test_a_kind_that_no_resource_can_have_is_refused_where_it_is_registered() -> None:
    agent = Agent("devops")
    with pytest.raises(ValueError, match=r"'v.m' is not a kind of resources: 1 to 64 letters"):
        agent.observe("v.m")
    with pytest.raises(TypeError, match="with parentheses"):
        agent.observe(lambda task: None)  # type: ignore[arg-type]


def program(script: str) -> str:
    return f"{sys.executable} -c '{script}'"


WRITE = 'import os; open(os.environ["SAGABUS_RESOURCES"], "a").write({!r}); {}'


async def test_a_program_declares_resources_by_lines_of_a_file() -> None:
    lines = '{"kind": "vm", "id": "a", "spec": {"n": 1}}\n\n{"kind": "vm", "id": "b", "spec": null}'
    script = WRITE.format(lines, "").replace("'", '"""')
    result = await run_task(exec_agent("devops", {"make": program(script)}), "make")
    assert result.error is None
    assert result.resources == [
        Resource(kind="vm", id="a", spec={"n": 1}),
        Resource(kind="vm", id="b", spec=None),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("vm-1", "line 2 of $SAGABUS_RESOURCES: Invalid JSON"),
        ('{"kind": "vm", "id": "b"}', "line 2 of $SAGABUS_RESOURCES: spec: Field required; write"),
        ('{"kind": "v m", "id": "b", "spec": {}}', "resource kind"),
    ],
)
async def test_a_line_that_is_no_resource_fails_the_program_that_succeeded(
    line: str, complaint: str
) -> None:
    lines = '{"kind": "vm", "id": "a", "spec": {}}\n' + line
    script = WRITE.format(lines, "").replace("'", '"""')
    result = await run_task(exec_agent("devops", {"make": program(script)}), "make")
    assert result.error is not None
    assert result.error.type == "bad_result"
    assert complaint in result.error.message
    assert [each.id for each in result.resources] == ["a"]


async def test_a_program_that_fails_keeps_its_own_error_and_what_it_declared() -> None:
    lines = '{"kind": "vm", "id": "a", "spec": {}}\n{"kind": "v'
    script = WRITE.format(lines, "raise SystemExit(65)").replace("'", '"""')
    result = await run_task(exec_agent("devops", {"make": program(script)}), "make")
    assert result.error is not None
    assert result.error.type == "bad_input"
    assert [each.id for each in result.resources] == ["a"]


async def test_a_program_observes() -> None:
    script = (
        'import json, sys; asked = json.load(sys.stdin); assert asked["type"] == "observe";'
        'print(json.dumps([{"id": id} for id in asked["input"]["ids"]]))'
    )
    agent = exec_agent("devops", {}, observe={"vm": program(script)})
    answer = await run_observe(agent, "vm", known=["a", "b"])
    assert answer.output == [{"id": "a"}, {"id": "b"}]
