"""Registered workflows beside those in files: what is in force, and what is refused."""

from pathlib import Path

import pytest

from sagabus.app.registry import Draft, WorkflowRegistry
from sagabus.errors import ConflictError, InvalidConfigError, WorkflowNotFoundError
from sagabus.ports import WorkflowText
from tests.support.registry_orchestrator import NoBus, RegistryOrchestrator, workflow
from tests.support.sample_rows import START


@pytest.fixture
def orchestrator(tmp_path: Path) -> RegistryOrchestrator:
    return RegistryOrchestrator(tmp_path)


def yaml(text: str, **more) -> Draft:
    return Draft(text, "yaml", **more)


def problems(caught: pytest.ExceptionInfo[InvalidConfigError]) -> list[str]:
    return [str(problem) for problem in caught.value.problems]


async def test_a_registered_workflow_is_in_force_at_once(orchestrator):
    text = workflow("shop.deliver")
    [stored] = await orchestrator.registry.register([yaml(text)], by="ann")
    definition = orchestrator.workflows()["shop.deliver"]
    assert stored.workflow.digest == definition.digest
    assert (stored.workflow.pack, stored.workflow.text, stored.by) == ("shop", text, "ann")
    assert orchestrator.registry.of("shop.deliver") == stored
    assert orchestrator.changes == 1


async def test_a_restart_puts_it_in_force_before_anything_is_served(orchestrator):
    await orchestrator.registry.register([yaml(workflow("deliver"))], by="ann")
    orchestrator.holder.register([])
    assert "deliver" not in orchestrator.workflows()
    again = WorkflowRegistry(
        orchestrator.stored, orchestrator.holder, NoBus(), orchestrator._on_change
    )
    await again.refresh()
    assert "deliver" in orchestrator.workflows()


async def test_a_name_without_a_dot_belongs_to_the_pack_it_is_sent_to(orchestrator):
    [stored] = await orchestrator.registry.register([yaml(workflow("deliver"))], by="", pack="shop")
    assert stored.workflow.name == "shop.deliver"
    assert "shop.deliver" in orchestrator.workflows()


async def test_settings_of_its_pack_and_its_actions_are_known_to_it(orchestrator):
    text = workflow("shop.deliver", action="shop.pay\n    input: {}")
    with pytest.raises(InvalidConfigError, match="amount"):
        await orchestrator.registry.register([yaml(text)], by="")


async def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_stored(orchestrator):
    bad = "ref: shop.bad\ntasks:\n  - {name: a, action: x.y, on_succes: b}\n  - {name: A-1}\n"
    drafts = [
        yaml(workflow("shop.good"), origin="good.yaml"),
        yaml(bad, origin="bad.yaml", line=11),
        yaml("tasks: [", origin="worse.yaml"),
    ]
    with pytest.raises(InvalidConfigError) as caught:
        await orchestrator.registry.register(drafts, by="", pack="shop")
    said = problems(caught)
    assert any("bad.yaml:13" in each and "on_success" in each for each in said)
    assert any("bad.yaml:14" in each for each in said)
    assert any("worse.yaml" in each for each in said)
    assert await orchestrator.stored.current() == (0, [])
    assert "shop.good" not in orchestrator.workflows()


async def test_workflows_that_call_each_other_are_registered_together(orchestrator):
    drafts = [
        yaml(workflow("shop.outer", action="shop.inner"), origin="outer.yaml"),
        yaml(workflow("shop.inner"), origin="inner.yaml"),
    ]
    await orchestrator.registry.register(drafts, by="")
    outer = orchestrator.workflows()["shop.outer"]
    assert outer.workflows == {"shop.inner": orchestrator.workflows()["shop.inner"].digest}


@pytest.mark.parametrize("name", ["from_file", "shop.refund"])
async def test_a_file_of_the_same_name_wins(orchestrator, name):
    with pytest.raises(ConflictError, match=r"(toml|yaml):\d+, and a file wins"):
        await orchestrator.registry.register([yaml(workflow(name))], by="")
    with pytest.raises(ConflictError, match="a file wins"):
        await orchestrator.registry.delete(name, by="")
    assert await orchestrator.stored.changes() == 0


