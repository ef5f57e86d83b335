"""``sagabus pack`` and ``sagabus workflow`` as processes: what they print, and how they end."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sagabus.app.health import ComponentHealth
from sagabus.cli.pack_files import split
from tests.support.registry_orchestrator import workflow


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack beside the orchestrator's own, with two workflows in one file and one in another."""
    directory = tmp_path / "mail"
    (directory / "workflows").mkdir(parents=True)
    (directory / "pack.yaml").write_text("ref: mail\nlabel: Mail\n")
    (directory / "workflows/send.yaml").write_text(
        f"# Sending.\n{workflow('send')}---\n{workflow('mail.resend', action='mail.send')}"
    )
    (directory / "workflows/read.yaml").write_text(workflow("mail.read"))
    return directory


@pytest.fixture
def run(sagabus, registry_remote):
    def call(*arguments: str):
        return sagabus(*arguments, SAGABUS_URL=registry_remote.url, COLUMNS="200")

    return call


def test_a_pack_is_registered_from_its_directory(run, pack):
    done = run("pack", "register", str(pack))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [
        "mail.read version 1",
        "mail.resend version 1",
        "mail.send version 1",
    ]
    again = json.loads(run("pack", "register", str(pack), "--json").stdout)
    assert {item["version"] for item in again["items"]} == {1}
    assert {item["by"] for item in again["items"]} == {"ada"}


def test_one_file_of_a_pack_can_be_registered_alone(run, pack):
    done = run("pack", "register", str(pack / "workflows/read.yaml"))
    assert done.stdout == "mail.read version 1\n"


def test_the_settings_of_a_pack_are_kept_with_its_workflows(run, pack):
    (pack / "config.yaml").write_text(
        "schema:\n  word: {type: string, required: true}\n  loud: {type: boolean, default: true}\n"
        "values:\n  word: '1e3 \u00e9'\n"
    )
    (pack / "workflows/read.yaml").write_text(
        workflow("mail.read") + "    input: {w: '{{ pack.config.word }}{{ pack.config.loud }}'}\n"
    )
    done = run("pack", "register", str(pack))
    assert (done.returncode, done.stderr) == (0, "")
    kept = run("workflow", "show", "mail.read").stdout
    assert kept.endswith('---\nvalues:\n  "word": "1e3 \u00e9"\n  "loud": true\n')
    (pack / "config.yaml").write_text("values: {word: b, loud: false}\n")
    assert "mail.read version 2\n" in run("pack", "register", str(pack)).stdout


def test_settings_that_are_wrong_or_secret_do_not_travel(run, pack):
    config = pack / "config.yaml"
    config.write_text(
        "schema:\n  n: {type: integer}\n  key: {type: string, secret: true}\n"
        "values:\n  n: x\n  key: hidden\n"
    )
    done = run("pack", "register", str(pack))
    assert done.returncode == 1
    assert f"{config}:5: `values.n`: 'x' does not fit" in done.stderr
    assert f"{config}:6: `values.key`: a secret in plain text; store it, and write" in done.stderr
    assert "mail" not in run("pack", "list").stdout


def test_problems_are_named_with_their_lines_and_nothing_is_stored(run, pack):
    file = pack / "workflows/send.yaml"
    file.write_text(file.read_text() + "    colour: red\n")
    done = run("pack", "register", str(pack))
    assert done.returncode == 1
    line = len(file.read_text().splitlines())
    assert f"{file}:{line}:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "mail" not in run("pack", "list").stdout


def test_who_misses_a_workflow_of_a_refused_file_is_told_of_the_file(
    run, registry_remote, tmp_path
):
    main = tmp_path / "server/workflows.toml"
    main.write_text('[[workflows]]\nname = "fresh"\n')
    registry_remote.orchestrator.holder.reload()
    health = registry_remote.orchestrator.health_now
    registry_remote.orchestrator.health_now = replace(health, config=ComponentHealth(False, "no"))
    words = f"UTC: `sagabus validate {main}` says why"
    assert f"no; next: sagabus validate {main}\n" in run("doctor").stdout
    listed = run("workflows")
    assert "from_file" in listed.stdout
    assert listed.stderr.startswith("the file on disk was refused at ")
    assert listed.stderr.endswith(f"{words}\n")
    refused = json.loads(run("workflows", "--json").stdout)["refused"]
    assert (refused["file"], refused["message"]) == (str(main), listed.stderr.strip())
    for arguments in (["workflows", "fresh"], ["start", "fresh", "-p", "a=1"]):
        missing = run(*arguments)
        assert missing.returncode == 1
        assert 'there is no workflow "fresh"; ' in missing.stderr
        assert missing.stderr.endswith(f"{words}\n")


