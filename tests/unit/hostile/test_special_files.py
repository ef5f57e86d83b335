"""What is no file where one is looked for: nothing waits, nothing goes round, all is said."""

import os
from pathlib import Path

import pytest

from sagabus.adapters.cedar import CedarPolicies
from sagabus.errors import ConfigError, InvalidConfigError
from sagabus.rehearsal.reading import read_scripts
from tests.unit.hostile.judging import check_refusal, read

PLAIN = '[[workflows]]\nname = "a"\n[[workflows.stages]]\nname = "s"\nagents = ["r"]\n'
PLACES = (
    *("w.toml", "more.toml", "packs/p/pack.yaml", "packs/p/config.yaml"),
    *("packs/p/actions/x.yaml", "packs/p/workflows/x.yaml", "packs/p/rules/x.yaml"),
)
KINDS = ("pipe", "directory", "endless", "link to itself", "link to nothing", "unreadable")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for part in ("actions", "workflows", "rules", "tests"):
        (tmp_path / "packs" / "p" / part).mkdir(parents=True)
    (tmp_path / "packs" / "p" / "pack.yaml").write_text("ref: p\n")
    (tmp_path / "more.toml").write_text("")
    (tmp_path / "w.toml").write_text('include = ["more.toml"]\n' + PLAIN)
    return tmp_path


def put(kind: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "endless":
            path.symlink_to("/dev/zero")
        case "link to itself":
            path.symlink_to(path.name)
        case "link to nothing":
            path.symlink_to("gone")
        case "unreadable":
            path.write_text("x")
            path.chmod(0)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_or_passed_over(kind: str, place: str, directory: Path):
    put(kind, directory / place)
    found = read(directory / "w.toml")
    if isinstance(found, InvalidConfigError):
        assert all(problem.path for problem in found.problems)
        assert len(found.problems) <= 2
    else:
        assert place.startswith("packs/")
        assert "a" in found.definitions


@pytest.mark.timeout(10)
@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_a_script_that_is_a_pipe_is_not_waited_for(suffix: str, tmp_path: Path):
    path = tmp_path / f"outcomes{suffix}"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is not a file, but a pipe or a device"):
        read_scripts(path)


@pytest.mark.timeout(20)
def test_links_that_lead_back_do_not_make_a_search_go_round(directory: Path):
    for name in ("one", "two"):
        (directory / "packs" / "p" / name).symlink_to("..", target_is_directory=True)
        (directory / "packs" / name).symlink_to("p", target_is_directory=True)
    main = directory / "w.toml"
    assert isinstance(read(main), InvalidConfigError)  # the same pack under three names
    main.write_text('packs = []\ninclude = ["**/*.toml"]\n' + PLAIN)
    found = read(main)
    assert isinstance(found, InvalidConfigError)
    check_refusal(found, main)
    assert "`**` follows no links" in str(found)


def test_a_file_that_includes_itself_is_read_once(directory: Path):
    main = directory / "w.toml"
    main.write_text('include = ["w.toml", "*.toml", "./w.toml"]\n' + PLAIN)
    found = read(main)
    assert not isinstance(found, InvalidConfigError), str(found)
    assert set(found.definitions) == {"a"}


def test_an_include_that_matches_thousands_is_refused(directory: Path):
    for number in range(1_200):
        (directory / f"x{number}.toml").touch()
    main = directory / "w.toml"
    main.write_text('include = ["x*.toml"]\n' + PLAIN)
    found = read(main)
    assert isinstance(found, InvalidConfigError)
    check_refusal(found, main)
    assert "1200 files match" in str(found)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_policy_that_is_no_file_is_refused(kind: str, directory: Path):
    policies = directory / "policies"
    policies.mkdir()
    put(kind, policies / "p.cedar")
    with pytest.raises(ConfigError):
        CedarPolicies.load(policies)
