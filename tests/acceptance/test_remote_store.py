"""The database over a websocket is killed, stalled and started again under load.

No transition is lost or stored twice, every effect happens once, and the orchestrator, which is
never started again, says how it stands.
"""

import os
import random
import time
from collections.abc import Callable
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
from tests.support.processes import Orchestrator, all_of, until
from tests.support.surreal_server import SurrealServer

SEED = int(os.environ.get("SAGABUS_TEST_SEED", "1"))


def run_under_fire(
    directory: Path,
    strikes: int,
    instances: int,
    strike: Callable[[Orchestrator, SurrealServer], None],
) -> None:
    """Run the journeys while ``strike`` hits the database; check what must hold."""
    rng = random.Random(SEED)
    with (
        NatsServer(directory / "nats") as nats,
        SurrealServer(directory / "surreal") as surreal,
        Orchestrator(
            directory,
            WORKFLOWS,
            nats_url=nats.url,
            env={
                "SAGABUS_SURREAL_URL": surreal.url,
                "SAGABUS_SURREAL_USER": surreal.user,
                "SAGABUS_SURREAL_PASSWORD": surreal.password,
            },
        ) as orchestrator,
        all_of(agents(directory, nats.url)),
        Journeys(orchestrator, directory, instances) as journeys,
    ):
        moments = kill_moments(rng, strikes, journeys.expected_lines())
        at_each(journeys, moments, rng, lambda _: strike(orchestrator, surreal))
        statuses = journeys.wait_for_ends(within_s=120)
        found = assert_sound(directory, statuses, journeys.ends)
        assert found.unclaimed_twice == 0
        assert_histories_are_gapless(orchestrator, journeys.ids)
        assert orchestrator.health()["status"] == "ok"
        assert len(orchestrator.pids) == 1
        assert orchestrator.is_running


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kills", "instances"), [(3, 40), pytest.param(15, 200, marks=pytest.mark.soak)]
)
def test_database_killed_under_load_loses_and_repeats_nothing(
    tmp_path: Path, kills: int, instances: int
) -> None:
    run_under_fire(tmp_path, kills, instances, lambda _, surreal: surreal.restart())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("cuts", "instances"), [(5, 40), pytest.param(40, 200, marks=pytest.mark.soak)]
)
def test_connection_cut_after_a_commit_stores_nothing_twice(
    tmp_path: Path, cuts: int, instances: int
) -> None:
    run_under_fire(tmp_path, cuts, instances, lambda _, surreal: surreal.cut_after_next_query())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("stall_s", "instances"), [(12.0, 30), pytest.param(40.0, 100, marks=pytest.mark.soak)]
)
def test_stalled_database_is_waited_for_and_reported(
    tmp_path: Path, stall_s: float, instances: int
) -> None:
    def stall(orchestrator: Orchestrator, surreal: SurrealServer) -> None:
        surreal.stall()
        began = time.monotonic()
        found = orchestrator.health()
        answered_s = time.monotonic() - began
        assert found["status"] == "degraded"
        assert not found["store"]["ok"]
        assert answered_s < 5
        print(f"\n/health said degraded after {answered_s:.1f} s: {found['store']['detail']}")
        time.sleep(max(0.0, stall_s - answered_s))  # the length of the stall is what is tested
        surreal.resume()
        began = time.monotonic()
        until(lambda: orchestrator.health()["status"] == "ok", "/health is ok again")
        print(f"ok again {time.monotonic() - began:.1f} s after the end of the stall")

    run_under_fire(tmp_path, 1, instances, stall)


def test_database_that_is_away_is_reported_until_it_is_back(tmp_path: Path) -> None:
    def outage(orchestrator: Orchestrator, surreal: SurrealServer) -> None:
        surreal.kill()
        found = orchestrator.health()
        assert found["status"] == "degraded"
        assert surreal.url in found["store"]["detail"]
        surreal.start()
        until(lambda: orchestrator.health()["status"] == "ok", "/health is ok again")

    run_under_fire(tmp_path, 1, 10, outage)
