"""The examples in README.md are what they say: they load, validate and compile."""

import re
from pathlib import Path

from sagabus.definitions.catalog import Catalog
from sagabus_agents import Agent
from sagabus_agents.testing import run_task

_README = (Path(__file__).parents[2] / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _README, flags=re.DOTALL)


def test_the_workflow_loads_as_printed(tmp_path: Path) -> None:
    [text] = _blocks("toml")
    path = tmp_path / "workflows.toml"
    path.write_text(text)
    catalog = Catalog.load(path)
    assert list(catalog.definitions["ship"].stages) == ["build", "roll_out", "smoke_test"]
    assert catalog.roles == {"builder", "eu", "us", "tester"}
    assert not catalog.warnings


async def test_the_agent_runs_as_printed() -> None:
    text = next(block for block in _blocks("python") if "agent.run()" in block)
    scope: dict[str, object] = {}
    exec(text.replace("agent.run()", ""), scope)
    agent = scope["agent"]
    assert isinstance(agent, Agent)
    result = await run_task(agent, "build", {"ref": "main"})
    assert (result.status, result.output, result.artifacts) == (
        "succeeded",
        {"image": "shop:17"},
        ["image-17"],
    )
    failed = await run_task(agent, "build", {"ref": ""})
    assert failed.error is not None
    assert (failed.error.message, failed.error.retryable) == ("nothing to build", False)
