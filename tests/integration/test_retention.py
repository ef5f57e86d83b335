"""Ended instances are swept while the orchestrator runs, and late messages find nothing."""

from pathlib import Path

import pytest

from sagabus.app import Orchestrator
from sagabus.errors import InstanceNotFoundError
from sagabus.settings import Settings
from sagabus_agents.wire import ResultMessage
from tests.support.worlds import until

CONFIG = """
[engine.retention]
completed = {keep}

[[workflows]]
name = "say"
[[workflows.stages]]
name = "say"
action = "core.echo"

[[workflows]]
name = "outer"
[[workflows.stages]]
name = "inner"
action = "middle"

[[workflows]]
name = "middle"
[[workflows.stages]]
name = "innermost"
action = "say"
[[workflows.stages]]
name = "hold"
action = "core.sleep"
input = {{ seconds = 1 }}
"""


def open_with(tmp_path: Path, keep: str) -> Settings:
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG.format(keep=keep))
    return Settings(config=config, data_dir=tmp_path / "data", partitions=2)


async def is_gone(orchestrator: Orchestrator, instance: str) -> bool:
    try:
        await orchestrator.get(instance)
    except InstanceNotFoundError:
        return True
    return False


def metric(orchestrator: Orchestrator, name: str, **labels: str) -> float:
    """The value of one sample."""
    return orchestrator.metrics.registry.get_sample_value(f"sagabus_{name}", labels) or 0


async def test_a_tree_is_swept_with_its_root_and_not_before(tmp_path: Path) -> None:
    settings = open_with(tmp_path, '"1s"')
    async with Orchestrator.open(settings) as o:
        started = await o.start("outer")
        # The innermost ends more than a second before its root.
        assert (await o.wait(started.id, 20)).row.status == "completed"
        assert sum((await o._engine.store.count_by_status()).values()) == 3

        async def is_all_gone() -> bool:
            return sum((await o._engine.store.count_by_status()).values()) == 0

        await until(is_all_gone)
        assert await is_gone(o, started.id)
        with pytest.raises(InstanceNotFoundError):
            await o.cancel(started.id)
        assert metric(o, "dead_letters_total", reason="unknown_instance") == 0
        late = ResultMessage(task="inner-1-0", attempt=1, status="succeeded", agent="a1")
        await o._engine.bus.send_result(started.id, late.model_dump_json().encode(), "late")

        async def is_counted() -> bool:
            dead = metric(o, "dead_letters_total", reason="unknown_instance")
            return dead == 1 and metric(o, "swept_total") == 3

        await until(is_counted)
        assert (await o.list_instances()).instances == []
        # The id is free, and history begins anew.
        await o.start("say", id=started.id)
        assert (await o.wait(started.id, 10)).row.workflow == "say"


async def test_without_a_limit_nothing_is_swept_until_the_file_sets_one(tmp_path: Path) -> None:
    settings = open_with(tmp_path, '"30d"')
    async with Orchestrator.open(settings) as o:
        started = await o.start("say")
        await o.wait(started.id, 10)
        assert await o._sweeper.sweep() == 0
        open_with(tmp_path, '"1s"')

        async def is_swept() -> bool:
            await o._sweeper.sweep()
            return await is_gone(o, started.id)

        await until(is_swept)
