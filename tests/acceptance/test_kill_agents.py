"""Agents are killed at random moments: what they had in hand is done by others, to the end."""

import os
import random
from pathlib import Path

import pytest

from tests.support.effects import assert_sound, pids_at_work
from tests.support.journeys import (
    WORKFLOWS,
    Journeys,
    agents,
    assert_histories_are_gapless,
    at_each,
    kill_moments,
)
from tests.support.processes import Orchestrator, all_of

SEED = int(os.environ.get("SAGABUS_TEST_SEED", "1"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kills", "instances"),
    [(5, 50), pytest.param(20, 200, marks=pytest.mark.soak)],
)
def test_tasks_of_killed_agents_are_done_by_others(
    tmp_path: Path, kills: int, instances: int
) -> None:
    rng = random.Random(SEED)
    killed: set[int] = set()
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        crew = agents(tmp_path, orchestrator.nats_url, per_role=3)
        with all_of(crew), Journeys(orchestrator, tmp_path, instances) as journeys:

            def kill_one(_: int) -> None:
                busy = pids_at_work(tmp_path)
                agent = rng.choice([each for each in crew if each.pid in busy] or crew)
                killed.add(agent.pid)
                agent.kill()
                agent.start()

            at_each(journeys, kill_moments(rng, kills, journeys.expected_lines()), rng, kill_one)
            statuses = journeys.wait_for_ends(within_s=120)
            found = assert_sound(tmp_path, statuses, journeys.ends, killed=killed)
            assert_histories_are_gapless(orchestrator, journeys.ids)
    # Only a task whose agent was killed may run again, claimed or not.
    assert found.unclaimed_twice_unkilled == 0
    print(f"\n{kills} agents killed, {instances} instances, seed {SEED}: {found}")
