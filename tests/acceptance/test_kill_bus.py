"""The bus is killed and robbed of its store: agents and orchestrator go on by themselves."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.effects import account, assert_sound
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
    [(3, 40), pytest.param(20, 200, marks=pytest.mark.soak)],
)
def test_bus_killed_and_started_on_its_store_repeats_nothing_claimed(
    tmp_path: Path, kills: int, instances: int
) -> None:
    rng = random.Random(SEED)
    with (
        NatsServer(tmp_path / "nats") as nats,
        Orchestrator(tmp_path, WORKFLOWS, nats_url=nats.url) as orchestrator,
        all_of(agents(tmp_path, nats.url)),
        Journeys(orchestrator, tmp_path, instances) as journeys,
    ):
        moments = kill_moments(rng, kills, journeys.expected_lines())
        at_each(journeys, moments, rng, lambda _: nats.restart())
        statuses = journeys.wait_for_ends(within_s=120)
        found = assert_sound(tmp_path, statuses, journeys.ends)
        assert_histories_are_gapless(orchestrator, journeys.ids)
        assert orchestrator.health()["status"] == "ok"
    print(f"\n{kills} kills of nats-server, {instances} instances, seed {SEED}: {found}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("wipes", "instances"),
    [(1, 30), pytest.param(5, 200, marks=pytest.mark.soak)],
)
def test_bus_that_lost_everything_is_filled_again(
    tmp_path: Path, wipes: int, instances: int
) -> None:
    rng = random.Random(SEED)
    with (
        NatsServer(tmp_path / "nats") as nats,
        Orchestrator(tmp_path, WORKFLOWS, nats_url=nats.url) as orchestrator,
        all_of(agents(tmp_path, nats.url)),
        Journeys(orchestrator, tmp_path, instances) as journeys,
    ):

        def lose_everything(_: int) -> None:
            nats.kill()
            nats.wipe()
            nats.start()

        moments = kill_moments(rng, wipes, journeys.expected_lines())
        at_each(journeys, moments, rng, lose_everything)
        statuses = journeys.wait_for_ends(within_s=180)
        found = account(tmp_path, statuses, journeys.ends, is_knowledge_lost=True)
        assert not found.missing
        assert not found.surplus
        assert_histories_are_gapless(orchestrator, journeys.ids)
        assert orchestrator.health()["status"] == "ok"
    # A result that was lost with the bus is asked for again: the agents had acknowledged the task.
    print(
        f"\n{wipes} wipes, {instances} instances, seed {SEED}: {found}; "
        f"claimed tasks whose result was lost and that ran again: {len(found.claimed_twice)}"
    )


@pytest.mark.parametrize("outage_s", [0.0, pytest.param(8.0, marks=pytest.mark.soak)])
def test_claimed_task_that_outlives_a_killed_bus_runs_once(tmp_path: Path, outage_s: float) -> None:
    # nats-server forgets what it handed out in its last moments and hands it out again, to another
    # agent; presence has not listed it yet, or was not heard for longer than it counts.
    instances = 12
    with (
        NatsServer(tmp_path / "nats") as nats,
        Orchestrator(tmp_path, WORKFLOWS, nats_url=nats.url) as orchestrator,
        all_of(agents(tmp_path, nats.url, per_role=3)),
    ):
        journeys = Journeys(orchestrator, tmp_path, instances)
        for id in journeys.ids:
            slow = {"slow": "reserve", "slow_s": 3.0 + outage_s}
            orchestrator.start_instance("journey", id, journeys.parameters(id) | slow)
        journeys.wait_for_effects(instances // 2)
        nats.kill()
        time.sleep(outage_s)  # how long the bus is away is what is tested
        nats.start()
        statuses = journeys.wait_for_ends(within_s=90)
        found = assert_sound(tmp_path, statuses, journeys.ends)
    print(f"\n{instances} long instances, bus away for {outage_s:g} s: {found}")
