"""What a partition keeps in memory, and when it calls two starts the same."""

from datetime import timedelta

from sagabus.core.commands import SetTimer
from sagabus.runtime.starting import StartArguments, existing_answer
from sagabus.runtime.timer_queue import TimerQueue
from sagabus_agents.wire import CommandMessage
from tests.unit.core.clock import BASE
from tests.unit.core.scene import sequence, stage
from tests.unit.core.world import new_state


def test_timers_of_ended_instances_are_dropped_and_the_others_stay_in_order() -> None:
    queue = TimerQueue()
    for number, instance in enumerate(["kept", "ended", "kept", "ended"]):
        queue.add(instance, SetTimer(BASE + timedelta(seconds=4 - number), "workflow"))
    queue.keep({"kept"})
    assert len(queue) == 2
    due = queue.pop_due(BASE + timedelta(seconds=9), 9)
    assert [(name, timer.at) for name, timer in due] == [
        ("kept", BASE + timedelta(seconds=2)),
        ("kept", BASE + timedelta(seconds=4)),
    ]


def test_start_with_parameters_that_only_python_calls_equal_is_a_conflict() -> None:
    state = new_state()
    state.row.parameters = {"fail": True}
    command = CommandMessage(command="c", name="start")
    same = StartArguments(workflow=state.row.workflow, parameters={"fail": True})
    other = StartArguments(workflow=state.row.workflow, parameters={"fail": 1})
    flow = sequence(stage("a"))
    assert existing_answer(state, command, same, flow).ok
    assert existing_answer(state, command, other, flow).code == "conflict"
