"""An agent is killed between a call of an HTTP API and its result: the API has acted once.

The shipped example as a process, a real server, a real database, and an API that counts.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.engine import Own, ended, owners, shorten_grace
from tests.support.payment_api import PaymentApi
from tests.support.processes import Program, until
from tests.support.worlds import RealWorld, open_world

CONFIG = """
[[workflows]]
name = "sale"
[[workflows.stages]]
name = "charge"
agents = ["payments"]
compensation_agents = ["payments"]

[[workflows]]
name = "hasty_sale"
[[workflows.stages]]
name = "charge"
agents = ["payments"]
timeout = 0.3
compensation_agents = ["payments"]
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with open_world("real", tmp_path) as world:
        assert isinstance(world, RealWorld)
        yield world


@pytest.fixture
async def own(
    world: RealWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Own]:
    shorten_grace(monkeypatch, 0.3)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with owners(config, world) as own:
        yield own


@pytest.fixture
def api() -> Iterator[PaymentApi]:
    with PaymentApi() as api:
        yield api


@pytest.fixture
def agent(world: RealWorld, api: PaymentApi, tmp_path: Path) -> Program:
    command = [sys.executable, "-m", "sagabus_agents.examples.payments", api.url]
    return Program("payments", command, tmp_path, env={"SAGABUS_NATS_URL": world.server.url})


async def killed_after_its_call(
    own: Own, world: RealWorld, api: PaymentApi, agent: Program, workflow: str
) -> None:
    """Start an instance, kill the agent once the API has acted, and start it again."""
    owner = await own()
    await world.deliver_again_after("payments", 1.0)
    api.is_mute = True
    await owner.facade.start(workflow, {"amount": 5}, id="sale-1")
    await asyncio.to_thread(until, lambda: api.requests, "the API was called")
    agent.kill()
    api.is_mute = False
    agent.start()


async def test_task_of_a_killed_agent_is_done_again_under_the_same_key(
    own: Own, world: RealWorld, api: PaymentApi, agent: Program
) -> None:
    with agent:
        await killed_after_its_call(own, world, api, agent, "sale")
        state = await ended(world.store, "sale-1")
    assert state.row.status == "completed"
    assert api.requests == [("/charges", "sale-1:charge-1-0")] * 2
    assert len(api.effects) == 1
    assert state.attempts["charge-1-0"][-1].output == api.effects["sale-1:charge-1-0"]


async def test_what_a_killed_agent_did_is_undone_by_its_key_where_no_result_tells_of_it(
    own: Own, world: RealWorld, api: PaymentApi, agent: Program
) -> None:
    with agent:
        await killed_after_its_call(own, world, api, agent, "hasty_sale")
        state = await ended(world.store, "sale-1")
    assert state.row.status == "rolled_back"
    assert api.requests[0] == ("/charges", "sale-1:charge-1-0")
    assert api.requests[-1] == ("/refunds", "sale-1:charge-1-0-undo-0")
    assert api.effects["sale-1:charge-1-0-undo-0"]["charged_with"] == "sale-1:charge-1-0"
