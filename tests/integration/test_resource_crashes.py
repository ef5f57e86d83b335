"""The owner dies between any two steps, and no resource is declared twice or lost."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.integration.test_engine_crashes import POINTS, Fate, at, play
from tests.support.crew import Crew, Fail
from tests.support.engine import running, shorten_grace
from tests.support.scenarios import CONFIG, ROLES, Stage
from tests.support.worlds import MemoryWorld, World, real_world

#: Declared by two stages, one after the other.
SHARED = ("provision-1-0", "migrate-1-1")


class Makers(Crew):
    """Agents whose tasks declare what they make, whether or not they succeed."""

    async def _run(self, key: tuple[str, str, int]) -> bytes | None:
        data = await super()._run(key)
        _, task, attempt = key
        if data is None or "-undo-" in task:
            return data
        resources = [{"kind": "thing", "id": task, "spec": {"attempt": attempt}}]
        if task in SHARED:
            resources.append({"kind": "thing", "id": "shared", "spec": {"by": task}})
        return orjson.dumps(orjson.loads(data) | {"resources": resources})


async def undone_but_for_one(stage: Stage, jobs: AsyncExitStack) -> None:
    stage.script["smoke-1-0#1"] = Fail()
    stage.script["migrate-1-0-undo-0#1"] = Fail()
    stage.script["migrate-1-1-undo-0#1"] = Fail(is_retryable=False)
    crew = Makers(await stage.world.link(), ROLES, stage.script)
    stage.crews.append(crew)
    await jobs.enter_async_context(running(crew.work))
    await stage.start("pipeline")


EXPECTED = {
    "migrate-1-0": ("gone", [("present", 1), ("gone", 1)]),
    "migrate-1-1": ("present", [("present", 1)]),
    "provision-1-0": ("gone", [("present", 1), ("gone", 1)]),
    "shared": ("gone", [("present", 1), ("present", 2), ("gone", 2)]),
    # It has no compensation, and what it left is there.
    "smoke-1-0": ("present", [("present", 1)]),
}


async def resources_of(world: World) -> dict[str, Any]:
    resources = world.store.resources
    found = {}
    for each in (await resources.list()).resources:
        story = await resources.history(each.kind, each.id)
        assert [entry.number for entry in story] == list(range(1, len(story) + 1))
        found[each.id] = (each.status, [(entry.status, entry.spec_version) for entry in story])
    return found


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shorten_grace(monkeypatch, 30)
    path = tmp_path / "workflows.toml"
    path.write_text(CONFIG)
    return path


async def in_memory(config: Path, fate: Fate) -> tuple[dict[str, Any], int]:
    world = MemoryWorld()
    try:
        _, deaths = await play(config, world, undone_but_for_one, fate, 1)
        return await resources_of(world), deaths
    finally:
        await world.close()


async def test_a_death_at_any_one_step_changes_no_resource(config: Path) -> None:
    counting = Fate()
    found, _ = await in_memory(config, counting)
    assert found == EXPECTED
    deaths = 0
    for point in POINTS:
        steps = range(1, counting.steps[point] + 1)
        ends = await asyncio.gather(*(in_memory(config, at(point, number)) for number in steps))
        for number, (found, died) in zip(steps, ends, strict=True):
            assert found == EXPECTED, f"{point} {number}"
            deaths += died
    assert deaths > len(POINTS)


async def test_deaths_change_no_resource_in_a_real_database(config: Path, tmp_path: Path) -> None:
    fates = [at("commit.before", 4), at("commit.after", 6), at("publish.middle", 8)]
    deaths = 0
    async with AsyncExitStack() as stack:
        world = await real_world(tmp_path, stack)
        for number, fate in enumerate(fates):
            _, died = await play(config, world, undone_but_for_one, fate, number)
            deaths += died
            story = await world.store.resources.history("thing", "smoke-1-0")
            assert [entry.instance for entry in story] == [f"i{n}" for n in range(number + 1)]
        shared = await world.store.resources.history("thing", "shared")
        assert [(entry.status, entry.is_void) for entry in shared] == [
            ("present", False),
            ("present", False),
            ("gone", False),
        ] * 3
    assert deaths == len(fates)
