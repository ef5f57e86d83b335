"""Who has more tasks than it may send at once gives way, and only while somebody is there."""

from datetime import UTC, datetime

import pytest

from sagabus.core.instance import Instance, InstanceState, InstanceStatus
from sagabus.runtime.pace import RECENTLY_S, Pace, pause_s

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def state(*unfilled: str) -> InstanceState:
    row = Instance("i", "w", "d", InstanceStatus.RUNNING, NOW, NOW)
    row.unfilled.extend(unfilled)
    return InstanceState(row)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(clock)


def test_nobody_gives_way_to_nobody(pace: Pace) -> None:
    assert not pace.gives_way([state("spread-1")])


def test_wide_instance_gives_way_to_one_that_was_served_just_now(pace: Pace, clock: Clock) -> None:
    assert not pace.gives_way([state()])
    clock.now += RECENTLY_S / 2
    assert pace.gives_way([state("spread-1"), state("spread-1")])


def test_wide_instance_has_the_machine_again_once_the_others_are_gone(
    pace: Pace, clock: Clock
) -> None:
    pace.gives_way([state()])
    clock.now += 2 * RECENTLY_S
    assert not pace.gives_way([state("spread-1")])


def test_batch_with_anybody_else_in_it_waits_for_nobody(pace: Pace) -> None:
    pace.gives_way([state()])
    assert not pace.gives_way([state("spread-1"), state()])


def test_batch_without_any_instance_waits_for_nobody(pace: Pace) -> None:
    pace.gives_way([state()])
    assert not pace.gives_way([])


def test_pause_is_as_long_as_the_batch_was_within_limits() -> None:
    assert pause_s(0.02) == 0.02
    assert 0 < pause_s(0.0) < 0.01
    assert pause_s(40.0) < 0.1  # the database was away
