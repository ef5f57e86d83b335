"""The faults that the memory bus can be told to have."""

import pytest

from sagabus.adapters.memory_broker import MemoryBroker
from sagabus.adapters.memory_bus import MemoryBus
from sagabus.errors import BusUnavailableError
from sagabus.ports import OutgoingTask
from sagabus_agents import wire

SUBJECT = wire.task_subject("devops", "i1", "build-0-0", 1)


def task(msg_id: str) -> OutgoingTask:
    return OutgoingTask(SUBJECT, "devops", b"{}", msg_id)


async def test_redelivered_task_counts_its_deliveries_and_keeps_its_subject_taken() -> None:
    bus = MemoryBus()
    await bus.publish([], [task("one")])
    first = bus.broker.take("devops")
    assert first is not None
    assert bus.broker.take("devops") is None
    assert bus.broker.taken_tasks("devops") == [first]
    bus.broker.redeliver(SUBJECT)
    await bus.publish([], [task("two")])
    assert bus.broker.queued_tasks("devops") == [first]
    again = bus.broker.take("devops")
    assert again is first
    assert again.delivery == 2
    bus.broker.ack(again)
    assert not bus.broker.taken_tasks("devops")


async def test_lost_task_frees_its_subject_but_not_its_message_id() -> None:
    bus = MemoryBus()
    await bus.publish([], [task("one")])
    bus.broker.lose(SUBJECT)
    await bus.publish([], [task("one")])
    assert not bus.broker.queued_tasks("devops")
    await bus.publish([], [task("two")])
    assert len(bus.broker.queued_tasks("devops")) == 1


async def test_late_acknowledgement_of_a_lost_task_does_not_delete_its_successor() -> None:
    bus = MemoryBus()
    await bus.publish([], [task("one")])
    first = bus.broker.take("devops")
    assert first is not None
    bus.broker.lose(SUBJECT)
    await bus.publish([], [task("two")])
    bus.broker.ack(first)
    assert len(bus.broker.queued_tasks("devops")) == 1


async def test_broker_that_is_away_refuses_and_its_return_raises_the_generation() -> None:
    broker = MemoryBroker(partitions=1)
    bus, other = MemoryBus(broker), MemoryBus(broker)
    inbox = await bus.open_inbox(0, 1)
    await bus.send_command("i1", b"start", "c1")
    broker.go_away()
    assert not bus.is_connected
    assert not other.is_connected
    assert await inbox.next(10, 0.01) == []
    with pytest.raises(BusUnavailableError):
        await bus.publish([], [task("one")])
    with pytest.raises(BusUnavailableError):
        await inbox.is_drained()
    await bus.notify("some.subject", b"dropped without an error")
    broker.come_back()
    assert (bus.generation, other.generation) == (1, 1)
    assert [delivery.data for delivery in await inbox.next(10, 0)] == [b"start"]


async def test_wiped_broker_forgets_everything_and_ends_its_inboxes() -> None:
    broker = MemoryBroker(partitions=1)
    bus = MemoryBus(broker)
    await bus.publish([], [task("one")])
    await bus.send_command("i1", b"start", "c1")
    inbox = await bus.open_inbox(0, 1)
    broker.wipe()
    with pytest.raises(BusUnavailableError, match="gone"):
        await inbox.next(10, 0)
    assert bus.generation == 0
    await bus.publish([], [task("one")])
    assert bus.generation == 1
    assert len(broker.queued_tasks("devops")) == 1
    assert await (await bus.open_inbox(0, 2)).next(10, 0) == []
