"""Files that change under a running orchestrator, in every way that they are changed."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from sagabus.adapters.cedar import CedarPolicies
from sagabus.adapters.file_watch import watch_files
from sagabus.definitions.holder import CatalogHolder

FLOW = '[[workflows]]\nname = "{}"\n[[workflows.stages]]\nname = "one"\nagents = ["x"]\n'
PERMIT = "permit(principal, action, resource);"
#: Longer than any test: what is seen in time was seen by a notice, not by looking now and then.
NEVER_S = 60.0


async def to_the_end(looks: AsyncGenerator[None, None]) -> None:
    async with aclosing(looks):
        async for _ in looks:
            pass


@asynccontextmanager
async def following(path: Path, poll_s: float = 0.3) -> AsyncIterator[CatalogHolder]:
    holder = CatalogHolder(path, CedarPolicies.load)
    changes = watch_files(holder.watched, poll_s=poll_s, debounce_s=0.05)
    task = asyncio.create_task(to_the_end(holder.follow(changes)))
    try:
        yield holder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def names(holder: CatalogHolder) -> set[str]:
    return set(holder.current.definitions)


async def test_a_saved_file_is_in_force_and_a_faulty_one_is_not(tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text(FLOW.format("a"))
    async with following(path) as holder:
        path.write_text(FLOW.format("b"))
        await until(lambda: names(holder) == {"b"})
        path.write_text(FLOW.format("c") + "agent = 1\n")
        await until(lambda: holder.last_error is not None)
        assert names(holder) == {"b"}
        path.write_text(FLOW.format("c"))
        await until(lambda: names(holder) == {"c"})
        assert holder.last_error is None


async def test_an_editor_that_renames_a_new_file_over_the_old_one_is_followed(tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text(FLOW.format("n0"))
    async with following(path) as holder:
        for number in range(1, 4):
            fresh = tmp_path / f".w.toml.{number}~"
            fresh.write_text(FLOW.format(f"n{number}"))
            fresh.replace(path)
            await until(lambda number=number: names(holder) == {f"n{number}"})


async def test_a_file_that_is_gone_for_a_while_keeps_what_is_in_force(tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text(FLOW.format("a"))
    async with following(path) as holder:
        path.unlink()
        await until(lambda: holder.last_error is not None)
        assert names(holder) == {"a"}
        path.write_text(FLOW.format("b"))
        await until(lambda: names(holder) == {"b"})


async def test_a_directory_that_is_removed_and_made_again_is_followed(tmp_path: Path):
    path = tmp_path / "config/w.toml"
    path.parent.mkdir()
    path.write_text(FLOW.format("a"))
    async with following(path) as holder:
        shutil.rmtree(path.parent)
        await until(lambda: holder.last_error is not None)
        path.parent.mkdir()
        path.write_text(FLOW.format("b"))
        await until(lambda: names(holder) == {"b"})


async def test_a_mounted_volume_that_swaps_a_link_is_followed(tmp_path: Path):
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}/w.toml").write_text(FLOW.format(f"v{number}"))
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "w.toml").symlink_to("data/w.toml")
    async with following(tmp_path / "w.toml") as holder:
        assert names(holder) == {"v1"}
        (tmp_path / "data.new").symlink_to("v2")
        (tmp_path / "data.new").replace(tmp_path / "data")
        await until(lambda: names(holder) == {"v2"})


async def test_an_included_directory_that_appears_later_is_followed(tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text('include = ["more/deep/*.toml"]\n' + FLOW.format("a"))
    async with following(path) as holder:
        (tmp_path / "more/deep").mkdir(parents=True)
        (tmp_path / "more/deep/b.toml").write_text(FLOW.format("b"))
        await until(lambda: names(holder) == {"a", "b"})
        (tmp_path / "more/deep/b.toml").write_text(FLOW.format("c"))
        await until(lambda: names(holder) == {"a", "c"})
        (tmp_path / "more/deep/b.toml").unlink()
        await until(lambda: names(holder) == {"a"})


async def test_a_faulty_file_that_was_included_only_just_now_is_followed_until_it_is_mended(
    tmp_path: Path,
):
    path = tmp_path / "w.toml"
    path.write_text(FLOW.format("a"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.toml").write_text("faulty")
    async with following(path) as holder:
        path.write_text('include = ["more/*.toml"]\n' + FLOW.format("a"))
        await until(lambda: holder.last_error is not None)
        (tmp_path / "more/b.toml").write_text(FLOW.format("b"))
        await until(lambda: names(holder) == {"a", "b"})


async def test_policies_are_followed_and_faulty_ones_change_nothing(tmp_path: Path):
    path = tmp_path / "w.toml"
    (tmp_path / "cedar").mkdir()
    path.write_text('[engine]\ncedar_policy_dir = "cedar"\n' + FLOW.format("a"))
    context = {"workflow": "a", "workflow_id": "i", "approved": False, "classification": "x"}
    context |= {"attempt": 1, "started_by": "", "approved_by": []}

    def is_allowed(holder: CatalogHolder) -> bool:
        policies = holder.current.policies
        return (
            policies is not None and policies.authorize("execute-stage", "one", context).is_allowed
        )

    async with following(path) as holder:
        assert not is_allowed(holder)
        (tmp_path / "cedar/p.cedar").write_text(PERMIT)
        await until(lambda: is_allowed(holder))
        (tmp_path / "cedar/q.cedar").write_text('forbid(principal == "x", action, resource);')
        await until(lambda: holder.last_error is not None)
        assert is_allowed(holder)
        assert "q.cedar:1: not valid Cedar" in str(holder.last_error)
        (tmp_path / "cedar/q.cedar").write_text(
            'forbid(principal, action, resource == Stage::"one");'
        )
        await until(lambda: not is_allowed(holder))
        assert holder.last_error is None


async def test_a_notice_comes_at_once_and_does_not_wait_for_the_next_look(tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text(FLOW.format("a"))
    async with following(path, poll_s=NEVER_S) as holder:
        number = 0
        while holder.reloads < 3:  # the first writes may come before watching has begun
            number += 1
            path.write_text(FLOW.format(f"n{number}"))
            await asyncio.sleep(0.1)
            assert number < 100
        await until(lambda: names(holder) == {f"n{number}"})


async def test_packs_are_followed_as_they_come_grow_break_and_go(tmp_path: Path):
    path, pack = tmp_path / "w.toml", tmp_path / "packs/p"
    path.write_text("")
    flow = "name: {}\ntasks: [{{name: one, action: web.get}}]\n"
    async with following(path) as holder:
        (pack / "workflows").mkdir(parents=True)
        (pack / "workflows/a.yaml").write_text(flow.format("a"))
        (pack / "pack.yaml").write_text("ref: p")
        await until(lambda: names(holder) == {"p.a"})
        (pack / "workflows/b.yml").write_text(flow.format("b"))
        await until(lambda: names(holder) == {"p.a", "p.b"})
        (pack / "config.yaml").write_text("vales: {x: 1}")
        await until(lambda: "vales" in str(holder.last_error))
        assert names(holder) == {"p.a", "p.b"}
        (pack / "config.yaml").write_text("values: {x: 1}")
        await until(lambda: holder.last_error is None)
        assert holder.current.get("p.a").pack_config == {"x": 1}
        shutil.rmtree(pack)
        await until(lambda: names(holder) == set())