def test_packs_are_listed_and_shown(run, pack):
    run("pack", "register", str(pack))
    listed = run("pack", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["PACK", "mail", "shop"]
    shown = run("pack", "show", "shop")
    assert shown.stdout.splitlines() == [
        "shop 1.2.0 The shop",
        "workflow shop.refund",
        "action shop.pay",
    ]
    assert json.loads(run("pack", "show", "mail", "--json").stdout)["workflows"] == [
        "mail.read",
        "mail.resend",
        "mail.send",
    ]
    missing = run("pack", "show", "nothing")
    assert missing.returncode == 1
    assert "mail, shop" in missing.stderr


def test_a_pack_is_validated_without_an_orchestrator(sagabus, pack):
    good = sagabus("pack", "validate", str(pack))
    assert good.returncode == 0, good.stdout
    (pack / "workflows/read.yaml").write_text("ref: mail.read\ncolour: red\n")
    bad = sagabus("pack", "validate", str(pack), "--json")
    assert bad.returncode == 1
    assert any(problem["line"] == 2 for problem in json.loads(bad.stdout)["problems"])


@pytest.mark.parametrize("command", ["register", "validate"])
def test_what_is_no_pack_is_refused_in_one_line(sagabus, tmp_path, command):
    (tmp_path / "empty").mkdir()
    (tmp_path / "seed/workflows").mkdir(parents=True)
    (tmp_path / "seed/workflows/one.yaml").write_text(workflow("seed.one"))
    (tmp_path / "seed/two.yaml").write_text(workflow("other.two"))
    (tmp_path / "seed/three.yaml").write_text("[")
    for path, words in (
        ("empty", "belongs to no pack; write pack.yaml with ref: empty"),
        ("missing.toml", "is no YAML file"),
        ("seed/workflows/one.yaml", "belongs to no pack; write pack.yaml with ref: seed"),
        ("seed/two.yaml", "move it to other/workflows, and write other/pack.yaml with ref: other"),
        ("seed/three.yaml", "belongs to no pack; write pack.yaml with ref: seed"),
    ):
        done = sagabus("pack", command, path, SAGABUS_URL="http://127.0.0.1:1")
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_versions_are_listed_shown_and_deleted(run, pack):
    file = pack / "workflows/read.yaml"
    first = file.read_text()
    run("pack", "register", str(file))
    file.write_text(workflow("mail.read", "tester"))
    assert run("pack", "register", str(file)).stdout == "mail.read version 2\n"
    assert run("workflow", "show", "mail.read").stdout == file.read_text()
    assert run("workflow", "show", "mail.read", "--version", "1").stdout == first
    deleted = run("workflow", "delete", "mail.read")
    assert (deleted.returncode, deleted.stdout) == (0, "mail.read deleted\n")
    lines = run("workflow", "versions", "mail.read").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    assert "deleted" in lines[1]
    gone = run("workflow", "show", "mail.read")
    assert (gone.returncode, gone.stderr) == (1, "mail.read was deleted in version 3\n")
    assert run("workflow", "delete", "mail.read").returncode == 1
    assert run("workflow", "versions", "nothing").returncode == 1


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("# nothing\n", []),
        ("a: 1\n", [(1, "a: 1\n")]),
        ("# c\n---\na: 1\n", [(1, "# c\n---\na: 1\n")]),
        ("a: 1\n---\nb: '---'\n...\n", [(1, "a: 1\n"), (2, "---\nb: '---'\n...\n")]),
        ("a: |\n  ---\n  x\n---\n---\nb: 2\n", [(1, "a: |\n  ---\n  x\n"), (5, "---\nb: 2\n")]),
        ("a: [\n", [(1, "a: [\n")]),
    ],
)
def test_a_file_is_split_into_its_documents(text, pieces):
    assert split(text) == pieces
