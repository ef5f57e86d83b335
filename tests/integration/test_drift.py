"""Resources and drift with a whole orchestrator, a real bus, and agents that change a cloud."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sagabus.app import Orchestrator
from sagabus.core.drift import DriftReport
from sagabus.errors import InvalidRequestError, ResourceNotFoundError
from sagabus.ports import ResourceFilter
from sagabus.settings import Settings
from sagabus_agents import Agent, Task
from tests.support.cloud import Cloud
from tests.support.worlds import until

WORKFLOWS = """
[[workflows]]
name = "provision"
[[workflows.stages]]
name = "make"
agents = ["cloud"]
compensation_agents = ["cloud"]
[[workflows.stages]]
name = "check"
agents = ["tester"]
input = { fails = "{{ parameters.fails | default(false) }}" }

[[workflows]]
name = "zone"
[[workflows.stages]]
name = "entry"
agents = ["names"]

[[workflows]]
name = "many"
[[workflows.stages]]
name = "many"
agents = ["cloud"]

[[workflows]]
name = "offboard"
[[workflows.stages]]
name = "remove"
agents = ["cloud"]
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Orchestrator]:
    directory: Path = tmp_path_factory.mktemp("drift")
    (directory / "workflows.toml").write_text(WORKFLOWS)
    settings = Settings(
        config=directory / "workflows.toml", data_dir=directory / "data", log_level="warning"
    )
    async with Orchestrator.open(settings) as o:
        yield o


@pytest_asyncio.fixture(loop_scope="module")
async def cloud(orchestrator: Orchestrator) -> Cloud:
    store: Any = orchestrator.resources
    await store._connection.run("DELETE resource; DELETE resource_history;")
    return Cloud(orchestrator.nats_url)


@asynccontextmanager
async def serving(o: Orchestrator, *agents: Agent) -> AsyncIterator[None]:
    """Agents at work, and heard of; gone and unheard of at the end."""
    works = [asyncio.create_task(agent.serve()) for agent in agents]

    async def are_heard() -> bool:
        return {each.agent for each in o.agents()} == {agent.id for agent in agents}

    await until(are_heard)
    try:
        yield
    finally:
        for agent in agents:
            agent.stop()
        await asyncio.gather(*works)
        agents = ()
        await until(are_heard)


async def run(o: Orchestrator, workflow: str, **parameters: Any) -> str:
    ended = await o.run(workflow, parameters)
    assert ended.status in {"completed", "rolled_back"}, ended.error
    return ended.id


def ids(report: DriftReport) -> tuple[list[str], list[str], list[str], list[str]]:
    return (
        [each.id for each in report.missing],
        [each.resource.id for each in report.changed],
        [each.id for each in report.unmanaged],
        [f"{each.role} {each.kind} {each.resources}" for each in report.unobserved],
    )


NOTHING: tuple[list[str], ...] = ([], [], [], [])


async def test_what_was_made_is_there_and_what_drifts_is_named(
    orchestrator: Orchestrator, cloud: Cloud
) -> None:
    o = orchestrator
    agents = [cloud.agent("cloud", "tester", "names", observes=("vm", "dns")) for _ in range(2)]
    async with serving(o, *agents):
        made = [await run(o, "provision", vm=f"vm-{n}") for n in range(4)]
        await run(o, "zone", name="a.example")
        report = await o.drift()
        assert (ids(report), report.observed) == (NOTHING, 5)
        assert report.is_complete
        assert not report.has_drift
        del cloud.things["vm"]["vm-0"]
        cloud.things["vm"]["vm-1"]["size"] = "xl"
        cloud.things["vm"]["vm-2"]["public"] = True
        cloud.things["vm"]["stranger"] = {"size": "s"}
        del cloud.things["dns"]["a.example"]
        report = await o.drift("vm")
        assert ids(report) == (["vm-0"], ["vm-1", "vm-2"], ["stranger"], [])
        assert report.has_drift
        assert (report.missing[0].instance, report.missing[0].stage) == (made[0], "make")
        [size] = report.changed[0].fields
        assert (size.path, size.expected, size.found) == ("size", "s", "xl")
        [public] = report.changed[1].fields
        assert (public.path, public.change, public.found) == ("public", "added", True)
        assert (report.unmanaged[0].spec, report.unmanaged[0].gone_at) == ({"size": "s"}, None)
        assert ids(await o.drift("dns"))[0] == ["a.example"]
        with pytest.raises(ResourceNotFoundError, match=r"only of dns, vm; did you mean 'vm'\?"):
            await o.drift("vms")
        assert not (await o.list_instances(workflow="drift")).instances
        # Made once more as it was, and in another size.
        await run(o, "provision", vm="vm-0")
        await run(o, "provision", vm="vm-1", spec={"size": "xl"})
        assert ids(await o.drift("vm")) == ([], ["vm-2"], ["stranger"], [])
    versions = [(await o.resources.get("vm", f"vm-{n}")) for n in range(2)]
    assert [each and each.spec_version for each in versions] == [1, 2]


async def test_what_was_undone_is_gone_and_found_when_it_is_there_after_all(
    orchestrator: Orchestrator, cloud: Cloud
) -> None:
    o = orchestrator
    async with serving(o, cloud.agent("cloud", "tester", observes=("vm",))):
        undone = await run(o, "provision", vm="vm-0", fails=True)
        assert (await o.get_row(undone)).status == "rolled_back"
        found = await o.resources.get("vm", "vm-0")
        assert found is not None
        assert (found.status, found.instance) == ("gone", undone)
        assert [each.status for each in await o.resources.history("vm", "vm-0")] == [
            "present",
            "gone",
        ]
        assert ids(await o.drift()) == NOTHING
        cloud.things["vm"]["vm-0"] = {"size": "s"}
        report = await o.drift()
        [left] = report.unmanaged
        assert (left.id, left.instance, left.gone_at) == ("vm-0", undone, found.gone_at)
        await run(o, "provision", vm="vm-1")
        await run(o, "offboard", vm="vm-1")
        assert ids(await o.drift()) == ([], [], ["vm-0"], [])
    page = await o.resources.list(ResourceFilter(status="present"))
    assert page.resources == []