async def test_a_file_that_comes_later_wins_as_long_as_it_is_there(orchestrator, tmp_path):
    await orchestrator.registry.register([yaml(workflow("shop.later"))], by="")
    file = tmp_path / "packs/shop/workflows/later.yaml"
    file.write_text(workflow("shop.later", role="tester"))
    assert orchestrator.holder.reload()
    assert orchestrator.workflows()["shop.later"].stages["work"].roles == ("tester",)
    assert orchestrator.registry.of("shop.later") is None
    file.unlink()
    assert orchestrator.holder.reload()
    assert orchestrator.workflows()["shop.later"].stages["work"].roles == ("devops",)


async def test_a_deleted_workflow_is_out_of_force_and_can_come_back(orchestrator):
    await orchestrator.registry.register([yaml(workflow("deliver"))], by="")
    deleted = await orchestrator.registry.delete("deliver", by="bob")
    assert (deleted.version, deleted.is_deleted) == (2, True)
    assert "deliver" not in orchestrator.workflows()
    assert orchestrator.registry.of("deliver") is None
    with pytest.raises(WorkflowNotFoundError):
        await orchestrator.registry.delete("deliver", by="bob")
    [again] = await orchestrator.registry.register([yaml(workflow("deliver"))], by="", expected=0)
    assert again.version == 3
    assert [each.version for each in await orchestrator.registry.versions("deliver")] == [3, 2, 1]
    assert (await orchestrator.registry.find("deliver", 1)).workflow.text == workflow("deliver")


async def test_a_workflow_that_another_one_calls_is_not_deleted(orchestrator):
    drafts = [yaml(workflow("outer", action="a.inner")), yaml(workflow("a.inner"))]
    await orchestrator.registry.register(drafts, by="")
    with pytest.raises(ConflictError, match="called by outer"):
        await orchestrator.registry.delete("a.inner", by="")


async def test_unknown_names_and_versions_are_not_found(orchestrator):
    with pytest.raises(WorkflowNotFoundError):
        await orchestrator.registry.versions("nothing")
    with pytest.raises(WorkflowNotFoundError):
        await orchestrator.registry.find("nothing", 1)


async def test_what_another_orchestrator_registers_is_in_force_after_a_look(orchestrator, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    second = RegistryOrchestrator(other)
    second.registry = WorkflowRegistry(
        orchestrator.stored, second.holder, NoBus(), second._on_change
    )
    await second.registry.refresh()
    await orchestrator.registry.register([yaml(workflow("deliver"))], by="")
    await second.registry.refresh()
    assert "deliver" in second.workflows()
    changes = second.changes
    await second.registry.refresh()
    assert second.changes == changes


@pytest.fixture
async def outer_calls_inner(orchestrator, tmp_path):
    """A workflow in a file calls one that is registered."""
    await orchestrator.registry.register([yaml(workflow("shop.inner"))], by="")
    file = tmp_path / "packs/shop/workflows/outer.yaml"
    file.write_text("ref: shop.outer\ntasks: [{name: work, action: shop.inner}]\n")
    assert orchestrator.holder.reload()


CYCLE = "ref: shop.inner\ntasks: [{name: work, action: shop.outer}]\n"


async def test_what_would_break_a_file_is_refused(orchestrator, outer_calls_inner):
    with pytest.raises(InvalidConfigError, match=r"outer\.yaml|document"):
        await orchestrator.registry.register([yaml(CYCLE)], by="")
    with pytest.raises(ConflictError, match=r"called by shop\.outer"):
        await orchestrator.registry.delete("shop.inner", by="")


async def test_what_breaks_a_file_all_the_same_is_not_put_in_force(
    orchestrator, outer_calls_inner, tmp_path
):
    """Another orchestrator, with other files, has let it pass."""
    before = orchestrator.workflows()
    await orchestrator.stored.register(
        [WorkflowText("shop.inner", "shop", "yaml", CYCLE, "d")], by="", at=START, expected={}
    )
    await orchestrator.registry.refresh()
    assert orchestrator.workflows() == before
    assert orchestrator.registry.of("shop.inner").version == 1
    (tmp_path / "packs/shop/workflows/outer.yaml").unlink()
    assert orchestrator.holder.reload()
    assert "shop.inner" in orchestrator.workflows()
    await orchestrator.stored.register(
        [WorkflowText("shop.inner", "shop", "yaml", workflow("shop.inner", "tester"), "d")],
        by="",
        at=START,
        expected={},
    )
    await orchestrator.registry.refresh()
    assert orchestrator.workflows()["shop.inner"].stages["work"].roles == ("tester",)
