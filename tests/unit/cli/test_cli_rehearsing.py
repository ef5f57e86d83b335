"""``sagabus rehearse`` and ``sagabus pack test``: what they print, and how they end."""

import json
from pathlib import Path

import pytest

WORKFLOW = """
ref: shop.release
parameters:
  version: {type: string, required: true}
tasks:
  - name: build
    action: docker.build
    input: {version: "{{ parameters.version }}"}
    compensation_agents: [docker]
    on_success: test
  - name: test
    action: ci.test
"""
TESTS = """
tests:
  - name: a failing test undoes the build
    workflow: release
    parameters: {version: "1.10"}
    outcomes: {test: {error: broken}}
    expect: {status: rolled_back, compensated: [build], inputs: {build: {version: "1.10"}}}
  - name: all goes well
    workflow: shop.release
    parameters: {version: "2"}
    expect: {status: completed, path: [build, test]}
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    directory = tmp_path / "packs" / "shop"
    for name, text in (
        ("pack.yaml", "ref: shop\n"),
        ("workflows/release.yaml", WORKFLOW),
        ("tests/release.yaml", TESTS),
    ):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "workflows.toml").write_text('packs = ["packs"]\n', encoding="utf-8")
    return directory


def test_the_tests_of_a_pack_are_run(sagabus, pack: Path) -> None:
    done = sagabus("pack", "test", str(pack))
    assert done.returncode == 0, done.stderr
    assert "ok  a failing test undoes the build" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 of 2 as expected"


def test_what_is_not_as_expected_ends_with_1_and_shows_the_account(sagabus, pack: Path) -> None:
    path = pack / "tests" / "release.yaml"
    path.write_text(TESTS.replace("status: completed", "status: failed"), encoding="utf-8")
    done = sagabus("pack", "test", str(pack), "-f", str(pack.parent.parent / "workflows.toml"))
    assert done.returncode == 1
    assert 'status: expected "failed", got "completed"' in done.stdout
    assert "done test-1-0" in done.stdout
    items = json.loads(sagabus("pack", "test", str(pack), "--json").stdout)["items"]
    assert [bool(each["unmet"]) for each in items] == [False, True]
    assert items[0]["rehearsal"]["status"] == "rolled_back"


def test_a_pack_without_tests_says_where_they_go(sagabus, pack: Path) -> None:
    (pack / "tests" / "release.yaml").unlink()
    done = sagabus("pack", "test", str(pack))
    assert done.returncode == 1
    assert "tests/*.yaml" in done.stderr


def test_a_workflow_is_rehearsed_with_parameters_of_their_type(sagabus, pack: Path) -> None:
    main = str(pack.parent.parent / "workflows.toml")
    done = sagabus("rehearse", "shop.release", "-f", main, "-p", "version=1.10")
    assert done.returncode == 0, done.stderr
    assert 'input {"version":"1.10"}' in done.stdout
    assert "build-1-0: build by docker" in done.stdout
    missing = sagabus("rehearse", "shop.release", "-f", main)
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "parameter `version` is missing" in missing.stderr


def test_a_script_that_expects_something_else_ends_with_1(sagabus, pack: Path) -> None:
    script = pack.parent.parent / "outcomes.json"
    script.write_text('{"outcomes": {}, "expect": {"status": "failed"}}', encoding="utf-8")
    main = str(pack.parent.parent / "workflows.toml")
    arguments = ("shop.release", "-f", main, "-p", "version=1", "--outcomes", str(script))
    done = sagabus("rehearse", *arguments)
    assert done.returncode == 1
    assert "not as expected: status" in done.stdout
    found = json.loads(sagabus("rehearse", *arguments, "--json").stdout)["items"]
    assert found[0]["unmet"]
    assert [task["stage"] for task in found[0]["would_undo"]] == ["build"]


@pytest.mark.parametrize("text", ["", "# nothing yet\n---\n", "tests: []\n"])
def test_a_file_without_a_script_is_refused_in_one_line(sagabus, pack: Path, text: str) -> None:
    path = pack / "tests" / "release.yaml"
    path.write_text(text, encoding="utf-8")
    main = str(pack.parent.parent / "workflows.toml")
    rehearse = ("rehearse", "shop.release", "-f", main, "-p", "version=1", "--outcomes", str(path))
    done = sagabus(*rehearse)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"{path}: holds no script; write" in done.stderr
    done = sagabus("pack", "test", str(pack))
    assert done.returncode == 1
    assert done.stdout.count(f"{path}: holds no script; write") == 1
    assert done.stdout.splitlines()[-1] == "0 of 1 as expected"


BROKEN = """
---
name: broken
workflow: relaese
outcomes: {build: {outptu: 1}}
---
name: a name that comes to nothing
workflow: release
parameters: {version: "3"}
outcomes: {test-2-0: {error: x}}
expect: {status: completed}
"""


def test_a_wrong_test_fails_by_itself_and_hides_no_other(sagabus, pack: Path) -> None:
    path = pack / "tests" / "release.yaml"
    path.write_text(TESTS + BROKEN, encoding="utf-8")
    (pack / "tests" / "torn.yaml").write_text("outcomes: [1\n", encoding="utf-8")
    done = sagabus("pack", "test", str(pack))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "2 of 5 as expected"
    line = TESTS.count("\n") + 4
    wrong = [
        f'{path}:{line}: `workflow`: there is no workflow "relaese"',
        f'{path}:{line + 1}: unknown key `outptu`; did you mean "output"?',
        "outcomes.test-2-0 was never used",
        "torn.yaml:2: not valid YAML",
    ]
    assert [one for one in wrong if one not in done.stdout] == []
    checked = sagabus("pack", "validate", str(pack))
    assert checked.returncode == 1
    assert [one for one in wrong[:2] if one not in checked.stdout] == []
    assert checked.stdout.splitlines()[-1] == f"{pack}: 3 errors"


def test_a_wrong_script_is_told_of_and_the_others_are_rehearsed(sagabus, pack: Path) -> None:
    script = pack.parent.parent / "outcomes.yaml"
    script.write_text(
        "outcomes: {biuld: {}}\n---\noutcomes: {test-2-0: {error: x}, undo build: {output: 1}}\n",
        encoding="utf-8",
    )
    main = str(pack.parent.parent / "workflows.toml")
    arguments = ("shop.release", "-f", main, "-p", "version=1", "--outcomes", str(script))
    done = sagabus("rehearse", *arguments)
    assert done.returncode == 1
    assert f"{script}:1: `outcomes.biuld`" in done.stderr
    assert done.stdout.count("completed") == 1
    assert "never used: outcomes.test-2-0\n" in done.stdout