async def test_roles_that_do_not_answer_are_named_with_the_reason(
    orchestrator: Orchestrator, cloud: Cloud
) -> None:
    o = orchestrator
    async with serving(o, cloud.agent("cloud", "tester", "names")):
        await run(o, "provision", vm="vm-0")
        await run(o, "provision", vm="vm-1")
        await run(o, "zone", name="a.example")
        report = await o.drift("vm")
        assert (ids(report), report.observed) == (([], [], [], ["cloud vm 2"]), 0)
        assert not report.is_complete
        assert not report.has_drift
        assert report.unobserved[0].reason == (
            "1 agent of role 'cloud' alive, and none observes 'vm': give one a handler with "
            '@agent.observe("vm")'
        )
    report = await o.drift()
    assert ids(report)[3] == ["names dns 1", "cloud vm 2"]
    assert report.unobserved[0].reason == "no agent of role 'names' is alive"
    # A role whose resources are all gone has nothing to be looked for.
    async with serving(o, cloud.agent("cloud")):
        await run(o, "offboard", vm="vm-0")
        await run(o, "offboard", vm="vm-1")
    report = await o.drift("vm")
    assert (ids(report)[3], report.is_complete) == (["cloud vm 0"], True)


async def test_an_observer_that_fails_hangs_or_says_nonsense_is_named(
    orchestrator: Orchestrator, cloud: Cloud
) -> None:
    o = orchestrator
    agent = cloud.agent("cloud", "tester", "names")
    answers: list[Any] = [
        None,
        {"vm-0": {}},
        [{"spec": {}}],
        [{"id": "vm-0", "spec": "s"}],
        RuntimeError("no credentials"),
        TimeoutError(),
        [{"id": "vm-0"}],
    ]

    @agent.observe("vm")
    async def look(task: Task) -> Any:
        assert task.input == {"kind": "vm", "ids": ["vm-0"]}
        answer = answers.pop(0)
        if isinstance(answer, TimeoutError):
            await asyncio.sleep(60)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with serving(o, agent):
        await run(o, "provision", vm="vm-0")
        reasons = [(await o.drift("vm")).unobserved[0].reason for _ in range(4)]
        assert reasons == [
            "its answer is no list of {id, spec}: Input should be a valid list",
            "its answer is no list of {id, spec}: Input should be a valid list",
            "its answer is no list of {id, spec}: 0.id: Field required",
            "its answer is no list of {id, spec}: 0.spec: Input should be a valid dictionary",
        ]
        failed = (await o.drift("vm")).unobserved[0].reason
        assert failed == f"agent {agent.id!r}: RuntimeError: no credentials"
        late = (await o.drift("vm", 0.2)).unobserved[0].reason
        assert late == f"agent {agent.id!r}: timeout: no result within 0.2 s"
        # It is there, and how it is was not looked at.
        assert ids(await o.drift("vm")) == NOTHING
    with pytest.raises(InvalidRequestError, match="'v m' is no kind of resources"):
        await o.drift("v m")


async def test_an_agent_that_is_frozen_is_not_waited_for_longer_than_said(
    orchestrator: Orchestrator, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    o = orchestrator
    monkeypatch.setattr("sagabus.runtime.drift._GRACE_S", 0.1)
    agent = cloud.agent("cloud", "tester")

    @agent.observe("vm")
    async def look(task: Task) -> list[Any]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return []

    async with serving(o, agent):
        await run(o, "provision", vm="vm-0")
        [unobserved] = (await o.drift("vm", 0.1)).unobserved
    assert unobserved.reason == "no answer within 0.1 s"


async def test_what_changes_while_it_is_looked_for_is_no_drift(
    orchestrator: Orchestrator, cloud: Cloud
) -> None:
    o = orchestrator
    agent = cloud.agent("cloud", "tester")
    meanwhile = [("provision", "vm-1"), ("offboard", "vm-0")]

    @agent.observe("vm")
    async def look(asked: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for workflow, vm in meanwhile:
            await run(o, workflow, vm=vm)
            found = await cloud.look(asked)
        return found

    async with serving(o, agent):
        await run(o, "provision", vm="vm-0")
        report = await o.drift("vm")
    assert list(cloud.things["vm"]) == ["vm-1"]
    assert ids(report) == NOTHING


async def test_many_resources_are_asked_for_at_once(
    orchestrator: Orchestrator, cloud: Cloud
) -> None:
    o = orchestrator
    agent = cloud.agent("cloud", observes=("vm",))
    spec = {"n": list(range(60))}

    @agent.task("many")
    async def many(task: Task) -> None:
        for n in range(1_000):
            name = f"virtual-machine-with-a-rather-long-name-{task.input['run']}-{n:03}"
            cloud.add(task, "vm", name, spec)

    async with serving(o, agent):
        for number in range(6):
            await run(o, "many", run=number)
        last = next(reversed(cloud.things["vm"]))
        cloud.things["vm"][last]["n"][59] = -1
        report = await o.drift()
    assert (ids(report), report.observed) == (([], [last], [], []), 6_000)
    assert report.changed[0].fields[0].path == "n[59]"
    bus: Any = o._engine.bus
    info = await bus.connection.jetstream.stream_info("OBJ_SAGABUS_PAYLOADS")
    assert info.state.messages == 0
