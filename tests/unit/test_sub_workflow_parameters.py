"""Parameters that no message holds: the instance above is told so, and none begins below."""

import re
from typing import Any

import pytest

from sagabus.adapters.memory_bus import MemoryBus
from sagabus.core.commands import StartChild
from sagabus.core.instance import ParentRef
from sagabus.runtime.messages import read_inbox
from sagabus.runtime.subworkflows import tell_instance
from sagabus_agents.wire import MAX_MESSAGE_BYTES, CommandMessage, ResultMessage

PARENT = ParentRef("top", "s-1-0", 2)


async def told(parameters: Any) -> dict[str, CommandMessage | ResultMessage]:
    """What stands in the inboxes after a start, by whom it is for."""
    bus = MemoryBus()
    start = StartChild("below", PARENT, "child", "d" * 64, parameters, "top", "trace", "ann", False)
    await tell_instance(bus, "top", start)
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
