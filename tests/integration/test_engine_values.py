"""Keys of the key-value store that a template makes up as it is evaluated."""

from pathlib import Path

import pytest

from sagabus.app import Orchestrator
from sagabus.core.instance import InstanceStatus
from sagabus.core.kv import MAX_ASKED
from sagabus.settings import Settings

READS = """
[[workflows]]
name = "reads"
parameters = {names = {type = "array", required = true}}
output_map = {last = "{{ task.later.result.value }}", all = "{{ task.read.result.all }}"}
[[workflows.stages]]
name = "read"
action = "core.echo"
input = {all = "{% for name in parameters.names %}{{ kv.get(name, default='-') }}{% endfor %}"}
[[workflows.stages]]
name = "wait"
action = "core.sleep"
input = {seconds = 0}
[[workflows.stages]]
name = "later"
action = "core.echo"
input = {value = "{{ kv.get('fixed') ~ kv.get(parameters.names[0], default='none') }}"}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "workflows.toml"
    config.write_text(READS)
    return Settings(config=config, data_dir=tmp_path / "data", log_level="warning")


async def test_keys_made_up_by_a_template_are_looked_up_one_after_another(
    settings: Settings,
) -> None:
    async with Orchestrator.open(settings) as o:
        await o.kv.set("fixed", "f")
        await o.kv.set("key-1", "one")
        names = [f"key-{number}" for number in range(1, 6)]
        ended = await o.run("reads", {"names": names})
        assert ended.output == {"last": "fone", "all": "one----"}


async def test_more_keys_than_are_looked_up_fail_the_workflow_and_hold_up_nobody(
    settings: Settings,
) -> None:
    async with Orchestrator.open(settings) as o:
        await o.kv.set("fixed", "f")
        names = [f"key-{number}" for number in range(MAX_ASKED + 50)]
        ended = await o.run("reads", {"names": names})
        assert ended.status is InstanceStatus.FAILED
        assert ended.error is not None
        assert ended.error.type == "template_error"
        assert "one key too many" in ended.error.message
        fine = await o.run("reads", {"names": ["a"]})
        assert fine.status is InstanceStatus.COMPLETED
