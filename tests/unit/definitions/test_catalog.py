"""The catalog in force, and that nothing faulty replaces it."""

import re
from pathlib import Path

import pytest

from sagabus.definitions.catalog import Catalog
from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import InvalidConfigError, WorkflowNotFoundError

FLOW = """
[[workflows]]
name = "{}"
[[workflows.stages]]
name = "one"
agents = ["devops", "backend"]
compensation_agents = ["janitor"]
"""


def test_a_name_that_is_not_loaded_proposes_one_that_is(tmp_path: Path):
    (tmp_path / "w.toml").write_text(FLOW.format("deploy") + FLOW.format("release"))
    catalog = Catalog.load(tmp_path / "w.toml")
    assert catalog.get("deploy").name == "deploy"
    with pytest.raises(
        WorkflowNotFoundError, match=r'no workflow "deplyo"; did you mean "deploy"\?'
    ):
        catalog.get("deplyo")
    with pytest.raises(WorkflowNotFoundError, match="loaded are: deploy, release"):
        catalog.get("xyz")


def test_a_name_that_has_only_some_letters_in_common_is_not_proposed(tmp_path: Path):
    (tmp_path / "w.toml").write_text(FLOW.format("looper") + FLOW.format("nodec"))
    with pytest.raises(WorkflowNotFoundError, match=r'no workflow "nope"; loaded are:'):
        Catalog.load(tmp_path / "w.toml").get("nope")


def test_roles_are_those_of_stages_and_compensations(tmp_path: Path):
    (tmp_path / "w.toml").write_text(FLOW.format("a"))
    assert Catalog.load(tmp_path / "w.toml").roles == {"devops", "backend", "janitor"}


def test_included_files_are_read_in_order_and_relative_to_the_main_file(tmp_path: Path):
    folder = tmp_path / "a [odd] name"
    (folder / "d").mkdir(parents=True)
    (folder / "w.toml").write_text(
        'include = ["d/*.toml", "e.toml", "d/1.toml"]' + FLOW.format("m")
    )
    (folder / "d/2.toml").write_text(FLOW.format("d2"))
    (folder / "d/1.toml").write_text(FLOW.format("d1"))
    (folder / "e.toml").write_text(FLOW.format("e"))
    assert list(Catalog.load(folder / "w.toml").definitions) == ["m", "d1", "d2", "e"]


def test_a_file_without_workflows_loads_with_a_warning(tmp_path: Path):
    (tmp_path / "w.toml").write_text("")
    catalog = Catalog.load(tmp_path / "w.toml")
    assert not catalog.definitions
    assert [str(warning) for warning in catalog.warnings] == [
        f"{tmp_path}/w.toml: no [[workflows]] here"
    ]


def test_a_faulty_file_keeps_what_is_in_force_until_it_is_mended(tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text(FLOW.format("a"))
    holder = CatalogHolder(path)
    first, loaded_at = holder.current, holder.loaded_at

    path.write_text(FLOW.format("b") + "agents = 1\n")
    assert not holder.reload()
    assert holder.current is first
    assert holder.loaded_at == loaded_at
    assert "w.toml:8: not valid TOML" in str(holder.last_error)
    assert holder.find("a") is first.get("a")
    with pytest.raises(WorkflowNotFoundError) as error:
        holder.find("b")
    assert re.fullmatch(
        r'there is no workflow "b"; loaded are: a; the file on disk was refused at [0-9:]{5} UTC: '
        rf"`sagabus validate {path}` says why",
        str(error.value),
    )
    assert not holder.reload()
    assert (holder.reloads, holder.refused) == (0, 1), "the same faults are counted once"

    path.write_text(FLOW.format("b"))
    assert holder.reload()
    assert holder.last_error is None
    assert set(holder.current.definitions) == {"b"}
    assert holder.loaded_at > loaded_at
    assert (holder.reloads, holder.refused) == (1, 1)


def test_a_reload_that_changes_nothing_is_not_counted(tmp_path: Path):
    path = tmp_path / "w.toml"
    path.write_text(FLOW.format("a"))
    holder = CatalogHolder(path)
    path.write_text("# other words, same meaning\n" + FLOW.format("a"))
    assert holder.reload()
    assert holder.reloads == 0


def test_a_faulty_file_at_the_start_is_an_error(tmp_path: Path):
    (tmp_path / "w.toml").write_text("[engin]")
    with pytest.raises(
        InvalidConfigError, match=r'w\.toml:1: unknown key `engin`; did you mean "engine"'
    ):
        CatalogHolder(tmp_path / "w.toml")
