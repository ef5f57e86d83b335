"""The orchestrator is killed at random moments: everything ends, and nothing is done twice."""

import os
import random
from pathlib import Path

import pytest

from tests.support.effects import assert_sound
from tests.support.journeys import (
    WORKFLOWS,
    Journeys,
    agents,
    assert_histories_are_gapless,
    at_each,
    kill_moments,
)
from tests.support.nats_server import NatsServer
from tests.support.processes import Orchestrator, all_of

SEED = int(os.environ.get("SAGABUS_TEST_SEED", "1"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kills", "instances"),
    [(5, 60), pytest.param(20, 200, marks=pytest.mark.soak)],
)
def test_orchestrator_killed_with_its_bus_loses_nothing_and_repeats_nothing(
    tmp_path: Path, kills: int, instances: int
) -> None:
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        _kill_and_check(orchestrator, tmp_path, orchestrator.nats_url, kills, instances)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kills", "instances"),
    [(3, 40), pytest.param(20, 200, marks=pytest.mark.soak)],
)
def test_orchestrator_killed_beside_its_bus_loses_nothing_and_repeats_nothing(
    tmp_path: Path, kills: int, instances: int
) -> None:
    with (
        NatsServer(tmp_path / "nats") as nats,
        Orchestrator(tmp_path, WORKFLOWS, nats_url=nats.url) as orchestrator,
    ):
        twice = _kill_and_check(orchestrator, tmp_path, nats.url, kills, instances)
        # The bus was there all the time, and refuses a task that is queued or being worked on.
        assert twice == 0


def _kill_and_check(
    orchestrator: Orchestrator, directory: Path, nats_url: str, kills: int, instances: int
) -> int:
    """Run the journeys under fire; how many unclaimed tasks ran more than once."""
    rng = random.Random(SEED)
    with (
        all_of(agents(directory, nats_url)),
        Journeys(orchestrator, directory, instances) as journeys,
    ):
        moments = kill_moments(rng, kills, journeys.expected_lines())
        at_each(journeys, moments, rng, lambda _: orchestrator.restart())
        statuses = journeys.wait_for_ends(within_s=90)
        found = assert_sound(directory, statuses, journeys.ends)
        assert_histories_are_gapless(orchestrator, journeys.ids)
    print(f"\n{kills} kills, {instances} instances, seed {SEED}: {found}")
    return found.unclaimed_twice
