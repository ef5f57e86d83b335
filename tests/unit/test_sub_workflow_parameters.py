"""Parameters that no message holds, of which the one above is told; and what it is told at all."""

import re
from typing import Any

import pytest

from sagabus.adapters.memory_bus import MemoryBus
from sagabus.core.commands import StartChild, TellParent
from sagabus.core.instance import ParentRef
from sagabus.runtime.messages import read_inbox
from sagabus.runtime.subworkflows import Saying, tell_instance
from sagabus_agents.wire import MAX_MESSAGE_BYTES, CommandMessage, ResultMessage

PARENT = ParentRef("top", "s-1-0", 2)


async def told(parameters: Any) -> dict[str, CommandMessage | ResultMessage]:
    """What stands in the inboxes after a start, by whom it is for."""
    start = StartChild("below", PARENT, "child", "d" * 64, parameters, "top", "trace", "ann", False)
    return await said("top", start)


async def said(by: str, what: Saying) -> dict[str, CommandMessage | ResultMessage]:
    bus = MemoryBus()
    await tell_instance(bus, by, what)
    found = {}
    for partition in range(bus.partitions):
        inbox = await bus.open_inbox(partition, 1)
        for each in await inbox.next(10, 0):
            [instance] = {"top", "below"} & set(each.subject.split("."))
            found[instance] = read_inbox(each.data)
    return found


async def test_parameters_that_fit_start_the_child() -> None:
    [(instance, message)] = (await told({"size": 3})).items()
    assert (instance, message.name, message.arguments["parameters"]) == (
        "below",
        "start",
        {"size": 3},
    )


@pytest.mark.parametrize("room", [4_096, 1])
async def test_parameters_that_are_too_large_are_refused_to_the_instance_above(room: int) -> None:
    [(instance, message)] = (await told({"text": "x" * (MAX_MESSAGE_BYTES - room)})).items()
    assert instance == "top"
    assert (message.task, message.attempt, message.status.value) == ("s-1-0", 2, "failed")
    assert message.error.type == "bad_input"
    assert not message.has_left_effects
    said = r"the parameters of sub-workflow 'child' have (\d+) bytes, the bus takes (\d+)"
    found = re.fullmatch(said, message.error.message)
    assert found is not None
    size, limit = map(int, found.groups())
    assert size > limit == MAX_MESSAGE_BYTES


async def test_what_an_instance_left_is_told_with_how_new_that_is() -> None:
    news = TellParent(PARENT, "failed", has_left_effects=True, left=["certain", "final"], seq=9)
    message = (await said("below", news))["top"]
    assert (message.has_left_effects, message.left, message.seq) == (True, ["certain", "final"], 9)
